"""The two models of an alignment: opened one after the other, never both, and what is known of them afterwards."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pphub.alignment.asking import Sizes, text_config
from pphub.alignment.bridge import Bridge, Held, Lacking, ModulePair, bridge_over, is_within
from pphub.alignment.compare import Array
from pphub.alignment.holdings import add_unread
from pphub.alignment.manner import Manner, manner_of
from pphub.alignment.paddle_side import PaddleModel
from pphub.alignment.sides import Keep, Side, keep_in_memory
from pphub.alignment.torch_side import TorchModel
from pphub.alignment.values import Parameters, SideInfo, Tolerance
from pphub.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pphub.conversion.moves import Request
    from pphub_cache.progress import Progress

__all__ = ["DEFAULT_TOLERANCE", "Facts", "Options", "Pair", "Session", "Skipped", "Subject"]

DEFAULT_TOLERANCE: Final = Tolerance(1e-6, 1e-5)
"""Of outputs and hidden states, in single precision; the seeds' mean, and ten times it for any one element."""


class Skipped(Exception):
    """A stage does not apply to this model; the message says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an alignment is made.

    Attributes:
        tolerance: of outputs and hidden states.
        sizes: of the made-up inputs.
        device: ``cpu`` or ``gpu``.
        low_memory: keep parameters and activations on disk instead of in memory.
        data: a TSV file of labelled texts in place of the built-in ones, or None.
        tasks: what ``train`` trains: ``sst2`` (row A7), ``qnli`` (row A8).
        steps: of ``backward``.
        reprod_log: folder for the arrays in the form of the tool of that name, or None.
    """

    tolerance: Tolerance = DEFAULT_TOLERANCE
    sizes: Sizes = Sizes()  # noqa: RUF009  frozen
    device: str = "cpu"
    low_memory: bool = False
    data: Path | None = None
    tasks: tuple[str, ...] = ("sst2", "qnli")
    steps: int = 10
    reprod_log: Path | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is held against what.

    Attributes:
        name: what the user asked for.
        torch: torch's folder.
        torch_files: its weight files and config, with their sha256.
        paddle: Paddle's folder.
        paddle_weights: its weight files.
        paddle_files: likewise with their sha256.
        request: rules, and the torch class whose model Paddle's class is.
        own: rules, and the class that torch's checkpoint is of.
        notes: what a reader should know of the folders.
    """

    name: str
    torch: Path
    torch_files: Mapping[str, str]
    paddle: Path
    paddle_weights: tuple[str, ...]
    paddle_files: Mapping[str, str]
    request: Request
    own: Request
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """A class of torch and the one of Paddle that its model becomes.

    Attributes:
        torch: the class of transformers.
        paddle: the class of PaddleNLP.
        request: the rules for them.
        manner: how they are asked.
        torch_values: config values for torch's.
        paddle_values: keywords for Paddle's.
    """

    torch: str
    paddle: str
    request: Request
    manner: Manner
    torch_values: Mapping[str, object] = field(default_factory=dict)
    paddle_values: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Facts:
    """What is known of a pair once its models have been open.

    Attributes:
        bridge: what becomes of torch's parameters.
        values: torch's parameters, as they were loaded; empty where they were let go of meanwhile.
        fresh: those that the checkpoint does not hold.
        fresh_base: those of them that are of the base model.
        config: torch's live config.
        torch: torch's side.
        paddle: Paddle's side, when it has been open.
        parameters: Paddle's parameters held against torch's, likewise.
        modules: the modules that correspond, likewise.
        warned: what pphub's loader warned of, likewise.
        identities: name → identity of torch's parameters, equal for two names of one.
        ties: where one side has one parameter and the other several, likewise.
        epsilons: of torch's modules that have one.
        paddle_epsilons: of Paddle's, likewise.
        paddle_config: Paddle's live config, likewise.
        lacking: what is not in the checkpoints, likewise.
    """

    bridge: Bridge
    values: Mapping[str, Array]
    fresh: tuple[str, ...]
    fresh_base: tuple[str, ...]
    config: Any
    torch: SideInfo
    paddle: SideInfo | None = None
    parameters: Parameters | None = None
    modules: tuple[ModulePair, ...] = ()
    warned: tuple[str, ...] = ()
    identities: Mapping[str, int] = field(default_factory=dict)
    ties: tuple[str, ...] = ()
    epsilons: Mapping[str, float] = field(default_factory=dict)
    paddle_epsilons: Mapping[str, float] = field(default_factory=dict)
    paddle_config: Any = None
    lacking: Lacking | None = None


class Session:
    """One alignment under way.

    Memory: one model is open at a time, and torch's parameters are kept for Paddle's to be held against. With
    ``low_memory`` these, and all activations, are files.

    Args:
        subject: what is held against what.
        options: how.
        progress: told how it goes.
    """

    def __init__(self, subject: Subject, options: Options, progress: Progress) -> None:
        self.subject = subject
        self.options = options
        self.progress = progress
        self.own = _own(subject)
        self.logs: dict[str, dict[str, tuple[Array, Array]]] = {}
        self._facts: dict[str, Facts] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._kept = 0
        self._memory: dict[str, object] = {}

    def __enter__(self) -> Session:
        if self.options.low_memory:
            self._folder = tempfile.TemporaryDirectory(prefix="pphub-align-")
        return self

    def __exit__(self, *_: object) -> None:
        self._facts.clear()
        self._memory.clear()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def keep(self) -> Keep:
        """Where arrays go that are needed later."""
        return self._keep_in_file if self._folder is not None else keep_in_memory

    @contextlib.contextmanager
    def torch(self, pair: Pair) -> Iterator[TorchModel]:
        """Open the torch model of a pair; its memory is let go of at the end."""
        subject = self.subject
        for name, facts in self._facts.items():
            if name != pair.torch and not self.options.low_memory:
                facts.values = {}  # those of one model at a time; they are read again when they are needed
        model = TorchModel(subject.torch, pair.torch, subject.torch_files, self.options.device, pair.torch_values)
        try:
            known = self._facts.get(pair.torch)
            if known is not None and not known.values:
                known.values = self._values(model.held())
            elif known is None:
                held = model.held()
                bridge = bridge_over(pair.request, held)
                facts = Facts(bridge, self._values(held), model.fresh, model.fresh_base, model.config, model.info)
                facts.epsilons = model.epsilons()
                facts.identities = {name: each.identity for name, each in held.items()}
                self._facts[pair.torch] = facts
            yield model
        finally:
            model.free()

    @contextlib.contextmanager
    def paddle(self, pair: Pair) -> Iterator[PaddleModel]:
        """Open the Paddle model of a pair; its memory is let go of at the end."""
        facts = self.facts(pair)
        subject = self.subject
        if not facts.values:
            with self.torch(pair):
                pass
        model = PaddleModel(
            subject.paddle,
            pair.paddle,
            subject.paddle_weights,
            subject.paddle_files,
            self.options.device,
            pair.paddle_values,
        )
        try:
            if facts.paddle is None:  # before anything is filled: what the files hold is to be proved
                held = model.held()
                facts.paddle, facts.warned, facts.paddle_epsilons = model.info, model.warned, model.epsilons()
                facts.paddle_config = model.config
                own = pair.torch == self.own.torch
                facts.lacking = _lacking(pair, facts, model, held, made_up=not own)
                found = facts.bridge.compare_parameters(facts.values, held, facts.lacking, model.prefix)
                facts.parameters = add_unread(found, subject, held, model.prefix) if own else found
                facts.ties = facts.bridge.ties(facts.identities, held, model.prefix)
                facts.modules = facts.bridge.modules(facts.values, held, model.prefix)
            assert facts.lacking is not None  # noqa: S101  known since the model was open first
            model.fill(facts.bridge, facts.values, facts.lacking)
            yield model
        finally:
            model.free()

    def facts(self, pair: Pair) -> Facts:
        """What is known of a pair, opening its torch model if that has not been open."""
        if pair.torch not in self._facts:
            with self.torch(pair):
                pass
        return self._facts[pair.torch]

    def known(self, pair: Pair) -> Facts:
        """What is known of a pair, opening both models if they have not been open."""
        facts = self.facts(pair)
        if facts.paddle is None:
            with self.paddle(pair):
                pass
        return facts

    def once(self, key: str, make: Any) -> Any:
        """What several stages need, made by the first."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    @contextlib.contextmanager
    def work(self, title: str, steps: int, model: Side) -> Iterator[Callable[[], None]]:
        """Show how long something takes whose steps each go through all of a model's parameters.

        Yields:
            What to call after each step.
        """
        task = self.progress.start(title, steps * model.passes)
        try:
            yield lambda: task.advance(model.passes)
        except BaseException:
            task.stop()
            raise
        task.finish()

    def log(self, stage: str, name: str, torch: Array, paddle: Array) -> None:
        """Remember two arrays for the files of reprod_log, if these are wanted."""
        if self.options.reprod_log is not None:
            self.logs.setdefault(stage, {})[name] = (torch, paddle)

    def classifier(self) -> Pair:
        """The pair of classes with a head that classifies texts.

        Raises:
            Skipped: the family has none.
        """
        own, family = self.own, self.subject.request.family
        if own.torch.endswith("ForSequenceClassification"):
            return own
        stem = _stem(own.torch)
        names = [name for name in family.architectures if name.endswith("ForSequenceClassification")]
        name = next((name for name in names if name.startswith(stem)), None)
        if name is None:
            msg = f"there is no class that puts a classifier on {own.torch} in both frameworks"
            raise Skipped(msg)
        request = replace(self.subject.request, architecture=name)
        manner = manner_of(name)
        values: dict[str, object] = {"num_labels": 2, "ignore_mismatched_sizes": True}
        if manner.pad and getattr(text_config(self.facts(own).config), "pad_token_id", None) is None:
            values["pad_token_id"] = 0
        return Pair(name, family.architectures[name], request, manner, values, {**manner.load, **values})

    def _values(self, held: Mapping[str, Held]) -> Mapping[str, Array]:
        """The parameters of a model as they are now: it may be trained next."""
        if self._folder is not None:
            return _Files({name: self._save(each.read()) for name, each in held.items()})
        return {name: each.read().copy() for name, each in held.items()}

    def _keep_in_file(self, _name: str, array: Array) -> Array:
        return np.load(self._save(array), mmap_mode="c")  # type: ignore[no-any-return]

    def _save(self, array: Array) -> Path:
        assert self._folder is not None  # noqa: S101
        self._kept += 1
        path = Path(self._folder.name) / f"{self._kept}.npy"
        np.save(path, array)
        return path


