r"""Learning-rate schedules by their formulas, in plain Python: the third witness, beside the two frameworks.

With a warmup of w steps, n steps in all and the rate r, step s has r·s/w while s < w, and afterwards, with
p = (s - w) / (n - w):

* linear: r·(1 - p);
* cosine: r·(1 + cos πp)/2, half a wave, which ends at 0;
* polynomial of power 1: e + (r - e)·(1 - p), with the end e = 1e-7.

The cosine is what Loshchilov and Hutter's SGDR has within one of its periods, and what transformers computes.
PaddleNLP's ``CosineDecayWithWarmup`` takes by default a whole wave, r·(1 + cos 2πp)/2: its rate is 0 in the middle and
back at r in the end. That is why the users' guide found 9.36e-06 to 1.89e-05 between the two: no rounding, but another
curve. Half a wave, ``num_cycles=0.5``, is refused there (it must be an integer); one restart of half a wave,
``with_hard_restarts=True, num_cycles=1.0``, is the same curve as the formula's.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["END", "KINDS", "MILESTONES", "RATE", "TOTAL", "WARMUP", "rates", "whole_wave"]

KINDS: Final = ("linear", "cosine", "polynomial")
RATE: Final = 3e-5
WARMUP: Final = 345
TOTAL: Final = 1024
MILESTONES: Final = (100, 300, 500, 700, 900)
"""Where the guide looks; it does so after the step, so that its 100 is the rate of step 101."""
END: Final = 1e-7


def rates(kind: str, rate: float = RATE, warmup: int = WARMUP, total: int = TOTAL) -> list[float]:
    """The learning rate of each step.

    Args:
        kind: one of :data:`KINDS`.
        rate: the largest.
        warmup: steps until then.
        total: steps in all.
    """
    return [_rate(kind, rate, warmup, total, step) for step in range(total)]


def whole_wave(rate: float = RATE, warmup: int = WARMUP, total: int = TOTAL) -> list[float]:
    """What PaddleNLP's default makes of the cosine."""
    return [
        rate * step / warmup
        if step < warmup
        else rate * (1 + math.cos(2 * math.pi * (step - warmup) / (total - warmup))) / 2
        for step in range(total)
    ]


def _rate(kind: str, rate: float, warmup: int, total: int, step: int) -> float:
    if step < warmup:
        return rate * step / warmup
    past = (step - warmup) / (total - warmup)
    if kind == "linear":
        return rate * (1 - past)
    if kind == "cosine":
        return rate * (1 + math.cos(math.pi * past)) / 2
    return END + (rate - END) * (1 - past)
