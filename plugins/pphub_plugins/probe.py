"""Asks many URLs of one file server at once: does it have them, and what do the headers say?

For hubs that have no listing. The listing and the transfer are apart (a source moves no files), so this is not the
session that downloads.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urljoin, urlsplit

from pphub.errors import AccessDenied, SourceUnavailable
from pphub.settings import without_password
from pphub_plugins.causes import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

__all__ = ["Probe"]

_THREADS: Final = 8
_TIMEOUTS: Final = (4.0, 5.0)  # seconds to connect, and of silence
_PATIENCE: Final = 9.0  # seconds without a single answer, whatever the reason
_LIMIT: Final = 30.0  # seconds for all of them
_MAX_REDIRECTS: Final = 5
_GONE: Final = frozenset({404, 410})
_LARGEST: Final = 32 << 20

T = TypeVar("T")


class Probe:
    """Asks one endpoint in parallel, and gives up in bounded time.

    Args:
        endpoint: where the files are; its own origin gets the authorization, and no other.
        authorization: headers with a login, or none.
        variable: the environment variable that names the endpoint, for the hints.
    """

    def __init__(self, endpoint: str, authorization: Mapping[str, str], variable: str) -> None:
        self.shown = without_password(endpoint)
        self._endpoint = endpoint
        self._authorization = authorization
        self._variable = variable
        self._unreachable = f"check the network and proxy, set {variable} to a mirror, or use --source"
        self._broken = f"a mirror may be broken: unset {variable}, or try another source"
        self._session = _new_session()
        self._end = time.monotonic() + _LIMIT

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def each(self, function: Callable[[str], T], urls: list[str]) -> dict[str, T]:
        """The function's answer for every URL; the first error ends it."""
        waiting: SimpleQueue[str] = SimpleQueue()
        done: SimpleQueue[tuple[str, T | Exception]] = SimpleQueue()
        stop = threading.Event()
        for url in urls:
            waiting.put(url)

        def work() -> None:
            with suppress(Empty):
                while not stop.is_set():
                    url = waiting.get_nowait()
                    try:
                        done.put((url, function(url)))
                    except Exception as error:  # noqa: BLE001  raised again where the answer is awaited
                        done.put((url, error))

        for _ in range(min(_THREADS, len(urls))):
            # Daemons: nobody waits for an answer that drips in for ever, not even the interpreter when it ends.
            threading.Thread(target=work, name="pphub-probe", daemon=True).start()
        try:
            return dict(self._answer(done) for _ in urls)
        finally:
            stop.set()

    def _answer(self, done: SimpleQueue[tuple[str, T | Exception]]) -> tuple[str, T]:
        try:
            url, answer = done.get(timeout=max(min(_PATIENCE, self._end - time.monotonic()), 0))
        except Empty:
            msg = f"{self.shown} could not be reached: it does not answer in time"
            raise SourceUnavailable(msg, hint=self._unreachable) from None
        if isinstance(answer, Exception):
            raise answer
        return url, answer

    def head(self, url: str) -> Mapping[str, str] | None:
        """The headers of a file, or None if it is not there."""
        response = self._ask("HEAD", url)
        if response.status_code in _GONE:
            return None
        if response.headers.get("Content-Type", "").startswith("text/html"):
            # Whoever answers a question for a file with a web page answers every question so.
            msg = f"{self.shown} answered with a web page; is a login page in between?"
            raise SourceUnavailable(msg, hint=self._broken)
        return response.headers

    def read(self, url: str) -> bytes:
        """A small file."""
        with self._ask("GET", url) as response:
            content = bytearray()
            try:
                for piece in response.iter_content(1 << 16):
                    content += piece
                    if len(content) > _LARGEST or time.monotonic() > self._end:
                        raise SourceUnavailable(f"{without_password(url)} takes too long to read", hint=self._broken)
            except (OSError, ValueError) as error:  # what requests raises is an OSError
                msg = f"the connection for {without_password(url)} failed: {_told(error)}"
                raise SourceUnavailable(msg, hint=self._unreachable) from error
            if response.status_code != 200:
                raise SourceUnavailable(f"{without_password(url)} was there a moment ago", hint="run the command again")
            return bytes(content)

    def _ask(self, method: str, url: str) -> requests.Response:
        try:
            response = self._follow(method, url)
        except (OSError, ValueError) as error:
            msg = f"{self.shown} could not be reached: {_told(error)}"
            raise SourceUnavailable(msg, hint=self._unreachable) from error
        status = response.status_code
        if status == 200 or status in _GONE:
            return response
        response.close()
        if status in {401, 403}:
            msg = f"access to {without_password(url)} was refused (HTTP {status})"
            raise AccessDenied(msg, hint=f"a mirror may want a login: {self._variable}=https://USER:PASSWORD@HOST/…")
        msg = f"{self.shown} answered HTTP {status} when asked for {without_password(url)}"
        raise SourceUnavailable(msg, hint=f"try again later, set {self._variable} to a mirror, or use --source")

    def _follow(self, method: str, url: str) -> requests.Response:
        """Ask, following redirects by hand: the login goes to the endpoint and nowhere else."""
        for _ in range(_MAX_REDIRECTS):
            ours = urlsplit(url)[:2] == urlsplit(self._endpoint)[:2]
            headers = dict(self._authorization) if ours else {}
            response = self._session.request(
                method, url, headers=headers, timeout=_TIMEOUTS, stream=method != "HEAD", allow_redirects=False
            )
            target = self._session.get_redirect_target(response)
            if not target:
                return response
            response.close()
            url = urljoin(url, target)
        raise ValueError("it redirects without end")


def _new_session() -> requests.Session:
    """A session that keeps connections alive and sends no credentials of its own accord."""
    from http.cookiejar import DefaultCookiePolicy

    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.headers.clear()
    # Bytes as stored: of a packed body, neither size nor hash would be the file's.
    session.headers.update({"User-Agent": "pphub", "Accept-Encoding": "identity"})
    session.auth = _leave  # with none at all, requests would look in ~/.netrc
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_THREADS))
    return session


def _leave(request: Any) -> Any:
    return request


def _told(error: Exception) -> str:
    return str(error) if type(error) is ValueError else reason(error, f"{sum(_TIMEOUTS):g} s")
