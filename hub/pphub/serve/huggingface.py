"""The protocol of the Hugging Face hub, as far as reading models goes.

=============================================  =======================================================
``GET  /api/models?search=``                   the repositories
``GET  /api/models/{id}[/revision/{rev}]``     one repository: its commit and the names of its files
``GET  /api/models/{id}/tree/{rev}[/{path}]``  files and folders with sizes and hashes, in pages
``POST /api/models/{id}/paths-info/{rev}``     the same of chosen paths
``GET  /api/models/{id}/refs``                 branches, tags and pull requests
``GET  /{id}/resolve/{rev}/{path}``            a file; ``HEAD`` tells its commit and its hash
=============================================  =======================================================

``{id}`` is ``name`` or ``org/name``. A revision is one segment, with its own slashes as ``%2F``; ``refs/x/y``
is also understood as it stands. Everything else, uploads among it, is 404 or 405 with an ``error`` in JSON.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qs, quote, unquote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pphub.errors import FileNotInModel, ModelNotFound, NotFound, RevisionNotFound
from pphub.serve.body import file_response
from pphub.serve.repos import MAIN, File, Folder, Library, Repository, Revision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.requests import Request

__all__ = ["PAGE", "routes"]

PAGE: Final = 1000
_LARGEST_QUESTION: Final = 8 << 20
_VERBS: Final = ("revision", "tree", "paths-info", "refs")
# A folder does not say whether it is a branch or a tag, and only the list of refs tells them apart.
_LIKE_A_TAG: Final = re.compile(r"v?[0-9][A-Za-z0-9.+_-]*")

Json = dict[str, Any]
T = TypeVar("T")


class _BadRequest(ValueError):
    """The question cannot be meant; answered with 400."""


@dataclass(frozen=True, slots=True)
class _Target:
    """What a path of a URL is about."""

    repo: str
    verb: str
    revision: str
    path: str


def routes(library: Library) -> list[Route]:
    """The routes of the protocol. The last one takes every path that is left."""

    def listing(request: Request) -> Response:
        return _list_models(library, request)

    def about(request: Request) -> Response:
        target = _api_target(_segments(request)[2:])
        return _about(library, request, target) if target else _error(404, "There is no such page.")

    async def ask(request: Request) -> Response:
        body = await _read_body(request)  # the one thing that has to be awaited; the disk waits in a thread
        return await run_in_threadpool(_answered(lambda request: _ask(library, request, body)), request)

    def resolve(request: Request) -> Response:
        target = _split(_segments(request), ("resolve",))
        return _resolve(library, request, target) if target else _error(404, "There is no such page.")

    return [
        Route("/api/models", _answered(listing), methods=["GET"]),
        Route("/api/models/{rest:path}", _answered(about), methods=["GET"]),
        Route("/api/models/{rest:path}", ask, methods=["POST"]),
        Route("/{rest:path}", _answered(resolve), methods=["GET"]),
    ]


def _answered(handler: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """The handler, with what it raises told in the words of the protocol."""

    @wraps(handler)
    def answer(request: Request) -> Response:
        try:
            return handler(request)
        except ModelNotFound as error:
            return _not_found("RepoNotFound", "Repository not found", error)
        except RevisionNotFound as error:
            return _not_found("RevisionNotFound", "Revision not found", error)
        except FileNotInModel as error:
            return _not_found("EntryNotFound", "Entry not found", error)
        except _BadRequest as error:
            return _error(400, str(error))
        except OSError as error:
            # No path in it: where the folder lies on this disk is nobody else's business.
            return _error(500, f"The disk failed: {error.strerror}.")

    return answer


def _not_found(code: str, title: str, error: NotFound) -> Response:
    # The title is fixed: what was asked for may hold anything, and headers may not.
    return _error(404, error.message, {"X-Error-Code": code, "X-Error-Message": title})


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)


def _segments(request: Request) -> list[str]:
    """The segments of the path, decoded one by one, so that an encoded slash stays inside its segment."""
    raw = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    try:
        segments = [unquote(segment, errors="strict") for segment in raw.decode("ascii").split("/")[1:]]
    except UnicodeDecodeError as error:
        raise _BadRequest("The path is not UTF-8.") from error
    if any("\0" in segment for segment in segments):
        raise _BadRequest("The path holds a NUL.")
    return segments


def _split(segments: list[str], verbs: Iterable[str]) -> _Target | None:
    for width in (1, 2):  # of the id of the repository
        verb, tail = "".join(segments[width : width + 1]), segments[width + 1 :]
        if verb == "refs" and verb in verbs and not tail:
            return _Target("/".join(segments[:width]), verb, MAIN, "")
        if verb in verbs and verb != "refs" and tail:
            words = 3 if tail[0] == "refs" and len(tail) > 2 else 1  # refs/pr/1, its slashes not encoded
            revision, path = "/".join(tail[:words]), "/".join(tail[words:])
            return _Target("/".join(segments[:width]), verb, revision, path)
    return None


def _api_target(segments: list[str]) -> _Target | None:
    found = _split(segments, _VERBS)
    if found is None and len(segments) in (1, 2):
        return _Target("/".join(segments), "revision", MAIN, "")
    return found


def _about(library: Library, request: Request, target: _Target) -> Response:
    if target.verb == "refs":
        return _refs(library, request, target)
    if target.verb == "tree":
        return _tree(library, request, target)
    if target.verb == "revision" and not target.path:
        return _model_info(library, request, target)
    return _error(404, "There is no such page.")


def _list_models(library: Library, request: Request) -> Response:
    search = request.query_params.get("search", "").lower()
    author = request.query_params.get("author")
    found = [
        repository
        for repository in library.repositories()
        if search in repository.id.lower() and author in (None, repository.id.rpartition("/")[0])
    ]
    page, link = _page(request, found, lambda repository: repository.id)
    return JSONResponse([_summary(repository) for repository in page], headers=link)


def _summary(repository: Repository) -> Json:
    return {
        "_id": repository.id,
        "id": repository.id,
        "modelId": repository.id,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
    }


def _model_info(library: Library, request: Request, target: _Target) -> Response:
    revision = library.revision(target.repo, target.revision)
    with_blobs = _flag(request.query_params.get("blobs"))
    changed = _date(revision.changed_ns)
    return JSONResponse(
        {
            **_summary(library.repository(target.repo)),
            "author": target.repo.rpartition("/")[0] or None,
            "sha": revision.commit,
            "lastModified": changed,
            "createdAt": changed,  # a folder does not remember when it was made
            "siblings": [_sibling(file, with_blobs=with_blobs) for file in revision.files],
        }
    )


def _sibling(file: File, *, with_blobs: bool) -> Json:
    if not with_blobs:
        return {"rfilename": file.path}
    known: Json = {"rfilename": file.path, "blobId": file.hashes.oid, "size": file.size}
    if file.is_lfs:
        known["lfs"] = {**_lfs(file), "sha256": file.hashes.sha256}
    return known


def _tree(library: Library, request: Request, target: _Target) -> Response:
    revision = library.revision(target.repo, target.revision)
    recursive, expand = (_flag(request.query_params.get(name)) for name in ("recursive", "expand"))
    entries = revision.below(target.path.rstrip("/"), recursive=recursive)
    page, link = _page(request, entries, lambda entry: entry.path)
    return JSONResponse([_entry(entry, revision, expand=expand) for entry in page], headers=link)


def _ask(library: Library, request: Request, body: bytes | None) -> Response:
    target = _split(_segments(request)[2:], ("paths-info",))
    if target is None or target.path:
        return _error(404, "There is no such page, or nothing can be written to it.")
    revision = library.revision(target.repo, target.revision)
    paths, expand = _asked_paths(request, body)
    found = (revision.tree.get(path.rstrip("/")) for path in paths)
    return JSONResponse([_entry(entry, revision, expand=expand) for entry in found if entry is not None])


def _asked_paths(request: Request, body: bytes | None) -> tuple[list[str], bool]:
    """Paths and ``expand`` from a form or from JSON; clients send either."""
    if body is None:
        raise _BadRequest("The question is too long.")
    try:
        if "json" in request.headers.get("content-type", ""):
            asked = json.loads(body)
            paths, expand = asked["paths"], asked.get("expand", False)
        else:
            form = parse_qs(body.decode(), errors="strict")
            paths, expand = form["paths"], form.get("expand", [""])[0]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _BadRequest("The question is neither JSON nor a form with paths.") from error
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise _BadRequest("The paths are not a list of texts.")
    return paths, _flag(str(expand))


async def _read_body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_QUESTION:
            return None
    return bytes(body)


def _refs(library: Library, request: Request, target: _Target) -> Response:
    kinds: dict[str, list[Json]] = {"branches": [], "tags": [], "converts": []}
    if _flag(request.query_params.get("include_prs")):
        kinds["pullRequests"] = []
    for name in library.repository(target.repo).revisions:
        kind, short, ref = _kind_of_ref(name)
        if kind in kinds:
            commit = library.revision(target.repo, name).commit
            kinds[kind].append({"name": short, "ref": ref, "targetCommit": commit})
    return JSONResponse(kinds)


def _kind_of_ref(revision: str) -> tuple[str, str, str]:
    """The list that a revision belongs to, its name there, and its full name."""
    if revision.startswith("refs/pr/"):
        return "pullRequests", revision, revision
    if revision.startswith("refs/convert/"):
        return "converts", revision.removeprefix("refs/convert/"), revision
    if _LIKE_A_TAG.fullmatch(revision):
        return "tags", revision, f"refs/tags/{revision}"
    return "branches", revision, f"refs/heads/{revision}"


def _resolve(library: Library, request: Request, target: _Target) -> Response:
    file, revision = library.file(target.repo, target.revision, target.path)
    headers = {"X-Repo-Commit": revision.commit}
    if file.is_lfs:
        headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(file.size)}
    return file_response(request, file, headers)


def _entry(entry: File | Folder, revision: Revision, *, expand: bool) -> Json:
    known: Json = {"type": "directory", "oid": entry.hashes.oid if isinstance(entry, File) else entry.oid}
    known |= {"size": 0, "path": entry.path}
    if isinstance(entry, File):
        known |= {"type": "file", "size": entry.size}
        if entry.is_lfs:
            known["lfs"] = _lfs(entry)
    if expand:
        # There is one commit and no history: it is the last one of everything.
        when = _date(revision.changed_ns)
        known["lastCommit"] = {"id": revision.commit, "title": "As found in the folder", "date": when}
    return known


def _lfs(file: File) -> Json:
    return {"oid": file.hashes.sha256, "size": file.size, "pointerSize": file.hashes.pointer_size}


def _page(request: Request, entries: list[T], key: Callable[[T], str]) -> tuple[list[T], dict[str, str]]:
    """One page of entries that are sorted by key, and the header that leads to the next.

    The cursor is the key that the page before ended with, so that nothing is lost or sent twice where entries
    come or go between two pages.
    """
    query = request.query_params
    limit = query.get("limit", str(PAGE))
    if not re.fullmatch(r"[0-9]{1,9}", limit) or int(limit) == 0:
        raise _BadRequest("The limit is not a positive number.")
    rest = [entry for entry in entries if key(entry) > query.get("cursor", "")]
    page = rest[: min(int(limit), PAGE)]
    if len(page) == len(rest):
        return page, {}
    words = [(name, value) for name, value in query.multi_items() if name != "cursor"]
    path = "".join(f"/{quote(segment, safe='')}" for segment in _segments(request))
    url = f"{str(request.base_url).rstrip('/')}{path}?{urlencode([*words, ('cursor', key(page[-1]))])}"
    return page, {"Link": f'<{url}>; rel="next"'}


def _flag(text: str | None) -> bool:
    return text is not None and text.lower() in ("true", "1", "yes")


def _date(ns: int) -> str:
    when = datetime.fromtimestamp(ns // 1_000_000_000, tz=timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%S.000Z")
