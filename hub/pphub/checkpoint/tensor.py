"""A tensor that is still on disk: where its bytes are, and how they are to be read."""

from __future__ import annotations

import codecs
import math
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NoReturn

import numpy as np
import numpy.typing as npt

from pphub.errors import Corrupt, FileNotInModel, StorageFailed, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import FileIO
    from pathlib import Path

__all__ = [
    "DTYPES",
    "MAX_DIMENSIONS",
    "MAX_SIZE",
    "Array",
    "Piece",
    "Tensor",
    "boxes_of",
    "check_claims",
    "contiguous_strides",
    "file_size",
]

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
    "uint64": np.dtype("<u8"),
    "uint32": np.dtype("<u4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
    # Of these we carry the bits, too: what they are worth is in the name.
    "float8_e4m3fn": np.dtype("u1"),
    "float8_e4m3fnuz": np.dtype("u1"),
    "float8_e5m2": np.dtype("u1"),
    "float8_e5m2fnuz": np.dtype("u1"),
    "float8_e8m0fnu": np.dtype("u1"),
}
"""The dtypes that are understood, by torch's names, as they lie in a file (little-endian)."""

MAX_DIMENSIONS: Final = 32  # numpy's own
MAX_SIZE: Final = 1 << 56  # of a number in a file: far beyond any tensor, and no sum of them overflows in numpy

