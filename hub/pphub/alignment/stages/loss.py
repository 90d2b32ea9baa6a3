"""The loss stage: cross-entropy by both sides, and by its formula (row A4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pphub.alignment.asking import fake_labels
from pphub.alignment.compare import compare
from pphub.alignment.paddle_side import paddle_loss, paddle_square
from pphub.alignment.session import DEFAULT_TOLERANCE, Skipped
from pphub.alignment.stages.forward import classifier_logits
from pphub.alignment.stages.result import Found
from pphub.alignment.torch_side import torch_loss, torch_square
from pphub.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pphub.alignment.compare import Array
    from pphub.alignment.session import Session

__all__ = ["run_loss"]

_IGNORED: Final = -100


def run_loss(session: Session) -> Found:
    """Compare the loss of a classifier on the made-up inputs, and of made-up logits."""
    found = Found(inputs="logits of the classifier with labels 0, 1, 1, 0; made-up logits [64, 2] and [64, 50]")
    tolerance = session.options.tolerance
    try:
        logits = classifier_logits(session)
    except (Skipped, LoadFailed) as error:
        found.notes.append(f"no loss of a classifier: {str(error).splitlines()[0]}")
    else:
        name = "loss of the classifier"
        if logits.torch.shape[-1] == 1:  # a number for each text and no classes: both libraries take the mean square
            name = "mean square of the regression"
            numbers = fake_labels(len(logits.torch)).astype(np.float32)
            torch, paddle = torch_square(logits.torch, numbers), paddle_square(logits.paddle, numbers)
        else:
            torch, paddle = torch_loss(logits.torch, logits.labels), paddle_loss(logits.paddle, logits.labels)
        found.differences.append(compare(name, torch, paddle, tolerance))
        session.log("loss", name, torch, paddle)
    for name, values, labels in _made_up(session.options.sizes.seed):
        torch, paddle = torch_loss(values, labels), paddle_loss(values, labels)
        formula = _formula(values, labels)
        found.differences.append(compare(f"{name}: torch and Paddle", torch, paddle, tolerance))
        found.differences.append(compare(f"{name}: the formula and Paddle", formula, paddle, tolerance))
        session.log("loss", name, torch, paddle)
    found.notes += _known(session.options.sizes.seed)
    return found


def _made_up(seed: int) -> Iterator[tuple[str, Array, Array]]:
    draw = np.random.default_rng((seed, 8))
    for name, classes, scale in (("2 classes", 2, 1.0), ("50 classes", 50, 3.0)):
        logits = (draw.normal(size=(64, classes)) * scale).astype(np.float32)
        yield name, logits, draw.integers(0, classes, 64).astype(np.int64)


def _known(seed: int) -> list[str]:
    """Where the losses of the frameworks themselves go apart, whatever the model: tried anew, told and not judged."""
    draw = np.random.default_rng((seed, 9))
    logits = draw.normal(size=(64, 50)).astype(np.float32)
    labels = draw.integers(0, 50, 64).astype(np.int64)
    large = (logits * 40).astype(np.float32)
    some = labels.copy()
    some[::3] = _IGNORED
    notes = []
    for what, values, right in (
        ("where a third of the labels is -100, which Paddle leaves out of the sum but not of the count", logits, some),
        ("where logits are in the hundreds, since Paddle cuts a loss off at about 64 on CPUs", large, labels),
    ):
        torch, paddle, formula = torch_loss(values, right), paddle_loss(values, right), _formula(values, right)
        if not compare("", torch, paddle, DEFAULT_TOLERANCE).passed:
            figures = f"torch {float(torch[0]):.6g}, Paddle {float(paddle[0]):.6g}, the formula {float(formula[0]):.6g}"
            notes.append(f"the losses of the frameworks differ {what}: {figures}")
    return notes


def _formula(logits: Array, labels: Array) -> Array:
    """The mean of log sum exp minus the right one, in double precision."""
    kept = labels != _IGNORED
    values, right = logits[kept].astype(np.float64), labels[kept]
    highest = values.max(-1, keepdims=True)
    total = np.log(np.exp(values - highest).sum(-1)) + highest[:, 0]
    return np.array([(total - values[np.arange(len(right)), right]).mean()], np.float32)
