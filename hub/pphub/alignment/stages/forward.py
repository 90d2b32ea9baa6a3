"""The forward stage: parameters, hidden states layer by layer, and all outputs (rows A1 and C5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from pphub.alignment.asking import WELCOME, Question, fake_labels, make_questions
from pphub.alignment.compare import compare
from pphub.alignment.configs import compare_configs
from pphub.alignment.labelled import has_tokenizer
from pphub.alignment.stages.result import Found
from pphub.alignment.stages.rounding import Doubt, tell_rounding
from pphub.alignment.torch_side import load_torch_tokenizer
from pphub.alignment.values import Difference, LayerDifference, Tolerance
from pphub.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pphub.alignment.compare import Array
    from pphub.alignment.manner import Manner
    from pphub.alignment.session import Facts, Pair, Session
    from pphub.alignment.sides import Answer, Keep, Side

__all__ = ["Logits", "classifier_logits", "pair_outputs", "run_forward"]

EPSILON_TOLERANCE: Final = Tolerance(1e-6, 1e-6, floor=0.0)
"""Relative; the same number, written as it may be."""
_TEXTUAL: Final = ("ids", "sequences")


def run_forward(session: Session) -> Found:
    """Ask both models the same, and compare what is in them, what goes through them and what comes out."""
    pair = session.own
    facts = session.facts(pair)
    found = Found()
    questions = [*make_questions(pair.manner, facts.config, session.options.sizes), *_welcome(session, found)]
    asked = _ask(session, pair, questions, whole=True)
    found.inputs = "; ".join(question.describe() for question in questions)
    facts = session.known(pair)
    found.parameters = facts.parameters
    found.notes += session.subject.notes
    if facts.parameters is not None:
        for names, reason in (
            (facts.parameters.unproved, "torch's checkpoint holds nothing for them"),
            (facts.parameters.recast, "torch's class does not read them and the checkpoints hold them in two dtypes"),
        ):
            if names:
                found.notes.append(f"not proved, since {reason}: {', '.join(names)}")
    _compare_configs(session, facts, found)
    if not pair.manner.padded:
        found.notes.append("not asked with padding: by a mask, Paddle's class means something else than torch's")
    doubts: list[Doubt] = []
    firsts: list[_Diverging] = []
    for question, answers in zip(questions, asked, strict=True):
        if answers is None:
            found.notes.append(f"not compared with {question.label}: one of the classes refuses them with an error")
            continue
        torch, paddle = answers
        doubts += _compare_outputs(session, pair, question, torch, paddle, found)
        layers = _compare_layers(session, pair, question, torch, paddle, len(found.layers))
        found.layers += layers.compared
        doubts += layers.doubts
        firsts += [layers.first] if layers.first is not None else []
    _compare_epsilons(facts, found)
    repeated = _look_closer(session, pair, firsts[0], found) if firsts else False
    doubts += _compare_logits(session, found)
    _judge(found, repeated=repeated)
    # Where parameters differ, that is why.
    if doubts and facts.parameters is not None and facts.parameters.equal:
        tell_rounding(session, doubts, found)
    return found


@dataclass(frozen=True, slots=True)
class Logits:
    """What the classifiers of both sides say of the made-up inputs: [batch, classes] each, and the labels [batch]."""

    question: Question
    torch: Array
    paddle: Array
    labels: Array


def classifier_logits(session: Session) -> Logits:
    """The logits of a classifier with the same weights on both sides; computed once.

    Raises:
        Skipped: the family has none.
    """
    pair = session.classifier()

    def make() -> Logits:
        (question, *_) = make_questions(pair.manner, session.facts(pair).config, session.options.sizes)
        (answers,) = _ask(session, pair, [question], whole=False)
        assert answers is not None  # noqa: S101  only optional questions may go unanswered
        torch, paddle = answers
        named = {name: arrays for name, *arrays in pair_outputs(pair.manner, torch, paddle)}
        left, right = named["logits"]
        return Logits(question, left, right, fake_labels(len(left), left.shape[-1]))

    found: Logits = session.once("classifier logits", make)
    return found


def pair_outputs(manner: Manner, torch: Answer, paddle: Answer) -> list[tuple[str, Array, Array]]:
    """The outputs that correspond, with torch's names.

    Raises:
        LoadFailed: the two sides give different numbers of them, or none.
    """
    if manner.outputs is not None:
        named = dict(zip(torch.names, torch.outputs, strict=True))
        missing = [name for name, place in manner.outputs if name not in named or place >= len(paddle.outputs)]
        if missing:
            msg = f"an output is missing on one side: {', '.join(missing)}"
            raise LoadFailed(msg, hint="see manners.toml for what is expected of the class")
        return [(name, named[name], paddle.outputs[place]) for name, place in manner.outputs]
    if len(torch.outputs) != len(paddle.outputs) or not torch.outputs:
        shapes = [list(array.shape) for array in paddle.outputs]
        msg = f"torch gives {len(torch.outputs)} outputs ({', '.join(torch.names)}), Paddle {len(shapes)}: {shapes}"
        raise LoadFailed(msg, hint="the two classes are not one model")
    return list(zip(torch.names, torch.outputs, paddle.outputs, strict=True))


def _welcome(session: Session, found: Found) -> list[Question]:
    """The guide's text, in ids of torch's tokenizer: whether Paddle's makes the same ids is for the stage `data`."""
    pair = session.own
    if pair.manner.ask not in _TEXTUAL:
        return []
    if not has_tokenizer(session.subject.torch):
        found.notes.append("not asked the text of the guide: the folder holds no tokenizer")
        return []
    try:
        encoded = load_torch_tokenizer(session.subject.torch)(WELCOME)
    except LoadFailed as error:
        found.notes.append(f"not asked the text of the guide: {error.message}")
        return []
    names = ["input_ids"] + ["token_type_ids"] * ("token_type_ids" in encoded)
    inputs = {name: np.array([encoded[name]] * pair.manner.texts, np.int64) for name in names}
    if pair.manner.ask == "sequences":
        inputs = {"input_ids": inputs["input_ids"], "decoder_input_ids": inputs["input_ids"]}
    words = getattr(session.facts(pair).config, "vocab_size", None)
    if isinstance(words, int) and int(inputs["input_ids"].max()) >= words:
        found.notes.append("not asked the text of the guide: the tokenizer has more words than the model")
        return []
    return [Question(f'the text "{WELCOME}"', inputs)]


