"""The backward stage: losses, gradients and parameters through some steps of AdamW (row A6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from pphub.alignment.asking import Question, fake_labels, make_questions
from pphub.alignment.bridge import find_all
from pphub.alignment.compare import compare
from pphub.alignment.paddle_side import paddle_steps
from pphub.alignment.session import Skipped
from pphub.alignment.sides import Batch, Objective, Recipe, Trace, norm_of
from pphub.alignment.stages.result import Found
from pphub.alignment.torch_side import torch_steps
from pphub.alignment.values import Curve, Tolerance
from pphub.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pphub.alignment.compare import Array
    from pphub.alignment.session import Pair, Session
    from pphub.alignment.sides import Answer

__all__ = ["GRADIENT_TOLERANCE", "UPDATE_TOLERANCE", "compare_traces", "objective_of", "run_backward", "start_problem"]

RECIPE: Final = Recipe()  # the row's: 3e-5, decay 1e-2 but of biases and norms, epsilon 1e-6
GRADIENT_TOLERANCE: Final = Tolerance(1e-4, 1e-3, floor=0.0)
"""Relative to each parameter's own gradients: an absolute bound would not see those that are small."""
UPDATE_TOLERANCE: Final = Tolerance(2e-3, 1e-1)
"""In units of the largest step AdamW can have made; it divides by the size of a gradient, so where that is no larger
than rounding, the direction of a step is rounding as well."""
OPTIMIZER_TOLERANCE: Final = Tolerance(1e-6, 5e-6)
_NOISE: Final = 1e-5
"""Of the norm of all gradients: differences below it are rounding."""
_AGREED: Final = 1e-3
"""A gradient on which the two sides agree to no more than this is rounding, or close to it."""
_ROUNDING: Final = 1e-6
"""Of the norm of all gradients: those of a parameter are rounding if their root mean square is below it."""
_ZERO: Final = 1e-6
"""Likewise, if their own norm is below it on both sides, their true values are zero as far as can be told."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What one side has after the steps.

    Attributes:
        trace: of the steps.
        after: name → the parameter's values.
    """

    trace: Trace
    after: Mapping[str, Array]


def run_backward(session: Session) -> Found:
    """Train both models on the same batch, and compare every step."""
    found = Found()
    pair, batch, objective = _exercise(session, found)
    steps = session.options.steps
    batches = [batch] * steps
    found.inputs = (
        f"{pair.torch}, {Question('made-up inputs', batch.inputs).describe()}, {steps} steps of AdamW at "
        f"{RECIPE.rate:g}, weight decay {RECIPE.decay:g} but of biases and norms, epsilon {RECIPE.epsilon:g}; "
        f"loss: {objective.kind}"
    )
    with session.torch(pair) as torch, session.work("backward in torch", 3 * steps, torch) as step:
        trace = torch.train(batches, pair.manner, objective, RECIPE, gradients=True, on_step=lambda: _thrice(step))
        after = {name: session.keep(name, held.read().copy()) for name, held in torch.held().items() if held.floating}
        left = _Done(trace, after)
    with session.paddle(pair) as paddle, session.work("backward in Paddle", 3 * steps, paddle) as step:
        trace = paddle.train(batches, pair.manner, objective, RECIPE, gradients=True, on_step=lambda: _thrice(step))
        after = {name: session.keep(name, held.read().copy()) for name, held in paddle.held().items() if held.floating}
        right, prefix = _Done(trace, after), paddle.prefix
    _compare_optimizers(session, found)
    start_problem(session, pair, found)
    compare_traces(session, "backward", left.trace, right.trace, found, session.options.tolerance)
    _compare_gradients(session, pair, left.trace, right.trace, prefix, found)
    _compare_updates(session, pair, left, right, prefix, found)
    ties = session.known(pair).ties
    if ties and any(not each.passed for each in found.differences):
        found.fail("; ".join(ties))
    else:
        found.notes += ties
    return found


def objective_of(pair: Pair, answer: Answer, *, classes: bool) -> Objective:
    """What can be minimised: the loss of a classifier, or of a language model, or the mean square of the outputs."""
    if pair.manner.outputs is not None:
        places = dict(pair.manner.outputs)
    else:
        places = {name: place for place, name in enumerate(answer.names)}
    if "logits" in places:
        shape = answer.outputs[answer.names.index("logits")].shape
        # The cross-entropy of one class is 0 whatever the model says, and so are its gradients.
        if classes and len(shape) == 2 and shape[1] > 1:
            return Objective("classes", "logits", places["logits"])
        if len(shape) == 3:
            return Objective("tokens", "logits", places["logits"])
    return Objective("squares", "", 0)


