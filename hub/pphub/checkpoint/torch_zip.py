"""Reads ``pytorch_model.bin`` and other files of ``torch.save`` (zip format), without torch.

The format: a zip of stored (not compressed) records under one top folder: ``data.pkl``, a pickle in which each
storage is a persistent id ``("storage", type, key, device, elements)``, and ``data/<key>``, the raw bytes.
Source: torch/serialization.py and torch/_utils.py of PyTorch.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pphub.checkpoint.tensor import DTYPES, Tensor
from pphub.checkpoint.unpickle import Marker, Unpickler
from pphub.errors import Corrupt, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["read_torch_zip"]

_MAX_PICKLE_BYTES: Final = 256 << 20
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")

_STORAGE_DTYPES: Final = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_DAMAGED: Final = "the file is truncated or damaged; get it again from its source"


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor before it has a name."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_zip(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, by name, in the file's order; their values stay on disk.

    Raises:
        UnsafeCheckpoint: the file would run code, is a TorchScript program, or lies about its contents.
        Corrupt: it is no zip of torch.save, or is truncated.
    """
    records = _records(path)
    top = _top_folder(path, records)
    if f"{top}/constants.pkl" in records or any(name.startswith(f"{top}/code/") for name in records):
        msg = f"{path.name} is a TorchScript archive, which is a program and not a checkpoint"
        raise UnsafeCheckpoint(msg, hint="save the weights alone with torch.save(model.state_dict(), …)")
    _check_byte_order(path, top, records)
    start, length = records[f"{top}/data.pkl"]
    if length > _MAX_PICKLE_BYTES:
        msg = f"{path.name} has a pickle of {length} bytes beside its tensors, which is no state dict"
        raise UnsafeCheckpoint(msg)

    def storage(identifier: object) -> _Storage:
        return _find_storage(identifier, path, top, records)

    with path.open("rb") as stream:
        stream.seek(start)
        data = stream.read(length)
    root = Unpickler(memoryview(data), path.name, _names(), persistent=storage).load()
    return _named_tensors(path, root)


def _records(path: Path) -> dict[str, tuple[int, int]]:
    """Where each record's bytes are: name → (start, length). Checks that none lies about it."""
    records: dict[str, tuple[int, int]] = {}
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            size = path.stat().st_size
            for entry in archive.infolist():
                if entry.filename in records:
                    msg = f"{path.name} holds two records called {entry.filename[:80]!r}"
                    raise UnsafeCheckpoint(msg)
                if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                    msg = f"{path.name} is compressed or encrypted, which torch.save never does"
                    raise UnsafeCheckpoint(msg, hint="save the checkpoint again with torch.save")
                start = _data_start(stream, entry)
                if entry.file_size != entry.compress_size or start + entry.file_size > size:
                    msg = f"{path.name}: the record {entry.filename[:80]!r} reaches past the end of the file"
                    raise Corrupt(msg, hint=_DAMAGED)
                records[entry.filename] = (start, entry.file_size)
    except (zipfile.BadZipFile, struct.error, NotImplementedError, UnicodeDecodeError) as error:
        msg = f"{path.name} is no checkpoint of torch.save, or only a part of one: {error}"
        raise Corrupt(msg, hint=_DAMAGED) from error
    _check_overlap(path, records)
    return records


def _data_start(stream: object, entry: zipfile.ZipInfo) -> int:
    """The local header repeats the name, and its extra field (torch's padding) may differ from the directory's."""
    stream.seek(entry.header_offset)  # type: ignore[attr-defined]
    header = stream.read(_LOCAL_HEADER.size)  # type: ignore[attr-defined]
    magic, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    if magic != b"PK\x03\x04":
        msg = f"no record at byte {entry.header_offset}"
        raise zipfile.BadZipFile(msg)
    return int(entry.header_offset + _LOCAL_HEADER.size + name_length + extra_length)


def _check_overlap(path: Path, records: Mapping[str, tuple[int, int]]) -> None:
    """Overlapping records are how a small file claims to be a huge one."""
    end = 0
    for start, length in sorted(records.values()):
        if length and start < end:
            msg = f"{path.name} holds records that overlap"
            raise UnsafeCheckpoint(msg)
        end = max(end, start + length)