def _ask(
    session: Session, pair: Pair, questions: Sequence[Question], *, whole: bool, inside: str | None = None
) -> list[tuple[Answer, Answer] | None]:
    """Ask torch everything, then Paddle; None for an optional question that one of them refuses.

    Args:
        session: the session.
        pair: whom to ask.
        questions: what.
        whole: look at the layers, and at the modules that are in none.
        inside: look at the modules of this layer of torch's.
    """
    modules = session.known(pair).modules if whole or inside is not None else ()
    chosen = [each for each in modules if (each.within == inside if inside is not None else each.within is None)]
    title = f"forward of {pair.torch}"
    left: list[Answer | None] = []
    right: list[Answer | None] = []
    with session.torch(pair) as torch, session.work(f"{title} in torch", len(questions), torch) as step:
        for question in questions:
            left.append(_answer(torch, question, pair.manner, [each.torch for each in chosen], session.keep))
            step()
    with session.paddle(pair) as paddle, session.work(f"{title} in Paddle", len(questions), paddle) as step:
        for question in questions:
            right.append(_answer(paddle, question, pair.manner, [each.paddle for each in chosen], session.keep))
            step()
    return [(a, b) if a is not None and b is not None else None for a, b in zip(left, right, strict=True)]


def _answer(side: Side, question: Question, manner: Manner, taps: Sequence[str], keep: Keep) -> Answer | None:
    try:
        return side.answer(question.inputs, manner, taps, keep)
    except LoadFailed:
        if not question.optional:
            raise
        return None


