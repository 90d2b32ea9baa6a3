"""What kind of failure a failed forward is: one of rounding, or of two models that compute something else.

The bounds are what is asked for and stay. But some models lose so many digits on their way that torch in single
precision is as far from torch in double precision as Paddle is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pphub.alignment.compare import compare
from pphub.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pphub.alignment.asking import Question
    from pphub.alignment.compare import Array
    from pphub.alignment.session import Pair, Session
    from pphub.alignment.stages.result import Found
    from pphub.alignment.values import Difference

__all__ = ["Doubt", "tell_rounding"]

_LARGEST: Final = 2 << 30
"""Bytes of a model's parameters in single precision; in double precision they are twice as many."""
_AS_NEAR: Final = 3.0
"""Up to so many times torch's own distance is rounding: of real models that differ by it alone, it was 2.4. Beyond it,
a short sum may be unlucky, so the note then says no more than how many times it is."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Two arrays that are out of tolerance, and how they were made.

    Attributes:
        pair: whose they are.
        question: what was asked.
        name: of torch's output, or of the module.
        call: which call of the module; None for an output.
        torch: torch's array.
        paddle: Paddle's.
        keep: which positions count.
    """

    pair: Pair
    question: Question
    name: str
    call: int | None
    torch: Array
    paddle: Array
    keep: Array | None


def tell_rounding(session: Session, doubts: Sequence[Doubt], found: Found) -> None:
    """Ask torch once more in double precision, and note how far each side is from that.

    Args:
        session: the session.
        doubts: what is out of tolerance, of models with equal parameters.
        found: gets the note.
    """
    distances: list[tuple[Doubt, Difference, Difference]] = []
    try:
        for pair in {each.pair.torch: each.pair for each in doubts}.values():
            distances += _distances(session, pair, [each for each in doubts if each.pair.torch == pair.torch])
    except Exception as error:  # noqa: BLE001  a class may break in any way; what the stage has found is told
        reason = error.message if isinstance(error, LoadFailed) else f"{type(error).__name__}: {error}"
        found.notes.append(f"not looked at in float64, whether what is out of tolerance is rounding: {reason}")
        return
    doubt, own, other = max(distances, key=lambda each: _times(each[1], each[2]))
    times = _times(own, other)
    verdict = (
        "what is out of tolerance is rounding, as far as can be told, and not weights or another computation"
        if times <= _AS_NEAR
        else f"Paddle computes something else than torch, or less exactly: {times:,.1f} times as far from the truth"
    )
    where = f"{doubt.name} at call {doubt.call + 1}" if doubt.call else doubt.name
    found.notes.append(
        f"{verdict}: torch in float32 is itself {own.scaled_mean:.2e} (mean) and {own.scaled_max:.2e} (max) from torch "
        f"in float64, Paddle {other.scaled_mean:.2e} and {other.scaled_max:.2e}; both scaled, of {where}, "
        f"{doubt.question.label}, the worst of {len(distances)} for Paddle"
    )


def _distances(session: Session, pair: Pair, doubts: Sequence[Doubt]) -> list[tuple[Doubt, Difference, Difference]]:
    """How far torch in single precision, and Paddle, are from torch in double precision.

    Raises:
        LoadFailed: that cannot be told.
    """
    found = []
    questions = list({each.question.label: each.question for each in doubts}.values())
    with session.torch(pair) as torch:
        if torch.passes > _LARGEST:
            msg = f"in float64, {pair.torch} would take {2 * torch.passes / 1e9:.1f} GB"
            raise LoadFailed(msg)
        torch.double()
        with session.work(f"forward of {pair.torch} in torch, in float64", len(questions), torch) as step:
            for question in questions:
                asked = [each for each in doubts if each.question.label == question.label]
                modules = list(dict.fromkeys(each.name for each in asked if each.call is not None))
                answer = torch.answer(question.inputs, pair.manner, modules, session.keep)
                outputs = dict(zip(answer.names, answer.outputs, strict=True))
                for doubt in asked:
                    exact = outputs[doubt.name] if doubt.call is None else answer.taps[doubt.name][doubt.call]
                    if exact.dtype != np.float64 or not np.isfinite(exact).all():
                        msg = f"{pair.torch} of transformers does not answer in float64"
                        raise LoadFailed(msg)
                    own, other = (
                        compare(doubt.name, exact, side, session.options.tolerance, doubt.keep)
                        for side in (doubt.torch, doubt.paddle)
                    )
                    found.append((doubt, own, other))
                step()
    return found


def _times(own: Difference, other: Difference) -> float:
    """How many times as far from the exact answer Paddle is as torch in single precision."""
    pairs = ((own.scaled_mean, other.scaled_mean), (own.scaled_max, other.scaled_max))
    return max(theirs / mine if mine else float("inf") if theirs else 0.0 for mine, theirs in pairs)
