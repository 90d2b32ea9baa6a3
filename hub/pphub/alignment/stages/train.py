"""The train stage: both frameworks train the same classifier on the same labelled texts (rows A7 and A8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pphub.alignment.asking import fitting_length, plain_ids
from pphub.alignment.compare import compare
from pphub.alignment.labelled import Labelled, has_tokenizer, made_up_batches, pairs, read_tsv, sentences, text_batches
from pphub.alignment.paddle_side import paddle_accuracy
from pphub.alignment.session import Skipped
from pphub.alignment.sides import Batch, Objective, Recipe
from pphub.alignment.stages.backward import compare_traces, objective_of, start_problem
from pphub.alignment.stages.forward import pair_outputs
from pphub.alignment.stages.result import Found
from pphub.alignment.torch_side import load_torch_tokenizer, torch_accuracy
from pphub.alignment.values import EXACT, Tolerance
from pphub.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pphub.alignment.compare import Array
    from pphub.alignment.session import Pair, Session
    from pphub.alignment.sides import Answer, Side, Trace

__all__ = ["ACCURACY_TOLERANCE", "TASKS", "TRAINED_TOLERANCE", "Task", "run_train"]

ACCURACY_TOLERANCE: Final = Tolerance(0.0025, 0.0025)
"""The row's own."""
TRAINED_TOLERANCE: Final = Tolerance(1e-5, 1e-4)
"""Of losses and logits of a training: each step multiplies the rounding of those before it."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained.

    Attributes:
        row: of the requirements.
        title: in words.
        make: gives the texts: so many to train on, so many to test with.
        train: texts to train on.
        test: texts to test with.
        size: texts in a batch.
        length: tokens at most.
        whole: pad to the length.
        epochs: how often all texts are gone through.
        recipe: how.
    """

    row: str
    title: str
    make: Callable[[int, int], Labelled]
    train: int
    test: int
    size: int
    length: int
    whole: bool
    epochs: int
    recipe: Recipe


TASKS: Final[dict[str, Task]] = {
    "sst2": Task(
        "A7",
        "training accuracy",
        sentences,
        48,
        16,
        8,
        64,
        whole=False,
        epochs=2,
        recipe=Recipe(3e-4, schedule="linear"),
    ),
    "qnli": Task(
        "A8",
        "a task run in the shape of QNLI",
        pairs,
        64,
        32,
        32,
        128,
        whole=True,
        epochs=1,
        recipe=Recipe(2e-5, schedule="linear"),
    ),
}


def run_train(session: Session, task: Task) -> Found:
    """Train both sides, test both, and compare losses, logits, answers and accuracy."""
    pair = session.classifier()
    found = Found()
    train, test, origin = _batches(session, pair, task)
    train = train * task.epochs
    found.inputs = (
        f"{pair.torch}; {origin}; {len(train)} steps of {task.size}, tested with {sum(len(b.labels) for b in test)}; "
        f"AdamW at {task.recipe.rate:g}, falling to 0; dropout off"
    )
    with session.torch(pair) as torch:
        few = {name: array[:2] for name, array in train[0].inputs.items()}
        answer = torch.answer(few, pair.manner, (), session.keep)
    objective = objective_of(pair, answer, classes=True)
    if objective.kind != "classes":
        msg = f"{pair.torch} does not answer with logits of two classes or more"
        raise Skipped(msg)
    with session.torch(pair) as torch:
        left = _train(session, pair, torch, "torch", task, train, test, objective)
    with session.paddle(pair) as paddle:
        right = _train(session, pair, paddle, "Paddle", task, train, test, objective)
    start_problem(session, pair, found)
    name = f"train {task.row}"
    compare_traces(session, name, left.trace, right.trace, found, TRAINED_TOLERANCE)
    torch_logits, paddle_logits = _logits(pair, left, right)
    labels = [batch.labels for batch in test]
    for number, (a, b) in enumerate(zip(torch_logits, paddle_logits, strict=True)):
        found.differences.append(compare(f"logits of test batch {number}", a, b, TRAINED_TOLERANCE))
        session.log(name, f"logits_{number}", a, b)
    chosen = [np.concatenate([each.argmax(-1) for each in side]) for side in (torch_logits, paddle_logits)]
    found.differences.append(compare("answers", chosen[0], chosen[1], EXACT))
    accuracies = (
        np.array([torch_accuracy(list(zip(torch_logits, labels, strict=True)))]),
        np.array([paddle_accuracy(list(zip(paddle_logits, labels, strict=True)))]),
    )
    found.differences.append(compare("accuracy", *accuracies, ACCURACY_TOLERANCE))
    session.log(name, "acc", *accuracies)
    found.notes.append(f"accuracy after training: torch {accuracies[0][0]:.4f}, Paddle {accuracies[1][0]:.4f}")
    return found


