"""Which parameter and which module of the one live model is which of the other: told by the rules of conversion.

The rules are applied to the live torch model, not to a file: what transformers' own loader made of the checkpoint is
what Paddle's model has to be.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pphub.alignment.compare import Array, compare
from pphub.alignment.values import EXACT, Difference, Parameters
from pphub.checkpoint.tensor import Tensor, contiguous_strides
from pphub.conversion.plan import make_plan
from pphub.errors import ConversionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from pphub.conversion.moves import Made, Move, Request

__all__ = ["Bridge", "Held", "Lacking", "ModulePair", "bridge_over", "find_all", "is_within"]


@dataclass(frozen=True, slots=True)
class Held:
    """A parameter of a live model.

    Attributes:
        dtype: by torch's name.
        shape: its sizes.
        identity: equal for two names of one parameter.
        read: gives its values.
        floating: whether it is of floats; others are counters and tables that the classes make themselves.
    """

    dtype: str
    shape: tuple[int, ...]
    identity: int
    read: Callable[[], Array]
    floating: bool


@dataclass(frozen=True, slots=True)
class Lacking:
    """Parameters of the two live models that the checkpoints do not hold, so that nothing is proved of them.

    Attributes:
        torch: torch's names of what torch's checkpoint lacks.
        torch_base: those that are of the base model.
        paddle: Paddle's names of what Paddle's checkpoint lacks.
        absent: Paddle's parameters that torch's class is built without, by the rules.
        optional: modules of Paddle's base that some class of the family is built without, such as the pooler.
        made_up: whether the class's head is made up on both sides, and not what is to be proved.
    """

    torch: frozenset[str]
    torch_base: frozenset[str]
    paddle: frozenset[str]
    absent: frozenset[str]
    optional: frozenset[str]
    made_up: bool

    def is_fresh(self, sources: frozenset[str], name: str) -> bool:
        """Whether Paddle's parameter has no numbers that are to be proved, and may be filled."""
        return name in self.paddle or (self.made_up and self._is_head(sources))

    def may_lack(self, sources: frozenset[str], name: str) -> bool:
        """Whether both checkpoints may be without a parameter: a head, or what the family may be built without."""
        return self._is_head(sources) or is_within(name, self.optional)

    def _is_head(self, sources: frozenset[str]) -> bool:
        return bool(sources) and sources <= self.torch and not sources & self.torch_base


@dataclass(frozen=True, slots=True)
class ModulePair:
    """A module of torch and the one of Paddle that has the same parameters.

    Attributes:
        torch: its name in torch.
        paddle: its name in Paddle.
        layer: whether it is one of a stack.
        within: torch's name of the layer that it is in, or None.
    """

    torch: str
    paddle: str
    layer: bool
    within: str | None


@dataclass(frozen=True, slots=True)
class _LiveTensor(Tensor):
    """A parameter of a live model, where the engine of conversion expects a tensor of a file."""

    values: Callable[[], Array] | None = field(default=None, compare=False)

    def read(self) -> Array:
        if self.values is None:
            return np.empty(self.shape, np.float32)
        return self.values()


