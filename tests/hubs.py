"""Hubs for tests: folders of small models, served by our own server on loopback, with faults on request.

::

    with Hub.open(tmp_path / "hub", {"org/bert": tiny_bert()}) as hub:
        hub.on("/resolve/", status(503), times=2)
        ...
        assert hub.count("model.safetensors") == 3
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pphub.serve import Server, build_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "Answer",
    "Asked",
    "Canned",
    "Hub",
    "Traffic",
    "big_model",
    "changed",
    "cut",
    "edit",
    "expiring",
    "fill",
    "gated",
    "git_sha1",
    "ignore_range",
    "redirect",
    "reset",
    "safetensors",
    "slow",
    "small_model",
    "stall",
    "status",
    "tiny_bert",
    "tree",
]

MiB = 1 << 20


# -------------------------------------------------------------------------------------------- models


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder, which is made."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def small_model() -> dict[str, bytes]:
    """The names of a model around made-up bytes."""
    return {
        "README.md": "# 模型\n".encode(),
        "config.json": b'{"model_type": "made-up"}',
        "vocab.txt": b"[PAD]\n[UNK]\n",
        "model.safetensors": bytes(range(256)) * 16,
        "pytorch_model.bin": b"the same in another format",
        "onnx/model.onnx": b"not wanted by default",
    }


def big_model(size: int = 3 * MiB) -> dict[str, bytes]:
    """Weights that are sent in several pieces, none of which equals another."""
    return {"config.json": b"{}", "model.safetensors": np.arange(size // 4, dtype="<u4").tobytes()}


def safetensors(tensors: Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]) -> bytes:
    """A checkpoint file of float32 tensors."""
    header: dict[str, object] = {}
    body = b""
    for name, array in tensors.items():
        data = array.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def tiny_bert(hidden: int = 32, layers: int = 2, words: int = 64, seed: int = 0) -> dict[str, bytes]:
    """A BERT that converts; random weights."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (words, hidden),
        "embeddings.position_embeddings.weight": (16, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        **_norm("embeddings.LayerNorm", hidden),
        **_linear("pooler.dense", hidden, hidden),
    }
    for n in range(layers):
        layer = f"encoder.layer.{n}"
        for part in ("query", "key", "value"):
            shapes |= _linear(f"{layer}.attention.self.{part}", hidden, hidden)
        shapes |= _linear(f"{layer}.attention.output.dense", hidden, hidden)
        shapes |= _norm(f"{layer}.attention.output.LayerNorm", hidden)
        shapes |= _linear(f"{layer}.intermediate.dense", 4 * hidden, hidden)
        shapes |= _linear(f"{layer}.output.dense", hidden, 4 * hidden)
        shapes |= _norm(f"{layer}.output.LayerNorm", hidden)
    random = np.random.default_rng(seed)
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_attention_heads": 2,
        "num_hidden_layers": layers,
        "vocab_size": words,
        "max_position_embeddings": 16,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
    }
    return {
        "config.json": json.dumps(config).encode(),
        "vocab.txt": "".join(f"word{n}\n" for n in range(words)).encode(),
        "model.safetensors": safetensors(
            {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        ),
    }


def _linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def git_sha1(content: bytes) -> str:
    """What git calls the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


# -------------------------------------------------------------------------------------------- the hub


@dataclass
class Traffic:
    """What an answer has cost so far: bytes of its body, which count until the client hangs up."""

    bytes: int = 0
    ended: bool = False


@dataclass(frozen=True)
class Asked:
    """A request as the hub saw it; ``client`` is the other end of its connection."""

    method: str
    path: str
    headers: dict[str, str]
    client: tuple[str, int] | None = None
    traffic: Traffic = field(default_factory=Traffic, compare=False, repr=False)


@dataclass(frozen=True)
class Answer:
    """A whole answer, to be changed by a fault before it is sent.

    ``stop`` hangs up after so many bytes, ``wait`` seconds after them, with ``reset`` rudely; ``pause`` seconds come
    between two pieces of ``piece`` bytes.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    stop: int | None = None
    wait: float = 0
    pause: float = 0
    piece: int = 64 << 10
    reset: bool = False


@dataclass
class _Rule:
    part: str
    fault: Callable[[Asked, Answer], Answer]
    times: float


class _Slot:
    """A running server for one hub after the other: to stop one takes longer than most tests."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        server = Server(app=self)
        server.start()  # in a daemon thread, until the tests are over
        self.url = server.url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


_IDLE: list[_Slot] = []


@dataclass
class Hub:
    """An ASGI application around ``build_app`` that counts requests and commits faults."""

    root: Path
    asked: list[Asked] = field(default_factory=list)
    rules: list[_Rule] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self._app: ASGIApp = build_app(self.root)

    @classmethod
    @contextmanager
    def open(cls, root: Path, models: Mapping[str, Mapping[str, bytes]]) -> Iterator[Hub]:
        """Lay out the models and serve them."""
        for repo, files in models.items():
            fill(root / repo, files)
        hub = cls(root)
        slot = _IDLE.pop() if _IDLE else _Slot()
        slot.app, hub.url = hub, slot.url
        yield hub
        _IDLE.append(slot)

    def on(self, part: str, fault: Callable[[Asked, Answer], Answer], times: float = float("inf")) -> None:
        """Commit a fault in the next so many answers to requests whose path holds ``part``."""
        self.rules.append(_Rule(part, fault, times))

    def well(self) -> None:
        """No faults any more, and a fresh count."""
        self.rules.clear()
        self.asked.clear()

    def count(self, part: str) -> int:
        """How many GETs there were for paths that hold ``part``."""
        return len(self.gets(part))

    def gets(self, part: str) -> list[Asked]:
        """The GETs for paths that hold ``part``."""
        return [asked for asked in list(self.asked) if asked.method == "GET" and part in asked.path]

    def sent(self, part: str) -> int:
        """Bytes of the bodies that were sent for paths that hold ``part``."""
        return sum(asked.traffic.bytes for asked in self.gets(part))

    def connections(self, part: str = "/") -> int:
        """How many connections the requests for paths that hold ``part`` came by."""
        return len({asked.client for asked in self.gets(part)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["raw_path"].decode() + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
        client = scope.get("client")
        asked = Asked(scope["method"], path, headers, (client[0], client[1]) if client else None)
        self.asked.append(asked)
        rules = [rule for rule in self.rules if rule.part in path and rule.times > 0]
        if not rules:
            await self._app(scope, receive, _counting(send, asked.traffic))
            return
        answer = await _collect(self._app, scope, receive)
        for rule in rules:
            rule.times -= 1
            answer = rule.fault(asked, answer)
        try:
            await _send(answer, send, asked.traffic)
        finally:
            asked.traffic.ended = True


def _counting(send: Send, traffic: Traffic) -> Send:
    """Send as before, and count."""

    async def counted(message: Message) -> None:
        if not _is_gone(send):
            traffic.bytes += len(message.get("body", b""))
        traffic.ended |= message["type"] == "http.response.body" and not message.get("more_body", False)
        await send(message)

    return counted


def _is_gone(send: Send) -> bool:
    """Whether the client has hung up; uvicorn's ``send`` says nothing of it."""
    return bool(getattr(getattr(send, "__self__", None), "disconnected", False))


def _reset(send: Send) -> None:
    """End the connection with RST: what was sent and not read yet is lost."""
    transport = getattr(send, "__self__").transport  # noqa: B009  uvicorn's; ASGI has no word for it
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _collect(app: ASGIApp, scope: Scope, receive: Receive) -> Answer:
    start: Message = {}
    body = bytearray()

    async def take(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, take)
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], headers, bytes(body))


