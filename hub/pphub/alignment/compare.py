"""The comparison that cannot be fooled: numpy alone, nothing turned, nothing broadcast, nothing left out silently.

A NaN is larger than nothing and smaller than nothing, a mean hides one wrong element among many, and an empty array
differs from nothing: each of these fails here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pphub.alignment.values import EXACT, HISTOGRAM_EDGES, Difference, Tolerance, Worst

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Array", "add_counts", "compare", "square_of"]

Array = npt.NDArray[Any]

_BLOCK: Final = 1 << 20  # elements that are looked at together: comparing takes no memory to speak of
_BINS: Final = len(HISTOGRAM_EDGES) + 2


def compare(name: str, torch: Array, paddle: Array, tolerance: Tolerance, keep: Array | None = None) -> Difference:
    """Compare two arrays.

    Args:
        name: what they are.
        torch: torch's array; of integers or booleans, both must be, and equal.
        paddle: Paddle's array; must have the same shape.
        tolerance: what is allowed between floats.
        keep: which positions of the first axes count, such as an attention mask [batch, length]; None for all.

    Returns:
        The difference; its ``problem`` says why if the arrays cannot be compared.
    """
    shape = tuple(int(size) for size in torch.shape)
    if problem := _problem(torch, paddle):
        return _void(name, shape, tolerance, problem)
    exact = torch.dtype.kind in "iub"
    if keep is not None:
        kept = keep.astype(bool)
        torch, paddle = torch[kept], paddle[kept]
    if not torch.size:
        return _void(name, shape, tolerance, "nothing was compared: the arrays are empty")
    if bad := _not_finite(torch, paddle):
        return _void(name, shape, tolerance, bad)
    found = _measure(torch, paddle, EXACT.floor if exact else tolerance.floor)
    where = found.worst if keep is None else tuple(int(axis[found.worst[0]]) for axis in np.nonzero(kept))
    where = where if keep is None else (*where, *found.worst[1:])
    worst = Worst(where, float(torch[found.worst]), float(paddle[found.worst]))
    return Difference(
        name,
        shape,
        int(torch.size),
        found.mean,
        found.max,
        found.scaled_mean,
        found.scaled_max,
        found.rms,
        worst,
        EXACT if exact else tolerance,
        None,
        tuple(int(count) for count in found.counts),
    )


def add_counts(differences: tuple[Difference, ...]) -> tuple[int, ...]:
    """The histograms of several differences, together."""
    total = np.zeros(_BINS, np.int64)
    for each in differences:
        if each.counts:
            total += np.array(each.counts)
    return tuple(int(count) for count in total)


def square_of(array: Array) -> float:
    """The sum of the squares of its elements, in double precision and in little memory."""
    return sum(float(np.square(block.astype(np.float64)).sum()) for _, block in _blocks(array))


class _Found:
    """What was measured."""

    def __init__(self) -> None:
        self.mean = self.max = self.scaled_mean = self.scaled_max = self.rms = 0.0
        self.worst: tuple[int, ...] = ()
        self.counts: npt.NDArray[np.int64] = np.zeros(_BINS, np.int64)


def _problem(torch: Array, paddle: Array) -> str | None:
    if torch.shape != paddle.shape:
        return f"the shapes differ: torch has {list(torch.shape)}, paddle has {list(paddle.shape)}"
    kinds = {"b": "integers", "i": "integers", "u": "integers", "f": "floats"}
    names = [kinds.get(array.dtype.kind) for array in (torch, paddle)]
    if None in names or names[0] != names[1]:
        return f"the dtypes differ in kind: torch has {torch.dtype}, paddle has {paddle.dtype}"
    return None


def _not_finite(torch: Array, paddle: Array) -> str | None:
    for side, array in (("torch", torch), ("paddle", paddle)):
        if array.dtype.kind == "f":
            for start, block in _blocks(array):
                finite = np.isfinite(block)
                if not finite.all():
                    at = start + int(np.argmin(finite))
                    index = [int(axis) for axis in np.unravel_index(at, array.shape)]
                    return f"{side} has {float(array[tuple(index)])} at {index}"
    return None


def _measure(torch: Array, paddle: Array, floor: float) -> _Found:
    found = _Found()
    found.rms = math.sqrt(square_of(torch) / torch.size)
    # Where torch's array is all zeros and differences are to be relative, any difference is infinitely large.
    least = max(floor, found.rms)
    largest, at = -1.0, 0
    for start, (left, right) in _pairs(torch, paddle):
        gap = np.abs(left - right)
        scale = np.maximum(np.abs(left), least)
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = np.where(gap == 0, 0.0, gap / scale)
        found.mean += float(gap.sum())
        found.max = max(found.max, float(gap.max()))
        found.scaled_mean += float(scaled.sum())
        place = int(np.argmax(scaled))
        if scaled[place] > largest:
            largest, at = float(scaled[place]), start + place
        found.counts += _count(gap)
    found.mean /= torch.size
    found.scaled_mean /= torch.size
    found.scaled_max = largest
    found.worst = tuple(int(axis) for axis in np.unravel_index(at, torch.shape))
    return found


def _count(gap: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    zero = gap == 0
    with np.errstate(divide="ignore"):
        powers = np.log10(gap[~zero])
    inner = np.histogram(powers, HISTOGRAM_EDGES)[0]
    below, above = (powers < HISTOGRAM_EDGES[0]).sum(), (powers > HISTOGRAM_EDGES[-1]).sum()
    return np.array([zero.sum(), below, *inner, above], np.int64)


def _blocks(array: Array) -> Iterator[tuple[int, Array]]:
    flat = array.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        yield start, flat[start : start + _BLOCK]


def _pairs(torch: Array, paddle: Array) -> Iterator[tuple[int, tuple[Array, Array]]]:
    """Both arrays in pieces, as doubles, in which the difference of two floats of single precision is exact enough."""
    for (start, left), (_, right) in zip(_blocks(torch), _blocks(paddle), strict=True):
        yield start, (left.astype(np.float64), right.astype(np.float64))


def _void(name: str, shape: tuple[int, ...], tolerance: Tolerance, problem: str) -> Difference:
    nan = float("nan")
    return Difference(name, shape, 0, nan, nan, nan, nan, nan, None, tolerance, problem)
