"""What a user is warned of, at the line of theirs that loads the model."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["FreshParameters", "UnusedTensors", "warn_user"]

_OURS: Final = str(Path(__file__).parents[1])


class FreshParameters(UserWarning):
    """Parameters that the checkpoint does not hold have random start values."""


class UnusedTensors(UserWarning):
    """Tensors of the base model that the model, as its config describes it, has no place for."""


def warn_user(text: str, category: type[UserWarning]) -> None:
    """Warn with the first caller outside this package, however deep the way there is."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
