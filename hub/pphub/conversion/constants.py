"""Tensors that are the same in every model of one size: left out of one side, and made again for the other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from pphub.checkpoint.tensor import DTYPES, Array

if TYPE_CHECKING:
    from collections.abc import Callable

    from pphub.checkpoint.tensor import Tensor

__all__ = ["CONSTANTS", "can_make", "deviates", "make_constant", "recognise"]

_MAX_BYTES: Final = 64 << 20
# How far a table may be off by being calculated, and then rounded to its dtype, by whoever wrote the file.
_CALCULATED: Final = 1e-5
_ROUNDED: Final = {"bfloat16": 2**-8, "float16": 2**-11, "float32": 2**-22, "float64": 2**-22}


def _arange(shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(np.arange(shape[-1] if shape else 1), shape)


def _tril(shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(np.tri(shape[-2], shape[-1]), shape) if len(shape) >= 2 else np.ones(shape)


def _sinusoidal(shape: tuple[int, ...]) -> Array:
    """Positions as sines in the left half and cosines in the right one; source: roformer of transformers."""
    rows, columns = shape if len(shape) == 2 else (math.prod(shape), 1)
    exponents = 2 * (np.arange(columns) // 2) / columns
    angles = np.arange(rows)[:, None] / np.power(10000, exponents)
    table: Array = np.concatenate([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], axis=1)
    return table.reshape(shape)


CONSTANTS: Final[dict[str, Callable[[tuple[int, ...]], Array]]] = {
    "zeros": np.zeros,
    "ones": np.ones,
    "arange": _arange,
    "tril": _tril,
    "sinusoidal": _sinusoidal,
}


def can_make(value: str | float, shape: tuple[int, ...], dtype: str) -> bool:
    """Whether :func:`make_constant` would make it."""
    known = not isinstance(value, str) or value in CONSTANTS
    return (
        known
        and dtype in DTYPES
        and min(shape, default=0) >= 0
        and math.prod(shape) * DTYPES[dtype].itemsize <= _MAX_BYTES
    )


def make_constant(value: str | float, shape: tuple[int, ...], dtype: str) -> Array:
    """The values of a constant.

    Args:
        value: a key of :data:`CONSTANTS`, or the number that every element is.
        shape: sizes.
        dtype: a key of ``DTYPES``; bfloat16 as the bits it is carried in.

    Raises:
        ValueError: there is no such constant, or it would take more than 64 MiB.
    """
    if not can_make(value, shape, dtype):
        msg = f"there is no constant {value!r} of the shape {shape} and the dtype {dtype}"
        raise ValueError(msg)
    array = CONSTANTS[value](shape) if isinstance(value, str) else np.full(shape, value)
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(array.astype("<f4")).view("<u4")
        rounded: Array = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")
        return rounded
    return np.ascontiguousarray(array.astype(DTYPES[dtype])).reshape(shape)


def deviates(tensor: Tensor, value: str | float) -> bool:
    """Whether a tensor is not the constant that it should be, by more than rounding explains.

    A single number may be any, such as what a mask puts in place of what it hides. What is too large to be made is
    taken for what it should be.
    """
    if tensor.nbytes > _MAX_BYTES or not can_make(value, tensor.shape, "float64") or math.prod(tensor.shape) <= 1:
        return False
    array = tensor.read()
    if tensor.dtype == "bfloat16":
        array = (array.astype("<u4") << 16).view("<f4")
    expected = make_constant(value, tensor.shape, "float64")
    rounding = _ROUNDED.get(tensor.dtype, 0.0)
    allowed = (_CALCULATED if rounding else 0.0) + rounding * np.abs(expected)
    return not bool((np.abs(array.astype("float64") - expected) <= allowed).all())


def recognise(tensor: Tensor, value: str | float) -> str | float | None:
    """What makes this very tensor again: the constant it should be, or one number; None if neither does."""
    if tensor.nbytes > _MAX_BYTES:
        return None
    array = tensor.read()
    candidates: list[str | float] = [value]
    if tensor.size and tensor.dtype != "bfloat16" and math.isfinite(number := array.reshape(-1)[0].item()):
        candidates.append(number)
    for candidate in candidates:
        if make_constant(candidate, tensor.shape, tensor.dtype).tobytes() == array.tobytes():
            return candidate
    return None
