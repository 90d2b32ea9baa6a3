"""What the two sides have in common: what they are asked to do, and what they hand back, as numpy arrays.

``torch_side`` and ``paddle_side`` each do it with their own framework's real loader, classes and optimizers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from pphub.alignment.compare import Array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pphub.alignment.asking import Inputs
    from pphub.alignment.bridge import Held
    from pphub.alignment.manner import Manner
    from pphub.alignment.values import SideInfo

__all__ = ["Answer", "Batch", "Keep", "Objective", "Recipe", "Side", "Trace", "keep_in_memory"]

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
    """

    outputs: tuple[Array, ...]
    names: tuple[str, ...]
    taps: Mapping[str, tuple[Array, ...]]
    order: tuple[str, ...]


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
