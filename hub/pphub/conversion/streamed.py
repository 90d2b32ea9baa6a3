"""Tensors that are too large to be in memory at once: read, turned and cast in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pphub.checkpoint.tensor import DTYPES, contiguous_strides
from pphub.conversion.dtypes import cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pphub.checkpoint.tensor import Array, Tensor
    from pphub.conversion.moves import Move

__all__ = ["Streamed", "stream"]

_LARGE: Final = 16 << 20  # bytes
_BLOCK: Final = 1 << 20  # bytes read at a time
_TURNED: Final = 32 << 20  # bytes of a transposed matrix that are collected at a time; the matrix is read once for each


@dataclass(frozen=True, slots=True)
class Streamed:
    """The values of one tensor, perhaps transposed and cast, for :meth:`HashedFile.write_array`.

    Attributes:
        tensor: what is read; row-major, in one place.
        transpose: whether it is turned.
        target: the dtype that is made.
    """

    tensor: Tensor
    transpose: bool
    target: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return self.tensor.shape[::-1] if self.transpose else self.tensor.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the result."""
        return DTYPES[self.target]

    @property
    def nbytes(self) -> int:
        """Bytes of the result."""
        return self.tensor.size * self.dtype.itemsize

    def blocks(self) -> Iterator[Array]:
        """The values in row-major order, piece by piece.

        Raises:
            Corrupt: the file is shorter than it was.
        """
        if not self.transpose:
            yield from self._read(0, self.tensor.size)
            return
        height, width = self.tensor.shape
        columns = max(1, _TURNED // (height * self.dtype.itemsize))
        for left in range(0, width, columns):
            yield self._turned(left, min(left + columns, width))

    def _turned(self, left: int, right: int) -> Array:
        """Some columns, as rows."""
        height, width = self.tensor.shape
        turned = np.empty((right - left, height), self.dtype)
        rows = max(1, _BLOCK // (width * self.tensor.itemsize))
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            values = self.tensor.read_part(top * width, bottom * width).reshape(-1, width)[:, left:right]
            turned[:, top:bottom] = cast(values, self.tensor.dtype, self.target).T
        return turned

    def _read(self, start: int, end: int) -> Iterator[Array]:
        step = _BLOCK // self.tensor.itemsize
        for at in range(start, end, step):
            yield cast(self.tensor.read_part(at, min(at + step, end)), self.tensor.dtype, self.target)


def stream(move: Move, target: str) -> Streamed | None:
    """A move in blocks, if it is large, and of one tensor that stays in one piece; else None."""
    (tensor, *others), operation = move.tensors, move.operation
    if others or len(move.outputs) > 1 or operation.shapes or tensor.pieces or tensor.nbytes < _LARGE:
        return None
    if tensor.strides != contiguous_strides(tensor.shape):
        return None
    return Streamed(tensor, operation.transpose, target)
