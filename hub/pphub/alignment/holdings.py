"""What the two checkpoints hold by name, also of what neither live model reads.

A class may pass over tensors of its checkpoint, such as those of a head, and another class of the same folder would
read them: a folder is the other's only if each holds what the other does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pphub.alignment.bridge import find_all, is_within
from pphub.alignment.compare import compare
from pphub.alignment.values import EXACT
from pphub.checkpoint.folder import open_checkpoint
from pphub.conversion.plan import make_plan
from pphub.select import weight_files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pphub.alignment.session import Subject
    from pphub.alignment.values import Difference, Parameters

__all__ = ["add_unread"]


def add_unread(parameters: Parameters, subject: Subject, live: Collection[str], prefix: str) -> Parameters:
    """What was found of the live models, and besides the tensors that only one of the two checkpoints holds.

    Args:
        parameters: of the live models.
        subject: the folders.
        live: the names of Paddle's live parameters.
        prefix: of Paddle's base model, without the dot.

    Raises:
        ConversionFailed: the rules do not know a tensor of torch's checkpoint.
    """
    plan = make_plan(subject.own, open_checkpoint(subject.torch, weight_files(subject.torch_files)))
    paddle = open_checkpoint(subject.paddle, subject.paddle_weights)
    covered: set[str] = set()
    torch_only: list[str] = []
    unproved: list[str] = []
    unread: list[Difference] = []
    for move in plan.moves:
        places = [find_all(outputs, paddle, prefix) for outputs in move.outputs]
        # Under its own name: what is tied to it stands in for it in this class, and in another one nothing does.
        torch_only += [outputs[0] for outputs in move.outputs if not find_all(outputs[:1], paddle, prefix)]
        covered.update(name for found in places for name in found)
        if all(find_all((name,), live, prefix) for found in places for name in found):
            continue
        for found, array in zip(places, move.read(), strict=True):
            for name in found:
                if paddle[name].dtype == move.tensors[0].dtype:
                    unread.append(compare(f"{name} (read by neither class)", array, paddle[name].read(), EXACT))
                else:
                    unproved.append(name)
    covered.update(name for made in plan.made for name in find_all(made.names, paddle, prefix))
    absent = subject.request.family.absent.get(subject.request.architecture, ())
    paddle_only = [
        name
        for name, tensor in paddle.items()
        if name not in covered and "float" in tensor.dtype and not is_within(name, absent)
    ]
    return replace(
        parameters,
        compared=parameters.compared + len(unread),
        elements=parameters.elements + sum(each.elements for each in unread),
        unequal=(*parameters.unequal, *(each for each in unread if not each.passed)),
        unproved=(*parameters.unproved, *unproved),
        torch_only=_merged(parameters.torch_only, torch_only, prefix),
        paddle_only=_merged(parameters.paddle_only, paddle_only, prefix),
    )


def _merged(known: tuple[str, ...], more: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Both, each once, however its name is written."""
    bare = {name.removeprefix(f"{prefix}.") for name in known}
    return (*known, *(name for name in more if name.removeprefix(f"{prefix}.") not in bare))
