"""What a stage gathers while it runs; the runner makes a frozen result of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pphub.alignment.values import Curve, Difference, LayerDifference, Parameters

__all__ = ["Found"]


@dataclass(slots=True)
class Found:
    """What a stage has found so far; see :class:`pphub.alignment.values.StageResult` for its parts."""

    inputs: str = ""
    differences: list[Difference] = field(default_factory=list)
    layers: list[LayerDifference] = field(default_factory=list)
    parameters: Parameters | None = None
    curves: list[Curve] = field(default_factory=list)
    first: str | None = None
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def fail(self, reason: str) -> None:
        """Note that the stage fails, and why."""
        self.failures.append(reason)
