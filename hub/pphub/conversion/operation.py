"""What is done to the values of tensors on their way between torch and Paddle, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pphub.checkpoint.tensor import Array, Tensor
    from pphub.conversion.family import Side

__all__ = ["SAME", "Operation", "Shape"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """How the parts of one side become those of the other.

    Attributes:
        to: the side that is made.
        parts: how many parts the side has that is cut; 1 if none is.
        cut: the side that is cut.
        axis: the axis of the whole, in torch's orientation, along which the parts lie.
        transpose: whether each tensor of Paddle's is torch's, transposed.
        shapes: torch's shape and Paddle's, where they differ.
    """

    to: Side = "paddle"
    parts: int = 1
    cut: Side = "paddle"
    axis: int = 0
    transpose: bool = False
    shapes: tuple[Shape, Shape] | None = None

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The parts of the one side from those of the other; views where possible."""
        if self.to == "torch":
            arrays = [self._turn(array) for array in arrays]
        whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, self.axis)
        parts = np.split(whole, self.parts, self.axis) if self._splits else [whole]
        return parts if self.to == "torch" else [self._turn(array) for array in parts]

    def views(self, tensors: Sequence[Tensor]) -> list[tuple[tuple[Tensor, ...], int]]:
        """What :meth:`run` makes, without reading: of each result, the views it consists of and the axis they are
        laid side by side along. Where shapes differ, the values are in this order, and only the shape is another.
        """
        if self.to == "torch" and self.transpose:
            tensors = [tensor.turned for tensor in tensors]
        axis = self.axis if len(tensors) > 1 else 0
        parts = [tuple(tensors)]
        if self._splits:
            (whole,) = tensors
            size = whole.shape[self.axis] // self.parts
            before = [(0, length) for length in whole.shape[: self.axis]]
            parts = [(whole.part(*before, (at * size, (at + 1) * size)),) for at in range(self.parts)]
        if self.to == "paddle" and self.transpose:
            parts, axis = [tuple(view.turned for view in views) for views in parts], 1 - axis
        return [(views, axis if len(views) > 1 else 0) for views in parts]

    def results(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shapes that :meth:`run` makes of these.

        Raises:
            ValueError: it cannot be run on them; the message completes "NAME has the shape SHAPE, but the rule …".
        """
        if self.to == "torch":
            shapes = [self._turned(shape) for shape in shapes]
        whole = list(shapes[0])
        if len(shapes) > 1:
            others = {(*shape[: self.axis], 0, *shape[self.axis + 1 :]) for shape in shapes}
            if len(whole) <= self.axis or len(others) != 1:
                msg = f"merges it along axis {self.axis} with others that do not fit"
                raise ValueError(msg)
            whole[self.axis] = sum(shape[self.axis] for shape in shapes)
        if self._splits:
            if len(whole) <= self.axis or whole[self.axis] % self.parts:
                msg = f"splits axis {self.axis} into {self.parts} equal parts"
                raise ValueError(msg)
            whole[self.axis] //= self.parts
        part = tuple(whole) if self.to == "torch" else self._turned(tuple(whole))
        return [part] * (self.parts if self._splits else 1)

    def describe(self, part: int = 0) -> str:
        """In words, for the record: what made this part."""
        turn = ["transpose"] if self.transpose else ["reshape"] if self.shapes else []
        along = []
        if self._splits:
            along = [f"split {part + 1}/{self.parts} of axis {self.axis}"]
        elif self.parts > 1:
            along = [f"merge {self.parts} along axis {self.axis}"]
        steps = turn + along if self.to == "torch" else along + turn
        return ", ".join(steps) or "same"

    @property
    def _splits(self) -> bool:
        return self.parts > 1 and self.cut == self.to

    def _turn(self, array: Array) -> Array:
        if self.transpose:
            return array.T
        return array.reshape(self._turned(array.shape)) if self.shapes else array

    def _turned(self, shape: Shape) -> Shape:
        if self.transpose:
            if len(shape) != 2:
                msg = "transposes a matrix"
                raise ValueError(msg)
            return shape[::-1]
        if self.shapes is None:
            return shape
        source, target = self.shapes if self.to == "paddle" else self.shapes[::-1]
        if _completed(source, math.prod(shape)) != shape:
            msg = f"expects {list(source)}"
            raise ValueError(msg)
        return _completed(target, math.prod(shape))


SAME = Operation()


def _completed(shape: Shape, size: int) -> Shape:
    """The shape with its -1, if any, replaced such that it has so many elements.

    Raises:
        ValueError: no number would do.
    """
    known = math.prod(number for number in shape if number != -1)
    rest = size // known if known else 0
    completed = tuple(rest if number == -1 else number for number in shape)
    if math.prod(completed) != size:
        msg = f"makes {list(shape)} of it"
        raise ValueError(msg)
    return completed
