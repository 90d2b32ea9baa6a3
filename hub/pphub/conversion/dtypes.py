"""The floating dtypes of checkpoints: casts between them, and which dtypes Paddle can hold.

What numpy does not know is carried as bits: bfloat16 in uint16, an 8-bit float in uint8.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from pphub.checkpoint.pdparams import PADDLE_DTYPES
from pphub.checkpoint.tensor import DTYPES
from pphub.errors import ConversionFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pphub.checkpoint.tensor import Array
    from pphub.conversion.moves import Plan

__all__ = ["EIGHT_BITS", "FLOATS", "after_cast", "cast", "check_dtype", "check_holds", "to_float32"]

FLOATS: Final = ("float64", "float32", "float16", "bfloat16")
"""What a checkpoint can be cast to."""

EIGHT_BITS: Final[dict[str, tuple[int, int]]] = {
    "float8_e4m3fn": (4, 7),
    "float8_e4m3fnuz": (4, 8),
    "float8_e5m2": (5, 15),
    "float8_e5m2fnuz": (5, 16),
}
"""Width and bias of the exponent; every value is one of float16 as well, of bfloat16 and of the wider ones.

``float8_e8m0fnu`` is not here: it is the scale of other tensors, and no weight.
"""

_SHOWN: Final = 5


def check_dtype(dtype: str | None) -> None:
    """Raise UsageError unless the dtype is None or one that a checkpoint can be cast to."""
    if dtype is not None and dtype not in FLOATS:
        msg = f"{dtype!r} is no dtype a checkpoint can be cast to"
        raise UsageError(msg, hint=f"one of {', '.join(FLOATS)}")


def check_holds(plan: Plan, dtype: str | None) -> None:
    """Check that Paddle has every dtype that would be written.

    Args:
        plan: what becomes of each tensor.
        dtype: floating tensors are cast to this; None keeps each as it is.

    Raises:
        ConversionFailed: it has not; tensors are named, with file, dtype and a way out.
    """
    read = [tensor for move in plan.moves for tensor in move.tensors]
    bad = [tensor for tensor in read if after_cast(tensor.dtype, dtype) not in PADDLE_DTYPES]
    if bad:
        listed = "\n".join(f"  {tensor.name} in {tensor.path.name} is {tensor.dtype}" for tensor in bad[:_SHOWN])
        more = f"\n  … and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        msg = f"a .pdparams cannot hold the dtype of {len(bad)} of {len(read)} tensors:\n{listed}{more}"
        raise ConversionFailed(msg, hint=_way_out([tensor.dtype for tensor in bad]))


def _way_out(dtypes: Sequence[str]) -> str:
    if all(dtype in EIGHT_BITS for dtype in dtypes):
        return "convert with --dtype bfloat16, float16 or float32: each holds every value of them exactly"
    if all(dtype.startswith("uint") for dtype in dtypes):
        return "save them from torch as int32 or int64, if their values allow it, and convert again"
    return "save the checkpoint from torch in float32, float16 or bfloat16, and convert again"


def after_cast(source: str, dtype: str | None) -> str:
    """The dtype that a tensor has in the output: only floating ones are cast."""
    return dtype if dtype is not None and (source in FLOATS or source in EIGHT_BITS) else source


def cast(array: Array, source: str, target: str) -> Array:
    """The values in another floating dtype, rounded to nearest even, as torch does.

    float64 becomes float16 and bfloat16 by way of float32, and is rounded twice. A NaN stays one, with as much of its
    payload as there is room for; torch's depends on the processor.
    """
    if source == target:
        return array
    values = to_float32(array) if source == "bfloat16" else array
    if source in EIGHT_BITS:
        values = _table(source)[array]
    with np.errstate(over="ignore", invalid="ignore"):  # an infinity for what is too large is right; a NaN is no news
        if target in {"float32", "float64"}:
            return values.astype(DTYPES[target])
        values = values.astype("<f4")
        if target == "float16":
            return values.astype("<f2")
    bits = values.view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding must not turn a NaN into an infinity.
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype("<u2")


def to_float32(bits: Array) -> Array:
    """bfloat16 bits as float32, exactly."""
    return (bits.astype("<u4") << 16).view("<f4")


@cache
def _table(dtype: str) -> Array:
    """The float32 that each of the 256 values of an 8-bit dtype is."""
    width, bias = EIGHT_BITS[dtype]
    digits = 7 - width
    bits = np.arange(256)
    exponent, fraction = (bits & 0x7F) >> digits, (bits & ((1 << digits) - 1)) / (1 << digits)
    # An exponent of 0 stands for that of 1, without the leading one.
    size = np.ldexp(np.where(exponent == 0, fraction, 1 + fraction), np.maximum(exponent, 1) - bias)
    values = np.where(bits < 0x80, size, -size)
    if dtype.endswith("fnuz"):  # neither infinities nor a negative zero: its place is the NaN's
        values[0x80] = np.nan
    elif dtype.endswith("fn"):  # no infinities
        values[[0x7F, 0xFF]] = np.nan
    else:
        values[exponent == (1 << width) - 1] = np.nan
        values[[0x7C, 0xFC]] = np.inf, -np.inf
    return values.astype("<f4")
