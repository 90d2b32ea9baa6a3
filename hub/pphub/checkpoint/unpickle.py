"""A reader of pickles that cannot be made to do anything.

The standard unpickler is a machine that imports and calls what the file names. This one knows the opcodes that
checkpoints consist of, never imports, and calls only the few functions its caller hands it, by exact name. An
opcode or a name outside those ends the reading with an error that says what was found and where. The opcodes
are documented in the standard library's ``pickletools``.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pphub.errors import Corrupt, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Bytes", "Marker", "Unpickler"]

_MAX_INT_BYTES: Final = 64
_MAX_TEXT_BYTES: Final = 1 << 20
_KEY_TYPES: Final = (str, int, float, bytes, type(None))  # bool is an int; hashing these cannot recurse


@dataclass(frozen=True, slots=True)
class Bytes:
    """A byte string of the pickle, not copied: where it starts in the buffer, and a view of it."""

    start: int
    view: memoryview


@dataclass(frozen=True, slots=True)
class Marker:
    """Stands for an allowed class that is only passed on and never called."""

    value: str


@dataclass(frozen=True, slots=True)
class _Global:
    """A name of the file that is on the allow-list; ``call`` is ours."""

    name: str
    call: Callable[..., object]


class _Mark:
    """The stack's own separator."""


_MARK: Final = _Mark()


