"""Running the hub: in a thread for as long as a ``with`` block lasts, or until a signal comes."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from pphub.errors import UsageError
from pphub.serve import bos, huggingface, modelscope
from pphub.serve.repos import Library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType, TracebackType

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

__all__ = ["Server", "build_app", "serve_forever"]

_GRACE: Final = 0.5  # seconds that answers under way have left when the server stops
_KEEP_ALIVE: Final = 60  # seconds; longer than the clients keep a connection they do not use
_ANY_HOST: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104


def build_app(root: Path) -> Starlette:
    """The application that serves a folder of repositories.

    Raises:
        ModelNotFound: there is no such folder.
    """
    library = Library(root)
    # Hugging Face comes last: its routes take every path that is left.
    known = [*modelscope.routes(library), *bos.routes(root), *huggingface.routes(library)]
    return Starlette(routes=known, exception_handlers={HTTPException: _refuse})


async def _refuse(_request: Request, error: Exception) -> Response:
    """Answer in JSON where starlette would in plain text, such as for a method that no route takes."""
    status, detail, headers = 500, "The server failed.", None
    if isinstance(error, HTTPException):
        status, detail, headers = error.status_code, error.detail, error.headers
    return JSONResponse({"error": detail}, status, headers)


class Server:
    """The hub, in a thread of its own.

    Args:
        root: the folder to serve.
        app: an application to run in place of the one that serves ``root``; tests put faults around it.
        host: the address to listen on.
        port: the port, or 0 for one that is free.

    Raises:
        ModelNotFound: there is no such folder.
        UsageError: neither a folder nor an application was given, or both.
    """

    def __init__(
        self, root: Path | None = None, *, app: ASGIApp | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        if (root is None) == (app is None):
            raise UsageError("Give a server either a folder or an application.")
        self._app: ASGIApp = build_app(root) if root is not None else app  # type: ignore[assignment]
        self._host = host
        self._port = port
        self._running: tuple[_Uvicorn, threading.Thread, socket.socket] | None = None

    @property
    def url(self) -> str:
        """Where the hub is; what ``HF_ENDPOINT`` is set to."""
        host = _ANY_HOST.get(self._host, f"[{self._host}]" if ":" in self._host else self._host)
        return f"http://{host}:{self.port}"

    @property
    def port(self) -> int:
        """The port it listens on; while it does not run, the one that was asked for."""
        if self._running is None:
            return self._port
        return int(self._running[2].getsockname()[1])

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self._running is not None and self._running[1].is_alive()

    def start(self) -> None:
        """Listen; on return, connections are accepted.

        Raises:
            UsageError: the address cannot be listened on.
        """
        if self._running is not None:
            return
        listener = _listen(self._host, self._port)
        config = uvicorn.Config(
            self._app,
            # Named, so that what else happens to be installed changes nothing.
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=2,
        )
        server = _Uvicorn(config)
        thread = threading.Thread(target=server.run_on, args=(listener,), name="pphub-serve", daemon=True)
        thread.start()
        self._running = (server, thread, listener)
        server.ready.wait()

    def stop(self) -> None:
        """Stop; answers under way are cut off after half a second."""
        if self._running is None:
            return
        server, thread, listener = self._running
        server.should_exit = True
        thread.join()
        listener.close()
        self._running = None

    def __enter__(self) -> Server:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


class _Uvicorn(uvicorn.Server):
    """Uvicorn, made to tell when it is ready and to end in bounded time."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    def run_on(self, listener: socket.socket) -> None:
        try:
            self.run(sockets=[listener])
        finally:
            self.ready.set()  # whatever happened, nobody waits for ever

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A download of gigabytes would otherwise be waited for, or cancelled with a traceback in the log.
        asyncio.get_running_loop().call_later(_GRACE, self._hang_up)
        await super().shutdown(sockets)

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            transport: Any = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()


def serve_forever(root: Path, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve a folder until SIGINT or SIGTERM, then return.

    Args:
        root: the folder.
        host: the address to listen on.
        port: the port, or 0 for one that is free.
        on_ready: called with the URL once connections are accepted.

    Raises:
        ModelNotFound: there is no such folder.
        UsageError: the address cannot be listened on.
    """
    asked_to_stop = threading.Event()
    server = Server(root, host=host, port=port)
    with _signals(asked_to_stop), server:
        on_ready(server.url)
        # With a limit, because a wait without one does not hear Ctrl-C on Windows.
        while server.alive and not asked_to_stop.wait(0.5):
            pass


@contextmanager
def _signals(event: threading.Event) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into an event; outside the main thread, which hears none, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(_signal: int, _frame: FrameType | None) -> None:
        event.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise UsageError(f"{port} is not a port.", hint="ports are 0 to 65535; 0 takes one that is free")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(
            f"{host} is no address of this machine.",
            hint="127.0.0.1 serves this machine only, 0.0.0.0 the network as well",
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(256)
    except OSError as error:
        listener.close()
        raise UsageError(f"Cannot listen on {host}:{port}: {error.strerror}.", hint=_hint(error)) from error
    return listener


def _hint(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program has the port; choose another one, or 0 for any that is free"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "ports below 1024 are for the administrator; choose a higher one, or 0 for any that is free"
    return "127.0.0.1 serves this machine only, 0.0.0.0 the network as well"
