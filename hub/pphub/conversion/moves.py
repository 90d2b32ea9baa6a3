"""The values a plan is made of: what is asked for, and what becomes of each tensor."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np

from pphub.checkpoint.tensor import Tensor, boxes_of
from pphub.conversion.constants import make_constant
from pphub.conversion.family import fill

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pphub.checkpoint.tensor import Array
    from pphub.conversion.family import Family, Found, Side, Tie
    from pphub.conversion.operation import Operation, Shape

__all__ = ["Drop", "Made", "Move", "Plan", "Request", "same_bits"]

_TILE: Final = 1 << 10  # rows and columns that are compared at a time


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be converted to what.

    Attributes:
        family: the rules.
        architecture: the torch class.
        to: the side that is made.
        config: torch's ``config.json``.
        dropped: what an earlier conversion left out, from its record.
        made: names of what it made, since the checkpoint lacked it.
        has_heads: whether the checkpoint has more than the base model, whatever the class is.
    """

    family: Family
    architecture: str
    to: Side
    config: Mapping[str, object]
    dropped: tuple[Mapping[str, object], ...] = ()
    made: frozenset[str] = frozenset()
    has_heads: bool = False

    @property
    def source(self) -> Side:
        """The side the checkpoint is of."""
        return "torch" if self.to == "paddle" else "paddle"

    def ties(self) -> list[Tie]:
        """The ties of the class that the config does not switch off."""
        return [tie for tie in self.family.ties_for(self.architecture) if tie.always or not self.is_untied]

    @property
    def is_untied(self) -> bool:
        """Whether the config says that nothing is tied."""
        key = "tie_word_embeddings"
        return self.config.get(key, self.family.config.default.get(key)) is False

    def prefix(self, side: Side) -> str:
        """What is written before the names of the base model, with its dot; a base model alone has none."""
        prefixes = self.family.prefixes[side]
        alone = self.architecture in self.family.bases and not self.has_heads
        return "" if alone or not prefixes else f"{prefixes[0]}."

    def outputs(self, found: Found) -> tuple[tuple[str, ...], ...]:
        """The names that the parts are written under, for each part."""
        rule = found.rule
        prefix = self.prefix(self.to) if rule.in_base else ""
        parts = rule.parts(self.to)
        if self.to == "torch":  # its further names are those of other versions
            parts = tuple(names[:1] + (rule.untied if self.is_untied else ()) for names in parts)
        return tuple(tuple(prefix + fill(name, found.index) for name in names) for names in parts)

    def written(self, found: Found) -> tuple[str, ...]:
        """The names that a part is written under; where it is merged, those of the whole."""
        parts = self.outputs(found)
        return parts[found.part if len(parts) > 1 else 0]

    def cores(self, found: Found) -> tuple[str, ...]:
        """What a rule of the base model stands for: its names in Paddle, without prefix."""
        return tuple(fill(names[0], found.index) for names in found.rule.paddle) if found.rule.in_base else ()


@dataclass(frozen=True, slots=True)
class Move:
    """What is read and written together: one tensor, or one and the parts it is cut into.

    Attributes:
        tensors: the parts that are read.
        sources: the names in the checkpoint of what is read; more than parts where one is listed several times.
        outputs: the parts that are written; each has one or more names, which share the payload where they can.
        shapes: the shapes of the outputs.
        operation: what is done to the values.
        rule: the pattern that matched.
        cores: the names in Paddle, without the prefix of the base model, of what belongs to it.
    """

    tensors: tuple[Tensor, ...]
    sources: tuple[str, ...]
    outputs: tuple[tuple[str, ...], ...]
    shapes: tuple[Shape, ...]
    operation: Operation
    rule: str
    cores: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that are read."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def read(self) -> list[Array]:
        """The values of the outputs, in the source's dtype."""
        return self.operation.run([tensor.read() for tensor in self.tensors])


@dataclass(frozen=True, slots=True)
class Made:
    """A constant that the target has and the source does not.

    Attributes:
        names: they share the payload.
        value: see :func:`pphub.conversion.constants.make_constant`; likewise ``dtype`` and ``shape``.
        dtype: see ``value``.
        shape: see ``value``.
        rule: the pattern, or the record, that asks for it.
    """

    names: tuple[str, ...]
    value: str | float
    dtype: str
    shape: Shape
    rule: str

    def read(self) -> Array:
        """Its values."""
        return make_constant(self.value, self.shape, self.dtype)


@dataclass(frozen=True, slots=True)
class Drop:
    """A source tensor that is left out.

    Attributes:
        tensor: the tensor.
        reason: why.
        value: what makes it again: the name of a constant, or a number; None if nothing does.
    """

    tensor: Tensor
    reason: str
    value: str | float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of every tensor, in the source's order; ``prefix`` is what was left out before all names."""

    moves: tuple[Move, ...]
    drops: tuple[Drop, ...]
    made: tuple[Made, ...] = ()
    prefix: str = ""


def same_bits(first: Tensor, second: Tensor, *, transpose: bool = False) -> bool:
    """Whether two tensors (the second transposed, if asked) hold the same bytes, so that equal NaNs are equal."""
    if not transpose and first.identity == second.identity:
        return True
    shape = second.shape[::-1] if transpose else second.shape
    if (first.dtype, first.shape) != (second.dtype, shape):
        return False
    if first.pieces or second.pieces or not type(first) is type(second) is Tensor:  # in pieces, or no file's: as it is
        values = second.read()
        return np.array_equal(_bits(first.read()), _bits(values.T if transpose else values))
    if not transpose:
        return all(_equal(first.part(*box), second.part(*box)) for box in boxes_of(first.shape, _TILE**2))
    second = second.turned
    rows, columns = ([(at, min(at + _TILE, size)) for at in range(0, size, _TILE)] for size in first.shape)
    return all(_equal(first.part(*tile), second.part(*tile)) for tile in product(rows, columns))


def _equal(first: Tensor, second: Tensor) -> bool:
    return np.array_equal(_bits(first.read()), _bits(second.read()))


def _bits(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