@dataclass(frozen=True, slots=True)
class Bridge:
    """What becomes of each parameter of a live torch model.

    Attributes:
        moves: by the rules.
        made: constants that Paddle's model has and torch's does not.
    """

    moves: tuple[Move, ...]
    made: tuple[Made, ...]

    def turn(self, values: Mapping[str, Array], sources: set[str] | None = None) -> Iterator[_Turned]:
        """What Paddle should have, one at a time: parameters, or anything else there is one of for each.

        Args:
            values: torch's name → array of the parameter's shape.
            sources: torch's names of those that are wanted; None for all.
        """
        for move in self.moves:
            names = {*move.sources, *(tensor.name for tensor in move.tensors)}
            if sources is not None and not names & sources:
                continue
            arrays = move.operation.run([values[tensor.name] for tensor in move.tensors])
            label = " + ".join(tensor.name for tensor in move.tensors)
            for outputs, array in zip(move.outputs, arrays, strict=True):
                yield _Turned(label, outputs, array, frozenset(names))

    def compare_parameters(
        self, torch: Mapping[str, Array], paddle: Mapping[str, Held], lacking: Lacking, prefix: str
    ) -> Parameters:
        """Hold every parameter of the Paddle model against torch's.

        Args:
            torch: torch's name → values.
            paddle: Paddle's name → parameter, as it was loaded: nothing may have been filled in.
            lacking: what is not in the checkpoints.
            prefix: of Paddle's base model, without the dot.
        """
        unequal: list[Difference] = []
        unused: list[str] = []
        torch_only: list[str] = []
        paddle_only: list[str] = []
        neither: list[str] = []
        unproved: list[str] = []
        seen: set[int] = set()
        compared = elements = 0
        made = (_Turned("a constant", each.names, each.read(), frozenset()) for each in self.made)
        for turned in chain(self.turn(torch), made):
            found = find_all(turned.names, paddle, prefix)
            if not found:
                unused.append(" = ".join(turned.names))
            for name in found:
                seen.add(paddle[name].identity)
                missing = bool(turned.sources & lacking.torch)
                fresh = bool(turned.sources) and lacking.is_fresh(turned.sources, name)
                if missing and fresh:
                    (unproved if lacking.may_lack(turned.sources, name) else neither).append(name)
                elif missing or fresh:
                    (paddle_only if missing else torch_only).append(name)
                if missing or fresh:
                    continue
                values = paddle[name].read()
                compared += 1
                elements += values.size
                right = _like(turned.array, values)
                # A NaN equals nothing, but an infinity itself: both fail.
                if np.array_equal(right, values) and values.size and np.isfinite(values).all():
                    continue
                difference = compare(f"{name} (torch: {turned.label})", right, values, EXACT)
                if not difference.passed:
                    unequal.append(difference)
        rest = [name for name, held in paddle.items() if held.identity not in seen and held.floating]
        unread = tuple(name for name in rest if name not in lacking.absent)
        unproved += [name for name in rest if name in lacking.absent]
        return Parameters(
            compared,
            elements,
            tuple(unequal),
            unread,
            tuple(unused),
            tuple(torch_only),
            tuple(paddle_only),
            tuple(neither),
            tuple(unproved),
        )

    def ties(self, torch: Mapping[str, int], paddle: Mapping[str, Held], prefix: str) -> tuple[str, ...]:
        """Where one side has one parameter and the other several that only begin equal: they train differently.

        Args:
            torch: the name of torch's parameter → its identity.
            paddle: Paddle's name → parameter.
            prefix: of Paddle's base model, without the dot.
        """
        of_torch: dict[int, set[int]] = {}
        of_paddle: dict[int, set[int]] = {}
        names: dict[int, str] = {}
        for move in self.moves:
            if len(move.tensors) == len(move.outputs) == 1:
                sources = [name for name in move.sources if name in torch]
                for source in sources:
                    for name in find_all(move.outputs[0], paddle, prefix):
                        mine, theirs = torch[source], paddle[name].identity
                        of_torch.setdefault(mine, set()).add(theirs)
                        of_paddle.setdefault(theirs, set()).add(mine)
                        names.update({mine: source, theirs: name})
        found = [
            f"{names[mine]} is one parameter in torch and {len(theirs)} in Paddle: "
            + ", ".join(sorted(names[each] for each in theirs))
            for mine, theirs in of_torch.items()
            if len(theirs) > 1
        ]
        found += [
            f"{names[theirs]} is one parameter in Paddle and {len(mine)} in torch: "
            + ", ".join(sorted(names[each] for each in mine))
            for theirs, mine in of_paddle.items()
            if len(mine) > 1
        ]
        return tuple(found)

    def modules(self, torch: Iterable[str], paddle: Iterable[str], prefix: str) -> tuple[ModulePair, ...]:
        """The modules that correspond: layers, and modules without others in them.

        Args:
            torch: the names of torch's parameters.
            paddle: the names of Paddle's.
            prefix: of Paddle's base model, without the dot.
        """
        names = set(paddle)
        torch_inner, paddle_inner = _with_modules(torch), _with_modules(names)
        pairs: dict[str, str] = {}
        blocks: dict[str, set[str]] = {}
        for move in self.moves:
            for outputs in move.outputs:
                for name in find_all(outputs, names, prefix)[:1]:
                    source = move.tensors[0].name
                    if len(move.tensors) == len(move.outputs) == 1:
                        pairs.setdefault(_above(source), _above(name))
                    torch_block, paddle_block = _block(source), _block(name)
                    if torch_block and paddle_block and torch_block[1] == paddle_block[1]:
                        blocks.setdefault(torch_block[0], set()).add(paddle_block[0])
        # A layer that is a single linear module, as in some heads, is compared as that.
        layers = {
            source: next(iter(each))
            for source, each in blocks.items()
            if len(each) == 1 and source in torch_inner and each <= paddle_inner
        }
        found = [ModulePair(source, name, layer=True, within=None) for source, name in layers.items()]
        for source, name in pairs.items():
            if source and name and source not in torch_inner and name not in paddle_inner:
                block = _block(f"{source}.")
                within = block[0] if block and block[0] != source else None
                found.append(ModulePair(source, name, layer=False, within=within))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Turned:
    """One array as Paddle should have it.

    Attributes:
        label: torch's names of what it was made from.
        names: Paddle's names for it; a class has one or more of them.
        array: the values.
        sources: torch's names of all that it was made from; none of a constant.
    """

    label: str
    names: tuple[str, ...]
    array: Array
    sources: frozenset[str]


