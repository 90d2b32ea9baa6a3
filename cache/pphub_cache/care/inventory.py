"""What the cache holds, as its records tell; no file of a model is looked at.

A cache may hold a hundred thousand files. So paths are strings here, a record is read in one piece, and what is yielded
is forgotten unless the caller keeps it. What vanishes meanwhile is passed over: other processes may be at work.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import unquote

from pphub_cache.layout import SNAPSHOT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pphub_cache.layout import Layout

__all__ = [
    "CONVERSION_FILE",
    "VIEW_FILE",
    "VIEW_FOLDER",
    "Conversion",
    "Held",
    "Ref",
    "View",
    "conversions",
    "files_of",
    "names_in",
    "read_conversion",
    "read_held",
    "read_view",
    "refs",
    "refs_of",
    "snapshots",
    "snapshots_of",
    "views",
]

CONVERSION_FILE: Final = "conversion.json"
VIEW_FILE: Final = ".pphub.json"
VIEW_FOLDER: Final = ".pphub"
"""Either of these two marks a folder of ``models/`` as ours."""

_FORMAT: Final = 1
_HEAD: Final = 16 << 10  # of a conversion's record: its origin and output come first, then a list of all tensors
_LINE: Final = 200  # more than a commit
_MOST: Final = 256 << 20  # bytes of a record
# Windows has the first; the second is for a pipe in the place of a record, which would be waited for.
_READ: Final[int] = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class Held(NamedTuple):
    """One snapshot folder.

    Attributes:
        folder: where it is.
        state: ``recorded``; ``damaged``, when the record cannot be read; ``unrecorded``, when there is none, since a
            download is under way or was cut off.
        revision: what was asked for; empty unless recorded.
        files: path → entry of the record, see :class:`pphub_cache.store.CachedFile`; empty unless recorded.
        used: when the snapshot was last used, in seconds since 1970; None when that is not known.
    """

    source: str
    repo: str
    commit: str
    folder: str
    state: Literal["recorded", "damaged", "unrecorded"]
    revision: str
    files: Mapping[str, Mapping[str, Any]]
    used: float | None

    @property
    def key(self) -> str:
        """Names the snapshot's lock."""
        return f"{self.source}/{self.repo}/{self.commit}"

    def stored(self) -> Iterator[tuple[str, int, str]]:
        """Path, size in bytes and sha256 of each file that is in the cache."""
        for path, entry in self.files.items():
            if entry["stored"]:
                yield path, entry["size"], entry["sha256"]


class Ref(NamedTuple):
    """The commit that a revision stood for; the revision ``HEAD`` is the source's default.

    Where a folder is in the place of the file, the commit is empty.
    """

    source: str
    repo: str
    revision: str
    commit: str
    path: str


@dataclass(frozen=True, slots=True)
class Conversion:
    """One conversion in the cache.

    Attributes:
        origins: source, repository and commit of its inputs; empty when the record cannot be read.
        weights: name, size in bytes and sha256 of the file of weights; None when the record cannot be read.
    """

    key: str
    folder: str
    origins: frozenset[tuple[str, str, str]]
    weights: tuple[str, int, str] | None


@dataclass(frozen=True, slots=True)
class View:
    """A folder of ``models/`` that shows a model of the cache to PaddleNLP.

    Attributes:
        name: what PaddleNLP calls the model; names the view's lock.
        origin: source, repository and commit; None when its record cannot be read.
        shown: the folder it shows; empty when its record cannot be read.
        files: the names of the files in it that are ours, as far as the record tells.
        copies: those that are no links → size in bytes and sha256; None for one that PaddleNLP may write anew.
    """

    name: str
    folder: str
    origin: tuple[str, str, str] | None
    shown: str
    files: frozenset[str]
    copies: Mapping[str, tuple[int, str] | None]


def names_in(folder: str) -> list[str]:
    """The names in a folder, without temporary ones; none if it is no folder, or gone."""
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]  # noqa: PTH208  for speed
    except (FileNotFoundError, NotADirectoryError):
        return []


def snapshots(layout: Layout) -> Iterator[Held]:
    """Every snapshot folder of the cache."""
    root = os.fspath(layout.snapshots)
    for source in names_in(root):
        for first in names_in(f"{root}/{source}"):
            yield from _snapshots_below(root, source, first)