def _compare_outputs(
    session: Session, pair: Pair, question: Question, torch: Answer, paddle: Answer, found: Found
) -> list[Doubt]:
    doubts = []
    for name, left, right in pair_outputs(pair.manner, torch, paddle):
        label = f"{name}: {question.label}"
        keep = _keep(question, left)
        difference = compare(label, left, right, session.options.tolerance, keep)
        found.differences.append(difference)
        if not difference.passed and difference.problem is None:
            doubts.append(Doubt(pair, question, name, None, left, right, keep))
        session.log("forward", label, left, right)
    return doubts


@dataclass(frozen=True, slots=True)
class _Diverging:
    """The first call of a module, in torch's order of all calls, that is out of tolerance."""

    turn: int
    question: Question
    layer: LayerDifference
    call: int
    calls: int

    def name(self) -> str:
        """The module and, where it is called several times, which of them it is."""
        text = f"{self.layer.torch} (Paddle: {self.layer.paddle})"
        before = " (those before agree)" if self.call else ""
        return text if self.calls == 1 else f"{text} at call {self.call + 1} of {self.calls}{before}"


@dataclass(slots=True)
class _Layers:
    """What was found of the modules, by one question."""

    compared: list[LayerDifference] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    first: _Diverging | None = None


def _compare_layers(
    session: Session, pair: Pair, question: Question, torch: Answer, paddle: Answer, begin: int
) -> _Layers:
    partners = {each.torch: each for each in session.known(pair).modules}
    layers = _Layers()
    for name in torch.order:
        module = partners[name]
        left, right = torch.taps[name], paddle.taps.get(module.paddle, ())
        if not right:
            continue  # Paddle's class uses the parameters without calling the module
        difference, note = None, None
        calls: list[Difference] = []
        if len(left) != len(right):
            note = f"called {len(left)} times in torch and {len(right)} times in Paddle"
        elif shapes := [(a.shape, b.shape) for a, b in zip(left, right, strict=True) if a.shape != b.shape]:
            note = f"laid out as {list(shapes[0][0])} in torch and {list(shapes[0][1])} in Paddle"
        else:
            calls = [
                compare(name, a, b, session.options.tolerance, _keep(question, a))
                for a, b in zip(left, right, strict=True)
            ]
            difference = max(calls, key=lambda each: each.excess)
        order = begin + len(layers.compared)
        kind: Literal["layer", "module"] = "layer" if module.layer else "module"
        layer = LayerDifference(order, name, module.paddle, kind, question.label, difference, note)
        layers.compared.append(layer)
        wrong = [call for call, each in enumerate(calls) if not each.passed]
        if wrong and (layers.first is None or torch.turns[name][wrong[0]] < layers.first.turn):
            layers.first = _Diverging(torch.turns[name][wrong[0]], question, layer, wrong[0], len(calls))
        if kind == "layer":
            layers.doubts += [
                Doubt(pair, question, name, call, left[call], right[call], _keep(question, left[call]))
                for call in wrong
                if calls[call].problem is None
            ]
    return layers


def _keep(question: Question, array: Array) -> Array | None:
    """What is said of padding does not count, where the array has a place for each token."""
    keep = question.keep
    return keep if keep is not None and array.shape[: keep.ndim] == keep.shape else None


def _compare_epsilons(facts: Facts, found: Found) -> None:
    """Of the norms that correspond: a wrong one may change less than rounding does where the input is wide."""
    pairs = [each for each in facts.modules if each.torch in facts.epsilons and each.paddle in facts.paddle_epsilons]
    if pairs:
        torch = np.array([facts.epsilons[each.torch] for each in pairs])
        paddle = np.array([facts.paddle_epsilons[each.paddle] for each in pairs])
        difference = compare("epsilons of the norms", torch, paddle, EPSILON_TOLERANCE)
        found.differences.append(difference)
        if not difference.passed and difference.worst is not None:
            culprit = pairs[difference.worst.index[0]]
            found.fail(
                f"the epsilon of {culprit.torch} (Paddle: {culprit.paddle}) is {difference.worst.torch:g} in torch and "
                f"{difference.worst.paddle:g} in Paddle"
            )


