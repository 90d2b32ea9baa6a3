"""Moves the bytes of one file from its URL to a local file, verified on the way.

The hub clients are not used for this: they trust sizes alone, or read the file twice (docs/architecture.md).
"""

from __future__ import annotations

import base64
import contextlib
import os
import time
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

import requests
import urllib3

from pphub.errors import AccessDenied, Corrupt, FileNotInModel, PphubError, SourceUnavailable
from pphub.settings import CONNECT_SECONDS, READ_SECONDS, without_password
from pphub_cache.atomic import explain_os_errors
from pphub_cache.digest import CHUNK, Hasher

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from io import FileIO

    from pphub.source import RemoteFile
    from pphub_cache.progress import Progress

__all__ = ["Fetched", "fetch", "new_session"]

_ATTEMPTS: Final = 3
_FIRST_DELAY: Final = 0.5  # seconds
_MAX_REDIRECTS: Final = 10
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Fetched:
    """What arrived: size in bytes and sha256 of the content."""

    size: int
    sha256: str


class _WrongContent(Exception):
    """The bytes are not what the listing promised."""


def new_session() -> requests.Session:
    """A session that keeps connections alive and sends no credentials of its own accord."""
    session = requests.Session()
    session.headers.clear()
    session.headers["User-Agent"] = "pphub"
    # Bytes as stored: a compressed body could not be verified while it streams, nor resumed.
    session.headers["Accept-Encoding"] = "identity"
    # With no auth set, requests would look in ~/.netrc and overwrite the token of the source.
    session.auth = _leave
    # Cookies know no ports: one that the hub sets would be sent to the storage it redirects to.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    return session


