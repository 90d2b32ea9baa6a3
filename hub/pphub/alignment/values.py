"""What an alignment finds, as frozen values; ``report.py`` writes them down.

All figures are plain Python numbers, so that a report outlives the arrays it was made from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "EXACT",
    "HISTOGRAM_EDGES",
    "Curve",
    "Difference",
    "LayerDifference",
    "Parameters",
    "Report",
    "SideInfo",
    "StageResult",
    "Status",
    "Tolerance",
    "Worst",
]

Status = Literal["passed", "failed", "skipped"]

HISTOGRAM_EDGES: Final = tuple(half / 2 for half in range(-24, 5))
"""Powers of ten between which differences are counted, half a decade each: 1e-12 to 1e2."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two arrays may be apart.

    An element counts with its absolute difference divided by its scale, which is the largest of ``floor``, the root
    mean square of torch's array and torch's own element. So values around 1 or less are held to the numbers as they
    stand, and larger ones to as many digits.

    Attributes:
        mean: the largest mean of the scaled differences that is allowed.
        max: the largest scaled difference that is allowed.
        floor: the smallest scale; 0 makes all differences relative.
        by_user: whether the numbers were given by the user, and are not the project's.
    """

    mean: float
    max: float
    floor: float = 1.0
    by_user: bool = False

    def rule(self) -> str:
        """The rule in words, for the report."""
        if not self.mean and not self.max:
            return "equal in every element"
        least = f"{self.floor:g}, " if self.floor else ""
        return (
            f"mean <= {self.mean:g} and max <= {self.max:g} of |torch - paddle| / scale, "
            f"scale = the largest of {least}rms(torch) and |torch| at the element"
        )


EXACT: Final = Tolerance(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Worst:
    """The element that is furthest out of tolerance.

    Attributes:
        index: where it is.
        torch: torch's value there.
        paddle: Paddle's.
    """

    index: tuple[int, ...]
    torch: float
    paddle: float


@dataclass(frozen=True, slots=True)
class Difference:
    """How two arrays of one name differ.

    Attributes:
        name: what the arrays are.
        shape: of torch's array.
        elements: how many were compared.
        mean: mean absolute difference.
        max: largest absolute difference.
        scaled_mean: the mean that is held against the tolerance.
        scaled_max: likewise the largest.
        rms: root mean square of torch's array.
        worst: the element with the largest scaled difference; None where nothing could be compared.
        tolerance: what is allowed.
        problem: why the arrays cannot be compared at all, or None.
        counts: elements whose absolute difference is zero, below the first edge of the histogram, within each of its
            bins, and above the last edge.
    """

    name: str
    shape: tuple[int, ...]
    elements: int
    mean: float
    max: float
    scaled_mean: float
    scaled_max: float
    rms: float
    worst: Worst | None
    tolerance: Tolerance
    problem: str | None = None
    counts: tuple[int, ...] = field(default=(), repr=False)

    @property
    def passed(self) -> bool:
        """Whether the arrays are the same within the tolerance; a NaN is within none."""
        within = self.scaled_mean <= self.tolerance.mean and self.scaled_max <= self.tolerance.max
        return self.problem is None and self.elements > 0 and within

    @property
    def excess(self) -> float:
        """How many times the allowance is used up; infinite where nothing could be compared."""
        if self.problem is not None or not self.elements:
            return float("inf")
        pairs = ((self.scaled_mean, self.tolerance.mean), (self.scaled_max, self.tolerance.max))
        return max(found / allowed if allowed else (float("inf") if found else 0.0) for found, allowed in pairs)


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """What one module of the two models gave.

    Attributes:
        order: position in the order in which torch ran the modules.
        torch: the module's name in torch.
        paddle: its name in Paddle.
        kind: ``layer`` for one of a stack, ``module`` for another.
        question: what was asked.
        difference: of the outputs; None where their shapes differ, since the frameworks may lay values out
            differently within a model, and nothing is turned to fit.
        note: why there is no difference, or None.
    """

    order: int
    torch: str
    paddle: str
    kind: Literal["layer", "module"]
    question: str
    difference: Difference | None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of the live Paddle model, held against the live torch model through the rules of conversion.

    Attributes:
        compared: how many arrays were compared.
        elements: how many numbers in all.
        unequal: those that are not equal or not finite, with torch's name and Paddle's.
        unread: Paddle's parameters that torch has no counterpart for.
        unused: what the rules make of torch's parameters and the Paddle class has no place for.
        torch_only: Paddle's names of what torch's checkpoint holds and Paddle's lacks.
        paddle_only: of what Paddle's holds and torch's lacks.
        neither: of what both lack, and a model cannot be without.
        unproved: of what both may lack, such as a new head.
        recast: of what no live model of torch's reads and the checkpoints hold in two dtypes, which proves nothing
            either; none of these six is among the compared.
    """

    compared: int
    elements: int
    unequal: tuple[Difference, ...]
    unread: tuple[str, ...]
    unused: tuple[str, ...]
    torch_only: tuple[str, ...] = ()
    paddle_only: tuple[str, ...] = ()
    neither: tuple[str, ...] = ()
    unproved: tuple[str, ...] = ()
    recast: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether all that has to be is there and equal on both sides."""
        return bool(self.compared) and not (self.unequal or self.unread or self.unused or self.missing)

    @property
    def missing(self) -> tuple[str, ...]:
        """A sentence for each way in which the checkpoints do not hold what they should."""
        ways = (
            (self.torch_only, "torch's checkpoint holds what Paddle's lacks"),
            (self.paddle_only, "Paddle's checkpoint holds what torch's lacks"),
            (self.neither, "both checkpoints lack parts of the base model"),
        )
        return tuple(
            f"{text}: {', '.join(names[:10])}" + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            for names, text in ways
            if names
        )


@dataclass(frozen=True, slots=True)
class Curve:
    """A number that both sides have at each of several steps.

    Attributes:
        name: what it is.
        steps: the steps.
        torch: torch's numbers.
        paddle: Paddle's.
        formula: the numbers by a formula of our own, or None.
    """

    name: str
    steps: tuple[int, ...]
    torch: tuple[float, ...]
    paddle: tuple[float, ...]
    formula: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class SideInfo:
    """One side of an alignment, as it was found and not as it was meant.

    Attributes:
        framework: ``torch`` or ``paddle``, told from the object's own base class.
        version: of the framework.
        library: the package of the model's class, and its version.
        kind: the model's class.
        folder: where it was loaded from.
        files: name → sha256 of each file it was loaded from.
        device: where it ran.
    """

    framework: str
    version: str
    library: str
    kind: str
    folder: str
    files: Mapping[str, str]
    device: str


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one stage found.

    Attributes:
        name: such as ``forward``.
        rows: the rows of the requirements it answers, such as ``A1, C5``.
        title: what it does.
        status: passed, failed, or skipped where it does not apply.
        reason: why it failed or was skipped; empty if it passed.
        inputs: what both sides were given.
        tolerance: the main tolerance; each difference has its own.
        seconds: how long it took.
        differences: the arrays that were compared.
        layers: the modules, in order.
        parameters: where they were compared.
        curves: where there are any.
        first: the first module, in the order of the computation, that is out of tolerance; with the call where it has
            several.
        notes: what a reader should know.
        sides: the two sides, where the stage loads models of its own.
    """

    name: str
    rows: str
    title: str
    status: Status
    reason: str
    inputs: str
    tolerance: Tolerance
    seconds: float
    differences: tuple[Difference, ...] = ()
    layers: tuple[LayerDifference, ...] = ()
    parameters: Parameters | None = None
    curves: tuple[Curve, ...] = ()
    first: str | None = None
    notes: tuple[str, ...] = ()
    sides: tuple[SideInfo, ...] = ()

    @property
    def mean(self) -> float | None:
        """The largest mean absolute difference of an array under the main tolerance; None where there is none."""
        return max((each.mean for each in self._main()), default=None)

    @property
    def max(self) -> float | None:
        """The largest absolute difference of an element under the main tolerance; None where there is none."""
        return max((each.max for each in self._main()), default=None)

    @property
    def scaled(self) -> tuple[float, float] | None:
        """The largest mean and maximum that are held against the main tolerance; None where there are none."""
        found = self._main()
        return (max(each.scaled_mean for each in found), max(each.scaled_max for each in found)) if found else None

    @property
    def worst(self) -> Difference | None:
        """The array that uses up most of its allowance."""
        return max(self.differences, key=lambda each: each.excess, default=None)

    def _main(self) -> list[Difference]:
        """What could be compared and is held to the stage's own numbers; the others have units of their own."""
        return [each for each in self.differences if each.problem is None and each.tolerance == self.tolerance]


@dataclass(frozen=True, slots=True)
class Report:
    """What an alignment found.

    Attributes:
        name: what was asked for.
        torch: the torch side.
        paddle: the Paddle side.
        stages: the stages that were asked for, in order.
        environment: versions, machine, threads, device.
        options: sizes, seeds and tolerances the run was made with.
        created: date and time, UTC, ISO 8601.
        seconds: how long it took.
        problems: what makes the run void whatever the stages say, such as two sides of one framework.
        recorded: the file that the proof was written to, or None.
        tokenizer: ``torch`` and ``paddle`` → name → sha256 of each file a tokenizer is made from.
    """

    name: str
    torch: SideInfo
    paddle: SideInfo
    stages: tuple[StageResult, ...]
    environment: Mapping[str, object]
    options: Mapping[str, object]
    created: str
    seconds: float
    problems: tuple[str, ...] = ()
    recorded: str | None = None
    tokenizer: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no stage failed, at least one passed, and nothing makes the run void."""
        statuses = [stage.status for stage in self.stages]
        return not self.problems and "failed" not in statuses and "passed" in statuses
