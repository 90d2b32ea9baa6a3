"""Builds files that try to run something, to reach somewhere, or to use up the machine.

A pickle comes as a function of a mark: a path that its payload would create. The same pickle is put into all
formats that hold pickles. ``live`` says that the ordinary ``pickle.load`` would create the mark, which a test proves.
"""

from __future__ import annotations

import json
import os
import pickle
import shlex
import struct
import zipfile
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# -- an assembler for pickles --------------------------------------------------------------------------------


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def stacked(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def integer(value: int) -> bytes:
    data = value.to_bytes(17, "little", signed=True)
    while len(data) > 1 and data[-1] == (0xFF if data[-2] & 0x80 else 0):
        data = data[:-1]
    return b"\x8a" + bytes([len(data)]) + data


def push(value: object) -> bytes:
    """A constant, or bytes that are already assembled."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, tuple):
        return b"(" + b"".join(map(push, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(push, value)) + b"e"
    assert value is None
    return b"N"


def call(function: bytes, *arguments: object) -> bytes:
    return function + push(arguments) + b"R"


def program(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def raw_bytes(data: bytes) -> bytes:
    return b"\x8e" + struct.pack("<Q", len(data)) + data


def frame(data: bytes, length: int | None = None) -> bytes:
    return b"\x95" + struct.pack("<Q", len(data) if length is None else length) + data


def laughs(kind: str) -> bytes:
    """A value that is 2**60 leaves when it is written out."""

    def get(place: int) -> bytes:
        return b"j" + struct.pack("<I", place)

    steps: dict[str, Callable[[int], bytes]] = {
        "tuples": lambda i: get(i) + b"2\x86",
        "lists": lambda i: b"](" + 2 * get(i) + b"e",
        "dicts": lambda i: b"}(" + text("a") + get(i) + text("b") + get(i) + b"u",
    }
    return text("ha") + b"\x94" + b"".join(b"0" + steps[kind](i) + b"\x94" for i in range(60))


# -- pickles ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trick:
    """A hostile pickle: how it is made, what the refusal must say, and whether pickle.load would fall for it."""

    make: Callable[[Path], bytes]
    says: str
    live: bool = False


class _Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (touch(self.mark),)


def evil(mark: Path) -> bytes:
    return raw_bytes(pickle.dumps(_Evil(mark)))


def touch(mark: Path) -> str:
    return f"touch {shlex.quote(str(mark))}"


def code(mark: Path) -> str:
    return f"open({str(mark)!r}, 'w').close()"


def saved_array(mark: Path) -> str:
    """A .npy file beside the mark whose pickle creates it."""
    import numpy as np

    path = mark.parent / "array.npy"
    array = np.empty(1, object)
    array[0] = _Evil(mark)
    np.save(path, array, allow_pickle=True)
    return str(path)


SYSTEM = name("os", "system")
REFUSED_NAME = r"it holds the name .*nothing was run"
FLOOD = "more than 750000 opcodes"


def _callables() -> dict[str, Trick]:
    """Functions of the standard library and of numpy and torch that can be called by name."""
    made: dict[str, tuple[str, str, Callable[[Path], tuple[object, ...]], bool]] = {
        "os.system": ("os", "system", lambda m: (touch(m),), True),
        "posix.system": ("posix", "system", lambda m: (touch(m),), True),
        "nt.system": ("nt", "system", lambda m: (touch(m),), False),
        "os.popen": ("os", "popen", lambda m: (touch(m),), False),
        "os.mkdir": ("os", "mkdir", lambda m: (str(m),), True),
        "subprocess.check_output": ("subprocess", "check_output", lambda m: (["touch", str(m)],), True),
        "subprocess.Popen": ("subprocess", "Popen", lambda m: (["touch", str(m)],), False),
        "builtins.eval": ("builtins", "eval", lambda m: (code(m),), True),
        "builtins.exec": ("builtins", "exec", lambda m: (code(m),), True),
        "builtins.open": ("builtins", "open", lambda m: (str(m), "w"), True),
        "io.open": ("io", "open", lambda m: (str(m), "w"), True),
        "_io.FileIO": ("_io", "FileIO", lambda m: (str(m), "w"), True),
        "builtins.__import__": ("builtins", "__import__", lambda m: ("os",), False),
        "importlib.import_module": ("importlib", "import_module", lambda m: ("os",), False),
        "timeit.timeit": ("timeit", "timeit", lambda m: (code(m), "pass", SYSTEM + b"0N", 1), False),
        "cProfile.run": ("cProfile", "run", lambda m: (code(m),), True),
        "runpy.run_path": ("runpy", "run_path", lambda m: (str(m),), False),
        "logging.FileHandler": ("logging", "FileHandler", lambda m: (str(m),), True),
        "sqlite3.connect": ("sqlite3", "connect", lambda m: (str(m),), True),
        "dbm.dumb": ("dbm.dumb", "open", lambda m: (str(m),), False),
        "pickle.loads": ("pickle", "loads", lambda m: (evil(m),), True),
        "numpy.load": ("numpy", "load", lambda m: (saved_array(m), None, True), True),
        "numpy.memmap": ("numpy", "memmap", lambda m: (str(m), "u1", "w+", 0, (4,)), True),
        "numpy.fromfile": ("numpy", "fromfile", lambda m: ("/etc/passwd", "u1"), False),
        "numpy.core.multiarray.fromfile": ("numpy.core.multiarray", "fromfile", lambda m: ("/etc/passwd",), False),
        "numpy runstring": ("numpy.testing._private.utils", "runstring", lambda m: (code(m), b"}"), True),
        "torch.load": ("torch", "load", lambda m: (str(m),), False),
        "torch._load_from_bytes": (
            "torch.storage",
            "_load_from_bytes",
            lambda m: (raw_bytes(pickle.dumps(_Evil(m))),),
            True,
        ),
        "torch.hub.load": ("torch.hub", "load", lambda m: ("a/b", "c"), False),
        "ctypes.CDLL": ("ctypes", "CDLL", lambda m: (str(m),), False),
        "marshal.loads": ("marshal", "loads", lambda m: (raw_bytes(b""),), False),
        "types.CodeType": ("types", "CodeType", lambda m: (), False),
        "types.FunctionType": ("types", "FunctionType", lambda m: (), False),
        "shutil.rmtree": ("shutil", "rmtree", lambda m: (str(m),), False),
        "webbrowser.open": ("webbrowser", "open", lambda m: ("http://127.0.0.1:9",), False),
        "socket.create_connection": ("socket", "create_connection", lambda m: (("127.0.0.1", 9),), False),
        "sys.exit": ("sys", "exit", lambda m: (), False),
        "__builtin__.eval": ("__builtin__", "eval", lambda m: (code(m),), False),
    }
    del made["timeit.timeit"]
    tricks = {}
    for title, (module, attribute, arguments, live) in made.items():
        says = rf"at byte \d+: it holds the name {module}\.{attribute}, .*nothing was run"

        def plain(mark: Path, n: bytes = name(module, attribute), a: Any = arguments) -> bytes:
            return program(call(n, *a(mark)))

        def modern(mark: Path, n: bytes = stacked(module, attribute), a: Any = arguments) -> bytes:
            return program(call(n, *a(mark)))

        tricks[f"GLOBAL {title}"] = Trick(plain, says, live)
        tricks[f"STACK_GLOBAL {title}"] = Trick(modern, says, live)
    return tricks


def _chains() -> dict[str, Trick]:
    """Ways to get at a function, or to call it, without an open GLOBAL and REDUCE."""
    the_os = call(name("importlib", "import_module"), "os")
    odict = call(name("collections", "OrderedDict"))
    opcode = r"at byte \d+: it holds the opcode "
    return {
        "python 2 eval": Trick(
            lambda m: b"\x80\x02" + call(name("__builtin__", "eval"), code(m)) + b".", REFUSED_NAME, True
        ),
        "getattr": Trick(
            lambda m: program(call(call(name("builtins", "getattr"), the_os, "system"), touch(m))),
            "builtins.getattr",
            True,
        ),
        "functools.partial": Trick(
            lambda m: program(call(call(name("functools", "partial"), SYSTEM, touch(m)))), "functools.partial", True
        ),
        "functools.reduce": Trick(
            lambda m: program(call(name("functools", "reduce"), SYSTEM, [touch(m)])), "functools.reduce"
        ),
        "operator.attrgetter": Trick(
            lambda m: program(call(call(call(name("operator", "attrgetter"), "system"), the_os), touch(m))),
            "operator.attrgetter",
            True,
        ),
        "operator.methodcaller": Trick(
            lambda m: program(call(call(name("operator", "methodcaller"), "system", touch(m)), the_os)),
            "operator.methodcaller",
            True,
        ),
        "map in a list": Trick(
            lambda m: program(call(name("builtins", "list"), call(name("builtins", "map"), SYSTEM, [touch(m)]))),
            "builtins.(list|map)",
            True,
        ),
        "dotted os": Trick(
            lambda m: program(call(stacked("posixpath", "os.system"), touch(m))), "posixpath.os.system", True
        ),
        "dotted method": Trick(
            lambda m: program(call(stacked("pathlib", "Path.touch"), call(name("pathlib", "PosixPath"), str(m)))),
            "pathlib.Path.touch",
            True,
        ),
        "dotted globals": Trick(
            lambda m: program(stacked("torch._utils", "_rebuild_tensor_v2.__globals__")),
            r"torch._utils._rebuild_tensor_v2.__globals__",
        ),
        "dotted class": Trick(
            lambda m: program(stacked("collections", "OrderedDict.fromkeys")), "OrderedDict.fromkeys"
        ),
        "dotted module": Trick(lambda m: program(stacked("collections", "_sys.modules")), "_sys.modules"),
        "reduce_ex": Trick(lambda m: program(stacked("builtins", "object.__reduce_ex__")), "__reduce_ex__"),
        "ndarray.tofile": Trick(lambda m: program(stacked("numpy", "ndarray.tofile")), "ndarray.tofile"),
        "name from the memo": Trick(
            lambda m: program(text("system"), b"\x940", text("os"), b"h\0\x93", push((touch(m),)), b"R"),
            r"os\.system",
            True,
        ),
        "memo overwritten": Trick(
            lambda m: program(
                text("OrderedDict"),
                b"q\x000",
                text("system"),
                b"q\x000",
                text("os"),
                b"h\0\x93",
                push((touch(m),)),
                b"R",
            ),
            r"os\.system",
            True,
        ),
        "name duplicated": Trick(lambda m: program(text("posix"), b"2\x93"), r"posix\.posix"),
        "popped again": Trick(lambda m: program(call(SYSTEM, touch(m)), b"0}"), r"os\.system", True),
        "popped to the mark": Trick(lambda m: program(b"(", call(SYSTEM, touch(m)), b"1}"), r"os\.system", True),
        "in a dict": Trick(lambda m: program(b"}", text("w"), call(SYSTEM, touch(m)), b"s"), r"os\.system", True),
        "in a state": Trick(lambda m: program(odict, call(SYSTEM, touch(m)), b"b"), r"os\.system", True),
        "in a key": Trick(lambda m: program(b"}", call(SYSTEM, touch(m)), b"Ns"), r"os\.system", True),
        "__setstate__": Trick(
            lambda m: program(odict, b"}", text("__setstate__"), SYSTEM, b"sb", text(touch(m)), b"b"),
            r"os\.system",
            True,
        ),
        "a state for a namespace": Trick(
            lambda m: program(
                call(name("types", "SimpleNamespace")), b"}", text("__setstate__"), SYSTEM, b"sb", text(touch(m)), b"b"
            ),
            "SimpleNamespace",
            True,
        ),
        "INST": Trick(lambda m: program(b"(", text(touch(m)), b"ios\nsystem\n"), opcode + "INST", True),
        "OBJ": Trick(lambda m: program(b"(", name("collections", "OrderedDict"), b"o"), opcode + "OBJ"),
        "OBJ os.system": Trick(lambda m: program(b"(", SYSTEM, text(touch(m)), b"o"), r"os\.system", True),
        "NEWOBJ": Trick(lambda m: program(name("collections", "OrderedDict"), b")\x81"), "holds no tensors"),
        "NEWOBJ os.system": Trick(lambda m: program(SYSTEM, push((touch(m),)), b"\x81"), r"os\.system"),
        "NEWOBJ of a text": Trick(lambda m: program(text("os"), b")\x81"), "a call of something that is no function"),
        "NEWOBJ of nothing": Trick(lambda m: program(b")\x81"), r"senseless pickle at byte \d+"),
        "NEWOBJ with contents": Trick(
            lambda m: program(name("collections", "OrderedDict"), push(([],)), b"\x81"), "made by __new__ of contents"
        ),
        "NEWOBJ_EX": Trick(lambda m: program(name("collections", "OrderedDict"), b")}\x92"), opcode + "NEWOBJ_EX"),
        "EXT1": Trick(
            lambda m: program(
                call(name("copyreg", "add_extension"), "os", "system", 240), b"0\x82\xf0", push((touch(m),)), b"R"
            ),
            "copyreg.add_extension",
            True,
        ),
        "EXT1 alone": Trick(lambda m: program(b"\x82\xf0"), opcode + "EXT1"),
        "EXT2 alone": Trick(lambda m: program(b"\x83\xf0\0"), opcode + "EXT2"),
        "EXT4 alone": Trick(lambda m: program(b"\x84\xf0\0\0\0"), opcode + "EXT4"),
        "PERSID": Trick(lambda m: program(b"Px\n"), opcode + "PERSID"),
        "BINPERSID": Trick(lambda m: program(text("x"), b"Q"), "persistent id"),
        "protocol 0 text": Trick(lambda m: b"cos\nsystem\n(V" + touch(m).encode() + b"\ntR.", r"os\.system", True),
        "UNICODE": Trick(lambda m: b"Vx\n.", opcode + "UNICODE"),
        "STRING": Trick(lambda m: b"S'x'\n.", opcode + "STRING"),
        "DICT": Trick(lambda m: b"(d.", opcode + "DICT"),
        "sets": Trick(lambda m: program(b"\x8f"), opcode + "EMPTY_SET"),
        "NEXT_BUFFER": Trick(lambda m: program(b"\x97"), opcode + "NEXT_BUFFER"),
        "no opcode": Trick(lambda m: program(b"\xfe"), opcode + r"b'\\xfe'"),
        "protocol 6": Trick(lambda m: b"\x80\x06}.", "pickle protocol 6"),
        "FRAME of nothing": Trick(lambda m: program(b"\x95" + bytes(8), call(SYSTEM, touch(m))), r"os\.system", True),
        "FRAME of everything": Trick(
            lambda m: program(b"\x95" + b"\xff" * 8, call(SYSTEM, touch(m))), r"cut off at byte \d+"
        ),
        "REDUCE of a text": Trick(lambda m: program(text("os"), b")R"), "a call of something that is no function"),
        "REDUCE of a dict": Trick(lambda m: program(b"})R"), "a call of something that is no function"),
        "REDUCE with a list": Trick(
            lambda m: program(name("collections", "OrderedDict"), b"]R"), "a call of something"
        ),
        "REDUCE with wrong arguments": Trick(
            lambda m: program(name("collections", "OrderedDict"), b"N\x85R"), "OrderedDict with contents"
        ),
        "a function as the root": Trick(lambda m: program(name("collections", "OrderedDict")), "holds a Function"),
        "BUILD of a list": Trick(lambda m: program(b"]}b"), "a state"),
        "BUILD of a function": Trick(lambda m: program(name("collections", "OrderedDict"), b"}b"), "a state"),
    }


def _frames() -> dict[str, Trick]:
    """Frames whose end is within something: CPython drops what is left of such a frame, and goes on elsewhere."""

    def cut(opcode: bytes, length: int) -> Callable[[Path], bytes]:
        """An argument of which the frame holds five bytes, as many as the opcode that hides the payload takes."""

        def make(mark: Path) -> bytes:
            body = b"}" + text("w") + array() + b"s"
            fill = 20_000 - len(body)  # more than a file's buffer, in which nothing gets lost
            body += b"B" + struct.pack("<I", fill) + bytes(fill) + b"0" + opcode + bytes(5)
            payload = b"0" + call(SYSTEM, touch(mark)) + b"."
            hidden = b"B" + struct.pack("<I", len(payload)) + payload
            return b"\x80\x04" + frame(body) + bytes(length - 5) + hidden + b"00."

        return make

    beyond = r"at byte \d+: it holds an opcode that reaches past the end of its FRAME at byte \d+"
    return {
        "FRAME that ends in a text": Trick(cut(b"\x8c\x10", 16), beyond, True),
        "FRAME that ends in a wide text": Trick(cut(b"X\x10\0\0\0", 16), beyond, True),
        "FRAME that ends in a float": Trick(cut(b"G", 8), beyond, True),
        "FRAME that ends in an integer": Trick(cut(b"\x8a\x08", 8), beyond, True),
        "FRAME that ends in the size of bytes": _fixed(beyond, frame(b"}B\1\0"), b"\0\0x0"),
        "FRAME that ends in bytes": _fixed(beyond, frame(b"}C\4ab"), b"cd0"),
        "FRAME that ends in a number": _fixed(beyond, frame(b"}I1"), b"2\n0"),
        "FRAME that ends in a name": _fixed(beyond, frame(b"ccollec"), b"tions\nOrderedDict\n)R"),
        "FRAME that ends in a frame": _fixed("a FRAME within a FRAME", frame(frame(b"}0", 1), 10), b"}"),
        "FRAME in a frame": _fixed("a FRAME within a FRAME", frame(b"}" + frame(b"}0"))),
        "FRAME that ends behind the pickle": Trick(
            lambda mark: b"\x80\x04" + frame(b"}." + bytes(8)), "a FRAME that does not end with the pickle"
        ),
    }


def _look_alikes() -> dict[str, Trick]:
    pairs = [
        ("Collections", "OrderedDict"),
        ("collections", "ordereddict"),
        ("collections ", "OrderedDict"),
        (" collections", "OrderedDict"),
        ("collections", " OrderedDict"),
        ("collections", "OrderedDict "),
        ("collections\t", "OrderedDict"),
        ("collections", "OrderedDict\r"),
        ("collections", "OrderedDict\0"),
        ("collections OrderedDict", ""),
        ("", "collections OrderedDict"),
        ("collections", "Ordered\u200bDict"),
        ("cоllections", "OrderedDict"),  # the first o is Cyrillic
        ("ｃollections", "OrderedDict"),
        ("collections\u00a0", "OrderedDict"),
        ("collections", "OrderedDict\u0301"),
        ("torch.", "FloatStorage"),
        ("torch..cuda", "FloatStorage"),
        ("torch", "\x1b[2Jevil"),
        ("numpy.core", "multiarray._reconstruct"),
        ("x" * 1000, "y" * 1000),
    ]
    return {f"look-alike {number}": _fixed(REFUSED_NAME, call(stacked(*pair))) for number, pair in enumerate(pairs)}


def _fixed(says: str, *parts: bytes) -> Trick:
    """A pickle without a payload."""
    return Trick(lambda mark: program(*parts), says)


def _machine() -> dict[str, Trick]:
    """Abuse of the machine itself: memo, stack, numbers, lengths."""
    many = 2_000_000
    put = b"\x94"
    odict = name("collections", "OrderedDict") + put

    of = _fixed
    cut, senseless = r"cut off at byte \d+", r"senseless pickle at byte \d+"
    return {
        "LONG_BINPUT": of("memo place 4294967295", b"}r\xff\xff\xff\xff"),
        "PUT huge": of("memo place 1000000000000000000", b"}p1000000000000000000\n"),
        "PUT negative": of("memo place -1", b"}p-1\n"),
        "PUT of nothing": of(senseless, put),
        "PUT of a mark": of(senseless, b"(", put),
        "GET unknown": of(senseless, b"h\x07"),
        "GET text": of(senseless, b"gx\n"),
        "STOP without a value": of(senseless),
        "STOP at a mark": of(senseless, b"("),
        "POP of nothing": of(senseless, b"0"),
        "DUP of a mark": of(senseless, b"(2"),
        "TUPLE without a mark": of(senseless, b"t"),
        "TUPLE2 over a mark": of(senseless, b"N(N\x86"),
        "APPEND to no list": of(senseless, b"}Na"),
        "APPENDS at a mark": of(senseless, b"((Ne"),
        "SETITEM of no dict": of(senseless, b"]NNs"),
        "SETITEMS odd": of(senseless, b"}(", text("a"), b"u"),
        "marks": of(FLOOD, b"(" * many),
        "lists": of(FLOOD, b"]" * many),
        "dicts": of(FLOOD, b"}" * many),
        "memo": of(FLOOD, b"}", put * many),
        "byte strings": of(FLOOD, b"C\0" * many),
        "floats": of(FLOOD, (b"G" + bytes(7) + b"\1") * many),
        "texts": of(FLOOD, text("ab" * 2000) * 5000),
        "other texts": of(FLOOD, *(text(f"{i:x}") for i in range(500_000))),
        "names": of(FLOOD, name("collections", "OrderedDict") * many),
        "calls": of(FLOOD, odict, b"h\0)R" * many),
        "deep tuples": of(FLOOD, b")" + b"\x85" * many),
        "deep lists": of("holds a list", b"]" * 100_000 + b"a" * 99_999),
        "deep dicts": of("", b"}" + (text("a") + b"}") * 50_000 + b"s" * 50_000),
        "an endless tuple as arguments": of("a call with 100000 arguments", odict, b"(" + b"N" * 100_000 + b"tR"),
        "LONG4": of("an integer of 2147483647 bytes", b"\x8b\xff\xff\xff\x7f"),
        "LONG4 negative": of(cut, b"\x8b\xff\xff\xff\xff"),
        "LONG1": of("an integer of 255 bytes", b"\x8a\xff" + b"\xff" * 255),
        "LONG": of("a line of more than 48 bytes", b"L" + b"9" * 100_000 + b"L\n"),
        "INT": of("a line of more than 48 bytes", b"I" + b"9" * 5_000 + b"\n"),
        "INT with a bar": of(senseless, b"I1_0\n"),
        "INT in octal": of(senseless, b"I010\n"),
        "INT of minus nothing": of(senseless, b"I-0\n"),
        "INT with an L": of(senseless, b"I7L\n"),
        "LONG in octal": of(senseless, b"L010L\n"),
        "LONG of nothings": of(senseless, b"L00L\n"),
        "GET with an L": of(senseless, b"}p5\ng5L\n"),
        "INT of other digits": of(senseless, "I٣\n".encode()),
        "FLOAT": of(senseless, b"Fx\n"),
        "BINBYTES8 2**63": of(cut, b"\x8e" + struct.pack("<Q", 1 << 63)),
        "BINBYTES8 all": of(cut, b"\x8e" + b"\xff" * 8),
        "BYTEARRAY8": of(cut, b"\x96" + struct.pack("<Q", 1 << 62)),
        "BINBYTES": of(cut, b"B\xff\xff\xff\xff"),
        "BINUNICODE8": of(cut, b"\x8d" + struct.pack("<Q", 1 << 63)),
        "BINUNICODE": of(cut, b"X\xff\xff\xff\xff"),
        "BINSTRING negative": of(cut, b"T\xff\xff\xff\xff"),
        "text that is none": of(senseless, b"\x8c\x02\xff\xfe"),
        "half a surrogate": of(senseless, text("\ud800")),
        "GLOBAL without an end": of("a line of more than 1024", b"c" + b"a" * 5000),
        "GLOBAL not UTF-8": of(senseless, b"c\xff\xfe\nx\n"),
        "STACK_GLOBAL of a dict": of("a name that is no text", b"}}\x93"),
        "STACK_GLOBAL of a long text": of("a name that is no text", text("collections"), text("O" * 5000), b"\x93"),
        "STACK_GLOBAL of laughs": of("a name that is no text", laughs("tuples"), text("x"), b"\x93"),
        **{f"key {k}": of("a dict key", b"}", v, b"Ns") for k, v in _keys().items()},
        **{
            f"laughs of {k} as {w}": of("", *parts)
            for k in ("tuples", "lists", "dicts")
            for w, parts in _uses(laughs(k))
        },
    }


def _keys() -> dict[str, bytes]:
    return {
        "list": b"]",
        "dict": b"}",
        "tuple": b")",
        "a list in itself": b"]\x94h\0a",
        "laughs": laughs("tuples"),
        "bytes": b"C\1x",
        "None": b"N",
        "bool": b"\x88",
        "nan": push(float("nan")),
        "large": integer((1 << 61) - 1),
        "large and negative": integer(-(1 << 100)),
        "function": name("collections", "OrderedDict"),
    }


def _uses(bomb: bytes) -> list[tuple[str, tuple[bytes, ...]]]:
    return [
        ("the root", (bomb,)),
        ("a value", (b"}", text("w"), bomb, b"s")),
        ("an argument", (name("collections", "OrderedDict"), bomb, b"\x85R")),
        ("a persistent id", (bomb, b"Q")),
        ("a state", (b"}", bomb, b"b")),
        ("a function", (bomb, b")R")),
        ("the target of a state", (bomb, b"}b")),
        ("a pair", (b"}", text("w"), text("w"), bomb, b"\x86s")),
    ]


def _evil_at(protocol: int) -> Trick:
    return Trick(lambda mark: pickle.dumps({"w": _Evil(mark)}, protocol), "(posix|nt).system|opcode", live=True)


def pickles() -> dict[str, Trick]:
    dumped = {f"__reduce__ in protocol {protocol}": _evil_at(protocol) for protocol in range(6)}
    return {**dumped, **_callables(), **_chains(), **_frames(), **_look_alikes(), **_machine()}


# -- .pdparams -------------------------------------------------------------------------------------------------

NDARRAY = name("numpy", "ndarray")
RECONSTRUCT = name("numpy.core.multiarray", "_reconstruct")
FROM_BUFFER = name("numpy.core.numeric", "_frombuffer")


def dtype(letters: object = "f4", state: object = (3, "<", None, None, None, -1, -1, 0)) -> bytes:
    return call(name("numpy", "dtype"), letters, False, True) + push(state) + b"b"


def old_text(data: bytes) -> bytes:
    """As Python 2 has it: whoever reads it decides on the encoding."""
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data


BYTES = dtype("u1", (3, "|", None, None, None, -1, -1, 0))


def array(shape: object = (2,), kind: bytes | None = None, data: bytes | None = None, **other: Any) -> bytes:
    start = other.get("start", call(RECONSTRUCT, NDARRAY, (0,), b"C\1b"))
    last = raw_bytes(bytes(8)) if data is None else data
    state = (other.get("version", 1), shape, kind or dtype(), other.get("fortran", False), last)
    return bytes(start + push(state) + b"b")


def arrays() -> dict[str, tuple[bytes, str]]:
    """Values of a .pdparams, each instead of an array, and what the refusal must say."""
    fields = call(name("numpy", "dtype"), "f4", False, True) + b"(" + push(3) + text("|") + b"N" + push(("a",)) + b"}"
    bad: dict[str, tuple[bytes, str]] = {
        "object array": (array(kind=dtype("O", (3, "|", None, None, None, -1, -1, 63))), "the dtype 'O'"),
        "object array O8": (array(kind=dtype("O8"), data=push([1, 2])), "the dtype 'O8'"),
        "void": (array(kind=dtype("V100000000")), "the dtype 'V100000000'"),
        "text array": (array(kind=dtype("U9")), "the dtype 'U9'"),
        "complex": (array(kind=dtype("c8"), shape=(1,)), "the dtype 'c8', which is not supported"),
        "dtype of laughs": (array(kind=call(name("numpy", "dtype"), laughs("tuples"), False, True)), "is a tuple"),
        "dtype with flags of laughs": (
            array(kind=call(name("numpy", "dtype"), "f4", laughs("lists"), True)),
            "made of more than its code",
        ),
        "dtype of a list": (array(kind=call(name("numpy", "dtype"), [("a", "O")], False, True)), "is a list"),
        "big-endian": (array(kind=dtype(state=(3, ">", None, None, None, -1, -1, 0))), "big-endian"),
        "dtype with fields": (array(kind=fields + push((-1, -1, 0))[1:-1] + b"tb"), "made of others"),
        "dtype with a subtype": (
            array(kind=dtype(state=(3, "<", (name("numpy", "ndarray"), (2,)), None, None, -1, -1, 0))),
            "made of others",
        ),
        "dtype with metadata": (array(kind=dtype(state=(4, "<", None, None, None, -1, -1, 0, b"}"))), "made of others"),
        "dtype with a state of laughs": (
            array(kind=call(name("numpy", "dtype"), "f4", False, True) + laughs("lists") + b"b"),
            "made of others",
        ),
        "negative size": (array(shape=(-2,)), "negative or absurd size"),
        "two negative sizes": (array(shape=(-2, -1)), "negative or absurd size"),
        "bool size": (array(shape=(2, True)), "negative or absurd size"),
        "float size": (array(shape=(2.0,)), "negative or absurd size"),
        "text size": (array(shape=("2",)), "negative or absurd size"),
        "huge size": (array(shape=(1 << 62, 4)), "negative or absurd size"),
        "product that overflows": (array(shape=(1 << 32, 1 << 32, 0, 2)), "shape needs"),
        "too few bytes": (array(shape=(3,)), "of 8 bytes whose shape needs 12"),
        "too many bytes": (array(shape=(1,)), "of 8 bytes whose shape needs 4"),
        "a list for a shape": (array(shape=[2]), "shape is no tuple"),
        "a shape of 33": (array(shape=(1,) * 33), "far too long"),
        "a shape of 100000": (array(shape=b"(" + b"K\1" * 100_000 + b"t"), "far too long"),
        "a shape of laughs": (array(shape=laughs("tuples")), "negative or absurd size|shape"),
        "text for bytes": (array(data=text("abcdefgh")), "do not lie whole"),
        "a list for bytes": (array(data=push([1, 2])), "do not lie whole"),
        "version 2": (array(version=2), "a state that is none"),
        "fortran 2": (array(fortran=2), "a state that is none"),
        "no dtype": (array(kind=text("f4")), "without a dtype"),
        "never filled": (call(RECONSTRUCT, NDARRAY, (0,), b"C\1b"), "holds no tensors, but 'w' .an array."),
        "a million elements to start": (
            array(start=call(RECONSTRUCT, NDARRAY, (10**12,), b"C\1b")),
            "does not start empty",
        ),
        "an object to start": (
            array(start=call(RECONSTRUCT, name("numpy", "dtype"), (0,), b"C\1b")),
            "class that is not numpy's",
        ),
        "a state for a text": (text("x") + b"}b", "a state that is none of an array"),
        "a state for a dict": (b"}}b", "a state that is none of an array"),
        "a state for an OrderedDict": (call(name("collections", "OrderedDict")) + b"}b", "a state that is none"),
        "slots": (
            call(name("collections", "OrderedDict")) + push((None, b"}" + text("items") + b"Ns")) + b"b",
            "a state that is none",
        ),
        "a buffer in no order": (
            call(FROM_BUFFER, b"\x96" + struct.pack("<Q", 8) + bytes(8), dtype(), (2,), "K"),
            "order",
        ),
        "a buffer of a text": (call(FROM_BUFFER, "x" * 8, dtype(), (2,), "C"), "do not lie whole"),
        "a buffer that is short": (
            call(FROM_BUFFER, b"\x96" + struct.pack("<Q", 4) + bytes(4), dtype(), (2,), "C"),
            "shape needs",
        ),
        "another codec": (call(name("_codecs", "encode"), "x", "rot13"), "makes no bytes"),
        "encoding of laughs": (call(name("_codecs", "encode"), laughs("tuples"), "latin1"), "makes no bytes"),
        "tuple of a text": (call(name("builtins", "tuple"), "abc"), "a tuple of something else"),
        "bytes of a length": (array(data=call(name("builtins", "bytes"), 1 << 40)), "bytes made of something else"),
        "a name that is a number": (push((1, array())), "holds no tensors, but 'w' .a tuple."),
        "a text": (text("x"), "holds no tensors, but 'w' .a str."),
        "a list of arrays": (b"](" + array() + b"e", "holds no tensors, but 'w' .a list."),
        "a class": (NDARRAY, "holds no tensors, but 'w' .a Marker."),
        "a scalar": (
            call(name("numpy.core.multiarray", "scalar"), dtype(), raw_bytes(bytes(4))),
            "holds no tensors, but 'w' .a number of numpy.",
        ),
        "a scalar of objects": (call(name("numpy.core.multiarray", "scalar"), dtype("O"), raw_bytes(b"")), "dtype 'O'"),
        "a scalar of laughs": (
            call(name("numpy.core.multiarray", "scalar"), dtype(), laughs("tuples")),
            "a number of numpy without a dtype, or without bytes",
        ),
        "a scalar without a dtype": (call(name("numpy.core.multiarray", "scalar"), 1, 2), "without a dtype"),
        "text of too few bytes": (array(data=encoded("abcdefg")), "of 7 bytes whose shape needs 8"),
        "text of too many bytes": (array(data=encoded("ÿ" * 8 + "a")), "of 17 bytes whose shape needs 8"),
        "long text of too many": (array(data=encoded("a" * 100_000)), "of 100000 bytes whose shape needs 8"),
        "text of Python 2 as text": (
            array((1,), BYTES, call(name("_codecs", "encode"), old_text("é".encode()), "latin1")),
            "makes no bytes",
        ),
        "long text of Python 2 as text": (
            array((5000,), BYTES, call(name("_codecs", "encode"), old_text("é".encode() * 2500), "latin1")),
            "makes no bytes",
        ),
        "text in another codec": (array(data=encoded("abcdefgh", "utf-8")), "makes no bytes"),
        "text of a number": (array(data=call(name("_codecs", "encode"), 7, "latin1")), "makes no bytes"),
    }
    return bad


def encoded(value: str, codec: str = "latin1") -> bytes:
    return call(name("_codecs", "encode"), value, codec)


def push_dicts(value: object) -> bytes:
    if not isinstance(value, dict):
        return push(value)
    return b"}(" + b"".join(push(key) + push_dicts(item) for key, item in value.items()) + b"u"


def _many_shapes() -> bytes:
    """One payload in many arrays, none of which is another one."""
    data, size = raw_bytes(bytes(1 << 20)) + b"\x94", 1 << 18
    start = text("") + array((size,), data=data) + b"s"  # the payload is the first in the memo
    shapes = [(1 << n, 1 << (18 - n), *(1,) * ones) for n in range(19) for ones in range(30)]
    rest = (text(f"w{i}") + array(shape, data=b"h\0") + b"s" for i, shape in enumerate(shapes))
    return program(b"}", start, *rest)


def _wide() -> bytes:
    """Dicts of a thousand times the same dict, four levels deep."""
    level = b"}\x94"
    for number in range(4):
        again = b"j" + struct.pack("<I", number)
        level += b"0}\x94(" + b"".join(text(str(i)) + again for i in range(1000)) + b"u"
    return program(level)


def pdparams() -> dict[str, tuple[bytes, str]]:
    """Whole .pdparams files."""
    files = {
        f"array: {title}": (program(b"}", text("w"), value, b"s"), says) for title, (value, says) in arrays().items()
    }
    table = text("StructuredToParameterName@@")

    def split(info: object, **parts: bytes) -> bytes:
        """A file of an array in parts."""
        items = b"".join(text(key) + value for key, value in parts.items())
        return program(b"}(", items, text("UnpackBigParamInfor@@"), push_dicts(info), b"u")

    def parts(shape: object = (4,), slices: object = ("a", "b"), name: str = "w") -> dict[str, object]:
        return {name: {"OriginShape": shape, "slices": list(slices) if isinstance(slices, tuple) else slices}}

    two = {"a": array(), "b": array()}
    apart = "whose parts are not there, or do not fit together"
    other = "says something else than shapes and names"
    return {
        **files,
        "parts: of another shape": (split(parts((5,)), **two), "which is not what its parts hold"),
        "parts: of a huge shape": (split(parts((1 << 40, 1 << 40)), **two), "which is not what its parts hold"),
        "parts: of a negative shape": (split(parts((-2, -2)), **two), other),
        "parts: of an absurd shape": (
            split(parts((0, 1 << 50, 1 << 50), ("a",)), a=array((0,), data=b"C\0")),
            "absurd",
        ),
        "parts: of 33 dimensions": (split(parts((1,) * 33), **two), other),
        "parts: shape is a list": (split(parts([4]), **two), other),
        "parts: shape of laughs": (split(parts(laughs("tuples")), **two), other),
        "parts: one used twice": (split(parts((4,), ("a", "a")), **two), apart),
        "parts: one used a thousand times": (split(parts((2000,), ("a",) * 1000), **two), apart),
        "parts: one used by two": (split({**parts(), **parts(name="v")}, **two), apart),
        "parts: missing": (split(parts((4,), ("a", "c")), **two), apart),
        "parts: none": (split(parts((0,), ()), **two), other),
        "parts: of two dtypes": (split(parts(), a=array(), b=array((1,), dtype("f8"))), apart),
        "parts: matrices": (split(parts(), a=array((1, 2)), b=array((1, 2))), apart),
        "parts: a text": (split(parts(), a=array(), b=text("x")), apart),
        "parts: never filled": (split(parts(), a=array(), b=call(RECONSTRUCT, NDARRAY, (0,), b"C\1b")), apart),
        "parts: of an array in parts": (
            split({**parts((2,), ("a",)), **parts((2,), ("b",), "a")}, **two),
            "a part of which is an array in parts",
        ),
        "parts: of itself": (split(parts((2,), ("a",), "a"), **two), "a part of which is an array in parts"),
        "parts: of the table of names": (
            split(parts((2,), ("a",), "StructuredToParameterName@@"), **two),
            "which is a table",
        ),
        "parts: of their table": (split(parts((2,), ("a",), "UnpackBigParamInfor@@"), **two), "which is a table"),
        "parts: whole as well": (split(parts(), w=array(), **two), "'w', which is there whole as well"),
        "parts: names of laughs": (split(parts((4,), laughs("lists")), **two), other),
        "parts: no names": (split(parts((4,), [1, 2]), **two), other),
        "parts: no slices": (split({"w": {"OriginShape": (4,)}}, **two), other),
        "parts: more than it needs": (split({"w": {**parts()["w"], "x": 1}}, **two), other),  # type: ignore[dict-item]
        "parts: a list": (split([1], **two), "is no dict"),
        "parts: of laughs": (split(laughs("dicts"), **two), other),
        "parts: number for a name": (split({5: parts()["w"]}, **two), other),
        "name table of laughs": (program(b"}", table, laughs("lists"), b"s"), "is no dict of texts"),
        "name table of functions": (program(b"}", table, b"}", text("a"), NDARRAY, b"ss"), "is no dict of texts"),
        "many shapes": (_many_shapes(), r"its 571 tensors claim \d+ bytes, far more than the file holds"),
        "no arrays": (program(b"}"), "holds no tensors, but nothing at all"),
        "several models": (
            program(b"}(", *(text(key) + b"}" + text("w") + array() + b"s" for key in ("a", "b")), b"u"),
            "several sets of tensors, in 'a' .a dict., 'b' .a dict.; which is meant",
        ),
        "a dict in itself": (program(b"}\x94", text("model"), b"h\0s"), "holds no tensors, but 'model' .a dict."),
        "a dict in itself, with arrays": (
            program(b"}\x94(", text("model"), b"h\0", text("w"), array(), b"u"),
            "holds dicts within dicts, too deep for a checkpoint",
        ),
        "wide dicts in wide dicts": (_wide(), "holds no tensors"),
        "names that steer the terminal": (
            program(b"}(", *(text(f"\x1b[{i}J" * 1000) + b"N" for i in range(9)), b"u"),
            "holds no tensors, but ",
        ),
        "empty": (b"", "cut off at byte 0"),
        "a web page": (b"<!DOCTYPE html><html></html>", "opcode"),
        "a zip": (b"PK\3\4" + bytes(40), "opcode|senseless"),
        "number for a name": (program(b"}", integer(5), array(), b"s"), "the key 5 of type int"),
    }


# -- zip files -------------------------------------------------------------------------------------------------


def storage(key: object = "0", count: object = 4, kind: str = "FloatStorage") -> bytes:
    return push(("storage", name("torch", kind), key, "cpu", count)) + b"Q"


def tensor(store: bytes | None = None, offset: object = 0, shape: object = (4,), strides: object = (1,)) -> bytes:
    hooks = call(name("collections", "OrderedDict"))
    arguments = (storage() if store is None else store, offset, shape, strides, False, hooks)
    return call(name("torch._utils", "_rebuild_tensor_v2"), *arguments)


def state(*values: bytes) -> bytes:
    items = b"".join(text(f"w{i}") + value for i, value in enumerate(values))
    return program(b"}(", items, b"u")


def torch_zip(data: bytes | None = None, records: dict[str, bytes] | None = None) -> bytes:
    """What torch.save writes, by hand."""
    content = {"archive/data.pkl": state(tensor()) if data is None else data, "archive/data/0": bytes(16)}
    return stored({**content, "archive/version": b"3\n", **(records or {})})


def stored(records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for title, content in records.items():
            archive.writestr(zipfile.ZipInfo(title), content, method)
    return stream.getvalue()


REBUILD = name("torch._utils", "_rebuild_tensor_v2")
TENSOR = name("torch", "Tensor")


def newer(dtype: str, shape: tuple[int, ...] = (2,)) -> bytes:
    """A tensor that says its dtype, of a storage that does not."""
    store = push(("storage", name("torch.storage", "UntypedStorage"), "0", "cpu", 16)) + b"Q"
    rebuild = name("torch._utils", "_rebuild_tensor_v3")
    return call(rebuild, store, 0, shape, (1,), False, None, name("torch", dtype))


def _wrapped(times: int) -> bytes:
    """A tensor made by a function that is called by itself by itself by itself."""
    wrap = name("torch._tensor", "_rebuild_from_type_v2")
    arguments = push((storage(), 0, (4,), (1,), False, None))
    function = REBUILD
    for _ in range(times):
        arguments = push((function, TENSOR, arguments, None))
        function = wrap
    return wrap + arguments + b"R"


def _copied() -> bytes:
    """A list of a hundred thousand pairs, made into a dict again and again."""
    odict = name("collections", "OrderedDict") + b"\x94"
    pair = text("k") + b"N\x86\x94"
    pairs = b"](" + b"h\1" * 100_000 + b"e\x94\x85\x94"
    return odict + b"0" + pair + b"0" + pairs + b"0" + b"h\0h\3R0" * 1000 + b"}"


HOOKS = call(name("collections", "OrderedDict"))
PARAMETER = name("torch._utils", "_rebuild_parameter")


def other() -> bytes:
    """Not the tensor that ``tensor(shape=(2,))`` is, but the rest of its storage."""
    return tensor(offset=2, shape=(2,))


def replaced() -> dict[str, bytes]:
    """Tensors that get a state of which torch makes another tensor."""
    rest = push((storage(), 2, (2,), (1,))) + b"b"
    return {
        "another storage": tensor(shape=(2,)) + rest,
        "another storage and size": tensor(shape=(2,)) + push((storage(), 2, (2,))) + b"b",
        "another storage, as a parameter": call(PARAMETER, tensor(shape=(2,)), False, HOOKS) + rest,
        "other values, as a parameter": call(PARAMETER, tensor(shape=(2,)), False, HOOKS)
        + push((other(), None, HOOKS, False, False))
        + b"b",
    }


def stateful(state: bytes) -> bytes:
    """A parameter with attributes."""
    return call(name("torch._utils", "_rebuild_parameter_with_state"), tensor(shape=(2,)), False, HOOKS, state)


def changed() -> dict[str, bytes]:
    """Tensors with attributes of which torch makes another tensor."""
    data = b"}" + text("data") + other() + b"s"
    arguments = push((storage(), 0, (2,), (1,), False, HOOKS))
    retyped = name("torch._tensor", "_rebuild_from_type_v2")
    return {
        "other data": stateful(data),
        "other data behind none": stateful(push((None, data))),
        "other data before none": stateful(push((data, None))),
        "another real part": stateful(b"}" + text("real") + other() + b"s"),
        "other data, as a buffer": call(retyped, REBUILD, TENSOR, arguments, data),
        "other data, as another class": call(
            retyped, REBUILD, name("torch.nn.parameter", "Parameter"), arguments, data
        ),
    }


def tensors() -> dict[str, tuple[bytes, str]]:
    """Values of a torch state dict, and what the refusal must say."""
    past = "reaches past its storage"
    shape = "no tuple of up to 32 integers"
    absurd = "negative or absurd"
    bad: dict[str, tuple[bytes, str]] = {
        "shape past the storage": (tensor(shape=(5,)), past),
        "offset past the storage": (tensor(offset=1), past),
        "strides past the storage": (tensor(strides=(2,)), past),
        "storage past its record": (tensor(storage(count=5)), "'0' of 20 bytes, whose record has 16 bytes"),
        "storage shorter than its record": (tensor(storage(count=1)), past),
        "wide storage past its record": (tensor(storage(kind="DoubleStorage")), "'0' of 32 bytes"),
        "huge storage": (tensor(storage(count=1 << 62)), "bytes, whose record has 16 bytes"),
        "negative storage": (tensor(storage(count=-1)), "of -4 bytes"),
        "bool storage": (tensor(storage(count=True)), "a persistent id that is no storage"),
        "float storage": (tensor(storage(count=4.0)), "a persistent id that is no storage"),
        "missing storage": (tensor(storage(key="9")), "the storage '9', which is not in the file"),
        "storage by number": (tensor(storage(key=0)), "a persistent id that is no storage"),
        "storage elsewhere": (tensor(storage(key="../../../etc/passwd")), "which is not in the file"),
        "storage that is the pickle": (tensor(storage(key="../data.pkl", kind="ByteStorage")), "not in the file"),
        "storage with a long name": (tensor(storage(key="x" * 4000)), "which is not in the file"),
        "storage of laughs": (push(("storage", laughs("tuples"), "0", "cpu", 4)) + b"Q", "no storage"),
        "storage key of laughs": (
            push(("storage", name("torch", "FloatStorage"), laughs("lists"), "cpu", 4)) + b"Q",
            "no storage",
        ),
        "module for a storage": (push(("module", name("torch", "FloatStorage"), "0", "cpu", 4)) + b"Q", "no storage"),
        "text for a class": (push(("storage", "FloatStorage", "0", "cpu", 4)) + b"Q", "no storage"),
        "negative size": (tensor(shape=(-4,)), absurd),
        "negative stride": (tensor(strides=(-1,)), absurd),
        "negative offset": (tensor(offset=-1), absurd),
        "two negative sizes": (tensor(shape=(-2, -2), strides=(2, 1)), absurd),
        "bool size": (tensor(shape=(True,)), shape),
        "float size": (tensor(shape=(4.0,)), shape),
        "text size": (tensor(shape=("4",)), shape),
        "list of sizes": (tensor(shape=[4]), shape),
        "bool stride": (tensor(strides=(True,)), shape),
        "bool offset": (tensor(offset=False), "an offset that is an integer"),
        "float offset": (tensor(offset=0.0), "an offset that is an integer"),
        "no storage": (tensor(b"N"), "a tensor without a storage"),
        "sizes of laughs": (tensor(shape=laughs("tuples")), shape),
        "strides of laughs": (tensor(strides=laughs("dicts")), shape),
        "offset of laughs": (tensor(offset=laughs("tuples")), "an offset that is an integer"),
        "size of 2**100": (tensor(shape=(1 << 100,), strides=(0,)), absurd),
        "product that overflows": (tensor(shape=(1 << 50,) * 4, strides=(0,) * 4), "the absurd shape"),
        "empty but huge": (tensor(shape=(0, 1 << 50, 1 << 50), strides=(0, 0, 0)), "the absurd shape"),
        "expanded": (tensor(shape=(1 << 40,), strides=(0,)), "claims 4398046511104 bytes of a far smaller storage"),
        "expanded with a real last one": (tensor(shape=(1 << 40, 4), strides=(0, 1)), "far smaller storage"),
        "33 dimensions": (tensor(shape=(1,) * 33, strides=(1,) * 33), shape),
        "a million dimensions": (tensor(shape=b"(" + b"K\1" * 200_000 + b"t"), shape),
        "sizes without strides": (tensor(shape=(2, 2)), "has 2 sizes and 1 strides"),
        "huge stride of a 1": (tensor(shape=(1,), strides=(1 << 62,)), absurd),
        "parameter of nothing": (
            call(name("torch._utils", "_rebuild_parameter"), None),
            "a parameter without a tensor",
        ),
        "tensor of nothing": (call(name("torch._utils", "_rebuild_tensor_v2")), "senseless pickle"),
        "OrderedDict of itself": (call(name("collections", "OrderedDict"), b"]\x94h\0a"), "OrderedDict with contents"),
        "hooks that run": (
            call(name("torch._utils", "_rebuild_tensor_v2"), storage(), 0, (4,), (1,), False, SYSTEM),
            r"os\.system",
        ),
        "untyped storage": (
            tensor(push(("storage", name("torch.storage", "UntypedStorage"), "0", "cpu", 4)) + b"Q"),
            "UntypedStorage",
        ),
        "reduce of a storage class": (
            call(name("torch", "FloatStorage"), 10**12),
            "a call of something that is no function",
        ),
        "newer tensor past its storage": (newer("float8_e5m2", shape=(17,)), past),
        "newer tensor of a wide dtype": (newer("uint64", shape=(3,)), past),
        "newer tensor of a packed dtype": (newer("uint4"), "a tensor of the dtype uint4, which is not supported"),
        "newer tensor of half a byte": (
            newer("float4_e2m1fn_x2"),
            "the dtype float4_e2m1fn_x2, which is not supported",
        ),
        "newer tensor of a storage class": (newer("FloatStorage"), "a tensor whose dtype is none"),
        "newer tensor of a text": (
            call(name("torch._utils", "_rebuild_tensor_v3"), storage(), 0, (4,), (1,), False, None, "float32"),
            "a tensor whose dtype is none",
        ),
        "newer tensor of laughs": (
            call(name("torch._utils", "_rebuild_tensor_v3"), storage(), 0, (4,), (1,), False, None, laughs("lists")),
            "a tensor whose dtype is none",
        ),
        "dtype of torch.os": (newer("os"), r"the name torch\.os"),
        "negated when read": (
            call(
                name("torch._utils", "_rebuild_tensor_v2"),
                storage(),
                0,
                (4,),
                (1,),
                False,
                None,
                b"}" + text("neg") + b"\x88s",
            ),
            "negated or conjugated only when it is read",
        ),
        "metadata of laughs": (
            call(name("torch._utils", "_rebuild_tensor_v2"), storage(), 0, (4,), (1,), False, None, laughs("tuples")),
            "negated or conjugated only when it is read",
        ),
        "tensor subclass": (
            call(name("torch._tensor", "_rebuild_from_type_v2"), REBUILD, name("os", "system"), (), b"}"),
            r"os\.system",
        ),
        "tensor of a storage class": (
            call(name("torch._tensor", "_rebuild_from_type_v2"), REBUILD, name("torch", "FloatStorage"), (), b"}"),
            "a tensor of a class that is not torch's",
        ),
        "tensor of another function": (
            call(name("torch._tensor", "_rebuild_from_type_v2"), name("torch", "Size"), TENSOR, ((1,),), b"}"),
            "a tensor made by a function that makes none",
        ),
        "tensor wrapped a thousand times": (_wrapped(1000), "a tensor made by a function that makes none"),
        "tensor of endless arguments": (
            call(name("torch._tensor", "_rebuild_from_type_v2"), REBUILD, TENSOR, b"(" + b"N" * 100_000 + b"t", b"}"),
            "a tensor of a class that is not torch's",
        ),
        "OrderedDict of no pairs": (call(name("collections", "OrderedDict"), [1, 2]), "contents that are no pairs"),
        "OrderedDict of laughs": (call(name("collections", "OrderedDict"), laughs("lists")), "a key that is no text"),
        "OrderedDict of a list in itself": (
            call(name("collections", "OrderedDict"), b"]\x94(h\0h\0e"),
            "a key that is no text",
        ),
        "OrderedDict of the same list a thousand times": (_copied(), "contents that are no pairs"),
        "state for a storage": (storage() + b"}b", "a state that is none"),
        **{f"tensor with {k}": (v, "that is replaced by its state") for k, v in replaced().items()},
        **{f"tensor with {k}": (v, "a tensor whose attribute '.*' is set") for k, v in changed().items()},
        "tensor with attributes of laughs": (stateful(laughs("lists")), "attributes that are no dict"),
        "tensor with one attribute for three": (stateful(push((None, None, b"}"))), "attributes that are no dict"),
        "tensor with an attribute of no name": (stateful(b"}" + integer(5) + b"Ns"), "a tensor whose attribute '5'"),
        "defaultdict with contents": (
            call(name("collections", "defaultdict"), None, b"}" + text("w") + tensor() + b"s"),
            "a defaultdict with contents of its own",
        ),
    }
    return bad


# -- the old format of torch -----------------------------------------------------------------------------------

MAGIC = 0x1950A86A20F9469CFC6C
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
Stored = tuple[str, int, bytes]  # key, what it says of its elements, its bytes


def pickled(value: object) -> bytes:
    return pickle.dumps(value, 2)


def old_storage(
    key: object = "0", count: object = 4, kind: str = "FloatStorage", view: object = None, module: str = "torch"
) -> bytes:
    return push(("storage", name(module, kind), key, "cpu", count, view)) + b"Q"


def old_torch(
    data: bytes | None = None,
    storages: list[Stored] | None = None,
    head: tuple[bytes, ...] = (pickled(MAGIC), pickled(1001), pickled(MACHINE)),
    keys: bytes | None = None,
) -> bytes:
    """What torch.save writes in its old format, by hand."""
    storages = [("0", 4, bytes(16))] if storages is None else storages
    root = state(tensor(old_storage())) if data is None else data
    listed = pickled([key for key, _count, _content in storages]) if keys is None else keys
    rest = b"".join(struct.pack("<q", count) + content for _key, count, content in storages)
    return b"".join(head) + root + listed + rest


def old_tensors() -> dict[str, tuple[bytes, str]]:
    """Values of an old state dict, and what the refusal must say."""
    told = "told twice and differently"
    wrong = "a part of a storage that is described wrongly"
    no_storage = "a persistent id that is no storage"
    good = tensor(old_storage())
    past = "reaches past its storage"

    def part(*view: object) -> bytes:
        return tensor(old_storage(view=view))

    def two(*parts: bytes) -> bytes:
        return good + b"0" + b"0".join(parts)

    return {
        "shape past the storage": (tensor(old_storage(), shape=(5,)), past),
        "offset past the storage": (tensor(old_storage(), offset=1), past),
        "strides past the storage": (tensor(old_storage(), strides=(2,)), past),
        "part past its storage": (part("1", 1, 4), "the part '1' of a storage of 16 bytes, from 4 on for 16"),
        "part before its storage": (part("1", -1, 4), "from -4 on for 16"),
        "part of negative length": (part("1", 4, -4), "from 16 on for -16"),
        "huge part": (part("1", 1 << 70, 1 << 70), "the part '1' of a storage of 16 bytes"),
        "tensor past its part": (part("1", 0, 3), "reaches past its storage of 12 bytes"),
        "part told twice": (two(tensor(old_storage(view=("1", 0, 4))), tensor(old_storage(view=("1", 1, 3)))), told),
        "part of another": (
            two(tensor(old_storage(view=("1", 0, 4))), tensor(old_storage("2", view=("1", 0, 4)))),
            told,
        ),
        "part that is a number": (tensor(old_storage(view=7)), wrong),
        "part of two": (part("1", 0), wrong),
        "part of floats": (part("1", 0.0, 4.0), wrong),
        "part of bools": (part("1", False, True), wrong),
        "part by number": (part(1, 0, 4), wrong),
        "part with a long name": (part("1" * 4000, 0, 4), wrong),
        "part of laughs": (tensor(old_storage(view=laughs("tuples"))), wrong),
        "part with a key of laughs": (tensor(old_storage(view=laughs("lists"))), wrong),
        "no part": (tensor(storage()), no_storage),
        "storage with seven fields": (
            tensor(push(("storage", name("torch", "FloatStorage"), "0", "cpu", 4, None, None)) + b"Q"),
            no_storage,
        ),
        "huge storage": (tensor(old_storage(count=1 << 62)), "bytes in a file of"),
        "storage of the file's size": (tensor(old_storage(count=1 << 20)), "of 4194304 bytes in a file of"),
        "negative storage": (tensor(old_storage(count=-4)), "of -16 bytes in a file of"),
        "bool storage": (tensor(old_storage(count=True)), no_storage),
        "storage with a long name": (tensor(old_storage(key="0" * 4000)), "bytes in a file of"),
        "storage by number": (tensor(old_storage(key=0)), no_storage),
        "storage of two types": (two(tensor(old_storage(kind="IntStorage"))), "the storage '0' with two types or siz"),
        "storage of two sizes": (two(tensor(old_storage(count=3), shape=(3,))), "the storage '0' with two types or si"),
        "storage that is not listed": (tensor(old_storage("9")), "it lists 1 storages, which are not the 1"),
        "untyped storage": (
            tensor(old_storage(kind="UntypedStorage", count=16, module="torch.storage")),
            "UntypedStorage that does not say its dtype",
        ),
        "module": (push(("module", name("torch", "FloatStorage"), "x.py", "import os")) + b"Q", no_storage),
        "module of os": (push(("module", SYSTEM, "x.py", "import os")) + b"Q", r"os\.system"),
    }


def keys_used_twice() -> dict[str, tuple[bytes, list[Stored]]]:
    """Programs, and storages, in which a key is that of a storage and of a part of one; torch looks in one dict."""
    values, rest = struct.pack("<4f", 0, 1, 2, 3), struct.pack("<2f", 9, 9)
    own = tensor(old_storage(view=("0", 2, 2)), shape=(2,))
    part = tensor(old_storage(view=("1", 2, 2)), shape=(2,))
    whole = tensor(old_storage("1", count=2), shape=(2,))
    return {
        "its own": (state(own), [("0", 4, values)]),
        "the part first": (state(part, whole), [("0", 4, values), ("1", 2, rest)]),
        "the part last": (state(whole, part), [("0", 4, values), ("1", 2, rest)]),
    }


def old_files() -> dict[str, tuple[bytes, str]]:
    """Whole files in the old format."""
    head = (pickled(MAGIC), pickled(1001), pickled(MACHINE))
    not_torch = "a pickle, but none of torch.save"
    lies = r"no file that torch.save writes: "
    count = lies + r"at byte \d+ are "
    order = lies + "it lists"
    machine = "does not say of which machine it is"
    good = old_torch()

    def machine_is(**change: object) -> bytes:
        return old_torch(head=(*head[:2], pickled({**MACHINE, **change})))

    def filled(length: int, *storages: Stored) -> bytes:
        return old_torch(storages=list(storages) or [("0", 4, bytes(length))])

    return {
        **{f"tensor: {k}": (old_torch(state(value)), says) for k, (value, says) in old_tensors().items()},
        **{
            f"key of a storage and a part: {k}": (old_torch(*v), "both for a storage and for a part of one")
            for k, v in keys_used_twice().items()
        },
        "magic alone": (head[0], r"cut off at byte \d+"),
        "wrong magic": (old_torch(head=(pickled(MAGIC + 1), *head[1:])), not_torch + ": it starts with an int"),
        "magic as a text": (old_torch(head=(pickled(str(MAGIC)), *head[1:])), not_torch + ": it starts with a str"),
        "magic of laughs": (old_torch(head=(program(laughs("tuples")), *head[1:])), not_torch),
        "magic that is true": (old_torch(head=(pickled(True), *head[1:])), not_torch + ": it starts with a bool"),
        "no magic": (old_torch(head=head[1:]), not_torch),
        "huge magic": (b"\x80\x02\x8b\xff\xff\xff\x7f" + good, "an integer of 2147483647 bytes"),
        "version 1000": (old_torch(head=(head[0], pickled(1000), head[2])), "version 1000, and only 1001 is known"),
        "version of laughs": (old_torch(head=(head[0], program(laughs("lists")), head[2])), "version a list, and only"),
        "version as a text": (old_torch(head=(head[0], pickled("1001"), head[2])), "version a str, and only"),
        "no version": (old_torch(head=(head[0], head[2])), "version a dict, and only"),
        "machine is a list": (old_torch(head=(*head[:2], pickled([1]))), machine),
        "machine of laughs": (old_torch(head=(*head[:2], program(laughs("dicts")))), machine),
        "machine of another version": (machine_is(protocol_version=1002), machine),
        "big-endian": (machine_is(little_endian=False), "big-endian machine"),
        "neither endian": (machine_is(little_endian=None), "big-endian machine"),
        "endian of laughs": (
            old_torch(
                head=(
                    *head[:2],
                    program(
                        b"}(",
                        text("protocol_version"),
                        push(1001),
                        text("little_endian"),
                        laughs("tuples"),
                        b"u",
                    ),
                )
            ),
            "big-endian machine",
        ),
        "no machine": (old_torch(head=head[:2]), "a persistent id"),
        "storage in the magic": (old_torch(head=(program(old_storage()), *head[1:])), "a persistent id"),
        "storage in the keys": (old_torch(keys=program(b"](", old_storage(), b"e")), "a persistent id"),
        "keys are a dict": (old_torch(keys=pickled({"0": 1})), "its list of storages is a dict"),
        "keys are a text": (old_torch(keys=pickled("0")), "its list of storages is a str"),
        "keys are numbers": (old_torch(keys=pickled([0])), "or not of texts"),
        "keys of laughs": (old_torch(keys=program(laughs("lists"))), "or not of texts"),
        "a key of laughs": (old_torch(keys=program(b"](", laughs("tuples"), b"e")), "or not of texts"),
        "no keys": (old_torch(keys=pickled([])), order + " 0 storages"),
        "a key twice": (old_torch(keys=pickled(["0", "0"])), order + " 2 storages"),
        "a key too many": (old_torch(keys=pickled(["0", "1"])), order + " 2 storages"),
        "another key": (old_torch(keys=pickled(["1"])), order + " 1 storages"),
        "a long key": (old_torch(keys=pickled(["0" * 5000])), "or not of texts"),
        "no storages": (old_torch(storages=[], keys=pickled(["0"])), "is cut off: storage '0' ends at byte"),
        "storage cut off": (filled(15), "is cut off: storage '0' ends at byte"),
        "bytes behind": (filled(17), lies + "there are 1 bytes behind the last storage"),
        "another file behind": (good + good, "bytes behind the last storage"),
        "a zip behind": (good + torch_zip(), "bytes behind the last storage"),
        "a storage behind": (filled(0, ("0", 4, bytes(16) + struct.pack("<q", 4) + bytes(16))), "24 bytes behind"),
        "count too small": (filled(0, ("0", 3, bytes(16))), count + "3 elements, and its tensors say 16 bytes"),
        "count of nothing": (filled(0, ("0", 0, bytes(16))), count + "0 elements"),
        "count too large": (filled(0, ("0", 5, bytes(20))), count + "5 elements"),
        "count of 2**62": (filled(0, ("0", 1 << 62, bytes(16))), count + "4611686018427387904 elements"),
        "negative count": (filled(0, ("0", -4, bytes(16))), count + "-4 elements"),
        "count in bytes": (filled(0, ("0", 16, bytes(16))), count + "16 elements"),
        "no state dict": (old_torch(data=b""), "the opcode"),
        "state dict is a list": (old_torch(data=program(b"](", tensor(old_storage()), b"e")), "holds a list, not"),
        "state dict is a tensor": (old_torch(data=program(tensor(old_storage()))), "holds a tensor, not the dict"),
        "state dict of storages": (old_torch(data=state(old_storage())), "holds no tensors, but 'w0' .a storage."),
        "only the state dict": (state(tensor(old_storage())), "a persistent id"),
    }


def zips() -> dict[str, tuple[bytes, str]]:
    """Whole zip files."""
    good = torch_zip()
    end = good.rindex(b"PK\5\6")
    first, central = good.index(b"PK\1\2"), good.rindex(b"PK\1\2")
    large = {"archive/data.pkl": state(tensor()), "archive/data/0": bytes(50 << 20)}
    doubled = torch_zip(records={"archive/data/1": bytes(16)}).replace(b"archive/data/1", b"archive/data/0")

    def patched(at: int, layout: str, *values: int | bytes) -> bytes:
        data = bytearray(good)
        struct.pack_into(layout, data, at, *values)
        return bytes(data)

    def named(title: str) -> bytes:
        return torch_zip(records={title: b"x"})

    zip64 = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, end - first, first)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    lie64 = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1 << 60, 1 << 60, end - first, first)
    whole = "compressed or encrypted"
    only = "only a part of one"
    return {
        **{f"tensor: {k}": (torch_zip(state(value)), says) for k, (value, says) in tensors().items()},
        "deflated": (stored({"archive/data.pkl": state(tensor()), "archive/data/0": bytes(16)}, 8), whole),
        "zip bomb": (stored(large, 8), whole),
        "encrypted": (patched(first + 8, "<H", 1), "is not the 'archive/data.pkl' of the directory"),
        "encrypted in both places": (good[:6] + b"\1" + patched(first + 8, "<H", 1)[7:], whole),
        "size larger than packed": (patched(first + 24, "<L", 1 << 30), "claims to hold 1073741824"),
        "sizes in the directory": (
            patched(first + 20, "<LL", 1 << 30, 1 << 30),
            "not the 'archive/data.pkl' of the dir",
        ),
        "sizes in the record": (patched(18, "<LL", 1 << 30, 1 << 30), "not the 'archive/data.pkl' of the directory"),
        "method in the record": (patched(8, "<H", 8), "not the 'archive/data.pkl' of the directory"),
        "name in the record": (patched(30, "<7s", b"ARCHIVE"), "not the 'archive/data.pkl' of the directory"),
        "record elsewhere": (patched(first + 42, "<L", 10), "there is no record at byte 10"),
        "record behind the end": (patched(first + 42, "<L", 0x7FFFFFFF), "behind the last one"),
        "overlapping": (patched(central + 42, "<L", 0), "not the 'archive/version'|overlaps"),
        "extra that swallows": (patched(28, "<H", 0xFFFF), "reaches past the end of the records"),
        "duplicate": (doubled, "two records called 'archive/data/0'"),
        **{f"case: {k}": v for k, v in other_cases().items()},
        "folder with contents": (
            torch_zip(state(tensor(storage("x/"))), {"archive/data/x/": bytes(16)}),
            "'archive/data/x/' of 16 bytes claims to be a folder",
        ),
        "name in Latin 1": (
            torch_zip(state(tensor(storage("é"))), {"archive/data/xy": bytes(16)}).replace(b"data/xy", b"data/\xe9x"),
            "the name of a record is no text",
        ),
        "name in UTF-8 that does not say so": (in_latin_1(), "the storage '\xc3\xa9', which is not in the file"),
        "many expanded tensors": (
            torch_zip(state(*(tensor(shape=((1 << 24) - i,), strides=(0,)) for i in range(300)))),
            r"its 300 tensors claim \d+ bytes, far more than the file holds",
        ),
        "prefix": (b"PK\3\4" + bytes(96) + good, "does not end at"),
        "prefix that is counted": (_shift(good, b"MZ" + bytes(98)), "100 bytes before the first record"),
        "two zips": (good + good, "does not end at"),
        "bytes behind": (good + b"x", only),
        "comment": (patched(end + 20, "<H", 3) + b"abc", only),
        "volumes": (patched(end + 4, "<H", 1), "several volumes"),
        "directory volume": (patched(first + 34, "<H", 1), "several volumes"),
        "count too high": (patched(end + 8, "<HH", 4, 4), "shorter than it claims"),
        "count too low": (patched(end + 8, "<HH", 2, 2), "more than the 2 records"),
        "directory elsewhere": (patched(end + 16, "<L", 0), "does not end at"),
        "directory of everything": (patched(end + 12, "<LL", 0xFFFFFFFE, 0), "does not end at"),
        "zip64 without a field": (patched(first + 42, "<L", 0xFFFFFFFF), "promises a zip64 size and has none"),
        "zip64 with another count": (good[:end] + lie64 + locator + good[end:], "two directory ends say 3 and"),
        "zip64 elsewhere": (
            good[:end] + zip64 + locator[:8] + bytes(8) + locator[16:] + good[end:],
            "zip64 end of the dir",
        ),
        "many records": (_many_records(150_000), "directory claims|two directory ends"),
        "absolute name": (named("/etc/passwd"), "a record called '/etc/passwd'"),
        "name that climbs": (named("archive/../../x"), "a record called 'archive/../../x'"),
        "name with a backslash": (named("archive/..\\x").replace(b"archive/../x", b"archive/..\\x"), "a record called"),
        "name with a drive": (named("archive/c:x"), "a record called 'archive/c:x'"),
        "name with a dot": (named("archive/./x"), "a record called"),
        "empty name": (named(""), "a record called ''"),
        "two folders": (named("other/data.pkl"), "no single folder"),
        "a jar": (stored({"META-INF/MANIFEST.MF": b"x"}), "no single folder"),
        "empty zip": (stored({}), "no single folder"),
        "no pickle": (stored({"archive/data/0": b""}), "no single folder"),
        "TorchScript": (torch_zip(records={"archive/code/x.py": b"import os"}), "TorchScript archive"),
        "TorchScript constants": (torch_zip(records={"archive/constants.pkl": b"."}), "TorchScript archive"),
        "big-endian": (torch_zip(records={"archive/byteorder": b"big"}), "big-endian"),
        "empty pickle": (torch_zip(b""), "cut off"),
        "pickle that reaches into the next record": (torch_zip(b"\x80\x04C\xff."), r"cut off at byte \d+"),
        "storage of two types": (
            torch_zip(state(tensor(), tensor(storage(kind="IntStorage")))),
            "the storage '0' with two types or sizes",
        ),
        "storage of two sizes": (
            torch_zip(state(tensor(), tensor(storage(count=3), shape=(3,)))),
            "the storage '0' with two types or sizes",
        ),
        "record that claims to be a folder": (patched(central + 38, "<L", 0x10), "'archive/version' of 2 bytes claims"),
        "keys that collide": (torch_zip(program(b"}(", *_colliding(60_000), b"u")), "holds no tensors"),
        "PK and nothing": (b"PK", only),
        "a web page": (b"<html>", "starts with b'<htm'"),
        "empty": (b"", "starts with b''"),
    }


def _colliding(count: int) -> list[bytes]:
    """Items whose keys have all the same hash in Python."""
    return [integer(i * ((1 << 61) - 1)) + b"N" for i in range(1, count + 1)]


def other_cases() -> dict[str, tuple[bytes, str]]:
    """Zips with records whose names differ by capital letters, which torch overlooks."""
    two = "there are two records called '.*', in whatever case"
    pair = {"archive/data/A": bytes(16), "archive/data/a": b"\1" * 16}
    lower = state(tensor(storage("a")))
    return {
        "storage behind": (torch_zip(lower, pair), two),
        "storage before": (torch_zip(lower, dict(reversed(pair.items()))), two),
        "pickle": (torch_zip(records={"archive/DATA.PKL": state(tensor(shape=(2,)))}), two),
        "pickle alone": (torch_zip().replace(b"data.pkl", b"data.PKL"), "no single folder"),
        "storage alone": (torch_zip(lower, {"archive/data/A": bytes(16)}), "the storage 'a', which is not in the file"),
        "byte order": (
            torch_zip(records={"archive/BYTEORDER": b"big"}),
            "'archive/BYTEORDER' is called 'byteorder' by",
        ),
        "program": (torch_zip(records={"archive/CODE/x.py": b"import os"}), "TorchScript archive"),
    }


def in_latin_1() -> bytes:
    """The pickle asks for a storage whose name is Ã©; there is é, whose bytes are the same in Latin 1."""
    made = torch_zip(state(tensor(storage("Ã©"))), {"archive/data/xy": bytes(16)})
    return made.replace(b"data/xy", b"data/\xc3\xa9")


def _shift(data: bytes, prefix: bytes) -> bytes:
    """The zip behind a prefix, with every offset put right, as a self-extracting program has it."""
    stream = BytesIO()
    stream.write(prefix.replace(b"MZ", b"PK"))
    with zipfile.ZipFile(stream, "a") as new, zipfile.ZipFile(BytesIO(data)) as old:
        for title in old.namelist():
            new.writestr(title, old.read(title))
    return stream.getvalue()


def _many_records(count: int) -> bytes:
    entry = struct.pack("<4s4xHH8xLLHHHH6xL", b"PK\1\2", 0, 0, 0, 0, 0, 0, 0, 0, 0)
    head, size = b"PK\3\4" + bytes(30), len(entry) * count
    wide = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, len(head))
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(head) + size, 1)
    return (
        head
        + entry * count
        + wide
        + locator
        + struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 65535, 65535, size, len(head), 0)
    )


# -- safetensors -------------------------------------------------------------------------------------------------


def safetensors(header: object, data: bytes = bytes(16), length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(**change: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **change}


def safetensors_files() -> dict[str, tuple[bytes, str]]:
    wrong = "described wrongly"
    bytes_ = "other bytes than its shape"
    json_ = "the header of .* is not JSON"
    good = json.dumps(entry())
    return {
        "empty": (b"", "cut off within its header"),
        "seven bytes": (bytes(7), "cut off within its header"),
        "length past the end": (safetensors({"w": entry()}, length=1000), "cut off within its header"),
        "length of 2**63": (safetensors({"w": entry()}, length=1 << 63), "cut off within its header"),
        "length of all": (safetensors({"w": entry()}, length=(1 << 64) - 1), "cut off within its header"),
        "length of nothing": (safetensors({"w": entry()}, length=0), json_),
        "length too short": (safetensors({"w": entry()}, length=10), json_),
        "overlap": (safetensors({"a": entry(), "b": entry()}), "a hole or an overlap before tensor 'b'"),
        "half an overlap": (safetensors({"a": entry(), "b": entry(data_offsets=[8, 24])}, bytes(24)), "an overlap"),
        "hole": (safetensors({"w": entry(data_offsets=[4, 20])}, bytes(20)), "a hole or an overlap"),
        "hole at the end": (safetensors({"w": entry()}, bytes(20)), "4 bytes that its header does not describe"),
        "past the end": (safetensors({"w": entry()}, bytes(12)), "is cut off"),
        "no tensors but bytes": (safetensors({}), "16 bytes that its header does not describe"),
        "duplicate": (safetensors(f'{{"w": {good}, "w": {good}}}'.encode()), "twice"),
        "duplicate within": (
            safetensors(b'{"w": {"dtype": "F32", "dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'),
            "twice",
        ),
        "negative begin": (safetensors({"w": entry(data_offsets=[-16, 0])}), wrong),
        "end before begin": (safetensors({"w": entry(data_offsets=[16, 0])}), bytes_),
        "offset beyond": (safetensors({"w": entry(data_offsets=[1 << 40, (1 << 40) + 16])}), "a hole or an overlap"),
        "offset of 2**70": (safetensors({"w": entry(data_offsets=[1 << 70, (1 << 70) + 16])}), wrong),
        "three offsets": (safetensors({"w": entry(data_offsets=[0, 8, 16])}), wrong),
        "bool offset": (safetensors({"w": entry(data_offsets=[False, 16])}), wrong),
        "float offset": (safetensors({"w": entry(data_offsets=[0.0, 16])}), wrong),
        "text offset": (safetensors({"w": entry(data_offsets=["0", "16"])}), wrong),
        "negative size": (safetensors({"w": entry(shape=[-4])}), wrong),
        "two negative sizes": (safetensors({"w": entry(shape=[-2, -2])}), wrong),
        "bool size": (safetensors({"w": entry(shape=[4, True])}), wrong),
        "float size": (safetensors({"w": entry(shape=[4.0])}), wrong),
        "NaN size": (safetensors({"w": entry(shape=[float("nan")])}), wrong),
        "infinite size": (safetensors({"w": entry(shape=[float("inf")])}), wrong),
        "product of 2**64": (safetensors({"w": entry(shape=[1 << 32, 1 << 32])}), bytes_),
        "product that comes round": (safetensors({"w": entry(shape=[(1 << 50), 1 << 14, 4])}), bytes_),
        "empty but huge": (safetensors({"w": entry(shape=[0, 1 << 50, 1 << 50], data_offsets=[0, 0])}, b""), "absurd"),
        "size of a thousand digits": (safetensors({"w": entry(shape=[10**1000])}), wrong),
        "size of 5000 digits": (safetensors(b'{"w": {"shape": [' + b"9" * 5000 + b"]}}"), json_),
        "33 dimensions": (safetensors({"w": entry(shape=[1] * 33)}), wrong),
        "100000 dimensions": (safetensors({"w": entry(shape=[1] * 100_000)}), wrong),
        "shape is an object": (safetensors({"w": entry(shape={})}), wrong),
        "other dtype": (safetensors({"w": entry(dtype="C64")}), "the dtype 'C64', which is not supported"),
        "packed dtype": (safetensors({"w": entry(dtype="F4")}), "the dtype 'F4', which is not supported"),
        "unsigned and wide": (safetensors({"w": entry(dtype="U64")}), bytes_),
        "dtype with control characters": (safetensors({"w": entry(dtype="\x1b[2J")}), r"the dtype '\\x1b\[2J'"),
        "dtype is a list": (safetensors({"w": entry(dtype=["F32"])}), wrong),
        "no dtype": (safetensors({"w": {"shape": [4], "data_offsets": [0, 16]}}), wrong),
        "more than it needs": (safetensors({"w": entry(code="x")}), wrong),
        "a number for a tensor": (safetensors({"w": 7}), wrong),
        "null for a tensor": (safetensors({"w": None}), wrong),
        "long name": (safetensors({"w" * 100_000: 7}), wrong),
        "name that is no text": (safetensors(b'{"\\ud800": ' + good.encode() + b"}"), "a name that is no text"),
        "metadata is a list": (safetensors({"__metadata__": [], "w": entry()}), "__metadata__ that is no dict"),
        "metadata holds a tensor": (safetensors({"__metadata__": {"w": entry()}}), "__metadata__ that is no dict"),
        "a list": (safetensors([entry()]), "holds a JSON list, not an object"),
        "a number": (safetensors(b"1"), "holds a JSON int, not an object"),
        "not UTF-8": (safetensors(b'{"\xff": 1}'), json_),
        "UTF-16": (safetensors(json.dumps({"w": entry()}).encode("utf-16")), json_),
        "byte order mark": (safetensors(b"\xef\xbb\xbf" + json.dumps({"w": entry()}).encode()), json_),
        "deep lists": (safetensors(b"[" * 200_000), "nested too deeply"),
        "deep objects": (safetensors(b'{"a":' * 50_000), "nested too deeply"),
        "lists": (safetensors(b'{"a":[' + b"[]," * 3_000_000 + b"[]]}"), "far too large"),
        "objects": (safetensors(b"{" + b",".join(b'"%d":{}' % i for i in range(250_000)) + b"}"), wrong),
        "large header": (safetensors(b'{"' + b"a" * (20 << 20) + b'":1}'), r"claims a header of 209715\d+ bytes"),
        "a pickle": (program(call(SYSTEM, "x")), "cut off within its header"),
        "a web page": (b"<!DOCTYPE html><html><body>log in</body></html>", "cut off within its header"),
    }


# -- indexes -----------------------------------------------------------------------------------------------------


def indexes() -> dict[str, tuple[object, str]]:
    """Contents of a model.safetensors.index.json."""

    def to(shard: object) -> dict[str, object]:
        return {"weight_map": {"w": shard}}

    outside = "which is no file beside it"
    return {
        "absolute": (to("/etc/passwd"), outside),
        "climbs": (to("../model.safetensors"), outside),
        "climbs within": (to("sub/../../model.safetensors"), outside),
        "only dots": (to(".."), outside),
        "hidden": (to(".git"), outside),
        "a folder below": (to("sub/model.safetensors"), outside),
        "backslash": (to("..\\model.safetensors"), outside),
        "drive": (to("c:model.safetensors"), outside),
        "url": (to("http://127.0.0.1/x"), outside),
        "null byte": (to("model\0.safetensors"), outside),
        "end of line": (to("model.safetensors\n"), outside),
        "empty": (to(""), outside),
        "itself": (to("model.safetensors.index.json"), "no checkpoint of torch"),
        "config": (to("config.json"), "no checkpoint of torch"),
        "a folder": (to("folder.safetensors"), "is no file but a folder"),
        "a pipe": (to("pipe.safetensors"), "is no file but a pipe"),
        "a device": (to("zero.safetensors"), "is no file but a device"),
        "a loop of links": (to("loop.safetensors"), "'loop.safetensors' cannot be looked up"),
        "long name": (to("x" * 10_000), "cannot be looked up"),
        "long name in Chinese": (to("模" * 200), "cannot be looked up"),
        "number": (to(7), "points to a int"),
        "null": (to(None), "points to a NoneType"),
        "list": (to(["model.safetensors"]), "points to a list"),
        "nested": (to([[["x"] * 1000] * 1000]), "points to a list|far too large"),
        "a name that is not there": ({"weight_map": {"v": "model.safetensors"}}, "says that 'v' is in"),
        "no map": ({"metadata": {}}, "has no weight_map"),
        "empty map": ({"weight_map": {}}, "has no weight_map"),
        "map is a list": ({"weight_map": ["w"]}, "has no weight_map"),
        "map is a text": ({"weight_map": "model.safetensors"}, "has no weight_map"),
        "a list": ([], "a JSON list"),
        "deep": (b"[" * 100_000, "nested too deeply"),
        "no JSON": (b"<html>", "is not JSON"),
        "not UTF-8": (b"\xff\xff", "is not JSON"),
        "large": (b" " * (13 << 20), "far too large"),
        "a million values": (b"[" + b"1," * 1_000_000 + b"1]", "far too large"),
    }
