"""Tensors that are too large to be in memory at once: read, turned, cut, merged and cast in blocks."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pphub.checkpoint.tensor import DTYPES, Tensor, boxes_of, contiguous_strides
from pphub.conversion.dtypes import cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pphub.checkpoint.tensor import Array
    from pphub.conversion.moves import Move
    from pphub.conversion.operation import Shape

__all__ = ["Streamed", "stream"]

_LARGE: Final = 16 << 20  # bytes
_BLOCK: Final = 1 << 20  # bytes read at a time
_TURNED: Final = 32 << 20  # bytes of a result that are collected at a time, where its order is not that of the file
_TIMES: Final = 8  # as often may a file be read; beyond that a matrix is turned by way of a scratch file
_GAP: Final = 16 << 10  # bytes between rows, beyond which only what is wanted of them is read
_PAGE: Final = 4096


@dataclass(frozen=True, slots=True)
class Streamed:
    """The values of one tensor of the output, for :meth:`HashedFile.write_array`.

    Attributes:
        views: what it consists of, each as it lies in the output.
        axis: they are laid side by side along it.
        shape: of the output; the order of its values is that of the views.
        target: the dtype that is made.
        scratch: a folder for a file that is as large as the tensor, and is removed again.
    """

    views: tuple[Tensor, ...]
    axis: int
    shape: Shape
    target: str
    scratch: Path

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the result."""
        return DTYPES[self.target]

    @property
    def nbytes(self) -> int:
        """Bytes of the result."""
        return math.prod(self.shape) * self.dtype.itemsize

    def blocks(self) -> Iterator[Array]:
        """The values in row-major order, piece by piece.

        Raises:
            Corrupt: the file is shorter than it was.
        """
        if self.axis == 0:
            for view in self.views:
                yield from self._blocks((view,), 0)
        else:
            yield from self._blocks(self.views, self.axis)

    def _blocks(self, views: tuple[Tensor, ...], axis: int) -> Iterator[Array]:
        sizes = list(views[0].shape)
        sizes[axis] = sum(view.shape[axis] for view in views)
        with ExitStack() as stack:
            if len(sizes) == 2 and self._times(views, sizes) > _TIMES:
                views, axis = tuple(band for view in views for band in self._bands(view, stack)), 1
            one_way = len(views) == 1 and views[0].is_dense
            most = max(1, (_BLOCK if one_way else _TURNED) // self.dtype.itemsize)
            for ranges in boxes_of(tuple(sizes), most):
                box = np.empty([end - start for start, end in ranges], self.dtype)
                first, last = ranges[axis]
                at = 0  # where a view begins
                for view in views:
                    start, end = max(first, at), min(last, at + view.shape[axis])
                    if start < end:
                        part = view.part(*ranges[:axis], (start - at, end - at), *ranges[axis + 1 :])
                        self._fill(part, box[(slice(None),) * axis + (slice(start - first, end - first),)])
                    at += view.shape[axis]
                yield box

    def _times(self, views: tuple[Tensor, ...], sizes: list[int]) -> float:
        """How often the file would be read for a matrix that is written a box at a time."""
        turned = [view for view in views if view.size and not view.is_dense and view.strides[0] < view.strides[1]]
        if not turned:
            return 0
        rows = min(max(1, _TURNED // (sizes[1] * self.dtype.itemsize)), sizes[0])
        boxes = math.ceil(sizes[0] / rows)
        wanted = rows * turned[0].itemsize
        apart = min(view.strides[1] for view in turned) * turned[0].itemsize - wanted
        return min(boxes, (wanted + _PAGE) / wanted) if apart >= _GAP else boxes

    def _bands(self, view: Tensor, stack: ExitStack) -> list[Tensor]:
        """The same matrix, cast and cut into bands of columns, each of them row-major in a file.

        A band is about as large as a box, so the file is read once; and of each band a box takes many bytes in a row.
        """
        height, width = view.shape
        columns = max(1, _TURNED // (height * self.dtype.itemsize))
        most = max(1, _TURNED // self.dtype.itemsize)
        path = self.scratch / f".turned-{os.urandom(6).hex()}"
        stack.callback(path.unlink, missing_ok=True)
        bands = []
        with path.open("xb") as scratch:
            for left in range(0, width, columns):
                band = view.part((0, height), (left, min(left + columns, width)))
                shape, start = band.shape, scratch.tell()
                for ranges in boxes_of(shape, most):
                    box = np.empty([end - begin for begin, end in ranges], self.dtype)
                    self._fill(band.part(*ranges), box)
                    scratch.write(box.reshape(-1).view(np.uint8).data)
                written = scratch.tell() - start
                strides = contiguous_strides(shape)
                bands.append(Tensor(view.name, self.target, shape, strides, path, start, written))
        return bands

    def _fill(self, view: Tensor, box: Array) -> None:
        """Read and cast; what a cast takes beside is little, since it is done in parts."""
        if view.dtype == self.target:
            view.read_into(box)
            return
        if view.nbytes <= _BLOCK or view.size <= 1:
            box[...] = cast(view.read(), view.dtype, self.target)
            return
        far = max(range(box.ndim), key=lambda axis: (view.shape[axis] > 1, view.strides[axis]))
        size = view.shape[far]
        step = min(max(1, _BLOCK * size // view.nbytes), (size + 1) // 2)
        before = [(0, length) for length in view.shape[:far]]
        for at in range(0, size, step):
            end = min(at + step, size)
            self._fill(view.part(*before, (at, end)), box[(slice(None),) * far + (slice(at, end),)])


def stream(move: Move, target: str, scratch: Path) -> list[Streamed] | None:
    """The outputs of a move in blocks, if it is large; else None.

    Args:
        move: what is read and written together.
        target: the dtype that is made.
        scratch: a folder for what cannot be turned in one go.
    """
    if move.nbytes < _LARGE or any(tensor.pieces or not tensor.shape for tensor in move.tensors):
        return None
    parts = zip(move.operation.views(move.tensors), move.shapes, strict=True)
    return [Streamed(views, axis, shape, target, scratch) for (views, axis), shape in parts]
