"""The metric stage: accuracy by both sides, and by counting (row A3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pphub.alignment.compare import compare
from pphub.alignment.paddle_side import paddle_accuracy
from pphub.alignment.stages.result import Found
from pphub.alignment.torch_side import torch_accuracy
from pphub.alignment.values import Tolerance

if TYPE_CHECKING:
    from pphub.alignment.compare import Array
    from pphub.alignment.session import Session

__all__ = ["METRIC_TOLERANCE", "run_metric"]

METRIC_TOLERANCE: Final = Tolerance(1e-12, 1e-12)
_BATCHES: Final = ((4, 64, 2), (4, 64, 2), (3, 50, 5), (2, 7, 11))  # how many, texts, classes


def run_metric(session: Session) -> Found:
    """Compare the accuracy of the same answers."""
    found = Found(inputs="logits of a normal distribution and labels, batches of [64, 2], [50, 5] and [7, 11]")
    draw = np.random.default_rng((session.options.sizes.seed, 6))
    for number, (count, texts, classes) in enumerate(_BATCHES):
        batches: list[tuple[Array, Array]] = [
            (draw.normal(size=(texts, classes)).astype(np.float32), draw.integers(0, classes, texts).astype(np.int64))
            for _ in range(count)
        ]
        right = sum(int((logits.argmax(-1) == labels).sum()) for logits, labels in batches)
        counted = np.array([right / (count * texts)])
        torch, paddle = np.array([torch_accuracy(batches)]), np.array([paddle_accuracy(batches)])
        name = f"accuracy {number}, {classes} classes"
        found.differences.append(compare(f"{name}: torch and Paddle", torch, paddle, METRIC_TOLERANCE))
        found.differences.append(compare(f"{name}: counted and Paddle", counted, paddle, METRIC_TOLERANCE))
        session.log("metric", name, torch, paddle)
    return found