async def _send(answer: Answer, send: Send, traffic: Traffic) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    end = len(answer.body) if answer.stop is None else min(answer.stop, len(answer.body))
    piece = answer.piece if answer.pause else max(end, 1)
    for at in range(0, end, piece):
        if _is_gone(send):
            return
        body = answer.body[at : min(at + piece, end)]
        traffic.bytes += len(body)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(answer.pause)
    await asyncio.sleep(answer.wait)
    if answer.reset:
        _reset(send)
    elif answer.stop is None:
        await send({"type": "http.response.body", "body": b""})
    # Else uvicorn hangs up, because the answer is not finished.


# -------------------------------------------------------------------------------------------- faults


def edit(**changes: Any) -> Callable[[Asked, Answer], Answer]:
    """Replace parts of the answer; a header of None is left out, a callable is given the old body."""

    def fault(_asked: Asked, answer: Answer) -> Answer:
        headers = {**answer.headers, **changes.get("headers", {})}
        body = changes.get("body", answer.body)
        if callable(body):
            body = body(answer.body)
        if body != answer.body:
            headers["content-length"] = str(len(body))
        headers = {name: value for name, value in headers.items() if value is not None}
        rest = {name: value for name, value in changes.items() if name not in {"headers", "body"}}
        return replace(answer, headers=headers, body=body, **rest)

    return fault


