"""Tied parameters: one tensor in torch's file, several names in Paddle's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pphub.conversion.family import Table
from pphub.conversion.moves import Drop, Move, same_bits
from pphub.conversion.operation import Operation
from pphub.errors import ConversionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pphub.checkpoint.tensor import Tensor
    from pphub.conversion.family import Tie
    from pphub.conversion.moves import Request

__all__ = ["drop_tied", "make_tied", "tied_names"]


def make_tied(request: Request, moves: Sequence[Move]) -> list[Move]:
    """Add what Paddle has under further names, where the checkpoint has no tensor of its own for it."""
    taken = {name: move for move in moves for names in move.outputs for name in names}
    made = list(moves)
    for tie in request.ties():
        names = _names(request, tie)
        first = _first(request, tie, taken)
        if first is None or any(name in taken for name in names):
            continue
        (tensor,) = first.tensors
        operation = Operation(transpose=tie.transpose)
        cores = (tie.paddle[0],) if tie.in_base else ()
        shapes = tuple(operation.results([tensor.shape]))
        made.append(Move(first.tensors, first.sources, (names,), shapes, operation, f"tie to {tie.torch}", cores))
    return made


def drop_tied(request: Request, moves: Sequence[Move], others: Mapping[str, Tensor]) -> tuple[list[Move], list[Drop]]:
    """Leave out what torch does not store, since it is tied; what has values of its own stays.

    Args:
        request: to torch.
        moves: by the rules.
        others: tensors that no rule knows, by name: torch has no other place for them.

    Raises:
        ConversionFailed: one of the others is not what it is tied to.
    """
    taken = {name: move for move in moves for names in move.outputs for name in names}
    kept = list(moves)
    drops = []
    known = tied_names(request)
    for name, tensor in others.items():
        first = _first(request, known[name], taken)
        if first is None or not _equal(first, tensor, known[name]):
            msg = f"{name} is {known[name].torch} in torch, which has no tensor of its own for it; the values differ"
            raise ConversionFailed(msg, hint="the checkpoint contradicts itself; get it again from its source")
        drops.append(Drop(tensor, _reason(first)))
    for tie in request.ties():
        names = {name for name, each in known.items() if each is tie}
        first = _first(request, tie, taken)
        for move in moves:
            if first is None or move is first or not names.intersection(move.sources):
                continue
            if len(move.tensors) == 1 and _equal(first, move.tensors[0], tie):
                kept.remove(move)
                drops.append(Drop(move.tensors[0], _reason(first)))
    return kept, drops


def tied_names(request: Request) -> dict[str, Tie]:
    """Every name that a tied parameter may have in Paddle's file, also where the config has switched ties off."""
    known = {}
    for tie in request.family.ties_for(request.architecture):
        prefixes = ["", *(f"{prefix}." for prefix in request.family.prefixes["paddle"])] if tie.in_base else [""]
        known.update({prefix + name: tie for prefix in prefixes for name in tie.paddle})
    return known


def _names(request: Request, tie: Tie) -> tuple[str, ...]:
    prefix = request.prefix("paddle") if tie.in_base else ""
    return tuple(prefix + name for name in tie.paddle)


def _first(request: Request, tie: Tie, taken: Mapping[str, Move]) -> Move | None:
    """The move of the tensor that a tie refers to, if the checkpoint has it."""
    found = Table(request.family, request.architecture, "torch").find(tie.torch)
    move = taken.get(request.written(found)[0]) if found else None
    return move if move and len(move.tensors) == len(move.outputs) == 1 else None


def _equal(first: Move, tensor: Tensor, tie: Tie) -> bool:
    """Whether a tensor of Paddle's is what the tie says."""
    return same_bits(first.tensors[0], tensor, transpose=first.operation.transpose != tie.transpose)


def _reason(first: Move) -> str:
    return f"equal to {first.sources[0]}, to which torch ties it"
