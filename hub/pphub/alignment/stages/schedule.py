"""The schedule stage: learning rates of both sides at every step, and by the formula (row A5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pphub.alignment import paddle_side, schedules, torch_side
from pphub.alignment.compare import compare
from pphub.alignment.stages.result import Found
from pphub.alignment.values import Curve, Tolerance

if TYPE_CHECKING:
    from collections.abc import Callable

    from pphub.alignment.session import Session

__all__ = ["SCHEDULE_TOLERANCE", "run_schedule"]

SCHEDULE_TOLERANCE: Final = Tolerance(1e-9, 1e-9, floor=0.0)
"""Relative: a step of these schedules changes the rate by 3e-8, which an absolute 1e-6 would never see."""


def run_schedule(
    session: Session,
    torch_rates: Callable[[str, float, int, int], list[float]] = torch_side.torch_rates,
    paddle_rates: Callable[[str, float, int, int], list[float]] = paddle_side.paddle_rates,
) -> Found:
    """Compare the rates of transformers, PaddleNLP and the formula.

    Args:
        session: the session.
        torch_rates: gives torch's rates of a kind, largest rate, warmup and number of steps.
        paddle_rates: gives Paddle's.
    """
    found = Found()
    rate, warmup, total = schedules.RATE, schedules.WARMUP, schedules.TOTAL
    found.inputs = f"learning rate {rate:g}, warmup {warmup}, {total} steps; {', '.join(schedules.KINDS)}"
    for kind in schedules.KINDS:
        torch, paddle = torch_rates(kind, rate, warmup, total), paddle_rates(kind, rate, warmup, total)
        formula = schedules.rates(kind)
        left, right, right_one = (np.array(each) for each in (torch, paddle, formula))
        found.differences.append(compare(f"{kind}: torch and Paddle", left, right, SCHEDULE_TOLERANCE))
        found.differences.append(compare(f"{kind}: the formula and torch", right_one, left, SCHEDULE_TOLERANCE))
        found.differences.append(compare(f"{kind}: the formula and Paddle", right_one, right, SCHEDULE_TOLERANCE))
        found.curves.append(
            Curve(f"{kind} learning rate", tuple(range(total)), tuple(torch), tuple(paddle), tuple(formula))
        )
        for step in schedules.MILESTONES:
            session.log("schedule", f"step_{step}_{kind}_lr", left[step + 1 : step + 2], right[step + 1 : step + 2])
    found.notes.append(_on_the_cosine())
    return found


def _on_the_cosine() -> str:
    """What PaddleNLP's default gives instead, in the guide's own figures."""
    default = paddle_side.paddle_rates("cosine", schedules.RATE, schedules.WARMUP, schedules.TOTAL, default=True)
    formula = schedules.rates("cosine")
    steps = [step for step in schedules.MILESTONES if step >= schedules.WARMUP]
    gaps = ", ".join(f"{abs(default[step + 1] - formula[step + 1]):.6g}" for step in steps)
    return (
        "the cosine of PaddleNLP is asked for as with_hard_restarts=True, num_cycles=1.0, which is half a wave as in "
        f"transformers and in the formula; by default it is a whole wave, off by {gaps} at steps "
        f"{', '.join(map(str, steps))}"
    )