# An expanded view (stride 0) can claim far more elements than the file holds; real ones are small buffers.
_MAX_EXPANDED_BYTES: Final = 64 << 20
# All tensors of a file together: a few views of each storage are honest, and each is written out on its own.
_MOST_VIEWS: Final = 8
_LEAST_CLAIM: Final = 512 << 20  # bytes
_BLOCK: Final = 1 << 20
_GAP: Final = 16 << 10  # bytes between what is wanted; beyond that it is faster to read apart than to read them, too
_NO_FILES: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_GET_AGAIN: Final = "the file is truncated or damaged; get it again from its source"


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
        what = next((what for is_one, what in _NO_FILES if is_one(status.st_mode)), "something else")
        msg = f"{path.name[:80]} is no file but {what}"
        raise Corrupt(msg, hint="put the file itself there, or take this away")
    return status.st_size


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a row-major array."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def boxes_of(shape: tuple[int, ...], most: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Cut a shape, row-major, into boxes of so many elements at most."""
    if math.prod(shape) <= most or not shape:
        if math.prod(shape):
            yield tuple((0, size) for size in shape)
        return
    within = math.prod(shape[1:])
    if within > most:
        for at in range(shape[0]):
            for ranges in boxes_of(shape[1:], most):
                yield ((at, at + 1), *ranges)
        return
    step = max(1, most // within)
    rest = tuple((0, size) for size in shape[1:])
    for at in range(0, shape[0], step):
        yield ((at, min(at + step, shape[0])), *rest)


def check_claims(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a small file that would become a huge one; tensors that are tied count once.

    Raises:
        UnsafeCheckpoint: they have far more bytes than the file.
    """
    claimed = sum({tensor.identity: tensor.nbytes for tensor in tensors.values()}.values())
    if claimed > max(_LEAST_CLAIM, _MOST_VIEWS * file_size(path)):
        msg = f"{path.name}: its {len(tensors)} tensors claim {claimed} bytes, far more than the file holds"
        raise UnsafeCheckpoint(msg, hint="save the checkpoint again, with no more views than it needs")


def _is_dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the elements lie side by side, row-major; how far apart those of a single one are does not count."""
    dense = contiguous_strides(shape)
    return all(size == 1 or one == other for size, one, other in zip(shape, strides, dense, strict=True))


def _span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last of a view that has some, both included."""
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a storage that does not lie in the file in one place and as it is.

    Attributes:
        start: byte in the file where it begins.
        length: bytes of the storage that it holds.
        encoded: bytes that it takes in the file as UTF-8 text, one character a byte; 0: it lies there as it is.
    """

    start: int
    length: int
    encoded: int = 0


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
        pieces: of the storage, in order, where it does not lie at ``start`` as it is; the view is all of it then.

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
    pieces: tuple[Piece, ...] = ()

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
        if self.pieces and not self.length == sum(piece.length for piece in self.pieces) == self.nbytes:
            self._refuse(f"of shape {self.shape} is not what its {len(self.pieces)} pieces hold")
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

    @property
    def is_dense(self) -> bool:
        """Whether its elements lie in one place in the file, row-major."""
        return not self.pieces and _is_dense(self.shape, self.strides)

    def _refuse(self, what: str) -> NoReturn:
        msg = f"{self.path.name}: tensor {self.name[:80]!r} {what}"
        raise UnsafeCheckpoint(msg, hint="the file was made by hand or is damaged; get it again from its source")

    def _span(self) -> int:
        """Elements from the first to the last of the view, both included."""
        return _span(self.shape, self.strides) if self.size else 0

    @property
    def turned(self) -> Tensor:
        """The same matrix, transposed."""
        return replace(self, shape=self.shape[::-1], strides=self.strides[::-1])

    def part(self, *ranges: tuple[int, int]) -> Tensor:
        """The elements from one place to another in each of the first dimensions."""
        offset, shape = self.offset, list(self.shape)
        for axis, (start, end) in enumerate(ranges):
            offset += start * self.strides[axis]
            shape[axis] = end - start
        return replace(self, offset=offset, shape=tuple(shape))

    def read(self) -> Array:
        """The values, row-major, in memory of their own.

        Raises:
            Corrupt: the file is shorter than it was, or a piece does not hold what it should.
        """
        result = np.empty(self.shape, DTYPES[self.dtype])
        self.read_into(result)
        return result

    def read_into(self, result: Array) -> None:
        """As :meth:`read`, into an array; beside it takes the memory of a block, however far apart the values lie."""
        if not self.size:
            return
        with self.path.open("rb", buffering=0) as stream:
            if self.pieces:
                self._read_pieces(stream, result)
            else:
                self._gather(stream, result, self.offset, self.strides)

    def _read_pieces(self, stream: FileIO, result: Array) -> None:
        in_place = result.flags.c_contiguous and _is_dense(self.shape, self.strides)
        flat = result if in_place else np.empty(self.size, result.dtype)
        view = _bytes(flat)
        for piece in self.pieces:
            if piece.encoded:
                self._decode_into(stream, piece, view[: piece.length])
            else:
                self._read_into(stream, piece.start, view[: piece.length])
            view = view[piece.length :]
        if not in_place:
            apart = [stride * self.itemsize for stride in self.strides]
            result[...] = np.lib.stride_tricks.as_strided(flat, self.shape, apart, writeable=False)

    def _gather(self, stream: FileIO, into: Array, first: int, strides: tuple[int, ...]) -> None:
        """Read a view that begins at an element of the storage: at once, or in parts of few bytes of the file."""
        start = self.start + first * self.itemsize
        if into.flags.c_contiguous and _is_dense(into.shape, strides):
            self._read_into(stream, start, _bytes(into))
            return
        span = _span(into.shape, strides)
        if span * self.itemsize <= _BLOCK:
            flat = np.empty(span, into.dtype)
            self._read_into(stream, start, _bytes(flat))
            apart = [stride * self.itemsize for stride in strides]
            into[...] = np.lib.stride_tricks.as_strided(flat, into.shape, apart, writeable=False)
            return
        far = max(range(into.ndim), key=lambda axis: (into.shape[axis] - 1) * strides[axis])
        size, stride = into.shape[far], strides[far]
        within = span - (size - 1) * stride
        step = 1
        if (stride - within) * self.itemsize < _GAP:
            step = min(max(1, _BLOCK // self.itemsize // stride), (size + 1) // 2)
        for at in range(0, size, step):
            some = into[(slice(None),) * far + (slice(at, min(at + step, size)),)]
            self._gather(stream, some, first + at * stride, strides)

    def _read_into(self, stream: FileIO, start: int, view: memoryview) -> None:
        stream.seek(start)
        while view:
            count = stream.readinto(view)
            if not count:
                self._ends_early()
            view = view[count:]

    def _decode_into(self, stream: FileIO, piece: Piece, view: memoryview) -> None:
        """Decode block by block: what is in memory beside the values is one block."""
        stream.seek(piece.start)
        left = piece.encoded
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while left:
                block = stream.read(min(left, _BLOCK))
                if not block:
                    self._ends_early()
                left -= len(block)
                data = decoder.decode(block, final=not left).encode("latin-1")
                view[: len(data)] = data  # fails when there is more of it than there should be
                view = view[len(data) :]
        except Corrupt:
            raise
        except ValueError as error:
            raise self._is_no_text(piece) from error
        if view:
            raise self._is_no_text(piece)

    def _is_no_text(self, piece: Piece) -> Corrupt:
        msg = f"{self.path.name}: the text at byte {piece.start} is not the bytes of tensor {self.name[:80]!r}"
        return Corrupt(msg, hint=_GET_AGAIN)

    def _ends_early(self) -> NoReturn:
        msg = f"{self.path.name} ends in the middle of tensor {self.name[:80]!r}"
        raise Corrupt(msg, hint=_GET_AGAIN)
