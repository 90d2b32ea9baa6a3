"""Reads and writes ``.pdparams``, the pickles of ``paddle.save``, without paddle.

Writing is tensor by tensor, in pickle protocol 4, each payload on a 64-byte boundary: a constant that is pushed
and popped again is legal padding. With the offsets on record the file can be mapped instead of unpickled.
Source: paddle/framework/io.py and numpy's array pickles.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

import numpy as np

from pphub.checkpoint.tensor import DTYPES, MAX_DIMENSIONS, MAX_SIZE, Array, Tensor, contiguous_strides, file_size
from pphub.checkpoint.unpickle import Bytes, LongText, Marker, Objection, Unpickler, Unsupported
from pphub.errors import Corrupt, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["PdparamsWriter", "Written", "read_pdparams"]

ALIGNMENT: Final = 64
_BLOCK: Final = 4 << 20
_NAME_TABLE: Final = "StructuredToParameterName@@"
_SPLIT_TABLE: Final = "UnpackBigParamInfor@@"
_SAVE_AGAIN: Final = "load it with paddle, if you trust it, and save it again with protocol=4"
_DTYPE_CODES: Final = {  # numpy's type codes; paddle takes uint16 for bfloat16
    "float64": "f8",
    "float32": "f4",
    "float16": "f2",
    "bfloat16": "u2",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint8": "u1",
    "bool": "b1",
}
_DTYPES_BY_CODE: Final = {code: dtype for dtype, code in _DTYPE_CODES.items()}


# -- writing -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """Where an array's payload lies in the file, and its sha256."""

    offset: int
    length: int
    sha256: str


