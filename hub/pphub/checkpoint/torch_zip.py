"""Reads ``pytorch_model.bin`` and other files of ``torch.save`` (zip format), without torch.

The format: a zip of stored (not compressed) records under one top folder: ``data.pkl``, a pickle in which each
storage is a persistent id ``("storage", type, key, device, elements)``, and ``data/<key>``, the raw bytes.
Source: torch/serialization.py and torch/_utils.py of PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeGuard

from pphub.checkpoint.tensor import DTYPES, MAX_DIMENSIONS, Tensor, file_size
from pphub.checkpoint.unpickle import Marker, Objection, Unpickler, Unsupported
from pphub.checkpoint.zip_records import read_records
from pphub.errors import Corrupt, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from pphub.checkpoint.zip_records import Record

__all__ = ["read_torch_zip", "refuse_unsafe_legacy"]

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


_NO_STORAGE: Final = _Storage("uint8", 0, 0)
_LEGACY_PICKLES: Final = 5  # a magic number, a version, the machine, the state dict, the keys of the storages


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
    records = read_records(path)
    top = _top_folder(path, records)
    if f"{top}/constants.pkl" in records or any(name.startswith(f"{top}/code/") for name in records):
        msg = f"{path.name} is a TorchScript archive, which is a program and not a checkpoint"
        raise UnsafeCheckpoint(msg, hint="save the weights alone with torch.save(model.state_dict(), …)")
    packed = next((name for name, record in records.items() if not record.plain), None)
    if packed is not None:
        msg = f"{path.name}: the record {packed[:80]!r} is compressed or encrypted, which torch.save never does"
        raise UnsafeCheckpoint(msg, hint="save the checkpoint again with torch.save")
    with path.open("rb") as stream:
        _check_byte_order(path, stream, records.get(f"{top}/byteorder"))
        unpickler = Unpickler(
            stream,
            records[f"{top}/data.pkl"].start + records[f"{top}/data.pkl"].length,
            path.name,
            _NAMES,
            persistent=lambda identifier: _find_storage(identifier, top, records),
            start=records[f"{top}/data.pkl"].start,
        )
        root = unpickler.load()
    return _named_tensors(path, root)


def refuse_unsafe_legacy(path: Path) -> None:
    """Look through the pickles at the start of a file in the old, non-zip format, running nothing.

    Raises:
        UnsafeCheckpoint: one of them names what no checkpoint may use.
        Corrupt: they cannot be read.
    """
    end = file_size(path)
    with path.open("rb") as stream:
        start = 0
        for _ in range(_LEGACY_PICKLES):
            stream.seek(start)
            if stream.read(1) != b"\x80":
                return  # the raw storages begin
            reader = Unpickler(stream, end, path.name, _NAMES, persistent=lambda _id: _NO_STORAGE, start=start)
            reader.load()
            start = reader.position


def _top_folder(path: Path, records: Mapping[str, Record]) -> str:
    tops = {name.partition("/")[0] for name in records}
    if len(tops) != 1 or f"{min(tops)}/data.pkl" not in records:
        msg = f"{path.name} is a zip file, but not one of torch.save: it has no single folder with a data.pkl"
        raise Corrupt(msg, hint="is this the right file? A checkpoint is what torch.save(model.state_dict(), …) writes")
    return tops.pop()


def _check_byte_order(path: Path, stream: BinaryIO, record: Record | None) -> None:
    if record is None:  # torch before 2.1 does not say
        return
    stream.seek(record.start)
    if stream.read(min(record.length, 16)) != b"little":
        msg = f"{path.name} was saved on a big-endian machine, which is not supported"
        raise Corrupt(msg, hint="save it again on an ordinary machine")


def _find_storage(identifier: object, top: str, records: Mapping[str, Record]) -> _Storage:
    match identifier:
        case ("storage", Marker(value=dtype), str(key), str(), count) if dtype in DTYPES and _is_int(count):
            record = records.get(f"{top}/data/{key}")
            if record is None:
                raise Objection(Corrupt, f"the storage {key[:80]!r}, which is not in the file", _DAMAGED)
            length = count * DTYPES[dtype].itemsize
            if not 0 <= length <= record.length:
                what = f"the storage {key[:80]!r} of {count} elements, whose record has {record.length} bytes"
                raise Objection(UnsafeCheckpoint, what, _DAMAGED)
            return _Storage(dtype, record.start, length)
        case ("storage", Marker(value=dtype), *_) if dtype not in DTYPES:
            hint = "convert the checkpoint to float32, float16 or bfloat16 first"
            raise Objection(Corrupt, f"a storage of type {dtype}, which is not supported", hint)
    raise Objection(UnsafeCheckpoint, "a persistent id that is no storage")


# -- stand-ins for the few functions a state dict names ------------------------------------------------------


def _rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *_rest: object) -> _View:
    if not isinstance(storage, _Storage) or not _is_int(offset):
        raise Objection(UnsafeCheckpoint, "a tensor without a storage, or without an offset that is an integer")
    return _View(storage, offset, _integers(shape), _integers(strides))


def _rebuild_parameter(data: object, *_rest: object) -> _View:
    if not isinstance(data, _View):
        raise Objection(UnsafeCheckpoint, "a parameter without a tensor")
    return data


def _ordered_dict(*items: object) -> dict[object, object]:
    if items:  # torch for Python 2 wrote those, in the old format only
        raise Objection(UnsafeCheckpoint, "an OrderedDict with contents of its own")
    return {}


def _is_int(value: object) -> TypeGuard[int]:
    return type(value) is int  # and no bool


def _integers(values: object = ()) -> tuple[int, ...]:
    # The length comes first: the same long tuple can be handed over again and again.
    if type(values) is not tuple or len(values) > MAX_DIMENSIONS or not all(map(_is_int, values)):
        raise Objection(UnsafeCheckpoint, f"a shape or strides that are no tuple of up to {MAX_DIMENSIONS} integers")
    return values


def _names() -> dict[str, Callable[..., object] | Marker | Unsupported]:
    names: dict[str, Callable[..., object] | Marker | Unsupported] = {
        "collections OrderedDict": _ordered_dict,
        "torch._utils _rebuild_tensor": _rebuild_tensor,
        "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils _rebuild_parameter": _rebuild_parameter,
        "torch._utils _rebuild_parameter_with_state": _rebuild_parameter,
        "torch Size": _integers,
        "torch._utils _rebuild_tensor_v3": Unsupported("a tensor of a newer dtype, such as fp8 or an unsigned integer"),
        "torch._utils _rebuild_qtensor": Unsupported("a quantized tensor"),
        "torch._utils _rebuild_sparse_tensor": Unsupported("a sparse tensor"),
        "torch._utils _rebuild_meta_tensor_no_storage": Unsupported("a meta tensor, which has no values"),
    }
    foreign = ("ComplexFloatStorage", "ComplexDoubleStorage", "QInt8Storage", "QUInt8Storage", "QInt32Storage")
    for storage in (*_STORAGE_DTYPES, *foreign):
        for module in ("torch", "torch.cuda"):
            names[f"{module} {storage}"] = Marker(_STORAGE_DTYPES.get(storage, storage))
    return names


_NAMES: Final = _names()


def _named_tensors(path: Path, root: object) -> dict[str, Tensor]:
    if type(root) is not dict:
        msg = f"{path.name} holds a {type(root).__name__.strip('_')}, not the dict of a checkpoint"
        raise Corrupt(msg, hint="save the weights with torch.save(model.state_dict(), …)")
    tensors: dict[str, Tensor] = {}
    for name, value in root.items():
        if isinstance(value, _View):
            if type(name) is not str:
                msg = f"{path.name} has the key {name} of type {type(name).__name__} among its names"
                raise Corrupt(msg)
            view, storage = value, value.storage
            tensors[name] = Tensor(
                name, storage.dtype, view.shape, view.strides, path, storage.start, storage.length, view.offset
            )
    if not tensors:
        msg = f"{path.name} holds no tensors at its top level"
        raise Corrupt(msg, hint="is it a training checkpoint? Save the model's state_dict alone")
    return tensors
