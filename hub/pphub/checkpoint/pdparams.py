"""Reads and writes ``.pdparams``, the pickles of ``paddle.save``, without paddle.

Writing is tensor by tensor, in pickle protocol 4, each payload on a 64-byte boundary: a constant that is pushed
and popped again is legal padding. With the offsets on record the file can be mapped instead of unpickled.
Source: paddle/framework/io.py and numpy's array pickles.
"""

from __future__ import annotations

import math
import pickle
import struct
from typing import TYPE_CHECKING, Final, NoReturn

from pphub.checkpoint.hashed_file import Blocks, HashedFile, Written
from pphub.checkpoint.numpy_pickles import NUMPY_NAMES, ArrayInFile, set_array_state
from pphub.checkpoint.state_dict import find_state_dict
from pphub.checkpoint.tensor import (
    DTYPES,
    MAX_DIMENSIONS,
    MAX_SIZE,
    Array,
    Tensor,
    check_claims,
    contiguous_strides,
    file_size,
)
from pphub.checkpoint.unpickle import LongText, Objection, Unpickler
from pphub.errors import ConversionFailed, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from pphub.checkpoint.unpickle import Names

__all__ = ["PADDLE_DTYPES", "PdparamsWriter", "read_pdparams", "scan_pdparams"]

ALIGNMENT: Final = 64
_NAME_TABLE: Final = "StructuredToParameterName@@"
_SPLIT_TABLE: Final = "UnpackBigParamInfor@@"
_PADDLE_ENCODING: Final = "latin-1"  # in which paddle.load takes the texts of Python 2
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
PADDLE_DTYPES: Final = frozenset(_DTYPE_CODES)
"""What a .pdparams can hold: paddle itself writes its 8-bit floats as int8, and has no wide unsigned integers."""


# -- writing -------------------------------------------------------------------------------------------------


