"""Casts between the floating dtypes of checkpoints; bfloat16 is carried as uint16 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pphub.checkpoint.tensor import DTYPES
from pphub.errors import UsageError

if TYPE_CHECKING:
    from pphub.checkpoint.tensor import Array

__all__ = ["FLOATS", "cast", "check_dtype", "to_float32"]

FLOATS: Final = ("float64", "float32", "float16", "bfloat16")


def check_dtype(dtype: str | None) -> None:
    """Raise UsageError unless the dtype is None or one that a checkpoint can be cast to."""
    if dtype is not None and dtype not in FLOATS:
        msg = f"{dtype!r} is no dtype a checkpoint can be cast to"
        raise UsageError(msg, hint=f"one of {', '.join(FLOATS)}")


def cast(array: Array, source: str, target: str) -> Array:
    """The values in another floating dtype, rounded to nearest even."""
    if source == target:
        return array
    values = to_float32(array) if source == "bfloat16" else array
    if target != "bfloat16":
        return values.astype(DTYPES[target])
    bits = values.astype("<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding must not turn a NaN into an infinity.
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype("<u2")


def to_float32(bits: Array) -> Array:
    """bfloat16 bits as float32, exactly."""
    return (bits.astype("<u4") << 16).view("<f4")