def status(code: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Callable[[Asked, Answer], Answer]:
    """Another answer altogether."""
    fixed = Answer(code, {"content-length": str(len(body)), **(headers or {})}, body)
    return lambda _asked, _answer: fixed


LOGIN: Final = b"<!DOCTYPE html><html><body>Please log in</body></html>"

NO_ANSWERS: Final = (
    status(500),
    status(503),
    status(429),
    status(204),
    status(304),
    status(200, {"content-type": "text/html"}, LOGIN),
    status(200, {}, b"\xff\xfe{"),
    status(200, {}, b""),
)
"""What no hub should answer when it is asked for a listing."""


def cut(after: int, *, length: bool = True) -> Callable[[Asked, Answer], Answer]:
    """Hang up early, with or without having said how much there will be."""
    return edit(stop=after, headers={} if length else {"content-length": None})


def stall(after: int, seconds: float) -> Callable[[Asked, Answer], Answer]:
    """Say nothing for a while in the middle of the answer."""
    return edit(stop=after, wait=seconds)


def slow(pause: float, piece: int = 64 << 10) -> Callable[[Asked, Answer], Answer]:
    """Take a while between two pieces; each connection is throttled by itself."""
    return edit(pause=pause, piece=piece)


def reset(after: int) -> Callable[[Asked, Answer], Answer]:
    """RST in the middle of the answer."""
    return edit(stop=after, wait=0.05, reset=True)


def ignore_range(content: bytes) -> Callable[[Asked, Answer], Answer]:
    """200 with all of the content, whatever was asked for."""

    def fault(_asked: Asked, answer: Answer) -> Answer:
        headers = {**answer.headers, "content-length": str(len(content))}
        headers.pop("content-range", None)
        return replace(answer, status=200, headers=headers, body=content)

    return fault


def changed(content: bytes, etag: str = '"another"') -> Callable[[Asked, Answer], Answer]:
    """Another content in place of the old one, by a server that knows ranges and ``If-Range``."""

    def fault(asked: Asked, answer: Answer) -> Answer:
        headers = {**answer.headers, "etag": etag, "last-modified": "Tue, 02 Jan 2024 03:04:05 GMT"}
        whole = ignore_range(content)(asked, replace(answer, headers=headers))
        start, _, last = asked.headers.get("range", "").removeprefix("bytes=").partition("-")
        if not start or asked.headers.get("if-range", etag) != etag:
            return whole
        part = content[int(start) : int(last) + 1 if last else None]
        place = f"bytes {start}-{int(start) + len(part) - 1}/{len(content)}"
        return replace(
            whole,
            status=206,
            headers={**whole.headers, "content-range": place, "content-length": str(len(part))},
            body=part,
        )

    return fault


def expiring(uses: int) -> Callable[[Asked, Answer], Answer]:
    """403 to a signed URL, as storage sends it, from its use of this number on; a URL that is new works."""
    used: dict[str, int] = {}

    def fault(asked: Asked, answer: Answer) -> Answer:
        used[asked.path] = used.get(asked.path, 0) + 1
        refusal = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
        if used[asked.path] > uses:
            return Answer(403, {"content-length": str(len(refusal))}, refusal)
        return answer

    return fault


def gated(token: str) -> Callable[[Asked, Answer], Answer]:
    """Refuse whoever does not send the token: 401 without any, 403 with another."""

    def fault(asked: Asked, answer: Answer) -> Answer:
        sent = asked.headers.get("authorization")
        if sent == f"Bearer {token}":
            return answer
        return Answer(403 if sent else 401, {"x-error-code": "GatedRepo", "content-length": "0"}, b"")

    return fault


def redirect(to: str) -> Callable[[Asked, Answer], Answer]:
    """302 to a URL; ``{path}`` in it is the path that was asked for."""
    return lambda asked, answer: Answer(302, {"location": to.replace("{path}", asked.path), "content-length": "0"}, b"")


def tree(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Asked, Answer], Answer]:
    """Change the listing, in place or by returning another."""

    def body(old: bytes) -> bytes:
        entries = json.loads(old)
        changed = change(entries)
        return json.dumps(entries if changed is None else changed).encode()

    return edit(body=body)


class Canned:
    """A server that sends the same bytes to whoever connects and hangs up: what no proper server would do."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # A client that has read enough hangs up first; the next one is served all the same.
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(self._answer)
                connection.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Canned:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # close() alone does not wake accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