class PdparamsWriter:
    """Writes a dict of arrays that ``paddle.load`` reads.

    Args:
        stream: open for writing; each byte is written once, in order.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._file = HashedFile(stream)
        self._memo: dict[object, int] = {}  # constant → its place in the pickle's memo
        self._slots = 0
        self._emit(pickle.PROTO + b"\x04" + pickle.EMPTY_DICT)

    def add(self, names: tuple[str, ...], dtype: str, array: Array | Blocks) -> Written:
        """Append one array under one or more names; the names share the payload.

        Args:
            names: keys of the dict; each must be new.
            dtype: a key of ``DTYPES``; bfloat16 comes as uint16.
            array: the values, of that dtype; written row-major.

        Raises:
            ConversionFailed: paddle has no such dtype.
        """
        if dtype not in _DTYPE_CODES:
            msg = f"{names[0]} is {dtype}, which paddle does not know"
            raise ConversionFailed(msg, hint="convert the checkpoint to float32, float16 or bfloat16 first")
        if array.dtype != DTYPES[dtype]:
            msg = f"{names[0]!r} is to be written as {dtype}, but is {array.dtype}"
            raise ValueError(msg)
        self._text(names[0])
        self._constant("reconstruct", lambda: self._global("numpy.core.multiarray", "_reconstruct"))
        self._constant("ndarray", lambda: self._global("numpy", "ndarray"))
        self._emit(pickle.BININT1 + b"\0" + pickle.TUPLE1 + pickle.SHORT_BINBYTES + b"\x01b" + pickle.TUPLE3)
        self._emit(pickle.REDUCE)
        array_slot = self._memoize()
        self._emit(pickle.MARK + pickle.BININT1 + b"\x01")
        self._shape(array.shape)
        code = _DTYPE_CODES[dtype]
        self._constant(("dtype", code), lambda: self._dtype(code))
        self._emit(pickle.NEWFALSE)
        written = self._payload(array)
        self._emit(pickle.TUPLE + pickle.BUILD + pickle.SETITEM)
        for name in names[1:]:
            self._text(name)
            self._emit(pickle.LONG_BINGET + struct.pack("<I", array_slot) + pickle.SETITEM)
        return written

    def finish(self) -> tuple[int, str]:
        """End the pickle; returns the size of the file in bytes and its sha256."""
        self._emit(pickle.STOP)
        return self._file.finish()

    def stop(self) -> None:
        """Give the file up."""
        self._file.stop()

    def _emit(self, data: bytes) -> None:
        self._file.write(data)

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

    def _payload(self, array: Array | Blocks) -> Written:
        head = 1 + 8  # BINBYTES8 and its length
        gap = -(self._file.position + head) % ALIGNMENT
        if gap:
            if gap < 3:  # the smallest padding is three bytes: SHORT_BINBYTES, a length, POP
                gap += ALIGNMENT
            self._emit(pickle.SHORT_BINBYTES + bytes([gap - 3]) + bytes(gap - 3) + pickle.POP)
        self._emit(pickle.BINBYTES8 + struct.pack("<Q", array.nbytes))
        return self._file.write_array(array)


# -- reading -------------------------------------------------------------------------------------------------


def read_pdparams(path: Path) -> dict[str, Tensor]:
    """The arrays of a file of ours or of ``paddle.save``, by name; their values stay on disk.

    This is also the guard that stands before any such file is trusted.

    Raises:
        UnsafeCheckpoint: the pickle names anything but numpy arrays, or lies about them.
        Corrupt: it is truncated, or holds no weights; see ``state_dict``.
    """
    root = scan_pdparams(path)
    if type(root) is dict:
        _check_name_table(path, root.pop(_NAME_TABLE, {}))
        root |= _join_parts(path, root)
    found = find_state_dict(path.name, root, lambda value: _array(value) is not None)
    tensors: dict[str, Tensor] = {}
    for name, value in found.items():
        array = _array(value)
        if array is not None:
            tensors[name] = array if isinstance(array, Tensor) else array.as_tensor(path, name)
    check_claims(path, tensors)
    return tensors


def scan_pdparams(path: Path) -> object:
    """What a pickle for paddle holds, whatever that is, followed to its end.

    Raises:
        UnsafeCheckpoint: the pickle names anything but numpy arrays, or lies about them.
        Corrupt: it is truncated or senseless.
    """
    size = file_size(path)
    with path.open("rb") as stream:
        return Unpickler(stream, size, path.name, _NAMES, build=set_array_state, encoding=_PADDLE_ENCODING).load()


def _array(value: object) -> ArrayInFile | Tensor | None:
    """The array that a value is, alone or in a pair with its name in paddle; None if it is something else."""
    if type(value) is tuple and len(value) == 2 and type(value[0]) in (str, LongText):
        value = value[1]
    if isinstance(value, Tensor):  # one that was in parts
        return value
    return value if isinstance(value, ArrayInFile) and value.data is not None else None


def _check_name_table(path: Path, table: object) -> None:
    if type(table) is not dict or not all(type(value) is str for item in table.items() for value in item):
        msg = f"{path.name}: {_NAME_TABLE} is no dict of texts"
        raise UnsafeCheckpoint(msg)


def _join_parts(path: Path, root: dict[object, object]) -> dict[str, Tensor]:
    """Take the parts out of the root, and return the arrays that they are.

    Protocols 2 and 3 cannot write 4 GiB at once, so paddle cuts arrays of more than 1 GiB into ``NAME@@.0`` and so
    on, and keeps a table ``{NAME: {"OriginShape": sizes, "slices": [names of the parts]}}``.
    """
    table = root.pop(_SPLIT_TABLE, {})
    if type(table) is not dict:
        _refuse_parts(path, "is no dict")
    tensors: dict[str, Tensor] = {}
    for name, entry in table.items():
        match name, entry:
            case str(), {"OriginShape": tuple(shape), "slices": list(parts), **rest} if (
                not rest and _are_sizes(shape) and parts and all(type(part) is str for part in parts)
            ):
                # Each is taken out, so none can be used twice.
                arrays = [root.pop(part, None) for part in parts]
                tensors[name] = _joined(path, name, shape, arrays)
            case _:
                _refuse_parts(path, "says something else than shapes and names")
        if name in (_NAME_TABLE, _SPLIT_TABLE) or any(part in table for part in parts):
            _refuse_parts(path, f"has {name[:80]!r}, which is a table, or a part of which is an array in parts")
        if name in root:
            _refuse_parts(path, f"has {name[:80]!r}, which is there whole as well")
    return tensors


def _joined(path: Path, name: str, shape: tuple[int, ...], parts: list[object]) -> Tensor:
    arrays = [part for part in parts if isinstance(part, ArrayInFile) and part.data is not None]
    dtypes = {array.dtype for array in arrays}
    if len(arrays) != len(parts) or len(dtypes) != 1 or any(len(array.shape) != 1 for array in arrays):
        _refuse_parts(path, f"has {name[:80]!r}, whose parts are not there, or do not fit together")
    if sum(array.size for array in arrays) != math.prod(shape):
        _refuse_parts(path, f"has {name[:80]!r} of the shape {shape[:8]}, which is not what its parts hold")
    pieces = tuple(array.piece for array in arrays)
    length = sum(piece.length for piece in pieces)
    return Tensor(name, dtypes.pop(), shape, contiguous_strides(shape), path, pieces[0].start, length, pieces=pieces)


def _are_sizes(shape: tuple[object, ...]) -> bool:
    return len(shape) <= MAX_DIMENSIONS and all(type(size) is int and 0 <= size <= MAX_SIZE for size in shape)


def _refuse_parts(path: Path, what: str) -> NoReturn:
    msg = f"{path.name}: {_SPLIT_TABLE}, the table of arrays in parts, {what}"
    raise UnsafeCheckpoint(msg, hint=_SAVE_AGAIN)


def _make_tuple(items: object) -> object:
    if type(items) is not tuple:
        raise Objection(UnsafeCheckpoint, "a tuple of something else")
    return items


def _ordered_dict(*items: object) -> dict[object, object]:
    if items:
        raise Objection(UnsafeCheckpoint, "an OrderedDict with contents of its own")
    return {}


# paddle.load is safe behind this reader only if these take no more than the true ones do.
_NAMES: Final[Names] = {
    **NUMPY_NAMES,
    "collections OrderedDict": _ordered_dict,
    "builtins tuple": _make_tuple,
    "__builtin__ tuple": _make_tuple,
}
