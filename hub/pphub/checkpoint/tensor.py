"""A tensor that is still on disk: where its bytes are, and how they are to be read."""

from __future__ import annotations

import math
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

import numpy as np
import numpy.typing as npt

from pphub.errors import Corrupt, FileNotInModel, StorageFailed, UnsafeCheckpoint

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DTYPES", "MAX_DIMENSIONS", "MAX_SIZE", "Array", "Tensor", "contiguous_strides", "file_size"]

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

MAX_DIMENSIONS: Final = 32  # numpy's own
MAX_SIZE: Final = 1 << 56  # of a number in a file: far beyond any tensor, and no sum of them overflows in numpy

# An expanded view (stride 0) can claim far more elements than the file holds; real ones are small buffers.
_MAX_EXPANDED_BYTES: Final = 64 << 20


def file_size(path: Path) -> int:
    """The size of a regular file in bytes; pipes, devices and folders are refused before they are opened.

    Raises:
        FileNotInModel: there is none.
        Corrupt: it is something else than a file.
        StorageFailed: the disk said no.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        msg = f"there is no {path.name[:80]} in {path.parent}"
        raise FileNotInModel(msg, hint="a model folder needs it; download the model again") from error
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a name too long or with a null byte
        msg = f"{path.name[:80]!r} cannot be looked up: {getattr(error, 'strerror', error)}"
        kind = StorageFailed if isinstance(error, PermissionError) else Corrupt
        raise kind(msg) from error
    if not stat.S_ISREG(status.st_mode):
        msg = f"{path.name} is no file but a folder, a pipe or a device"
        raise Corrupt(msg)
    return status.st_size


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
        if len(self.shape) > MAX_DIMENSIONS:
            self._refuse(f"has {len(self.shape)} dimensions")
        if len(self.shape) != len(self.strides):
            self._refuse(f"has {len(self.shape)} sizes and {len(self.strides)} strides")
        numbers = (*self.shape, *self.strides, self.offset, self.start, self.length)
        if not all(0 <= number <= MAX_SIZE for number in numbers):
            self._refuse("has a negative or absurd size, stride or offset")
        if math.prod(max(size, 1) for size in self.shape) > MAX_SIZE:
            self._refuse(f"has the absurd shape {self.shape}")
        if (self.offset + self._span()) * self.itemsize > self.length and self.size:
            self._refuse(f"of shape {self.shape} reaches past its storage of {self.length} bytes")
        if self.nbytes > max(self._span() * self.itemsize, _MAX_EXPANDED_BYTES):
            self._refuse(f"claims {self.nbytes} bytes of a far smaller storage")
        try:
            self.name.encode()
        except UnicodeEncodeError:
            self._refuse("has a name that is no text")

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

    def _refuse(self, what: str) -> NoReturn:
        msg = f"{self.path.name}: tensor {self.name[:80]!r} {what}"
        raise UnsafeCheckpoint(msg, hint="the file was made by hand or is damaged; get it again from its source")

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
                    msg = f"{self.path.name} ends in the middle of tensor {self.name[:80]!r}"
                    raise Corrupt(msg, hint="the file is truncated; get it again from its source")
                view = view[count:]
        if self.strides == contiguous_strides(self.shape) or not span:
            return flat.reshape(self.shape)
        byte_strides = [stride * dtype.itemsize for stride in self.strides]
        strided = np.lib.stride_tricks.as_strided(flat, self.shape, byte_strides, writeable=False)
        return np.ascontiguousarray(strided)