def snapshots_of(layout: Layout, source: str, repo: str) -> list[Held]:
    """The snapshot folders of one repository."""
    first = repo.partition("/")[0]
    return [held for held in _snapshots_below(os.fspath(layout.snapshots), source, first) if held.repo == repo]


def read_held(layout: Layout, source: str, repo: str, commit: str) -> Held | None:
    """One snapshot as it is now; None when it has no record."""
    return _read_snapshot(os.fspath(layout.snapshots), source, repo, commit)


def _snapshots_below(root: str, source: str, first: str) -> Iterator[Held]:
    """``first`` is a repository, whose folders are commits, or an organisation, whose folders are repositories."""
    for second in names_in(f"{root}/{source}/{first}"):
        folder = f"{root}/{source}/{first}/{second}"
        names = names_in(folder)
        if SNAPSHOT_FILE in names:
            yield from _found(_read_snapshot(root, source, first, second))
            continue
        repo = f"{first}/{second}"
        without = []
        for third in names:
            found = _read_snapshot(root, source, repo, third)
            if found is None:
                without.append(third)
            else:
                yield found
        if any(_is_file(f"{folder}/{name}") for name in without):
            yield Held(source, first, second, folder, "unrecorded", "", {}, None)
            continue
        for third in without:
            if names_in(f"{folder}/{third}"):
                yield Held(source, repo, third, f"{folder}/{third}", "unrecorded", "", {}, None)


def _found(held: Held | None) -> tuple[Held, ...]:
    return (held,) if held else ()


def _is_file(path: str) -> bool:
    return os.path.islink(path) or os.path.isfile(path)  # noqa: PTH113, PTH114


def _read_snapshot(root: str, source: str, repo: str, commit: str) -> Held | None:
    folder = f"{root}/{source}/{repo}/{commit}"
    used = None
    try:
        data, used = _read(f"{folder}/{SNAPSHOT_FILE}")
        record = _checked(data, source, repo, commit)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        record = None
    if record is None:
        return Held(source, repo, commit, folder, "damaged", "", {}, used)
    return Held(source, repo, commit, folder, "recorded", str(record["revision"]), record["files"], used)


def _read(path: str) -> tuple[bytes, float]:
    """Content and time of the last change; a few times as fast as ``open``."""
    descriptor = os.open(path, _READ)
    try:
        status = _status(descriptor, path)
        return os.read(descriptor, status.st_size), status.st_mtime
    finally:
        os.close(descriptor)


def _status(descriptor: int, path: str) -> os.stat_result:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST:
        raise OSError(errno.EINVAL, "it is no record, but something else, or far too large", path)
    return status


def _read_head(path: str, limit: int) -> bytes:
    descriptor = os.open(path, _READ)
    try:
        _status(descriptor, path)
        return os.read(descriptor, limit)
    finally:
        os.close(descriptor)


def _checked(data: bytes, source: str, repo: str, commit: str) -> dict[str, Any] | None:
    """The record, if :meth:`pphub_cache.store.Store.read` would take it for one."""
    try:
        record: dict[str, Any] = json.loads(data.decode())
        if [record[key] for key in ("format", "source", "repo", "commit")] != [_FORMAT, source, repo, commit]:
            return None
        str(record["revision"])
        for entry in record["files"].values():
            size, sha256, _ = entry["size"], entry["sha256"], entry["verified"]
            if entry["stored"] and not (type(size) is int and isinstance(sha256, str)):
                return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record


def refs(layout: Layout) -> Iterator[Ref]:
    """Every revision that was asked for by name."""
    root = os.fspath(layout.hub / "refs")
    for source in names_in(root):
        for first in names_in(f"{root}/{source}"):
            yield from _refs_below(f"{root}/{source}/{first}", source, first)


def refs_of(layout: Layout, source: str, repo: str) -> list[Ref]:
    """The revisions of one repository."""
    folder = os.fspath(layout.ref(source, repo, None).parent)
    return [ref for ref in _refs_below(folder, source, repo) if ref.repo == repo]


