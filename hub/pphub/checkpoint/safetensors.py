"""Reads ``model.safetensors``, without the safetensors package.

The format: 8 bytes little-endian header length, a JSON header ``{name: {dtype, shape, data_offsets}}``, then the
tensors' bytes. Source: the format description of huggingface/safetensors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from pphub.checkpoint.json_text import MAX_JSON_BYTES, MAX_VALUES, parse_json
from pphub.checkpoint.tensor import DTYPES, MAX_DIMENSIONS, MAX_SIZE, Tensor, contiguous_strides, file_size
from pphub.errors import Corrupt, UnsafeCheckpoint

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_safetensors"]

_DTYPES: Final = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
# The format's own limit is 100 MB, which takes 2 GB to parse, and a size can be claimed without having the bytes.
_MOST_HEADER_BYTES: Final = 32 << 20  # some 200,000 tensors
_MOST_VALUES: Final = 2_400_000
# A header may be longer than other JSON only where it describes much: tensors are larger than their description.
_BYTES_PER_HEADER_BYTE: Final = 16
_BYTES_PER_VALUE: Final = 256
_DAMAGED: Final = "the file is truncated or damaged; get it again from its source"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors, by name, in the order of their bytes; their values stay on disk.

    Raises:
        UnsafeCheckpoint: the header lies about sizes or places.
        Corrupt: the file is truncated or is not in this format.
    """
    size = file_size(path)
    header, data_start = _header(path, size)
    tensors = []
    for name, entry in header.items():
        if name != "__metadata__":
            tensors.append(_tensor(path, name, entry, data_start))
    tensors.sort(key=lambda tensor: (tensor.start, tensor.length))
    end = data_start
    for tensor in tensors:
        if tensor.start != end:
            msg = f"{path.name}: there is a hole or an overlap before tensor {tensor.name[:80]!r}"
            raise UnsafeCheckpoint(msg)
        end += tensor.length
    if end > size:
        msg = f"{path.name} is cut off: its header describes {end} bytes, the file has {size}"
        raise Corrupt(msg, hint=_DAMAGED)
    if end < size:
        msg = f"{path.name} has {size - end} bytes that its header does not describe"
        raise UnsafeCheckpoint(msg)
    return {tensor.name: tensor for tensor in tensors}


def _header(path: Path, size: int) -> tuple[dict[str, Any], int]:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > size - 8:
            msg = f"{path.name} is no safetensors file, or is cut off within its header"
            raise Corrupt(msg, hint=_DAMAGED)
        if length > max(MAX_JSON_BYTES, min(size // _BYTES_PER_HEADER_BYTE, _MOST_HEADER_BYTES)):
            msg = f"{path.name} claims a header of {length} bytes"
            raise UnsafeCheckpoint(msg)
        text = stream.read(length)
    most_values = max(MAX_VALUES, min(size // _BYTES_PER_VALUE, _MOST_VALUES))
    try:
        header = parse_json(text, strict=True, most_values=most_values)
    except ValueError as error:
        msg = f"the header of {path.name} {error}"
        raise Corrupt(msg, hint=_DAMAGED) from error
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        msg = f"{path.name} has __metadata__ that is no dict of texts"
        raise Corrupt(msg, hint=_DAMAGED)
    return header, 8 + length


def _tensor(path: Path, name: str, entry: object, data_start: int) -> Tensor:
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [begin, end], **rest} if (
            not rest and _are_sizes(shape) and _are_sizes([begin, end])
        ):
            dtype = _DTYPES.get(code)
            if dtype is None:
                msg = f"{path.name}: tensor {name[:80]!r} has the dtype {code[:20]!r}, which is not supported"
                raise Corrupt(msg, hint="convert the checkpoint to float32, float16 or bfloat16 first")
            if end - begin != math.prod(shape) * DTYPES[dtype].itemsize:
                msg = f"{path.name}: tensor {name[:80]!r} has other bytes than its shape {shape[:8]} needs"
                raise UnsafeCheckpoint(msg)
            sizes = tuple(shape)
            return Tensor(name, dtype, sizes, contiguous_strides(sizes), path, data_start + begin, end - begin)
    msg = f"{path.name}: tensor {name[:80]!r} is described wrongly"
    raise Corrupt(msg, hint=_DAMAGED)


def _are_sizes(values: list[object]) -> bool:
    return len(values) <= MAX_DIMENSIONS and all(type(value) is int and 0 <= value <= MAX_SIZE for value in values)