class PdparamsWriter:
    """Writes a dict of arrays that ``paddle.load`` reads.

    Args:
        stream: open for writing; each byte is written once, in order.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._position = 0
        self._memo: dict[object, int] = {}  # constant → its place in the pickle's memo
        self._slots = 0
        self._emit(pickle.PROTO + b"\x04" + pickle.EMPTY_DICT)

    def add(self, names: tuple[str, ...], dtype: str, array: Array) -> Written:
        """Append one array under one or more names; the names share the payload.

        Args:
            names: keys of the dict; each must be new.
            dtype: a key of ``DTYPES``; bfloat16 comes as uint16.
            array: the values, of that dtype; written row-major.
        """
        if array.dtype != DTYPES[dtype]:
            msg = f"{names[0]!r} is to be written as {dtype}, but is {array.dtype}"
            raise ValueError(msg)
        data = np.ascontiguousarray(array).reshape(array.shape)
        self._text(names[0])
        self._constant("reconstruct", lambda: self._global("numpy.core.multiarray", "_reconstruct"))
        self._constant("ndarray", lambda: self._global("numpy", "ndarray"))
        self._emit(pickle.BININT1 + b"\0" + pickle.TUPLE1 + pickle.SHORT_BINBYTES + b"\x01b" + pickle.TUPLE3)
        self._emit(pickle.REDUCE)
        array_slot = self._memoize()
        self._emit(pickle.MARK + pickle.BININT1 + b"\x01")
        self._shape(data.shape)
        code = _DTYPE_CODES[dtype]
        self._constant(("dtype", code), lambda: self._dtype(code))
        self._emit(pickle.NEWFALSE)
        written = self._payload(data)
        self._emit(pickle.TUPLE + pickle.BUILD + pickle.SETITEM)
        for name in names[1:]:
            self._text(name)
            self._emit(pickle.LONG_BINGET + struct.pack("<I", array_slot) + pickle.SETITEM)
        return written

    def finish(self) -> tuple[int, str]:
        """End the pickle; returns the size of the file in bytes and its sha256."""
        self._emit(pickle.STOP)
        return self._position, self._hash.hexdigest()

    def _emit(self, data: bytes | memoryview) -> None:
        self._stream.write(data)
        self._hash.update(data)
        self._position += len(data)

    def _memoize(self) -> int:
        self._emit(pickle.MEMOIZE)
        self._slots += 1
        return self._slots - 1

    def _constant(self, key: object, emit: Callable[[], None]) -> None:
        """Push something that recurs: in full the first time, from the memo after that."""
        slot = self._memo.get(key)
        if slot is not None:
            self._emit(pickle.LONG_BINGET + struct.pack("<I", slot))
            return
        emit()
        self._memo[key] = self._memoize()

    def _text(self, text: str) -> None:
        data = text.encode()
        self._emit(pickle.BINUNICODE + struct.pack("<I", len(data)) + data)

    def _global(self, module: str, name: str) -> None:
        self._text(module)
        self._text(name)
        self._emit(pickle.STACK_GLOBAL)

    def _dtype(self, code: str) -> None:
        self._constant("dtype", lambda: self._global("numpy", "dtype"))
        self._text(code)
        self._emit(pickle.NEWFALSE + pickle.NEWTRUE + pickle.TUPLE3 + pickle.REDUCE)
        order = "|" if code in {"i1", "u1", "b1"} else "<"
        self._emit(pickle.MARK + pickle.BININT1 + b"\x03")
        self._text(order)
        minus_one = pickle.BININT + struct.pack("<i", -1)
        self._emit(pickle.NONE * 3 + minus_one * 2 + pickle.BININT1 + b"\0" + pickle.TUPLE + pickle.BUILD)

    def _shape(self, shape: tuple[int, ...]) -> None:
        self._emit(pickle.MARK)
        for size in shape:
            data = size.to_bytes(9, "little", signed=True)
            self._emit(pickle.LONG1 + bytes([len(data)]) + data)
        self._emit(pickle.TUPLE)

    def _payload(self, array: Array) -> Written:
        head = 1 + 8  # BINBYTES8 and its length
        gap = -(self._position + head) % ALIGNMENT
        if gap:
            if gap < 3:  # the smallest padding is three bytes: SHORT_BINBYTES, a length, POP
                gap += ALIGNMENT
            self._emit(pickle.SHORT_BINBYTES + bytes([gap - 3]) + bytes(gap - 3) + pickle.POP)
        self._emit(pickle.BINBYTES8 + struct.pack("<Q", array.nbytes))
        offset = self._position
        digest = hashlib.sha256()
        if array.nbytes:
            view = array.reshape(-1).view(np.uint8).data
            for start in range(0, len(view), _BLOCK):
                block = view[start : start + _BLOCK]
                digest.update(block)
                self._emit(block)
        return Written(offset, array.nbytes, digest.hexdigest())


# -- reading -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _ArrayInFile:
    """What ``numpy.core.multiarray._reconstruct`` stands for until its state is known."""

    dtype: str = ""
    shape: tuple[int, ...] = ()
    fortran: bool = False
    start: int = -1
    length: int = 0


@dataclass(frozen=True, slots=True)
class _DType:
    name: str


def read_pdparams(path: Path) -> dict[str, Tensor]:
    """The arrays of a file of ours or of ``paddle.save``, by name; their values stay on disk.

    This is also the guard that stands before any such file is trusted.

    Raises:
        UnsafeCheckpoint: the pickle names anything but numpy arrays.
        Corrupt: it is truncated, or is no dict of arrays.
    """
    size = file_size(path)
    tensors: dict[str, Tensor] = {}
    with path.open("rb") as stream:
        root = _load(path, stream, size)
    for name, value in root.items():
        if type(name) is not str:
            msg = f"{path.name} has the key {name} of type {type(name).__name__} among its names"
            raise Corrupt(msg)
        if name == _NAME_TABLE:
            _check_name_table(path, value)
        else:
            tensors[name] = _tensor(path, name, value)
    if not tensors:
        msg = f"{path.name} holds no arrays"
        raise Corrupt(msg)
    return tensors


def _load(path: Path, stream: BinaryIO, size: int) -> dict[object, object]:
    root = Unpickler(stream, size, path.name, _NAMES, build=_set_state).load()
    if type(root) is not dict:
        msg = f"{path.name} holds {_shown(root)}, not the dict of a checkpoint"
        raise Corrupt(msg)
    if _SPLIT_TABLE in root:
        msg = f"{path.name} holds arrays in parts, as pickle protocols 2 and 3 need them, which is not supported yet"
        raise Corrupt(msg, hint=_SAVE_AGAIN)
    return root


def _shown(value: object) -> str:
    """The kind of a value, and never the value: it may be endless when it is written out."""
    return "an array" if isinstance(value, _ArrayInFile) else f"a {type(value).__name__.strip('_')}"


def _check_name_table(path: Path, table: object) -> None:
    if type(table) is not dict or not all(type(value) is str for item in table.items() for value in item):
        msg = f"{path.name}: {_NAME_TABLE} is no dict of texts"
        raise UnsafeCheckpoint(msg)


def _tensor(path: Path, name: str, value: object) -> Tensor:
    if type(value) is tuple and len(value) == 2 and type(value[0]) is str:  # (name of the tensor in paddle, array)
        value = value[1]
    if not isinstance(value, _ArrayInFile) or value.start < 0:
        msg = f"{path.name}: {name[:80]!r} is {_shown(value)}, and no array that lies whole in the file"
        raise Corrupt(msg, hint=_SAVE_AGAIN)
    strides = contiguous_strides(value.shape)
    if value.fortran:
        strides = tuple(reversed(contiguous_strides(value.shape[::-1])))
    return Tensor(name, value.dtype, value.shape, strides, path, value.start, value.length)


def _wrong(what: str) -> NoReturn:
    raise Objection(UnsafeCheckpoint, what)


# -- stand-ins for the few functions an array names; paddle.load is safe only if they take no more than ours do --


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Bytes that pickle protocol 2 wrote as a text."""


