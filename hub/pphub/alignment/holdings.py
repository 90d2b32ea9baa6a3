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
    """What was found of the live models, and besides what the two checkpoints hold and these do not both have.

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
    lost: list[str] = []
    recast: list[str] = []
    unread: list[Difference] = []
    # Of these, the live models told nothing: Paddle's class may read what torch's is built without, such as a pooler.
    open_ = set(parameters.unproved)
    settled: set[str] = set()
    for move in plan.moves:
        places = [find_all(outputs, paddle, prefix) for outputs in move.outputs]
        # Under its own name: what is tied to it stands in for it in this class, and in another one nothing does.
        lost += [outputs[0] for outputs in move.outputs if not find_all(outputs[:1], paddle, prefix)]
        covered.update(name for found in places for name in found)
        lives = {name: find_all((name,), live, prefix) for found in places for name in found}
        if all(names and open_.isdisjoint(names) for names in lives.values()):
            continue
        for found, array in zip(places, move.read(), strict=True):
            for name in found:
                if lives[name] and open_.isdisjoint(lives[name]):
                    continue
                settled.update(lives[name])
                if paddle[name].dtype == move.tensors[0].dtype:
                    reader = "read by Paddle's class alone" if lives[name] else "read by neither class"
                    unread.append(compare(f"{name} ({reader})", array, paddle[name].read(), EXACT))
                else:
                    recast.append(name)
    covered.update(name for made in plan.made for name in find_all(made.names, paddle, prefix))
    absent = subject.request.family.absent.get(subject.request.architecture, ())
    paddle_only = [
        name
        for name, tensor in paddle.items()
        if name not in covered and "float" in tensor.dtype and not is_within(name, absent)
    ]
    torch_only = _merged(parameters.torch_only, lost, prefix)
    settled |= {form for name in torch_only for form in find_all((name,), live, prefix)}
    return replace(
        parameters,
        compared=parameters.compared + len(unread),
        elements=parameters.elements + sum(each.elements for each in unread),
        unequal=(*parameters.unequal, *(each for each in unread if not each.passed)),
        unproved=tuple(name for name in parameters.unproved if name not in settled),
        recast=tuple(recast),
        torch_only=torch_only,
        paddle_only=_merged(parameters.paddle_only, paddle_only, prefix),
    )


def _merged(known: tuple[str, ...], more: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Both, each once, however its name is written."""
    bare = {name.removeprefix(f"{prefix}.") for name in known}
    return (*known, *(name for name in more if name.removeprefix(f"{prefix}.") not in bare))
