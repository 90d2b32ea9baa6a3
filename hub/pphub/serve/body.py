"""Sending a file: whole or in part, never more of it in memory than a chunk."""

from __future__ import annotations

import asyncio
import re
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import FileIO

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from pphub.serve.repos import File

__all__ = ["FileBody", "Unsatisfiable", "file_response", "parse_range"]

# Large enough that the way into a thread and back is not felt (starlette's own 64 KiB costs half the speed).
_CHUNK: Final = 1 << 20
_RANGE: Final = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")


class Unsatisfiable(ValueError):
    """The range lies outside the file, or is none."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The part that a ``Range`` header asks for.

    Args:
        header: its value.
        size: of the file.

    Returns:
        First byte and the one after the last; None if the whole file is to be sent. That is the answer to
        several ranges as well: a server need not know them, and no client of ours asks for them.

    Raises:
        Unsatisfiable: no byte of the file is in the range.
    """
    unit, _, text = (header or "").partition("=")
    if unit.strip().lower() != "bytes" or "," in text:
        return None
    match = _RANGE.fullmatch(text.strip())
    if match is None or match[0] == "-":
        raise Unsatisfiable(text)
    first, last = match[1], match[2]
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= end:
        raise Unsatisfiable(text)
    return start, end


class FileBody(Response):
    """Bytes ``start`` to ``end`` of an open file, which it closes."""

    def __init__(self, file: FileIO, part: tuple[int, int], status: int, headers: Mapping[str, str]) -> None:
        self.file = file
        self.part = part
        super().__init__(status_code=status, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the part, and stop reading when nobody listens any more."""
        del scope
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(start)
            await self._send_part(send, gone)
        finally:
            gone.cancel()
            self.file.close()

    async def _send_part(self, send: Send, gone: asyncio.Future[None]) -> None:
        start, end = self.part
        self.file.seek(start)
        while start < end and not gone.done():
            chunk = await run_in_threadpool(self.file.read, min(_CHUNK, end - start))
            if not chunk:
                return  # cut short on the disk: uvicorn hangs up, and the client sees too few bytes
            start += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": start < end})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def file_response(request: Request, file: File, headers: Mapping[str, str]) -> Response:
    """Answer a GET or HEAD for a file.

    Raises:
        FileNotInModel: it was changed or removed since it was hashed.
    """
    etag = f'"{file.etag}"'
    changed = formatdate(file.mtime_ns // 1_000_000_000, usegmt=True)
    headers = {
        **headers,
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "ETag": etag,
        "Last-Modified": changed,
    }
    if _names(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(file.size)})
    wanted = request.headers.get("range")
    if request.headers.get("if-range", etag) not in (etag, changed):
        wanted = None  # the client holds a part of something else, and needs all of this
    try:
        part = parse_range(wanted, file.size)
    except Unsatisfiable:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{file.size}"})
    start, end = part or (0, file.size)
    headers["Content-Length"] = str(end - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    if start == end:
        return Response(headers=headers)
    return FileBody(file.open(), (start, end), 200 if part is None else 206, headers)


def _names(header: str | None, etag: str) -> bool:
    values = [value.strip().removeprefix("W/") for value in (header or "").split(",")]
    return etag in values or "*" in values