def start_problem(session: Session, pair: Pair, found: Found) -> None:
    """Two models that do not begin with the same parameters prove nothing by their training."""
    facts = session.known(pair)
    if facts.parameters is None or not facts.parameters.compared:
        found.fail("the parameters that the two sides began with were not compared")
    elif facts.parameters.unequal or facts.parameters.unread or facts.parameters.unused or facts.parameters.missing:
        names = [each.name for each in facts.parameters.unequal]
        names += [*facts.parameters.unread, *facts.parameters.unused]
        names += [*facts.parameters.torch_only, *facts.parameters.paddle_only, *facts.parameters.neither]
        found.first = names[0]
        found.fail(f"the two sides do not begin with the same parameters: {', '.join(names[:3])}")


def compare_traces(
    session: Session, name: str, torch: Trace, paddle: Trace, found: Found, tolerance: Tolerance
) -> None:
    """Compare losses, learning rates and norms, each at every step."""
    rates = Tolerance(1e-6, 1e-6, floor=0.0)
    norms = Tolerance(max(tolerance.mean, 1e-4), max(tolerance.max, 1e-3), floor=0.0)
    for what, left, right, allowed in (
        ("loss", torch.losses, paddle.losses, tolerance),
        ("learning rate", torch.rates, paddle.rates, rates),
        ("norm of the gradients", torch.norms, paddle.norms, norms),
    ):
        arrays = np.array(left, np.float64), np.array(right, np.float64)
        found.differences.append(compare(f"{what} at each step", *arrays, allowed))
        found.curves.append(Curve(what, tuple(range(1, len(left) + 1)), left, right))
        for step, values in enumerate(zip(*arrays, strict=True)):
            session.log(name, f"{what}_{step}", *(np.array([value]) for value in values))


def _exercise(session: Session, found: Found) -> tuple[Pair, Batch, Objective]:
    """Which class is trained on what: a classifier where there is one, else the model itself."""
    pair, classes = session.own, False
    try:
        pair, classes = session.classifier(), True
        return pair, *_question(session, pair, classes=classes)
    except (Skipped, LoadFailed) as error:
        found.notes.append(f"trained without a classifier: {str(error).splitlines()[0]}")
    pair = session.own
    return pair, *_question(session, pair, classes=False)


def _question(session: Session, pair: Pair, *, classes: bool) -> tuple[Batch, Objective]:
    (question, *_) = make_questions(pair.manner, session.facts(pair).config, session.options.sizes)
    with session.torch(pair) as torch:
        answer = torch.answer(question.inputs, pair.manner, (), session.keep)
    objective = objective_of(pair, answer, classes=classes)
    labels = np.empty(0, np.int64)
    if objective.kind == "classes":
        logits = answer.outputs[answer.names.index("logits")]
        labels = fake_labels(len(logits), logits.shape[1])
    elif objective.kind == "tokens":
        *shape, words = answer.outputs[answer.names.index("logits")].shape
        labels = np.random.default_rng((session.options.sizes.seed, 10)).integers(0, words, shape).astype(np.int64)
    return Batch(question.inputs, labels), objective


def _compare_gradients(session: Session, pair: Pair, torch: Trace, paddle: Trace, prefix: str, found: Found) -> None:
    """Of every parameter, at the first step."""
    # Some gradients are zero but for rounding, such as those of a bias that a softmax takes away again.
    whole = max(torch.norms[0], paddle.norms[0])
    facts = session.known(pair)
    compared = 0
    for turned in facts.bridge.turn(torch.gradients, set(torch.gradients)):
        for name in find_all(turned.names, paddle.gradients, prefix)[:1]:
            own = max(norm_of([each]) for each in (turned.array, paddle.gradients[name]))
            floor = whole if own < whole * _ZERO else whole * _NOISE
            tolerance = Tolerance(GRADIENT_TOLERANCE.mean, GRADIENT_TOLERANCE.max, floor=floor)
            compared += 1
            label = f"gradient of {name} (torch: {turned.label})"
            found.differences.append(compare(label, turned.array, paddle.gradients[name], tolerance))
            session.log("backward", label, turned.array, paddle.gradients[name])
    if not compared:
        found.fail("no gradient was compared")


