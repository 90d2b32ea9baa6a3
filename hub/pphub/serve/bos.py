"""The protocol of BOS, as PaddleNLP speaks it: plain files, no listing.

======================================================  ==============================================================
``GET /models/community/{org}/{name}/{path}``           ``DIR/{org}/{name}/{path}``: the repositories of the other
                                                        protocols, so ``PPNLP_ENDPOINT=<url>`` is all PaddleNLP needs
``GET /models/{path}``, ``GET /paddle-hapi/{path}``     ``DIR/models/{path}``, ``DIR/paddle-hapi/{path}``: a copy of
                                                        the bucket, for PaddleNLP's built-in names; where it holds a
                                                        file, it comes before the repository
======================================================  ==============================================================

A name may be without an organisation, and may be ``{name}@{revision}``, which is the folder of that name. ``HEAD``
tells size and hashes. A repository or organisation called ``models`` or ``paddle-hapi`` can still be reached by the
protocol of Hugging Face: ``/models/{name}/resolve/…`` is left to it; only what is below ``/models/community`` is not.
"""

from __future__ import annotations

import base64
import hashlib
import re
import stat
import threading
import uuid
import zlib
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse
from starlette.routing import Match, Route

from pphub.errors import FileNotInModel
from pphub.serve.body import file_response
from pphub.serve.hashes import Hashes
from pphub.serve.repos import File

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Scope

__all__ = ["routes"]

_COMMUNITY: Final = ("models", "community")
_UNSPEAKABLE: Final = re.compile(r"[\\\x00-\x1f\x7f]")
_CHUNK: Final = 1 << 20


def routes(root: Path) -> list[Route]:
    """The routes of the protocol, which come before those of Hugging Face."""
    shelf = _Shelf(root)
    return [_BosRoute(f"/{top}/{{rest:path}}", shelf.answer, methods=["GET"]) for top in ("models", "paddle-hapi")]


class _BosRoute(Route):
    """Leaves to Hugging Face what only Hugging Face would ask."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http":
            segments = scope["path"].split("/")[1:]
            if "resolve" in segments[1:3] and tuple(segments[:2]) != _COMMUNITY:
                return Match.NONE, {}
        return super().matches(scope)


class _Shelf:
    """The files below a folder, found by path, with the hashes that BOS tells of them."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._lock = threading.Lock()
        # By file, when it was read and what it hashed to: once for as long as it stays as it is.
        self._known: dict[Path, tuple[tuple[int, int], str, int]] = {}
        self._reading: dict[Path, threading.Lock] = {}

    def answer(self, request: Request) -> Response:
        """Answer a GET or HEAD."""
        segments = request.scope["path"].split("/")[1:]
        places = [segments]
        # A file beside the repositories belongs to none of them.
        if tuple(segments[:2]) == _COMMUNITY and len(segments) > 3:
            places.append(segments[2:])
        try:
            location = next((found for place in places if (found := self._file(place))), None)
            if location is None:
                return _error(404, "NoSuchKey", "The specified key does not exist.")
            return self._send(request, location)
        except (FileNotFoundError, FileNotInModel):  # removed or changed since it was found
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        except OSError as error:
            # No path in it: where the folder lies on this disk is nobody else's business.
            return _error(500, "InternalError", f"The disk failed: {error.strerror}.")

    def _file(self, segments: list[str]) -> Path | None:
        """The file at a path, if it is one that may be served."""
        # Names that begin with a dot are hidden, and among them are those that lead up.
        if any(not segment or segment.startswith(".") or _UNSPEAKABLE.search(segment) for segment in segments):
            return None
        try:
            location = self._root.joinpath(*segments).resolve()
            status = location.stat()
        except (OSError, ValueError):  # no such file, too long, or in a folder that cannot be read
            return None
        # A link may lead anywhere inside the folder, as caches have them, and nowhere else.
        return location if location.is_relative_to(self._root) and stat.S_ISREG(status.st_mode) else None

    def _send(self, request: Request, location: Path) -> Response:
        status = location.stat()
        md5, crc32 = self._hashes(location, status)
        headers = {
            "Content-MD5": base64.b64encode(bytes.fromhex(md5)).decode(),
            "x-bce-content-crc32": str(crc32),
            "x-bce-request-id": str(uuid.uuid4()),
        }
        # What a file calls its id becomes the ETag, and in this protocol that is the md5.
        file = File(location.name, location, status.st_size, status.st_mtime_ns, Hashes(md5, "", None))
        return file_response(request, file, headers)

    def _hashes(self, location: Path, status: os.stat_result) -> tuple[str, int]:
        stamp = (status.st_size, status.st_mtime_ns)
        with self._lock:
            reading = self._reading.setdefault(location, threading.Lock())
        with reading:  # two who ask for one file wait for one reading
            known = self._known.get(location)
            if known is None or known[0] != stamp:
                known = self._known[location] = (stamp, *_read(location))
            return known[1:]


def _read(location: Path) -> tuple[str, int]:
    md5, crc32 = hashlib.md5(usedforsecurity=False), 0
    with location.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            md5.update(chunk)
            crc32 = zlib.crc32(chunk, crc32)
    return md5.hexdigest(), crc32


def _error(status: int, code: str, message: str) -> Response:
    """An error in the words of BOS."""
    request = str(uuid.uuid4())
    content = {"code": code, "message": message, "requestId": request}
    return JSONResponse(content, status, {"x-bce-request-id": request})