def _top_folder(path: Path, records: Mapping[str, tuple[int, int]]) -> str:
    tops = [name.removesuffix("/data.pkl") for name in records if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(tops) != 1:
        msg = f"{path.name} is a zip file, but not one of torch.save: it holds {len(tops)} data.pkl"
        raise Corrupt(msg, hint="is this the right file? A checkpoint is what torch.save(model.state_dict(), …) writes")
    return tops[0]


def _check_byte_order(path: Path, top: str, records: Mapping[str, tuple[int, int]]) -> None:
    start, length = records.get(f"{top}/byteorder", (0, 0))
    with path.open("rb") as stream:
        stream.seek(start)
        if length and stream.read(min(length, 16)) != b"little":
            msg = f"{path.name} was saved on a big-endian machine, which is not supported"
            raise Corrupt(msg, hint="save it again on an ordinary machine")


def _find_storage(identifier: object, path: Path, top: str, records: Mapping[str, tuple[int, int]]) -> _Storage:
    match identifier:
        case ("storage", Marker(value=dtype), str(key), str(), int(count)) if dtype in DTYPES:
            record = records.get(f"{top}/data/{key}")
            if record is None:
                msg = f"{path.name}: the storage {key[:80]!r} is named but not there"
                raise Corrupt(msg, hint=_DAMAGED)
            start, length = record
            if count < 0 or count * DTYPES[dtype].itemsize > length:
                msg = f"{path.name}: the storage {key[:80]!r} claims {count} elements but holds {length} bytes"
                raise UnsafeCheckpoint(msg, hint=_DAMAGED)
            return _Storage(dtype, start, length)
        case ("storage", Marker(value=dtype), *_):
            msg = f"{path.name} holds a storage of type {dtype}, which is not supported"
            raise Corrupt(msg, hint="convert the checkpoint to float32, float16 or bfloat16 first")
    msg = f"{path.name} holds a persistent id that is no storage"
    raise UnsafeCheckpoint(msg)


# -- stand-ins for the few functions a state dict names ------------------------------------------------------


def _rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *_rest: object) -> _View:
    if not isinstance(storage, _Storage) or not _is_int(offset) or not _are_ints(shape) or not _are_ints(strides):
        msg = "a tensor is described wrongly"
        raise TypeError(msg)
    return _View(storage, offset, shape, strides)  # type: ignore[arg-type]


def _rebuild_parameter(data: object, *_rest: object) -> _View:
    if not isinstance(data, _View):
        msg = "a parameter holds no tensor"
        raise TypeError(msg)
    return data


def _ordered_dict(items: object = ()) -> dict[object, object]:
    if items != () and type(items) is not list:
        msg = "an OrderedDict is made of something that is no list"
        raise TypeError(msg)
    result: dict[object, object] = {}
    for item in items:
        match item:
            case (str(key), value) | [str(key), value]:
                result[key] = value
            case _:
                msg = "an OrderedDict is made of something that is no pair"
                raise TypeError(msg)
    return result


def _size(sizes: object = ()) -> tuple[int, ...]:
    if not _are_ints(sizes):
        msg = "a torch.Size of something that is no tuple of integers"
        raise TypeError(msg)
    return sizes  # type: ignore[return-value]


def _is_int(value: object) -> bool:
    return type(value) is int


def _are_ints(values: object) -> bool:
    return type(values) is tuple and all(type(value) is int for value in values)


def _names() -> dict[str, Callable[..., object] | Marker]:
    names: dict[str, Callable[..., object] | Marker] = {
        "collections OrderedDict": _ordered_dict,
        "torch._utils _rebuild_tensor": _rebuild_tensor,
        "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils _rebuild_parameter": _rebuild_parameter,
        "torch._utils _rebuild_parameter_with_state": _rebuild_parameter,
        "torch Size": _size,
    }
    for storage in (
        *_STORAGE_DTYPES,
        "ComplexFloatStorage",
        "ComplexDoubleStorage",
        "QInt8Storage",
        "QUInt8Storage",
    ):
        for module in ("torch", "torch.cuda"):
            names[f"{module} {storage}"] = Marker(_STORAGE_DTYPES.get(storage, storage))
    return names


def _named_tensors(path: Path, root: object) -> dict[str, Tensor]:
    if type(root) is not dict:
        msg = f"{path.name} holds a {type(root).__name__}, not the dict of a checkpoint"
        raise Corrupt(msg, hint="save the weights with torch.save(model.state_dict(), …)")
    tensors: dict[str, Tensor] = {}
    for name, value in root.items():
        if isinstance(value, _View):
            view = value
            storage = view.storage
            key = str(name)
            tensors[key] = Tensor(
                key, storage.dtype, view.shape, view.strides, path, storage.start, storage.length, view.offset
            )
    if not tensors:
        msg = f"{path.name} holds no tensors at its top level"
        raise Corrupt(msg, hint="is it a training checkpoint? Save the model's state_dict alone")
    return tensors
