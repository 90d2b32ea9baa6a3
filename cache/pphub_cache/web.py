"""One answer at a time, from the URL of a listing to where its bytes really are.

The hub clients are not used for this: they trust sizes alone, or read the file twice (docs/architecture.md).
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import functools
import logging
import os
import re
import socket
import ssl
import threading
import time
import weakref
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass, url2pathname

import urllib3
from urllib3.exceptions import HTTPError

from pphub.errors import Corrupt, SourceUnavailable
from pphub.settings import CONNECT_SECONDS, READ_SECONDS, without_password

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Body", "Failed", "Web"]

BLOCK: Final = 512 << 10
"""At most so many bytes are read at a time."""

_MAX_REDIRECTS: Final = 10
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
# A connection that delivers less than this for so long, or no head of an answer, is as good as dead.
_LOW_SPEED: Final = 1024  # bytes a second
_LOW_SPEED_SECONDS: Final = 30.0


class Failed(Exception):
    """A request that did not bring the bytes.

    Attributes:
        kind: ``denied`` (401, 403), ``gone`` (404, 410), ``busy`` (429, 503: try later), ``silent`` (not even an
            answer came), ``stalled`` (it fell silent in the middle), ``broken`` (anything else that may pass) or
            ``wrong`` (bytes that cannot be those of the listing).
        retry_after: seconds the server asks to wait, or None.
        gated: whether the server said that the model must be accepted first.
    """

    def __init__(self, kind: str, message: str, *, retry_after: float | None = None, gated: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after
        self.gated = gated


@dataclass(frozen=True, slots=True)
class Head:
    """What an answer says of its body.

    Attributes:
        start: where in the content the body begins; not what was asked for if the server ignores ranges.
        length: bytes the body will have, or None.
        total: bytes of the whole content, or None.
        validator: for ``If-Range``: a strong ETag, else Last-Modified, else None.
    """

    start: int
    length: int | None
    total: int | None
    validator: str | None


class Body:
    """The bytes of one answer."""

    def __init__(self, head: Head, response: urllib3.BaseHTTPResponse) -> None:
        self.head = head
        self._response = response
        self._waited = 0.0  # seconds in which nothing was asked of us but to wait
        self._bytes = 0

    def read(self) -> bytes:
        """The next bytes as they arrive, at most :data:`BLOCK`; empty at the end.

        Raises:
            Failed: the connection broke, fell silent, or drips.
        """
        begun = time.monotonic()
        try:
            block = self._response.read1(BLOCK, decode_content=True)
        except (HTTPError, OSError, ValueError) as error:
            stalled = isinstance(error, urllib3.exceptions.ReadTimeoutError)
            raise Failed("stalled" if stalled else "broken", describe(error)) from error
        self._bytes += len(block)
        self._waited += time.monotonic() - begun
        if self._waited > _LOW_SPEED_SECONDS:
            if self._bytes < _LOW_SPEED * self._waited:
                raise Failed("stalled", f"it sent only {self._bytes} bytes in {self._waited:.0f} s")
            self._waited, self._bytes = 0.0, 0
        return block

    def close(self, *, whole: bool) -> None:
        """Give the connection back if the body was read to its end, else end it."""
        if whole:
            self._response.release_conn()
        else:
            self._response.close()

    def abort(self) -> None:
        """Make a read that another thread is in end at once."""
        with contextlib.suppress(OSError, ValueError, RuntimeError, HTTPError):  # it has ended by itself
            self._response.shutdown()


class _Local(Body):
    """A file of this disk, or a content that is part of its URL."""

    def __init__(self, head: Head, path: Path | None, content: bytes = b"") -> None:
        self.head = head
        self._path = path
        self._stream = path.open("rb", buffering=0) if path else None
        if self._stream:
            self._stream.seek(head.start)
        self._content = content[head.start :]

    def read(self) -> bytes:
        if self._stream is None or self._path is None:
            block, self._content = self._content[:BLOCK], self._content[BLOCK:]
            return block
        try:
            return self._stream.read(BLOCK) or b""
        except OSError as error:
            raise Failed("gone", f"it cannot be read: {error.strerror}") from error

    def close(self, *, whole: bool) -> None:  # noqa: ARG002  nothing to give back
        if self._stream:
            self._stream.close()

    def abort(self) -> None:
        pass


class Web:
    """The kept-alive connections of one download; its threads share them."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._proxies = getproxies()
        self._managers: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._moved: dict[str, str] = {}
        self._bodies: weakref.WeakSet[Body] = weakref.WeakSet()

    def get(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        start: int = 0,
        end: int | None = None,
        validator: str | None = None,
    ) -> Body:
        """Ask for the bytes from ``start`` to ``end``, or to the last one.

        Args:
            url: ``https:``, ``http:``, ``file:`` or ``data:``.
            headers: sent to the first origin only, and to none that a redirect leads to.
            start: the first byte wanted.
            end: the byte after the last one wanted; None for all there are.
            validator: what an earlier part of the content was marked with; if it has changed, the answer is the whole.

        Raises:
            Failed: no usable answer came.
            StorageFailed: a file of this disk cannot be read.
            Corrupt: a ``data:`` URL that a source made cannot be read.
        """
        if url.startswith("data:"):
            return _data_body(url, start)
        if urlsplit(url).scheme == "file":
            return _file_body(url, start)
        ranged = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if start or end is not None else {}
        if ranged and validator:
            ranged["If-Range"] = validator
        response = self._follow(url, {**headers, **ranged}, ranged)
        try:
            body = Body(_head(response, start), response)
        except Failed:
            self._moved.pop(url, None)
            response.close()
            raise
        self._bodies.add(body)
        return body

    def _follow(self, url: str, headers: Mapping[str, str], ranged: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """GET, following redirects by hand: the source's headers go to the first origin and no other.

        Where a redirect led is asked directly for the next range, until it refuses.
        """
        first = _origin(url)
        at = self._moved.get(url, url) if ranged else url
        for _ in range(_MAX_REDIRECTS):
            manager = self._manager(at)
            try:
                response = manager.request(
                    "GET",
                    at,
                    headers={**_ALWAYS, **(headers if _origin(at) == first else ranged)},
                    preload_content=False,
                    redirect=False,
                    retries=False,
                    timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
                )
            except (HTTPError, OSError, ValueError) as error:
                # ValueError: a redirect to something that is no URL.
                kind = "silent" if isinstance(error, urllib3.exceptions.ReadTimeoutError) else "broken"
                self._moved.pop(url, None)
                raise Failed(kind, describe(error)) from error
            if at != url and self._moved.get(url) == at and response.status in {401, 403, 404, 410}:
                # Where it led once is signed for a while only; the first address knows the next one.
                self._moved.pop(url, None)
                _give_back(response)
                at = url
                continue
            location = response.get_redirect_location()
            if not location:
                if at != url:
                    self._moved[url] = at
                return response
            _give_back(response)
            # A server may send other characters than ASCII as they are; they arrive as if they were Latin-1.
            at = _next(at, location.encode("latin-1").decode("utf-8", "replace"))
        raise Failed("broken", f"more than {_MAX_REDIRECTS} redirects")

    def _manager(self, url: str) -> urllib3.PoolManager:
        """The pool for a URL: direct, or through the proxy that the environment names."""
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all") or ""
        if not proxy or (parts.hostname and proxy_bypass(parts.hostname)):
            proxy = ""
        key = (parts.scheme, proxy)
        manager = self._managers.get(key)
        if manager is None:
            manager = self._managers.setdefault(key, _new_manager(*key, self._connections))
        return manager

    def abort(self) -> None:
        """Wake whoever waits for bytes: none will come."""
        for body in list(self._bodies):
            body.abort()

    def close(self) -> None:
        """End all connections that nobody uses."""
        for manager in self._managers.values():
            manager.clear()


def _give_back(response: urllib3.BaseHTTPResponse) -> None:
    """Keep the connection of an answer that is not wanted, where what is left of it is short."""
    length = _number(response.headers.get("Content-Length"))
    if length is not None and length <= BLOCK:
        response.drain_conn()
    else:
        response.close()


def _hide_address(record: logging.LogRecord) -> bool:
    """urllib3 warns of headers that it cannot read with the address, which may be signed."""
    return "parse headers" not in str(record.msg)


logging.getLogger("urllib3.connection").addFilter(_hide_address)

# Bytes as stored: a compressed body could not be verified while it streams, nor resumed.
_ALWAYS: Final = {"User-Agent": "pphub", "Accept-Encoding": "identity"}


class _Watch:
    """Hangs up on servers that take too long for the head of an answer, byte by byte as it may come."""

    def __init__(self) -> None:
        self._due: dict[urllib3.connection.HTTPConnection, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def over(self, connection: urllib3.connection.HTTPConnection) -> Iterator[None]:
        """As long as this takes, and no longer than it may; raises Failed."""
        with self._changed:
            self._due[connection] = time.monotonic() + _LOW_SPEED_SECONDS
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pphub-watch", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                in_time = self._due.pop(connection, None) is not None
        if not in_time:  # what came before may look like a whole head
            raise Failed("stalled", f"the head of its answer did not come within {_LOW_SPEED_SECONDS:g} s")

    def _run(self) -> None:
        with self._changed:
            while self._changed.wait(0.25) or self._due:
                now = time.monotonic()
                for connection in [connection for connection, due in self._due.items() if due < now]:
                    del self._due[connection]
                    with contextlib.suppress(OSError, AttributeError):  # it has ended by itself
                        connection.sock.shutdown(socket.SHUT_RDWR)
            self._thread = None


_WATCH: Final = _Watch()


class _Impatient(urllib3.connection.HTTPConnection):
    def getresponse(self) -> Any:
        with _WATCH.over(self):
            return super().getresponse()


class _ImpatientTls(_Impatient, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Impatient


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _ImpatientTls


def _new_manager(scheme: str, proxy: str, connections: int) -> urllib3.PoolManager:
    # Certificates take a moment to load, so only where they are needed.
    tls = _tls() if scheme == "https" or proxy.startswith("https") else None
    options: dict[str, Any] = {"num_pools": 32, "maxsize": connections, "ssl_context": tls}
    if not proxy:
        return _impatient(urllib3.PoolManager(**options))
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy.startswith("socks"):
        if find_spec("socks") is None:
            msg = f"the proxy {without_password(proxy)} speaks SOCKS, and the package for that is not installed"
            raise SourceUnavailable(msg, hint="pip install PySocks, or unset the proxy")
        from urllib3.contrib.socks import SOCKSProxyManager

        return SOCKSProxyManager(proxy, **options)  # with connections of its own kind
    parts = urlsplit(proxy)
    secret = None
    if parts.username:
        secret = urllib3.make_headers(proxy_basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}")
    return _impatient(urllib3.ProxyManager(proxy, proxy_headers=secret, **options))


def _impatient(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return manager


@functools.cache
def _tls() -> ssl.SSLContext:
    """Certificates as users of Python's HTTP libraries configure them, else the system's and certifi's."""
    chosen = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if chosen:
        folder = chosen if Path(chosen).is_dir() else None
        return ssl.create_default_context(capath=folder, cafile=None if folder else chosen)
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE"):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _next(at: str, location: str) -> str:
    try:
        url = urljoin(at, location)
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise Failed("broken", "a redirect leads to what is no web address") from error
    if scheme not in _DEFAULT_PORTS:
        raise Failed("broken", f"a redirect leads to {scheme}:, which is no web address")
    return quote(url, safe="/:?#[]@!$&'()*+,;=%~")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _head(response: urllib3.BaseHTTPResponse, start: int) -> Head:
    """Where the body begins and what it belongs to; raises Failed for an answer that is none."""
    status = response.status
    headers = response.headers
    if status in {401, 403}:
        raise Failed("denied", f"HTTP {status}", gated=headers.get("X-Error-Code") == "GatedRepo")
    if status in {404, 410}:
        raise Failed("gone", f"HTTP {status}")
    if status in {429, 503}:
        raise Failed("busy", f"it answered HTTP {status}", retry_after=_retry_after(headers.get("Retry-After")))
    encoded = headers.get("Content-Encoding", "identity").lower() not in {"identity", ""}
    length = _number(headers.get("Content-Length")) if not encoded else None
    validator = _validator(headers)
    if status == 200:
        return Head(0, length, length, validator)
    if status == 416:
        raise Failed("parts", "it has fewer bytes than were listed")
    place = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if status != 206 or place is None:
        raise Failed("broken", f"it answered HTTP {status}")
    if encoded or int(place[1]) != start:
        raise Failed("parts", "it sent another part of the file than it was asked for")
    return Head(start, length, None if place[3] == "*" else int(place[3]), validator)


def _validator(headers: Mapping[str, str]) -> str | None:
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


def _number(text: str | None) -> int | None:
    return int(text) if text and len(text) <= 18 and text.isascii() and text.isdigit() else None


def _retry_after(text: str | None) -> float | None:
    """Seconds, from seconds or from a date."""
    if text is None:
        return None
    if (seconds := _number(text.strip())) is not None:
        return float(seconds)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _data_body(url: str, start: int) -> Body:
    """The content of a ``data:`` URL in base64, which is how our sources write them."""
    head, _, content = url.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError("not in base64")
        data = base64.b64decode(content, validate=True)
    except ValueError as error:
        raise Corrupt(f"the source made a data URL that cannot be read: {error}") from error
    return _Local(Head(start, len(data) - start, len(data), None), None, data)


def _file_body(url: str, start: int) -> Body:
    path = Path(url2pathname(urlsplit(url).path))
    try:
        size = path.stat().st_size
        return _Local(Head(start, size - start, size, None), path)
    except OSError as error:
        raise Failed("gone", f"it cannot be read: {error.strerror}") from error


def describe(error: BaseException) -> str:
    """The innermost cause, without URLs (which may be signed)."""
    for kind, text in _REASONS:
        # A connection that was refused is, to urllib3, a kind of one that took too long.
        if isinstance(error, kind) and not isinstance(error, urllib3.exceptions.NewConnectionError):
            return text.format(connect=CONNECT_SECONDS, read=READ_SECONDS)
    inner: BaseException = error
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    name = type(error).__name__
    return f"{name} ({inner.strerror})" if isinstance(inner, OSError) and inner.strerror else name


_REASONS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (urllib3.exceptions.ConnectTimeoutError, "no connection within {connect:g} s"),
    (urllib3.exceptions.ReadTimeoutError, "no data for {read:g} s"),
    (urllib3.exceptions.DecodeError, "it sent compressed data that cannot be unpacked"),
    (urllib3.exceptions.ProtocolError, "it was cut before the end"),
)