def _leave(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def fetch(
    file: RemoteFile,
    target: Path,
    session: requests.Session,
    headers: Mapping[str, str],
    progress: Progress,
) -> Fetched:
    """Bring one file to ``target``, which nobody else writes to, and verify size and hash.

    Tries again, a bounded number of times, after a failure that may pass and after wrong content.

    Raises:
        AccessDenied, FileNotInModel: the source says no.
        SourceUnavailable: it cannot be reached, or keeps failing.
        Corrupt: what arrives is not what the listing promised.
        StorageFailed: the disk says no.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            progress.start(file.path, file.size)
            fetched = _attempt(file, target, session, headers, progress)
        except _WrongContent as error:
            problem: SourceUnavailable | Corrupt = Corrupt(
                f"{file.path} from {_shown(file.url)} is not what the source listed: {error}",
                hint="nothing was kept: try again later, or another source with --source",
            )
            problem.__cause__ = error
        except SourceUnavailable as error:
            problem = error
        else:
            progress.finish()
            return fetched
        if attempt == _limit(problem):
            raise problem
        delay = _FIRST_DELAY * 2 ** (attempt - 1)
        progress.note(f"{problem.message}; trying again in {delay:g} s")
        time.sleep(delay)
    raise AssertionError  # the loop returns or raises


def _limit(problem: Corrupt | SourceUnavailable) -> int:
    """How often to try. A silence has cost its time already, and another source may be waiting to be asked."""
    if isinstance(problem.__cause__, requests.ReadTimeout):  # not even the head of an answer came
        return 1
    silent = isinstance(problem.__cause__, urllib3.exceptions.ReadTimeoutError)
    return 2 if silent or isinstance(problem, Corrupt) else _ATTEMPTS


def _attempt(
    file: RemoteFile,
    target: Path,
    session: requests.Session,
    headers: Mapping[str, str],
    progress: Progress,
) -> Fetched:
    hasher = Hasher(file.digest, file.size)
    size = 0
    start = b""
    with contextlib.closing(_open(file, session, headers)) as blocks:
        with explain_os_errors(f"write {file.path}", target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            stream = target.open("wb", buffering=0)
        with stream:
            for block in blocks:
                size += len(block)
                if file.size is not None and size > file.size:
                    msg = f"more than the {file.size} bytes listed{_suspicion(start or block)}"
                    raise _WrongContent(msg)
                hasher.update(block)
                with explain_os_errors(f"write {file.path}", target.parent):
                    _write_all(stream, block)
                start = start or block[:64]
                progress.advance(len(block))
            if file.size is not None and size != file.size:
                msg = f"expected {file.size} bytes, got {size}{_suspicion(start)}"
                raise _WrongContent(msg)
            if mismatch := hasher.mismatch():
                raise _WrongContent(mismatch + _suspicion(start))
            with explain_os_errors(f"write {file.path}", target.parent):
                os.fsync(stream.fileno())
    return Fetched(size, hasher.sha256)


def _write_all(stream: FileIO, data: bytes) -> None:
    """A full disk takes a part of the data first, and complains only when it is given the rest."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def _suspicion(start: bytes) -> str:
    return "; it looks like a web page, perhaps a login" if start.lstrip()[:5].lower() in {b"<!doc", b"<html"} else ""


def _open(file: RemoteFile, session: requests.Session, headers: Mapping[str, str]) -> Generator[bytes, None, None]:
    if file.url.startswith("data:"):
        return _read_data(file.url)
    if urlsplit(file.url).scheme == "file":
        return _read_local(Path(url2pathname(urlsplit(file.url).path)))
    return _read_http(file, session, headers)


def _read_data(url: str) -> Generator[bytes, None, None]:
    """The content of a ``data:`` URL in base64, which is how our sources write them."""
    head, _, content = url.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError("not in base64")
        yield base64.b64decode(content, validate=True)
    except ValueError as error:
        raise Corrupt(f"the source made a data URL that cannot be read: {error}") from error


def _read_local(path: Path) -> Generator[bytes, None, None]:
    with explain_os_errors(f"read {path.name}", path.parent), path.open("rb", buffering=0) as stream:
        while block := stream.read(CHUNK):
            yield block


def _read_http(file: RemoteFile, session: requests.Session, headers: Mapping[str, str]) -> Generator[bytes, None, None]:
    where = _shown(file.url)
    try:
        with _follow(file.url, session, headers) as response:
            _check_status(response, file.path, where)
            # decode_content undoes a Content-Encoding that the server sent although none was asked for.
            while block := response.raw.read(CHUNK, decode_content=True):
                yield block
    except PphubError:
        raise
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        # ValueError: a redirect to something that is no URL.
        msg = f"the connection for {file.path} from {where} failed: {_reason(error)}"
        raise SourceUnavailable(msg, hint="check the network and proxy, or try another source") from error


def _follow(url: str, session: requests.Session, headers: Mapping[str, str]) -> requests.Response:
    """GET, following redirects by hand: the source's headers go to the first origin and no other."""
    first = _origin(url)
    for _ in range(_MAX_REDIRECTS):
        response = session.get(
            url,
            headers=dict(headers) if _origin(url) == first else None,
            stream=True,
            allow_redirects=False,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
        )
        location = session.get_redirect_target(response)
        if not location:
            return response
        response.close()
        url = urljoin(url, location)
        if urlsplit(url).scheme not in _DEFAULT_PORTS:
            msg = f"a redirect leads to {urlsplit(url).scheme}:, which is no web address"
            raise requests.TooManyRedirects(msg)
    msg = f"more than {_MAX_REDIRECTS} redirects"
    raise requests.TooManyRedirects(msg)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _check_status(response: requests.Response, path: str, where: str) -> None:
    status = response.status_code
    if status == 200:
        return
    if status in {401, 403}:
        gated = ": the model is gated" if response.headers.get("X-Error-Code") == "GatedRepo" else ""
        msg = f"access to {path} at {where} was refused{gated} (HTTP {status})"
        raise AccessDenied(msg, hint="log in, or set the token of this source; gated models must be accepted first")
    if status in {404, 410}:
        msg = f"{path} is listed but not at {where} (HTTP {status})"
        raise FileNotInModel(msg, hint="the repository may have changed a moment ago: run the command again")
    msg = f"{where} answered HTTP {status}"
    raise SourceUnavailable(msg, hint="try again later, or another source with --source")


def _shown(url: str) -> str:
    """The URL as it may be printed: signed URLs carry their secret in the query."""
    return without_password(url)


def _reason(error: BaseException) -> str:
    """The innermost cause, without URLs (which may be signed)."""
    name = type(error).__name__
    describe: dict[type[BaseException], Callable[[], str]] = {
        requests.ConnectTimeout: lambda: f"no connection within {CONNECT_SECONDS:g} s",
        requests.ReadTimeout: lambda: f"no data for {READ_SECONDS:g} s",
        urllib3.exceptions.ReadTimeoutError: lambda: f"no data for {READ_SECONDS:g} s",
        requests.TooManyRedirects: lambda: str(error),
        urllib3.exceptions.DecodeError: lambda: "it sent compressed data that cannot be unpacked",
        urllib3.exceptions.IncompleteRead: lambda: "it was cut before the end",
        urllib3.exceptions.ProtocolError: lambda: "it was cut before the end",
    }
    for kind, text in describe.items():
        if isinstance(error, kind):
            return text()
    inner: BaseException = error
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    return f"{name} ({inner.strerror})" if isinstance(inner, OSError) and inner.strerror else name