def _compare_configs(session: Session, facts: Facts, found: Found) -> None:
    failures, notes = compare_configs(session.subject, facts.config, facts.paddle_config)
    found.notes += notes
    for failure in failures:
        found.fail(failure)


def _look_closer(session: Session, pair: Pair, first: _Diverging, found: Found) -> bool:
    """Name the module within the first layer that diverges; whether either has agreed in calls before."""
    found.first = first.name()
    if first.layer.kind == "module":
        return first.call > 0
    (answers,) = _ask(session, pair, [first.question], whole=False, inside=first.layer.torch)
    assert answers is not None  # noqa: S101  it was answered before
    inner = _compare_layers(session, pair, first.question, *answers, len(found.layers))
    found.layers += inner.compared
    culprit = inner.first
    if culprit is not None:
        found.first = f"{first.name()}, in it {culprit.name()}"
    return first.call > 0 or (culprit is not None and culprit.call > 0)


def _diverges(layer: LayerDifference) -> bool:
    return layer.difference is not None and not layer.difference.passed


def _compare_logits(session: Session, found: Found) -> list[Doubt]:
    """The row's own figure: a classifier with weights of its own, on the made-up inputs."""
    from pphub.alignment.session import Skipped

    if session.own.torch.endswith("ForSequenceClassification"):
        return []  # compared already
    try:
        logits = classifier_logits(session)
    except (Skipped, LoadFailed) as error:
        found.notes.append(f"no logits of a classifier: {str(error).splitlines()[0]}")
        return []
    pair = session.classifier()
    name = f"logits: {pair.torch}"
    difference = compare(name, logits.torch, logits.paddle, session.options.tolerance)
    found.differences.append(difference)
    session.log("forward", name, logits.torch, logits.paddle)
    if difference.passed or difference.problem is not None:
        return []
    return [Doubt(pair, logits.question, "logits", None, logits.torch, logits.paddle, None)]


def _judge(found: Found, *, repeated: bool) -> None:
    """Outputs, parameters, epsilons and the hidden states of the layers decide; other modules tell where it begins.

    A class may add a bias within a module or after it, and be the same model.
    """
    parameters = found.parameters
    if parameters is not None:
        if not parameters.compared:
            found.fail("no parameter of the two models was compared")
        if parameters.unequal:
            first, count = parameters.unequal[0], len(parameters.unequal)
            found.fail(f"{count} of {parameters.compared} parameters differ: {_named(parameters.unequal)}")
            if first.problem:
                found.fail(first.problem)
            if found.first is None:
                found.first = first.name
        for reason in parameters.missing:
            found.fail(reason)
        if parameters.unread:
            found.fail(f"parameters that torch has no counterpart for: {', '.join(parameters.unread[:10])}")
        if parameters.unused:
            found.fail(f"parameters that Paddle's class has no place for: {', '.join(parameters.unused[:10])}")
    diverging = [each for each in found.layers if _diverges(each)]
    if any(each.kind == "layer" for each in diverging):
        # A module that agreed when it was called before may only have been given what has added up.
        what = "the first output out of tolerance is that of" if repeated else "the first module that diverges is"
        found.fail(f"{what} {found.first}")
    elif diverging and not found.failures and all(each.passed for each in found.differences):
        found.first = None
        names = ", ".join(sorted({each.torch for each in diverging}))
        found.notes.append(f"these modules give something else in Paddle, which the outputs make up for: {names}")


def _named(differences: Sequence[Difference]) -> str:
    more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    return ", ".join(each.name for each in differences[:3]) + more