def _compare_updates(session: Session, pair: Pair, torch: _Done, paddle: _Done, prefix: str, found: Found) -> None:
    """Of every parameter, after the last step: what has changed since the first.

    AdamW makes a whole step of the smallest gradient, so where a gradient is nothing but rounding (that of a bias which
    a softmax takes away again, say), so is the step. Elements whose gradients agree to fewer than three digits, and
    parameters with next to none, are left out and counted; their gradients are judged by themselves.
    """
    largest = RECIPE.rate * session.options.steps
    facts = session.known(pair)  # the last that was open, so its values are there
    before = {turned.names: turned.array for turned in facts.bridge.turn(facts.values, set(torch.after))}
    gradients = {
        turned.names: turned.array for turned in facts.bridge.turn(torch.trace.gradients, set(torch.trace.gradients))
    }
    noise = torch.trace.norms[0] * _ROUNDING
    left_out = total = 0
    for turned in facts.bridge.turn(torch.after, set(torch.after)):
        for name in find_all(turned.names, paddle.after, prefix)[:1]:
            start, gradient = before[turned.names], gradients[turned.names]
            keep = np.abs(gradient - paddle.trace.gradients[name]) <= _AGREED * np.abs(gradient)
            if 0 < np.sqrt(np.square(gradient).mean()) < noise:
                keep = np.zeros_like(keep)
            left_out, total = left_out + int((~keep).sum()), total + keep.size
            if keep.any():
                label = f"update of {name} (torch: {turned.label})"
                left, right = (turned.array - start) / largest, (paddle.after[name] - start) / largest
                # A parameter is a number of single precision: of a large one, a step is rounded to its last digit.
                digit = float(np.spacing(np.abs(start.astype(np.float32))).mean()) / largest
                allowed = replace(UPDATE_TOLERANCE, mean=UPDATE_TOLERANCE.mean + digit)
                found.differences.append(compare(label, left, right, allowed, keep))
    found.notes.append(f"updates left out, since their gradients are rounding: {left_out} of {total}")


def _compare_optimizers(session: Session, found: Found) -> None:
    """AdamW by itself, on given gradients, and by its formula: in a model the decay is lost in the steps."""
    recipe = Recipe(rate=1e-2, decay=1e-1)
    draw = np.random.default_rng((session.options.sizes.seed, 12))
    shapes = {"a weight": (6, 5), "a bias": (5,)}
    start = [draw.normal(size=shape).astype(np.float32) for shape in shapes.values()]
    gradients = [[draw.normal(size=shape).astype(np.float32) for shape in shapes.values()] for _ in range(10)]
    torch, paddle = torch_steps(start, gradients, recipe), paddle_steps(start, gradients, recipe)
    formula = _formula(start, gradients, recipe)
    for name, left, right, third in zip(shapes, torch, paddle, formula, strict=True):
        found.differences.append(compare(f"AdamW on {name}: torch and Paddle", left, right, OPTIMIZER_TOLERANCE))
        found.differences.append(compare(f"AdamW on {name}: the formula and Paddle", third, right, OPTIMIZER_TOLERANCE))
        session.log("backward", f"AdamW on {name}", left, right)


def _formula(start: Sequence[Array], gradients: Sequence[Sequence[Array]], recipe: Recipe) -> list[Array]:
    """AdamW in double precision: Adam on moments without their bias, and a decay apart from it, of matrices."""
    first, second = 0.9, 0.999
    values = []
    for place, begin in enumerate(start):
        value = begin.astype(np.float64)
        mean, square = np.zeros_like(value), np.zeros_like(value)
        for step, each in enumerate(gradients, 1):
            gradient = each[place].astype(np.float64)
            mean, square = first * mean + (1 - first) * gradient, second * square + (1 - second) * gradient**2
            if value.ndim >= 2:
                value = value * (1 - recipe.rate * recipe.decay)
            root = np.sqrt(square / (1 - second**step))
            value = value - recipe.rate * mean / (1 - first**step) / (root + recipe.epsilon)
        values.append(value)
    return values


def _thrice(step: Callable[[], None]) -> None:
    """A step goes through the parameters three times: forward, backward, and to change them."""
    for _ in range(3):
        step()
