"""The protocol of ModelScope, as far as reading models goes.

==============================================================  ==============================================
``GET /api/v1/models/{org}/{name}``                             one repository
``GET /api/v1/models/{org}/{name}/revisions``                   its branches and tags
``GET /api/v1/models/{org}/{name}/repo/files?Revision=&Root=``  files and folders with sizes and hashes
``GET /api/v1/models/{org}/{name}/repo?Revision=&FilePath=``    a file
``GET /api/v1/repos/internalAccelerationInfo``                  the client asks whether it is in a data centre
==============================================================  ==============================================

What Hugging Face calls ``main`` is ``master`` here. The real hub lists no more than 3000 entries at once; this
one lists them all, so that a folder with more of them can be had as well. Without ``/openapi/v1``, which answers
404, the clients fall back to the paths above.
"""

from __future__ import annotations

import re
import uuid
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pphub.errors import FileNotInModel, ModelNotFound, RevisionNotFound
from pphub.serve.body import file_response
from pphub.serve.repos import MAIN, File, Folder, Library, Repository, Revision

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

__all__ = ["MASTER", "routes"]

MASTER: Final = "master"

_MODEL: Final = "/api/v1/models/{org}/{name}"
# A folder does not say whether it is a branch or a tag, and the list of revisions tells them apart.
_LIKE_A_TAG: Final = re.compile(r"v?[0-9][A-Za-z0-9.+_-]*")

Json = dict[str, Any]


def routes(library: Library) -> list[Route]:
    """The routes of the protocol; whatever else there is below ``/api/v1`` is left to others."""
    handlers: dict[str, Callable[[Library, Request], Response]] = {
        _MODEL: _about,
        f"{_MODEL}/revisions": _revisions,
        f"{_MODEL}/repo/files": _files,
        f"{_MODEL}/repo": _file,
        "/api/v1/repos/internalAccelerationInfo": _no_acceleration,
    }
    return [Route(path, _answered(library, handler), methods=["GET"]) for path, handler in handlers.items()]


def _answered(library: Library, handler: Callable[[Library, Request], Response]) -> Callable[[Request], Response]:
    """The handler, with what it raises told in the words of the protocol."""

    @wraps(handler)
    def answer(request: Request) -> Response:
        try:
            return handler(library, request)
        except (ModelNotFound, RevisionNotFound, FileNotInModel) as error:
            return _envelope(None, 404, error.message)
        except OSError as error:
            # No path in it: where the folder lies on this disk is nobody else's business.
            return _envelope(None, 500, f"The disk failed: {error.strerror}.")

    return answer


def _envelope(data: Json | None, status: int = 200, message: str = "") -> Response:
    known = {"Code": status, "Success": status == 200, "Message": message, "RequestId": uuid.uuid4().hex, "Data": data}
    return JSONResponse(known, status)


def _repo(request: Request) -> str:
    return f"{request.path_params['org']}/{request.path_params['name']}"


def _revision(library: Library, request: Request) -> tuple[str, str]:
    """The repository, and the revision as the library calls it."""
    asked = request.query_params.get("Revision") or MASTER
    known = library.repository(_repo(request)).revisions
    return _repo(request), MAIN if asked == MASTER and MASTER not in known else asked


def _about(library: Library, request: Request) -> Response:
    repository = library.repository(_repo(request))
    changed = _changed(repository, MAIN)
    org, _, name = repository.id.partition("/")
    return _envelope(
        {
            "Path": org,
            "Name": name,
            "ChineseName": "",
            "Visibility": 5,  # public
            "Revision": MASTER,
            "CreatedTime": changed,  # a folder does not remember when it was made
            "LastUpdatedTime": changed,
            "Downloads": 0,
            "Tags": [],
        }
    )


def _revisions(library: Library, request: Request) -> Response:
    repository = library.repository(_repo(request))
    kinds: dict[str, list[Json]] = {"Branches": [], "Tags": []}
    for shown, name in _shown(repository).items():
        kind = "Tags" if _LIKE_A_TAG.fullmatch(shown) else "Branches"
        kinds[kind].append({"Revision": shown, "CreatedAt": _changed(repository, name)})
    return _envelope({"RevisionMap": kinds})


def _changed(repository: Repository, revision: str) -> int:
    """In seconds; of the folder, since to ask its files would hash them all."""
    return int(repository.revisions[revision].stat().st_mtime)


def _shown(repository: Repository) -> dict[str, str]:
    """The revisions by the names that they have in this protocol."""
    named = {name: name for name in repository.revisions}
    return named if MASTER in named else {MASTER: MAIN} | {name: name for name in named if name != MAIN}


def _files(library: Library, request: Request) -> Response:
    revision = library.revision(*_revision(library, request))
    recursive = request.query_params.get("Recursive", "").lower() == "true"
    entries = revision.below(request.query_params.get("Root", "").strip("/"), recursive=recursive)
    return _envelope({"Files": [_entry(entry, revision) for entry in entries]})


def _entry(entry: File | Folder, revision: Revision) -> Json:
    is_file = isinstance(entry, File)
    known = {
        "Name": entry.path.rpartition("/")[2],
        "Path": entry.path,
        "Type": "blob" if is_file else "tree",
        "Mode": "33188" if is_file else "16384",  # 100644 and 040000, in decimal
        "Size": 0,
        "Sha256": "",
        "IsLFS": False,
        # There is one commit and no history: it is the last one of everything.
        "Revision": revision.commit,
        "CommitMessage": "As found in the folder",
        "CommittedDate": revision.changed_ns // 1_000_000_000,
    }
    if isinstance(entry, File):
        known |= {"Size": entry.size, "Sha256": entry.hashes.sha256, "IsLFS": entry.is_lfs}
    return known


def _file(library: Library, request: Request) -> Response:
    path = request.query_params.get("FilePath", "")
    file, _ = library.file(*_revision(library, request), path)
    # By this header only can the client verify a file that it fetches without a listing.
    return file_response(request, file, {"X-Linked-Etag": f'"{file.hashes.sha256}"'})


def _no_acceleration(_library: Library, _request: Request) -> Response:
    return _envelope({"InternalRegionQueryAddress": ""})
