"""A tensor that is still on disk: where its bytes are, and how they are to be read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from pphub.errors import Corrupt, UnsafeCheckpoint

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DTYPES", "Array", "Tensor", "contiguous_strides"]

Array = npt.NDArray[np.generic]

DTYPES: Final[dict[str, np.dtype[np.generic]]] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    # numpy has no bfloat16; like paddle, we carry its bits as uint16 under the true name.
    "bfloat16": np.dtype("<u2"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
}
"""The dtypes that are understood, by name, as they lie in a file (little-endian)."""

# An expanded view (stride 0) can claim far more elements than the file holds; real ones are small buffers.
_MAX_EXPANDED_BYTES: Final = 64 << 20


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a row-major array."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a region of a file.

    Attributes:
        name: its key in the checkpoint.
        dtype: a key of :data:`DTYPES`.
        shape: sizes; () for a scalar.
        strides: in elements, one a dimension.
        path: the file.
        start: byte in the file where the storage begins.
        length: bytes of the storage.
        offset: first element of the view within the storage.

    Raises:
        UnsafeCheckpoint: on construction, when the view reaches outside its storage or claims too much.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    path: Path
    start: int
    length: int
    offset: int = 0

    def __post_init__(self) -> None:
        values = (*self.shape, *self.strides, self.offset, self.start, self.length)
        if any(value < 0 for value in values) or len(self.shape) != len(self.strides):
            msg = f"{self.path.name}: tensor {self.name!r} has a negative size, stride or offset"
            raise UnsafeCheckpoint(msg)
        if len(self.shape) > 32 or (self.size and (self.offset + self._span()) * self.itemsize > self.length):
            msg = f"{self.path.name}: tensor {self.name!r} of shape {self.shape} reaches past its storage"
            raise UnsafeCheckpoint(msg, hint="the file was made by hand or is damaged; get it again from its source")
        if self.nbytes > max(self._span() * self.itemsize, _MAX_EXPANDED_BYTES):
            msg = f"{self.path.name}: tensor {self.name!r} claims {self.nbytes} bytes of a far smaller storage"
            raise UnsafeCheckpoint(msg)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return DTYPES[self.dtype].itemsize

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, written densely."""
        return self.size * self.itemsize

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two tensors that are the same view of the same storage, that is, tied."""
        return (self.path, self.start, self.offset, self.dtype, self.shape, self.strides)

    def _span(self) -> int:
        """Elements from the first to the last of the view, both included."""
        if not self.size:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))

    def read(self) -> Array:
        """The values, row-major, in memory of their own.

        Raises:
            Corrupt: the file is shorter than it was.
        """
        dtype = DTYPES[self.dtype]
        span = self._span()
        flat = np.empty(span, dtype)
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(self.start + self.offset * dtype.itemsize)
            view = flat.view(np.uint8).data if span else memoryview(b"")
            while view:
                count = stream.readinto(view)
                if not count:
                    msg = f"{self.path.name} ends in the middle of tensor {self.name!r}"
                    raise Corrupt(msg, hint="the file is truncated; get it again from its source")
                view = view[count:]
        if self.strides == contiguous_strides(self.shape) or not span:
            return flat.reshape(self.shape)
        byte_strides = [stride * dtype.itemsize for stride in self.strides]
        strided = np.lib.stride_tricks.as_strided(flat, self.shape, byte_strides, writeable=False)
        return np.ascontiguousarray(strided)