@dataclass(frozen=True, slots=True)
class _Trained:
    trace: Trace
    answers: tuple[Answer, ...]


def _train(
    session: Session,
    pair: Pair,
    side: Side,
    name: str,
    task: Task,
    train: Sequence[Batch],
    test: Sequence[Batch],
    objective: Objective,
) -> _Trained:
    passes = 3 * len(train) + len(test)
    with session.work(f"training {task.row} in {name}", passes, side) as step:

        def thrice() -> None:
            for _ in range(3):
                step()

        trace = side.train(train, pair.manner, objective, task.recipe, gradients=False, on_step=thrice)
        answers = []
        for batch in test:
            answers.append(side.answer(batch.inputs, pair.manner, (), session.keep))
            step()
    return _Trained(trace, tuple(answers))


def _logits(pair: Pair, left: _Trained, right: _Trained) -> tuple[list[Array], list[Array]]:
    found = []
    for torch, paddle in zip(left.answers, right.answers, strict=True):
        named = {name: arrays for name, *arrays in pair_outputs(pair.manner, torch, paddle)}
        found.append(named["logits"])
    return [a for a, _ in found], [b for _, b in found]


def _batches(session: Session, pair: Pair, task: Task) -> tuple[list[Batch], list[Batch], str]:
    if pair.manner.ask not in ("ids", "ended", "languages"):
        msg = f"{pair.torch} takes more than texts"
        raise Skipped(msg)
    folder = session.subject.torch
    data = session.options.data
    if not has_tokenizer(folder):
        if data is not None:
            msg = f"{data.name} cannot be read into ids: the torch folder holds no tokenizer"
            raise Skipped(msg)
        config = session.facts(pair).config
        seed, plain = session.options.sizes.seed, plain_ids(config, session.options.sizes)
        if len(plain) < 2:
            msg = f"{pair.torch} knows one word, of which no two classes of texts can be made"
            raise Skipped(msg)
        length = fitting_length(config, task.length)
        made = made_up_batches(plain, task.train + task.test, task.size, length, seed)
        if pair.manner.ask == "ended":  # the class answers at the end of a text, and refuses texts without one
            for batch in made:
                batch.inputs["input_ids"][:, -1] = config.eos_token_id
        cut = task.train // task.size
        return made[:cut], made[cut:], f"no tokenizer, so made-up ids of two classes, {length} each"
    labelled = read_tsv(data) if data is not None else task.make(task.train, task.test)
    if labelled.classes != 2:
        msg = f"{labelled.origin}: {labelled.classes} classes, and the classifier has two"
        raise Skipped(msg)
    try:
        tokenizer = load_torch_tokenizer(folder)
    except LoadFailed as error:
        raise Skipped(error.message) from error
    length = fitting_length(session.facts(pair).config, task.length)
    train, test = (
        text_batches(each, tokenizer, task.size, length, whole=task.whole, padded=pair.manner.padded)
        for each in (labelled.train, labelled.test)
    )
    return train, test, labelled.origin
