"""What the two sides have in common: what they are asked to do, and what they hand back, as numpy arrays.

``torch_side`` and ``paddle_side`` each do it with their own framework's real loader, classes and optimizers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pphub.alignment.compare import Array, square_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pphub.alignment.asking import Inputs
    from pphub.alignment.bridge import Held
    from pphub.alignment.manner import Manner
    from pphub.alignment.values import SideInfo

__all__ = [
    "Answer",
    "Batch",
    "Keep",
    "Objective",
    "Recipe",
    "Side",
    "Taps",
    "Trace",
    "find_epsilons",
    "keep_in_memory",
    "norm_of",
]

Keep = Callable[[str, Array], Array]
"""Stores an array under a name and gives it back, from memory or from a file."""


def keep_in_memory(_name: str, array: Array) -> Array:
    """Keep an array as it is."""
    return array


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model gave.

    Attributes:
        outputs: its arrays, in order; torch's have names, Paddle's only places.
        names: torch's names of them.
        taps: module → the first array of each of its calls.
        order: the modules in the order in which they finished first.
        turns: module → the place of each of its calls among all calls, in the order in which they finished.
    """

    outputs: tuple[Array, ...]
    names: tuple[str, ...]
    taps: Mapping[str, tuple[Array, ...]]
    order: tuple[str, ...]
    turns: Mapping[str, tuple[int, ...]]


class Taps:
    """Takes what modules give while a model answers; a context, in which the hooks are on.

    Args:
        side: what the names of the arrays that are kept begin with.
        tensor: the framework's class of tensors.
        array: a tensor's values, in memory of their own.
        keep: stores an array.
    """

    def __init__(self, side: str, tensor: type, array: Callable[[Any], Array], keep: Keep) -> None:
        self._side = side
        self._tensor = tensor
        self._array = array
        self._keep = keep
        self._taken: dict[str, list[Array]] = {}
        self._turns: dict[str, list[int]] = {}
        self._count = 0
        self._hooks: list[Any] = []

    def add(self, name: str, register: Callable[[Callable[..., None]], Any]) -> None:
        """Listen to a module, whose own function to register a hook after its forward is given."""

        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            if (first := self._first(output)) is not None:
                calls = self._taken.setdefault(name, [])
                calls.append(self._keep(f"{self._side} {name} {len(calls)}", self._array(first)))
                self._turns.setdefault(name, []).append(self._count)
                self._count += 1

        self._hooks.append(register(hook))

    def _first(self, output: Any) -> Any:
        """The first tensor of what a module gave; None if there is none."""
        if isinstance(output, self._tensor):
            return output
        values = output.values() if hasattr(output, "values") else output if isinstance(output, (tuple, list)) else ()
        return next((value for value in values if isinstance(value, self._tensor)), None)

    def __enter__(self) -> Taps:
        return self

    def __exit__(self, *_error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def answer(self, outputs: tuple[Array, ...], names: tuple[str, ...]) -> Answer:
        """What the model gave, with what was taken on the way."""
        taps = {name: tuple(calls) for name, calls in self._taken.items()}
        turns = {name: tuple(places) for name, places in self._turns.items()}
        return Answer(outputs, names, taps, tuple(self._taken), turns)


def find_epsilons(modules: Iterable[tuple[str, Any]], keys: Sequence[str]) -> dict[str, float]:
    """The epsilon of each module that has one, under any of the keys."""
    return {
        name: float(getattr(module, key))
        for name, module in modules
        for key in keys
        if isinstance(getattr(module, key, None), (int, float))
    }


def norm_of(arrays: Iterable[Array]) -> float:
    """The norm of all arrays together, in double precision: Paddle's own is off by up to 1% for a large table."""
    return math.sqrt(sum(square_of(array) for array in arrays))


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised.

    Attributes:
        kind: ``classes``: cross-entropy of [batch, classes] with labels [batch]; ``tokens``: of [batch, length,
            words] with labels [batch, length]; ``squares``: the mean of the squares of all outputs, where a model
            has no output that labels could be held against.
        name: torch's name of the output.
        place: its place among Paddle's arrays.
    """

    kind: Literal["classes", "tokens", "squares"]
    name: str
    place: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is trained: AdamW, no weight decay on what has fewer than two axes (biases and norms).

    Attributes:
        rate: the learning rate.
        decay: of weights.
        epsilon: of AdamW.
        schedule: ``constant``, or ``linear`` from the rate to 0 without warmup.
    """

    rate: float = 3e-5
    decay: float = 1e-2
    epsilon: float = 1e-6
    schedule: Literal["constant", "linear"] = "constant"


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs, keyword → array, and their labels."""

    inputs: Inputs
    labels: Array


@dataclass(frozen=True, slots=True)
class Trace:
    """What a training went through.

    Attributes:
        losses: of each step.
        rates: the learning rate of each step, as the optimizer had it.
        norms: of all gradients together, at each step.
        gradients: the parameter's name → its gradient at the first step; zeros where it has none.
    """

    losses: tuple[float, ...]
    rates: tuple[float, ...]
    norms: tuple[float, ...]
    gradients: Mapping[str, Array] = field(default_factory=dict)


class Side(Protocol):
    """A live model of one framework, in eval mode."""

    @property
    def info(self) -> SideInfo:
        """What it is, as found."""

    @property
    def passes(self) -> int:
        """Bytes of its parameters: what one pass goes through, for estimates."""

    def held(self) -> dict[str, Held]:
        """Its parameters and buffers, by name."""

    def answer(self, inputs: Inputs, manner: Manner, taps: Sequence[str], keep: Keep) -> Answer:
        """Ask it; the first array of each call of the modules named is kept."""

    def train(
        self,
        batches: Sequence[Batch],
        manner: Manner,
        objective: Objective,
        recipe: Recipe,
        *,
        gradients: bool,
        on_step: Callable[[], None],
    ) -> Trace:
        """Train it on the batches, in order, with its dropout off."""