def bridge_over(request: Request, torch: Mapping[str, Held]) -> Bridge:
    """Apply the rules to the parameters of a live torch model.

    Args:
        request: rules and class.
        torch: torch's name → parameter.

    Raises:
        ConversionFailed: the rules do not know a parameter of the live model.
    """
    tensors: dict[str, Tensor] = {
        name: _LiveTensor(
            name,
            held.dtype,
            held.shape,
            contiguous_strides(held.shape),
            Path("the live torch model"),
            held.identity,
            int(np.prod(held.shape, dtype=np.int64)) * 8,
            values=held.read,
        )
        for name, held in torch.items()
    }
    try:
        plan = make_plan(request, tensors)
    except ConversionFailed as error:
        msg = f"the live torch model is not what the rules expect: {error.message}"
        raise ConversionFailed(msg, hint="is its transformers much newer than the rules?") from error
    # The plan outlives the model: nothing in it may keep the model's memory.
    bare = {name: replace(tensor, values=None) for name, tensor in tensors.items()}  # type: ignore[call-arg]
    moves = tuple(replace(move, tensors=tuple(bare[tensor.name] for tensor in move.tensors)) for move in plan.moves)
    return Bridge(moves, plan.made)


def find_all(names: tuple[str, ...], paddle: Container[str], prefix: str) -> list[str]:
    """Those of the names that a Paddle model has, with or without the prefix of its base."""
    found = []
    for name in names:
        for form in (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}.")):
            if form in paddle:
                found.append(form)
                break
    return found


def is_within(name: str, modules: Iterable[str]) -> bool:
    """Whether a parameter is in one of the modules, wherever that is."""
    return any(f".{module}." in f".{name}" for module in modules)


def _like(expected: Array, values: Array) -> Array:
    """The expected values in the dtype of the model where both are floats: checkpoints of half precision."""
    if expected.dtype.kind == values.dtype.kind == "f":
        return expected.astype(values.dtype)
    return expected


def _with_modules(parameters: Iterable[str]) -> set[str]:
    """The modules that have modules in them."""
    found = set()
    for name in parameters:
        module = _above(_above(name))
        while module and module not in found:
            found.add(module)
            module = _above(module)
    return found


def _above(name: str) -> str:
    return name.rpartition(".")[0]


def _block(name: str) -> tuple[str, str] | None:
    """The layer a name is in, and its number: the part up to the first number."""
    parts = name.split(".")
    for place, part in enumerate(parts[:-1]):
        if part.isdigit():
            return ".".join(parts[: place + 1]), part
    return None