def _refs_below(folder: str, source: str, repo: str) -> Iterator[Ref]:
    for name in names_in(folder):
        path = f"{folder}/{name}"
        if not name.startswith("@"):
            yield from _refs_below(path, source, f"{repo}/{name}")
            continue
        try:
            commit = _read_head(path, _LINE).strip().decode("utf-8", "replace")
        except OSError:
            if not os.path.isdir(path):  # noqa: PTH112
                continue
            commit = ""
        yield Ref(source, repo, unquote(name[1:]), commit, path)


def conversions(layout: Layout) -> Iterator[Conversion]:
    """Every conversion that has a record."""
    root = os.fspath(layout.conversions)
    for key in names_in(root):
        if found := read_conversion(f"{root}/{key}"):
            yield found


def read_conversion(folder: str) -> Conversion | None:
    """One conversion, called by the name of its folder; None when it has no record."""
    try:
        origins, weights = _read_conversion(f"{folder}/{CONVERSION_FILE}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        origins, weights = frozenset(), None
    return Conversion(os.path.basename(folder), folder, origins, weights)  # noqa: PTH119


def _read_conversion(path: str) -> tuple[frozenset[tuple[str, str, str]], tuple[str, int, str] | None]:
    head = _read_head(path, _HEAD).decode("utf-8", "replace")
    try:
        inputs, output = _member(head, "inputs"), _member(head, "output")
    except ValueError:  # more inputs than usual, or not written by us
        record = json.loads(_read(path)[0])
        inputs, output = record["inputs"], record["output"]
    origins = frozenset((str(one["source"]), str(one["repo"]), str(one["commit"])) for one in inputs)
    name, size, sha256 = output["file"], output["size"], output["sha256"]
    if type(size) is not int or not isinstance(sha256, str) or name != os.path.basename(name):  # noqa: PTH119
        raise ValueError("the record does not say what the weights are")
    return origins, (name, size, sha256)


def files_of(conversion: Conversion) -> dict[str, tuple[int | None, str]] | None:
    """Name → size in bytes, where it is known, and sha256 of every file; None when the record cannot be read."""
    if conversion.weights is None:
        return None
    try:
        record = json.loads(_read(f"{conversion.folder}/{CONVERSION_FILE}")[0])
        # An older record has no sizes; of the files in a folder of the user's nobody wrote them down.
        sizes = record.get("sizes", {})
        files = {name: (sizes.get(name), sha256) for name, sha256 in record["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    weights, size, sha256 = conversion.weights
    files[weights] = (size, sha256)
    sound = all(
        name == os.path.basename(name) and type(size) in {int, type(None)} and isinstance(sha256, str)  # noqa: PTH119
        for name, (size, sha256) in files.items()
    )
    return files if sound else None


def _member(text: str, name: str) -> Any:
    """One member of a JSON object of which only the beginning is here; in a string, its quotes would be escaped."""
    key = f'"{name}": '
    return json.JSONDecoder().raw_decode(text, text.index(key) + len(key))[0]


def views(layout: Layout) -> Iterator[View]:
    """Every folder of ``models/`` that is ours; the others are PaddleNLP's own."""
    root = os.fspath(layout.home / "models")
    for first in names_in(root):
        for name in (first, *(f"{first}/{second}" for second in names_in(f"{root}/{first}"))):
            if found := read_view(layout, name):
                yield found


def read_view(layout: Layout, name: str) -> View | None:
    """One view as it is now; None when there is no folder of ours."""
    folder = f"{os.fspath(layout.home)}/models/{name}"
    if not os.path.lexists(f"{folder}/{VIEW_FILE}") and not os.path.lexists(f"{folder}/{VIEW_FOLDER}"):
        return None
    try:
        mark = json.loads(_read(f"{folder}/{VIEW_FILE}")[0])
        origin = (str(mark["source"]), str(mark["repo"]), str(mark["commit"]))
        copies = {str(key): _content(value) for key, value in mark.get("copies", {}).items()}
        return View(name, folder, origin, str(mark["folder"]), frozenset(map(str, mark.get("files", ()))), copies)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return View(name, folder, None, "", frozenset(), {})


def _content(value: Any) -> tuple[int, str] | None:
    return None if value is None else (int(value["size"]), str(value["sha256"]))
