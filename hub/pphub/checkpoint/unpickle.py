"""A reader of pickles that cannot be made to do anything.

The standard unpickler is a machine that imports and calls what the file names. This one knows the opcodes that
checkpoints consist of, never imports, and calls only the few functions its caller hands it, by exact name. An
opcode or a name outside those ends the reading with an error that says what was found and where. The opcodes
are documented in the standard library's ``pickletools``.
"""

from __future__ import annotations

import pickle
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from pphub.errors import Corrupt, Refused, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

__all__ = [
    "ENCODE",
    "Bytes",
    "Function",
    "LargeKey",
    "LongText",
    "Marker",
    "Names",
    "Objection",
    "Unpickler",
    "Unsupported",
    "kind_of",
]

# One opcode makes at most about a hundred bytes of objects, so this bounds memory and time at once. A tensor takes
# about 35 opcodes, so there is room for some 20,000 of them; in a large file for more, up to some 120,000.
_MAX_STEPS: Final = 750_000
_BYTES_PER_STEP: Final = 256
_MOST_STEPS: Final = 5_000_000
_TEXT_BYTES_PER_STEP: Final = 16
_MAX_TEXT_BYTES: Final = 4096  # no name is longer
_MAX_INT_BYTES: Final = 16
_MAX_ARGUMENTS: Final = 8
# Keys are hashed: other types than text could recurse, and large ints can be chosen to collide.
_MAX_INT_KEY: Final = 1 << 20
# Other readers take 010 for eight, or not at all, and 0x10 for sixteen; int() takes blanks and digits of other scripts.
_DECIMAL: Final = re.compile(r"0|-?[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Bytes:
    """A byte string of the pickle, left where it is.

    Attributes:
        start: its first byte in the file.
        length: how many bytes it takes there.
        text: each byte is written as the character of that number, in UTF-8, as protocol 2 has it.
    """

    start: int
    length: int
    text: bool = False


@dataclass(frozen=True, slots=True)
class LongText:
    """A text too long to be a name, left in the file: its first byte there, and how many it takes."""

    start: int
    length: int
    encoding: str


@dataclass(frozen=True, slots=True)
class Marker:
    """Stands for an allowed class that is only passed on and never called."""

    value: str


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Stands for something harmless that is not understood; says what, for the message."""

    what: str


ENCODE: Final = Marker("_codecs.encode")
"""What an allow-list has for ``_codecs.encode``: the call by which protocol 2 makes bytes of a text."""


class Objection(Exception):
    """What a stand-in has against the file; the Unpickler adds the file and the place.

    Args:
        error: the class of the error to be raised.
        what: completes "it holds …".
        hint: what the reader can do about it.
    """

    def __init__(self, error: type[Refused], what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.error = error
        self.what = what
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Function:
    """A name of the file that is on the allow-list; ``call`` is ours."""

    name: str
    call: Callable[..., object]


Names: TypeAlias = "Mapping[str, Callable[..., object] | Marker | Unsupported]"
"""An allow-list: ``"module name"`` → our function that stands in, or a Marker."""


def kind_of(value: object) -> str:
    """What kind of thing a value is, with its article; never the value, which may be endless when written out."""
    name = getattr(type(value), "kind", type(value).__name__.strip("_"))
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


@dataclass(frozen=True, slots=True)
class LargeKey:
    """Stands for a large integer as the key of a dict, such as an old optimizer has: the hash of a text is random."""

    digits: str

    def __str__(self) -> str:
        return self.digits


class _Mark:
    """The stack's own separator."""


_MARK: Final = _Mark()


class Unpickler:
    """Reads one pickle from a file.

    Args:
        stream: open for reading; byte strings are stepped over, not read.
        end: the pickle may not reach past this byte.
        label: names the file in messages.
        names: the allow-list.
        persistent: turns a persistent id into a value; None refuses them.
        build: applies a state to an object that one of ``names`` made; None ignores the states of dicts.
        start: the byte where the pickle begins.
        size: of the file in bytes, where the pickle is a part of one; the larger, the more opcodes it may have.
        large_keys: whether dicts may have large integers as keys; no other program must read the pickle after us then.
        encoding: of the texts of Python 2, which do not say theirs.
    """

    def __init__(
        self,
        stream: BinaryIO,
        end: int,
        label: str,
        names: Names,
        *,
        persistent: Callable[[object], object] | None = None,
        build: Callable[[object, object], object] | None = None,
        start: int = 0,
        size: int = 0,
        large_keys: bool = False,
        encoding: str = "utf-8",
    ) -> None:
        self._stream = stream
        self._end = end
        self._label = label
        self._names = {name: Function(name, value) if callable(value) else value for name, value in names.items()}
        self._persistent = persistent
        self._build = build
        self._large_keys = large_keys
        self._encoding = encoding
        self.position = start
        self._opcode_at = start
        self._frame_end = start
        self._most_steps = min(max(_MAX_STEPS, max(size, end) // _BYTES_PER_STEP), _MOST_STEPS)
        self._steps = self._most_steps
        self._stack: list[Any] = []
        self._memo: dict[int, object] = {}
        self._texts: dict[str, int] = {}  # the byte where each UTF-8 text stood last: it may turn out to be bytes

    def load(self) -> object:
        """Read up to the end of the pickle; afterwards ``position`` is the byte behind it.

        Raises:
            UnsafeCheckpoint: an opcode or a name that no checkpoint needs.
            Corrupt: the pickle is cut off or makes no sense.
        """
        self._stream.seek(self.position)
        try:
            return self._run()
        except Objection as error:
            where = self._tensor_at_hand() if error.error is Corrupt else ""
            msg = f"{self._label}: refused at byte {self._opcode_at}: it holds {error.what}{where}"
            raise error.error(msg, hint=error.hint or _HINT) from error
        except (LookupError, ArithmeticError, struct.error, ValueError, TypeError) as error:
            if isinstance(error, Refused):
                raise
            msg = f"{self._label}: senseless pickle at byte {self._opcode_at} ({type(error).__name__}: {error})"
            raise Corrupt(msg, hint="the file is damaged; get it again from its source") from error

    def _run(self) -> object:
        while True:
            self._opcode_at = self.position
            self._charge(1)
            code = self._stream.read(1) if self.position < self._end else self._take(1)
            self.position += 1
            if code == pickle.STOP:
                if self.position < self._frame_end:
                    self._refuse("a FRAME that does not end with the pickle")
                return self._pop()
            step = _STEPS.get(code)
            if step is None:
                self._refuse(f"the opcode {_OPCODE_NAMES.get(code, code)}, which no checkpoint needs")
            step(self)
            if self._opcode_at < self._frame_end < self.position:
                # CPython reads a frame at once, and loses what is left of it when something reaches beyond: it goes on
                # at another byte than we.
                self._refuse(f"an opcode that reaches past the end of its FRAME at byte {self._frame_end}")

    def _tensor_at_hand(self) -> str:
        """Which tensor is being made: its name is the last text on the stack that is no part of a storage."""
        texts = [value for value in self._stack if type(value) is str and value != "storage"]
        return f", for {texts[-1][:80]!a}" if texts else ""

    # -- reading -------------------------------------------------------------------------------------------

    def _refuse(self, what: str) -> NoReturn:
        raise Objection(UnsafeCheckpoint, what)

    def _charge(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            self._refuse(f"more than {self._most_steps} opcodes, or as much text")

    def _advance(self, count: int) -> None:
        if count < 0 or count > self._end - self.position:
            msg = f"{self._label}: the pickle is cut off at byte {self._end}: {count} more bytes belong behind"
            msg += f" byte {self.position}"
            raise Corrupt(msg, hint="the file is truncated; get it again from its source")
        self.position += count

    def _take(self, count: int) -> bytes:
        self._advance(count)
        data = self._stream.read(count)
        if len(data) != count:
            msg = f"{self._label}: the file ends within its pickle"
            raise Corrupt(msg, hint="the file is truncated; get it again from its source")
        return data

    def _skip(self, count: int) -> int:
        """Step over bytes; returns where they start."""
        start = self.position
        self._advance(count)
        self._stream.seek(self.position)
        return start

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _line(self, limit: int) -> str:
        line = self._stream.readline(min(limit, self._end - self.position))
        if not line.endswith(b"\n"):
            if len(line) == limit:
                self._refuse(f"a line of more than {limit} bytes")
            self._advance(limit)  # says that it is cut off
        self.position += len(line)
        self._charge(len(line) // _TEXT_BYTES_PER_STEP)
        return line[:-1].decode()

    def _digits(self, suffix: str = "") -> int:
        return _decimal(self._line(48).removesuffix(suffix))

    def _text(self, size: int, encoding: str = "utf-8") -> None:
        start = self.position
        if size > _MAX_TEXT_BYTES:
            self._skip(size)
            self._push(LongText(start, size, encoding))
            return
        self._charge(1 + size // _TEXT_BYTES_PER_STEP)
        data = self._take(size)
        text = data.decode(encoding)
        if encoding == "utf-8" or data.isascii():
            self._texts[text] = start
        self._push(text)

    # -- stack ---------------------------------------------------------------------------------------------

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            msg = "a mark where a value was expected"
            raise ValueError(msg)
        return value

    def _top(self) -> Any:
        value = self._stack[-1]
        if value is _MARK:
            msg = "a mark where a value was expected"
            raise ValueError(msg)
        return value

    def _pop_to_mark(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        msg = "no mark on the stack"
        raise ValueError(msg)

    def _set_items(self, pairs: list[Any]) -> None:
        target = self._top()
        if type(target) is not dict or len(pairs) % 2:
            msg = "items set on something that is no dict"
            raise ValueError(msg)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[key if type(key) is str else self._number_key(key)] = value

    def _number_key(self, key: object) -> object:
        if type(key) is int and abs(key) < _MAX_INT_KEY:
            return key
        if type(key) is int and self._large_keys:
            return LargeKey(str(key))
        raise Objection(UnsafeCheckpoint, f"a dict key of type {type(key).__name__}, or one far too large")

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            msg = "values appended to something that is no list"
            raise ValueError(msg)
        target.extend(values)

    # -- names and calls -----------------------------------------------------------------------------------

    def _find(self, module: str, name: str) -> None:
        self._charge(1)
        found = self._names.get(f"{module} {name}")
        if found is None:
            # ascii(), cut: the name may be long, hold control characters, or look like another one.
            shown = f"{ascii(module)[1:-1][:80]}.{ascii(name)[1:-1][:80]}"
            self._refuse(f"the name {shown}, which is not one that a checkpoint may use; nothing was run")
        if isinstance(found, Unsupported):
            raise Objection(Corrupt, f"{found.what}, which is not supported", _CONVERT)
        self._push(found)

    def _call(self, arguments: Any) -> None:
        target = self._pop()
        if target is ENCODE:
            self._push(self._encode(arguments))
            return
        if not isinstance(target, Function) or type(arguments) is not tuple:
            self._refuse("a call of something that is no function")
        if len(arguments) > _MAX_ARGUMENTS:  # they are copied, and the same tuple can be used again and again
            self._refuse(f"a call with {len(arguments)} arguments")
        self._push(target.call(*arguments))

    def _encode(self, arguments: object) -> Bytes:
        match arguments:
            case (LongText(start, length, "utf-8"), "latin1"):
                return Bytes(start, length, text=True)
            case (str(text), "latin1") if text in self._texts:
                return Bytes(self._texts[text], len(text.encode()), text=True)
        raise Objection(UnsafeCheckpoint, "a call of _codecs.encode that makes no bytes")

    def _new_object(self, arguments: Any) -> None:
        """``cls.__new__(cls, *arguments)``: of the classes that we know, the same as a call."""
        target = self._top()
        if isinstance(target, Function) and target.name == "collections OrderedDict" and arguments:
            self._refuse("an OrderedDict made by __new__ of contents")  # where the true one ignores them
        self._call(arguments)

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            self._refuse("a name that is no text")
        self._find(module, name)

    def _set_state(self) -> None:
        state = self._pop()
        target = self._top()
        if self._build is not None:
            self._stack[-1] = self._build(target, state)
        elif type(target) is not dict:  # attributes of an OrderedDict, such as torch's _metadata, are not weights
            self._refuse("a state for an object that takes none")

    def _persistent_id(self) -> None:
        if self._persistent is None:
            self._refuse("a persistent id")
        self._push(self._persistent(self._pop()))

    def _integer(self, size: int) -> None:
        if size > _MAX_INT_BYTES:
            self._refuse(f"an integer of {size} bytes")
        self._push(int.from_bytes(self._take(size), "little", signed=True))

    def _integer_line(self) -> None:
        line = self._line(48)
        self._push(line == "01" if line in {"00", "01"} else _decimal(line))  # of old, INT with two digits is a bool

    def _bytes(self, size: int) -> None:
        self._charge(1)
        self._push(Bytes(self._skip(size), size))

    def _put(self, index: int) -> None:
        if not 0 <= index <= self._most_steps:
            self._refuse(f"the memo place {index}")
        self._memo[index] = self._top()

    def _frame(self, size: int) -> None:
        """A frame only groups what follows; see ``_run`` for what others make of one that is wrong."""
        if self._opcode_at < self._frame_end:
            self._refuse("a FRAME within a FRAME")
        self._advance(size)
        self._frame_end = self.position
        self.position -= size

    def _protocol(self) -> None:
        version = self._number("<B")
        if version > 5:
            self._refuse(f"pickle protocol {version}")


def _decimal(text: str) -> int:
    if not _DECIMAL.fullmatch(text):
        msg = "a number that is none, or that others read differently"
        raise ValueError(msg)
    return int(text)


_HINT: Final = "use model.safetensors of the same model, or ask its owner for one"
_CONVERT: Final = "convert the checkpoint to float32, float16 or bfloat16 first"
_OPCODE_NAMES: Final = {value: name for name, value in vars(pickle).items() if name.isupper() and type(value) is bytes}
_STEPS: Final[dict[bytes, Callable[[Unpickler], object]]] = {
    pickle.PROTO: lambda u: u._protocol(),
    pickle.FRAME: lambda u: u._frame(u._number("<Q")),
    pickle.MARK: lambda u: u._push(_MARK),
    pickle.POP: lambda u: u._stack.pop(),
    pickle.POP_MARK: lambda u: u._pop_to_mark(),
    pickle.DUP: lambda u: u._push(u._top()),
    # constants
    pickle.NONE: lambda u: u._push(None),
    pickle.NEWTRUE: lambda u: u._push(True),
    pickle.NEWFALSE: lambda u: u._push(False),
    pickle.INT: lambda u: u._integer_line(),
    pickle.LONG: lambda u: u._push(u._digits("L")),
    pickle.BININT: lambda u: u._push(u._number("<i")),
    pickle.BININT1: lambda u: u._push(u._number("<B")),
    pickle.BININT2: lambda u: u._push(u._number("<H")),
    pickle.LONG1: lambda u: u._integer(u._number("<B")),
    pickle.LONG4: lambda u: u._integer(u._number("<i")),
    pickle.FLOAT: lambda u: u._push(float(u._line(48))),
    pickle.BINFLOAT: lambda u: u._push(u._number(">d")),
    pickle.BINUNICODE: lambda u: u._text(u._number("<I")),
    pickle.SHORT_BINUNICODE: lambda u: u._text(u._number("<B")),
    pickle.BINUNICODE8: lambda u: u._text(u._number("<Q")),
    # Text of Python 2, in pickles of torch 0.x.
    pickle.BINSTRING: lambda u: u._text(u._number("<i"), u._encoding),
    pickle.SHORT_BINSTRING: lambda u: u._text(u._number("<B"), u._encoding),
    pickle.BINBYTES: lambda u: u._bytes(u._number("<I")),
    pickle.SHORT_BINBYTES: lambda u: u._bytes(u._number("<B")),
    pickle.BINBYTES8: lambda u: u._bytes(u._number("<Q")),
    pickle.BYTEARRAY8: lambda u: u._bytes(u._number("<Q")),
    # containers
    pickle.EMPTY_TUPLE: lambda u: u._push(()),
    pickle.TUPLE: lambda u: u._push(tuple(u._pop_to_mark())),
    pickle.TUPLE1: lambda u: u._push((u._pop(),)),
    pickle.TUPLE2: lambda u: u._push((u._pop(), u._pop())[::-1]),
    pickle.TUPLE3: lambda u: u._push((u._pop(), u._pop(), u._pop())[::-1]),
    pickle.EMPTY_LIST: lambda u: u._push([]),
    pickle.LIST: lambda u: u._push(u._pop_to_mark()),
    pickle.APPEND: lambda u: u._extend([u._pop()]),
    pickle.APPENDS: lambda u: u._extend(u._pop_to_mark()),
    pickle.EMPTY_DICT: lambda u: u._push({}),
    pickle.SETITEM: lambda u: u._set_items([u._pop(), u._pop()][::-1]),
    pickle.SETITEMS: lambda u: u._set_items(u._pop_to_mark()),
    # memo
    pickle.PUT: lambda u: u._put(u._digits()),
    pickle.BINPUT: lambda u: u._put(u._number("<B")),
    pickle.LONG_BINPUT: lambda u: u._put(u._number("<I")),
    pickle.MEMOIZE: lambda u: u._put(len(u._memo)),
    pickle.GET: lambda u: u._push(u._memo[u._digits()]),
    pickle.BINGET: lambda u: u._push(u._memo[u._number("<B")]),
    pickle.LONG_BINGET: lambda u: u._push(u._memo[u._number("<I")]),
    # names and calls
    pickle.GLOBAL: lambda u: u._find(u._line(1024), u._line(1024)),
    pickle.STACK_GLOBAL: lambda u: u._stack_global(),
    pickle.REDUCE: lambda u: u._call(u._pop()),
    pickle.NEWOBJ: lambda u: u._new_object(u._pop()),
    pickle.BUILD: lambda u: u._set_state(),
    pickle.BINPERSID: lambda u: u._persistent_id(),
}