class _Files(Mapping[str, Array]):
    """Arrays in files, each read when it is asked for, and not kept."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths

    def __getitem__(self, name: str) -> Array:
        return np.load(self._paths[name])  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def _lacking(pair: Pair, facts: Facts, paddle: PaddleModel, held: Mapping[str, Held], *, made_up: bool) -> Lacking:
    absent = pair.request.family.absent
    return Lacking(
        frozenset(facts.fresh),
        frozenset(facts.fresh_base),
        paddle.fresh,
        frozenset(name for name in held if is_within(name, absent.get(pair.torch, ()))),
        frozenset(module for modules in absent.values() for module in modules),
        made_up,
    )


def _own(subject: Subject) -> Pair:
    name = subject.request.architecture
    paddle = subject.request.family.architectures.get(name)
    if paddle is None:
        msg = f"there are no rules for {name}"
        raise UsageError(msg)
    manner = manner_of(name)
    return Pair(name, paddle, subject.request, manner, {}, manner.load)


def _stem(name: str) -> str:
    """The family's part of a class's name: ``Bert`` of ``BertForMaskedLM`` and ``GPT2`` of ``GPT2LMHeadModel``."""
    for end in ("LMHeadModel", "WithLMHeadModel", "EncoderModel", "Model"):
        if name.endswith(end):
            return name.removesuffix(end)
    return name.partition("For")[0]
