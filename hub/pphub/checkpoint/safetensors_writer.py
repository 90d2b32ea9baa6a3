"""Writes ``model.safetensors``, tensor by tensor, without the safetensors package.

The header comes first, so names, dtypes and shapes are given before any values. Source: as for the reader.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final

from pphub.checkpoint.hashed_file import HashedFile
from pphub.checkpoint.tensor import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from pphub.checkpoint.hashed_file import Blocks, Written
    from pphub.checkpoint.tensor import Array

__all__ = ["SafetensorsWriter"]

_CODES: Final = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}


class SafetensorsWriter:
    """Writes tensors that ``safetensors`` and transformers read.

    Args:
        stream: open for writing; each byte is written once, in order.
        entries: name, dtype and shape of every tensor, in the order in which they will be added. Those of larger
            elements belong first: then each lies at a multiple of its element's size.
    """

    def __init__(self, stream: BinaryIO, entries: Sequence[tuple[str, str, tuple[int, ...]]]) -> None:
        self._file = HashedFile(stream)
        self._entries = iter(entries)
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, dtype, shape in entries:
            start, end = end, end + math.prod(shape) * DTYPES[dtype].itemsize
            header[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [start, end]}
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._file.write(len(text).to_bytes(8, "little") + text)

    def add(self, name: str, dtype: str, array: Array | Blocks) -> Written:
        """Append the values of the next tensor, row-major.

        Raises:
            ValueError: it is not the tensor that the header says comes next.
        """
        if (name, dtype, array.shape) != next(self._entries, None) or array.dtype != DTYPES[dtype]:
            msg = f"{name!r}, {dtype} {array.shape}, is not what the header says comes next"
            raise ValueError(msg)
        return self._file.write_array(array)

    def finish(self) -> tuple[int, str]:
        """Returns the size of the file in bytes and its sha256.

        Raises:
            ValueError: a tensor of the header has not been added.
        """
        if (missing := next(self._entries, None)) is not None:
            msg = f"{missing[0]!r} is in the header, and has not been written"
            raise ValueError(msg)
        return self._file.finish()

    def stop(self) -> None:
        """Give the file up."""
        self._file.stop()
