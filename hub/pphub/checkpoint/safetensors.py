"""Reads ``model.safetensors``, without the safetensors package.

The format: 8 bytes little-endian header length, a JSON header ``{name: {dtype, shape, data_offsets}}``, then the
tensors' bytes. Source: the format description of huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from pphub.checkpoint.tensor import DTYPES, Tensor, contiguous_strides
from pphub.errors import Corrupt, UnsafeCheckpoint

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_safetensors"]

_MAX_HEADER_BYTES: Final = 100_000_000  # the format's own limit
_DTYPES: Final = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_DAMAGED: Final = "the file is truncated or damaged; get it again from its source"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors, by name, in the order of their bytes; their values stay on disk.

    Raises:
        UnsafeCheckpoint: the header lies about sizes or places.
        Corrupt: the file is truncated or is not in this format.
    """
    size = path.stat().st_size
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
        if size < 8 or length > size - 8 or length > _MAX_HEADER_BYTES:
            msg = f"{path.name} is no safetensors file, or is cut off within its header"
            raise Corrupt(msg, hint=_DAMAGED)
        text = stream.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        msg = f"{path.name} has a header that is not JSON: {error}"
        raise Corrupt(msg, hint=_DAMAGED) from error
    if not isinstance(header, dict):
        msg = f"{path.name} has a header that is no JSON object"
        raise Corrupt(msg, hint=_DAMAGED)
    return header, 8 + length


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        msg = "a name stands in it twice"
        raise ValueError(msg)
    return result


def _tensor(path: Path, name: str, entry: object, data_start: int) -> Tensor:
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if _sizes(shape):
            dtype = _DTYPES.get(code)
            if dtype is None:
                msg = f"{path.name}: tensor {name[:80]!r} has the dtype {code[:20]}, which is not supported"
                raise Corrupt(msg, hint="convert the checkpoint to float32, float16 or bfloat16 first")
            if begin < 0 or end - begin != math.prod(shape) * DTYPES[dtype].itemsize:
                msg = f"{path.name}: tensor {name[:80]!r} has other bytes than its shape {shape[:8]} needs"
                raise UnsafeCheckpoint(msg)
            sizes = tuple(shape)
            return Tensor(name, dtype, sizes, contiguous_strides(sizes), path, data_start + begin, end - begin)
    msg = f"{path.name}: tensor {name[:80]!r} is described wrongly"
    raise Corrupt(msg, hint=_DAMAGED)


def _sizes(shape: list[object]) -> bool:
    return len(shape) <= 32 and all(type(size) is int and size >= 0 for size in shape)