def _encode(text: object, codec: object) -> _Encoded:
    if not isinstance(text, (str, LongText)) or codec != "latin1":
        _wrong("a call of _codecs.encode that makes no bytes")
    return _Encoded()


def _make_tuple(items: object) -> object:
    if type(items) is not tuple:
        _wrong("a tuple of something else")
    return items


def _reconstruct(kind: object, shape: object, code: object) -> _ArrayInFile:
    if isinstance(code, _Encoded):
        what = "an array of pickle protocol 2, whose bytes do not lie whole in the file; that is not supported yet"
        raise Objection(Corrupt, what, _SAVE_AGAIN)
    # numpy allocates what the shape says.
    if kind != Marker("ndarray") or type(shape) is not tuple or shape != (0,) or not isinstance(code, Bytes):
        _wrong("an array that does not start empty, or is of a class that is not numpy's")
    return _ArrayInFile()


def _from_buffer(data: object, dtype: object, shape: object, order: object) -> _ArrayInFile:
    if order not in ("C", "F"):
        _wrong("an array in neither row-major nor column-major order")
    array = _ArrayInFile()
    _fill(array, shape, dtype, order == "F", data)
    return array


def _make_dtype(code: object, *flags: object) -> _DType:
    if type(code) is not str or code not in _DTYPES_BY_CODE:
        shown = ascii(code[:20]) if isinstance(code, str) else f"that is a {type(code).__name__}"
        _wrong(f"an array with the dtype {shown}, which is not supported")
    if len(flags) > 2 or not all(isinstance(flag, (bool, int)) for flag in flags):
        _wrong("an array with a dtype made of more than its code")
    return _DType(_DTYPES_BY_CODE[code])


def _set_state(target: object, state: object) -> object:
    match target, state:
        case _DType(), (3, "<" | "|", None, None, None, -1, -1, 0):
            return target
        case _ArrayInFile(), (1, shape, dtype, bool(fortran), data):
            _fill(target, shape, dtype, fortran, data)
            return target
        case _DType(), _:
            _wrong("a dtype that is big-endian, or made of others")
    _wrong("a state that is none of an array")


def _fill(array: _ArrayInFile, shape: object, dtype: object, fortran: bool, data: object) -> None:
    if not isinstance(dtype, _DType) or not isinstance(data, Bytes):
        _wrong("an array without a dtype, or whose bytes do not lie whole in the file")
    if type(shape) is not tuple or len(shape) > MAX_DIMENSIONS:
        _wrong("an array whose shape is no tuple, or far too long")
    if not all(type(size) is int and 0 <= size <= MAX_SIZE for size in shape):
        _wrong("an array with a negative or absurd size")
    needed = math.prod(shape) * DTYPES[dtype.name].itemsize
    if needed != data.length:
        _wrong(f"an array of {data.length} bytes whose shape needs {needed}")
    array.dtype, array.shape, array.fortran = dtype.name, shape, fortran
    array.start, array.length = data.start, data.length


def _ordered_dict(*items: object) -> dict[object, object]:
    if items:
        _wrong("an OrderedDict with contents of its own")
    return {}


_NAMES: Final[dict[str, Callable[..., object] | Marker | Unsupported]] = {
    "collections OrderedDict": _ordered_dict,
    "numpy ndarray": Marker("ndarray"),
    "numpy dtype": _make_dtype,
    "numpy.core.multiarray _reconstruct": _reconstruct,
    "numpy._core.multiarray _reconstruct": _reconstruct,
    "numpy.core.numeric _frombuffer": _from_buffer,
    "numpy._core.numeric _frombuffer": _from_buffer,
    "_codecs encode": _encode,
    "builtins tuple": _make_tuple,
    "__builtin__ tuple": _make_tuple,
}
