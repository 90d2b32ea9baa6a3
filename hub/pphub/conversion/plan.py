"""Decides what becomes of every tensor of a checkpoint, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pphub.errors import ConversionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pphub.checkpoint.tensor import Tensor
    from pphub.conversion.rules import Family, Match, Operation

__all__ = ["Drop", "Move", "Plan", "check_coverage", "make_plan"]


@dataclass(frozen=True, slots=True)
class Move:
    """One payload of the output.

    Attributes:
        tensor: the source.
        sources: the names in the torch checkpoint that are this one tensor.
        names: the names in the Paddle checkpoint that share the payload.
        operation: what is done to the values.
        rule: the pattern that matched.
        cores: the names, without the prefix of the base model, of those that belong to it.
    """

    tensor: Tensor
    sources: tuple[str, ...]
    names: tuple[str, ...]
    operation: Operation
    rule: str
    cores: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """A source tensor that is left out, and why."""

    tensor: Tensor
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of every tensor, in the source's order."""

    moves: tuple[Move, ...]
    drops: tuple[Drop, ...]


def make_plan(family: Family, tensors: Mapping[str, Tensor]) -> Plan:
    """Apply the rules to every tensor.

    Raises:
        ConversionFailed: the rules do not know a tensor, two different tensors become one, or a tensor that is
            to be transposed is no matrix. All unknown names are listed.
    """
    unknown: list[str] = []
    moves: list[Move] = []
    drops: list[Drop] = []
    taken: dict[str, int] = {}  # Paddle name, with or without prefix the same → index of the move it belongs to
    payloads: dict[tuple[object, ...], int] = {}  # tied tensors are written once
    for name, tensor in tensors.items():
        match = family.match(name)
        if match is None:
            unknown.append(name)
            continue
        if match.reason is not None:
            drops.append(Drop(tensor, match.reason))
            continue
        if match.operation == "transpose" and len(tensor.shape) != 2:
            msg = f"{name} has the shape {tensor.shape}, but the rule {match.rule!r} transposes a matrix"
            raise ConversionFailed(msg, hint="is config.json that of another model?")
        previous = taken.get(match.core or match.names[0])
        if previous is not None:
            drops.append(_same_again(moves[previous], tensor))
            continue
        identity = (*tensor.identity, match.operation)
        index = payloads.setdefault(identity, len(moves))
        if index == len(moves):
            moves.append(Move(tensor, (name,), match.names, match.operation, match.rule, _core(match)))
        else:
            tied = moves[index]
            moves[index] = replace(
                tied,
                sources=(*tied.sources, name),
                names=(*tied.names, *match.names),
                cores=tied.cores + _core(match),
            )
        taken[match.core or match.names[0]] = index
    if unknown:
        listed = "\n".join(f"  {name} {list(tensors[name].shape)}" for name in unknown[:50])
        more = f"\n  … and {len(unknown) - 50} more" if len(unknown) > 50 else ""
        msg = f"the rules for {family.name} do not know {len(unknown)} of {len(tensors)} tensors:\n{listed}{more}"
        raise ConversionFailed(msg, hint="nothing was written; is config.json that of another model?")
    return Plan(tuple(moves), tuple(drops))


def _core(match: Match) -> tuple[str, ...]:
    return () if match.core is None else (match.core,)


def check_coverage(family: Family, architecture: str, config: Mapping[str, object], plan: Plan) -> None:
    """Check that the checkpoint is the whole base model that its config describes, and no more of it.

    Raises:
        ConversionFailed: parameters are missing, which would stay random, or are there beyond the layers that
            the config counts; they are listed.
    """
    layers = config.get(family.layers_key)
    if type(layers) is not int or not 0 <= layers <= 10_000:
        msg = f"config.json does not say how many layers there are: {family.layers_key} is {layers!r:.80}"
        raise ConversionFailed(msg, hint="get config.json again from its source")
    expected = set(family.base_names(layers))
    found = {core for move in plan.moves for core in move.cores}
    absent = tuple(f"{module}." for module in family.absent.get(architecture, ()))
    missing = sorted(name for name in expected - found if not name.startswith(absent))
    if missing:
        msg = f"the checkpoint is not whole: {architecture} has {len(missing)} more parameters:\n{_lines(missing)}"
        raise ConversionFailed(msg, hint="a shard alone, or a part of a model? Convert the whole folder")
    if surplus := sorted(found - expected):
        msg = f"{family.layers_key} is {layers}, but the checkpoint goes on:\n{_lines(surplus)}"
        raise ConversionFailed(msg, hint="is config.json that of another model?")


def _lines(names: list[str]) -> str:
    more = f"\n  … and {len(names) - 30} more" if len(names) > 30 else ""
    return "\n".join(f"  {name}" for name in names[:30]) + more


def _same_again(first: Move, second: Tensor) -> Drop:
    """Two source names for one target are fine only when their values are equal (a parameter saved twice)."""
    if first.tensor.dtype != second.dtype or not np.array_equal(_bits(first.tensor), _bits(second)):
        msg = f"{first.sources[0]} and {second.name} both become {first.names[0]}, but their values differ"
        raise ConversionFailed(msg, hint="the checkpoint contradicts itself; get it again from its source")
    return Drop(second, f"equal to {first.sources[0]}, which is the same parameter")


def _bits(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The raw bytes of the values, so that equal NaNs are equal."""
    return tensor.read().reshape(-1).view(np.uint8)