class Unpickler:
    """Reads one pickle from a buffer.

    Args:
        buffer: the bytes; payloads are returned as views of it.
        label: names the file in messages.
        names: the allow-list, ``"module name"`` → our function that stands in, or a Marker.
        persistent: turns a persistent id into a value; None refuses them.
        build: applies a state to an object that one of ``names`` made; states of dicts are ignored.
        start: where in the buffer the pickle begins.
    """

    def __init__(
        self,
        buffer: memoryview,
        label: str,
        names: Mapping[str, Callable[..., object] | Marker],
        *,
        persistent: Callable[[object], object] | None = None,
        build: Callable[[object, object], object] | None = None,
        start: int = 0,
    ) -> None:
        self._buffer = buffer
        self._label = label
        self._names = names
        self._persistent = persistent
        self._build = build
        self.position = start
        self._opcode_at = start
        self._stack: list[Any] = []
        self._memo: dict[int, object] = {}

    def load(self) -> object:
        """Read up to the end of the pickle; afterwards ``position`` is the byte behind it.

        Raises:
            UnsafeCheckpoint: an opcode or a name that no checkpoint needs.
            Corrupt: the pickle is cut off or makes no sense.
        """
        try:
            while True:
                self._opcode_at = self.position
                code = bytes(self._take(1))
                if code == pickle.STOP:
                    return self._pop()
                step = _STEPS.get(code)
                if step is None:
                    self._refuse(f"the opcode {code!r}, which no checkpoint needs")
                step(self)
        except (IndexError, KeyError, struct.error, UnicodeDecodeError, ValueError, TypeError) as error:
            if isinstance(error, (UnsafeCheckpoint, Corrupt)):
                raise
            msg = f"{self._label}: senseless pickle at byte {self._opcode_at} ({type(error).__name__}: {error})"
            raise Corrupt(msg, hint="the file is damaged; get it again from its source") from error

    # -- reading -------------------------------------------------------------------------------------------

    def _refuse(self, what: str) -> NoReturn:
        msg = f"{self._label}: refused at byte {self._opcode_at}: it holds {what}"
        raise UnsafeCheckpoint(msg, hint="use model.safetensors of the same model, or ask its owner for one")

    def _take(self, count: int) -> memoryview:
        end = self.position + count
        if count < 0 or end > len(self._buffer):
            msg = f"{self._label}: the pickle is cut off at byte {len(self._buffer)}"
            raise Corrupt(msg, hint="the file is truncated; get it again from its source")
        view = self._buffer[self.position : end]
        self.position = end
        return view

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _line(self) -> str:
        limit = min(self.position + 4096, len(self._buffer))
        line, newline, _ = bytes(self._buffer[self.position : limit]).partition(b"\n")
        if not newline:
            msg = f"{self._label}: the pickle has no end of line near byte {self.position}"
            raise Corrupt(msg)
        self.position += len(line) + 1
        return line.decode()

    def _text(self, size: int) -> str:
        if size > _MAX_TEXT_BYTES:
            self._refuse(f"a text of {size} bytes")
        return bytes(self._take(size)).decode("utf-8", "surrogatepass")

    # -- stack ---------------------------------------------------------------------------------------------

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        value = self._stack.pop()
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
        target = self._stack[-1]
        if type(target) is not dict or len(pairs) % 2:
            msg = "items set on something that is no dict"
            raise ValueError(msg)
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, _KEY_TYPES):
                self._refuse(f"a dict key of type {type(key).__name__}")
            target[key] = value

    def _extend(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            msg = "values appended to something that is no list"
            raise ValueError(msg)
        target.extend(values)

    # -- names and calls -----------------------------------------------------------------------------------

    def _find(self, module: str, name: str) -> None:
        full = f"{module} {name}"
        found = self._names.get(full)
        if found is None:
            self._refuse(f"the name {module}.{name}, which is not one that a checkpoint may use; nothing was run")
        self._push(found if isinstance(found, Marker) else _Global(full, found))

    def _call(self, arguments: Any) -> None:
        target = self._pop()
        if not isinstance(target, _Global) or type(arguments) is not tuple:
            self._refuse("a call of something that is no function")
        self._push(target.call(*arguments))

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            self._refuse("a name that is no text")
        self._find(module, name)

    def _set_state(self) -> None:
        state = self._pop()
        target = self._stack[-1]
        if type(target) is dict:
            return  # attributes of an OrderedDict, such as torch's _metadata, are not weights
        if self._build is None:
            self._refuse("a state for an object that takes none")
        self._stack[-1] = self._build(target, state)

    def _persistent_id(self) -> None:
        if self._persistent is None:
            self._refuse("a persistent id")
        self._push(self._persistent(self._pop()))

    def _integer(self, size: int) -> None:
        if size > _MAX_INT_BYTES:
            self._refuse(f"an integer of {size} bytes")
        self._push(int.from_bytes(self._take(size), "little", signed=True))

    def _integer_line(self) -> None:
        text = self._line()
        self._push({"00": False, "01": True}.get(text) if text in {"00", "01"} else int(text.rstrip("L")))

    def _bytes(self, size: int) -> None:
        start = self.position
        self._push(Bytes(start, self._take(size)))

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _protocol(self) -> None:
        version = self._number("<B")
        if version > 5:
            self._refuse(f"pickle protocol {version}")


_STEPS: Final[dict[bytes, Callable[[Unpickler], object]]] = {
    pickle.PROTO: lambda u: u._protocol(),
    pickle.FRAME: lambda u: u._number("<Q"),
    pickle.MARK: lambda u: u._push(_MARK),
    pickle.POP: lambda u: u._stack.pop(),
    pickle.POP_MARK: lambda u: u._pop_to_mark(),
    pickle.DUP: lambda u: u._push(u._stack[-1]),
    # constants
    pickle.NONE: lambda u: u._push(None),
    pickle.NEWTRUE: lambda u: u._push(True),
    pickle.NEWFALSE: lambda u: u._push(False),
    pickle.INT: lambda u: u._integer_line(),
    pickle.LONG: lambda u: u._integer_line(),
    pickle.BININT: lambda u: u._push(u._number("<i")),
    pickle.BININT1: lambda u: u._push(u._number("<B")),
    pickle.BININT2: lambda u: u._push(u._number("<H")),
    pickle.LONG1: lambda u: u._integer(u._number("<B")),
    pickle.LONG4: lambda u: u._integer(u._number("<i")),
    pickle.FLOAT: lambda u: u._push(float(u._line())),
    pickle.BINFLOAT: lambda u: u._push(u._number(">d")),
    pickle.BINUNICODE: lambda u: u._push(u._text(u._number("<I"))),
    pickle.SHORT_BINUNICODE: lambda u: u._push(u._text(u._number("<B"))),
    pickle.BINUNICODE8: lambda u: u._push(u._text(u._number("<Q"))),
    # Text of Python 2, in pickles of torch 0.x.
    pickle.BINSTRING: lambda u: u._push(u._text(u._number("<i"))),
    pickle.SHORT_BINSTRING: lambda u: u._push(u._text(u._number("<B"))),
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
    pickle.PUT: lambda u: u._put(int(u._line())),
    pickle.BINPUT: lambda u: u._put(u._number("<B")),
    pickle.LONG_BINPUT: lambda u: u._put(u._number("<I")),
    pickle.MEMOIZE: lambda u: u._put(len(u._memo)),
    pickle.GET: lambda u: u._push(u._memo[int(u._line())]),
    pickle.BINGET: lambda u: u._push(u._memo[u._number("<B")]),
    pickle.LONG_BINGET: lambda u: u._push(u._memo[u._number("<I")]),
    # names and calls
    pickle.GLOBAL: lambda u: u._find(u._line(), u._line()),
    pickle.STACK_GLOBAL: lambda u: u._stack_global(),
    pickle.REDUCE: lambda u: u._call(u._pop()),
    pickle.NEWOBJ: lambda u: u._call(u._pop()),
    pickle.BUILD: lambda u: u._set_state(),
    pickle.BINPERSID: lambda u: u._persistent_id(),
}
