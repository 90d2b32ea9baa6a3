"""What the names in pickles of numpy arrays stand for; nothing of the arrays is read.

``paddle.load`` is safe behind our reader only if these take no more than numpy's own functions do.
Source: numpy's ``array_reduce``, ``arraydescr_reduce`` and ``_frombuffer``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, NoReturn

from pphub.checkpoint.tensor import DTYPES, MAX_DIMENSIONS, MAX_SIZE, Piece, Tensor, contiguous_strides
from pphub.checkpoint.unpickle import ENCODE, Bytes, Marker, Objection, kind_of
from pphub.errors import Corrupt, UnsafeCheckpoint

if TYPE_CHECKING:
    from pathlib import Path

    from pphub.checkpoint.unpickle import Names

__all__ = ["NUMPY_NAMES", "ArrayInFile", "Scalar", "set_array_state"]

_COMPLEX: Final = ("c8", "c16")
_DTYPES_BY_CODE: Final = {  # numpy's type codes; paddle takes uint16 for bfloat16
    "f8": "float64",
    "f4": "float32",
    "f2": "float16",
    "u2": "bfloat16",
    "i8": "int64",
    "i4": "int32",
    "i2": "int16",
    "i1": "int8",
    "u8": "uint64",
    "u4": "uint32",
    "u1": "uint8",
    "b1": "bool",
}


@dataclass(slots=True, eq=False)
class ArrayInFile:
    """What ``numpy.core.multiarray._reconstruct`` stands for until its state is known."""

    kind: ClassVar[str] = "array"
    dtype: str = ""
    shape: tuple[int, ...] = ()
    fortran: bool = False
    data: Bytes | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def piece(self) -> Piece:
        """Where the values are, as a part of a larger array or on their own."""
        data = self.data or Bytes(0, 0)
        return Piece(data.start, self.size * DTYPES[self.dtype].itemsize, data.length if data.text else 0)

    def as_tensor(self, path: Path, name: str) -> Tensor:
        """The array under its name."""
        strides = contiguous_strides(self.shape)
        if self.fortran:
            strides = tuple(reversed(contiguous_strides(self.shape[::-1])))
        piece = self.piece
        pieces = (piece,) if piece.encoded else ()
        return Tensor(name, self.dtype, self.shape, strides, path, piece.start, piece.length, pieces=pieces)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number of numpy's; its value is not needed."""

    kind: ClassVar[str] = "number of numpy"


@dataclass(frozen=True, slots=True)
class _DType:
    name: str


def _wrong(what: str) -> NoReturn:
    raise Objection(UnsafeCheckpoint, what)


def _reconstruct(kind: object, shape: object, code: object) -> ArrayInFile:
    # numpy allocates what the shape says.
    if kind != Marker("ndarray") or type(shape) is not tuple or shape != (0,) or not isinstance(code, Bytes):
        _wrong("an array that does not start empty, or is of a class that is not numpy's")
    return ArrayInFile()


def _from_buffer(data: object, dtype: object, shape: object, order: object) -> ArrayInFile:
    if order not in ("C", "F"):
        _wrong("an array in neither row-major nor column-major order")
    array = ArrayInFile()
    _fill(array, shape, dtype, order == "F", data)
    return array


def _make_dtype(code: object, *flags: object) -> _DType:
    if type(code) is not str or code not in _DTYPES_BY_CODE:
        shown = ascii(code[:20]) if isinstance(code, str) else f"that is {kind_of(code)}"
        what = f"an array with the dtype {shown}, which is not supported"
        if code in _COMPLEX:
            raise Objection(Corrupt, what, "save the checkpoint again in float32, float16 or bfloat16")
        _wrong(what)
    if len(flags) > 2 or not all(isinstance(flag, (bool, int)) for flag in flags):
        _wrong("an array with a dtype made of more than its code")
    return _DType(_DTYPES_BY_CODE[code])


def _make_scalar(dtype: object, data: object) -> Scalar:
    if not isinstance(dtype, _DType) or not isinstance(data, Bytes):
        _wrong("a number of numpy without a dtype, or without bytes")
    return Scalar()


def _make_bytes(*arguments: object) -> Bytes:
    if arguments:  # a number would be a length
        _wrong("bytes made of something else")
    return Bytes(0, 0)  # protocol 2 writes empty bytes as this call


def set_array_state(target: object, state: object) -> object:
    """What BUILD does to an array or a dtype.

    Raises:
        Objection: the state is none of an array of numbers.
    """
    match target, state:
        case _DType(), (3, "<" | "|", None, None, None, -1, -1, 0):
            return target
        case ArrayInFile(), (1, shape, dtype, bool(fortran), data):
            _fill(target, shape, dtype, fortran, data)
            return target
        case _DType(), _:
            _wrong("a dtype that is big-endian, or made of others")
    _wrong("a state that is none of an array")


def _fill(array: ArrayInFile, shape: object, dtype: object, fortran: bool, data: object) -> None:
    if not isinstance(dtype, _DType) or not isinstance(data, Bytes):
        _wrong("an array without a dtype, or whose bytes do not lie whole in the file")
    if type(shape) is not tuple or len(shape) > MAX_DIMENSIONS:
        _wrong("an array whose shape is no tuple, or far too long")
    if not all(type(size) is int and 0 <= size <= MAX_SIZE for size in shape):
        _wrong("an array with a negative or absurd size")
    needed = math.prod(shape) * DTYPES[dtype.name].itemsize
    # As text a byte takes one byte or two; which, is seen when it is read.
    if not needed <= data.length <= (2 * needed if data.text else needed):
        _wrong(f"an array of {data.length} bytes whose shape needs {needed}")
    array.dtype, array.shape, array.fortran, array.data = dtype.name, shape, fortran, data


NUMPY_NAMES: Final[Names] = {
    "numpy ndarray": Marker("ndarray"),
    "numpy dtype": _make_dtype,
    "_codecs encode": ENCODE,
    "builtins bytes": _make_bytes,
    "__builtin__ bytes": _make_bytes,
    **{f"{package}.multiarray _reconstruct": _reconstruct for package in ("numpy.core", "numpy._core")},
    **{f"{package}.multiarray scalar": _make_scalar for package in ("numpy.core", "numpy._core")},
    **{f"{package}.numeric _frombuffer": _from_buffer for package in ("numpy.core", "numpy._core")},
}
"""The allow-list for arrays of numbers; their states go to :func:`set_array_state`."""
