"""The store: blobs by content, snapshots of links to them, refs, and records of what is there.

A snapshot's files never change; files that were left out at first may join it later. Its ``snapshot.json`` is
written after the files it speaks of, so whatever a kill leaves behind, a record never promises too much.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pphub.names import COMMIT
from pphub_cache.atomic import (
    explain_os_errors,
    file_mode,
    link_or_copy,
    make_folder,
    move,
    sync_file,
    write_bytes,
    write_json,
)
from pphub_cache.layout import SNAPSHOT_FILE, Layout
from pphub_cache.partial import bytes_in
from pphub_cache.process import new_owner
from pphub_cache.unsynced import confirm, defer, expect, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pphub_cache.unsynced import Doubts

__all__ = ["CachedFile", "Snapshot", "Store"]

_LOG: Final = logging.getLogger("pphub")
_FORMAT: Final = 1
_MINUTE: Final = 60.0
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_COMMIT: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")  # as pphub.source.Listing demands


@dataclass(frozen=True, slots=True)
class CachedFile:
    """One file of a snapshot.

    Attributes:
        path: relative to the snapshot, with ``/``.
        size: bytes; None only for a file that is not stored and whose size the source did not say.
        sha256: of the content; None for a file that is not stored.
        verified: the hash the source promised and the content met, as ``algorithm:hex``; None if it promised none.
        stored: whether the file is in the cache; the others are known from the listing only.
        promised: the hash the source promises, as ``algorithm:hex``, also of a file that is not stored; or None.
    """

    path: str
    size: int | None
    sha256: str | None
    verified: str | None
    stored: bool
    promised: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit of one repository in the cache.

    Attributes:
        folder: where the files are.
        files: every file of the commit, by path, stored or not.
    """

    folder: Path
    source: str
    repo: str
    revision: str
    commit: str
    files: Mapping[str, CachedFile]

    def missing(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """The wanted paths that are not in the cache, or no longer have the size they had."""
        if len(wanted) > _MANY and (looked := _LOOKED.get(id(self))):
            snapshot, paths, when = looked
            if snapshot is self and paths == wanted and time.monotonic() - when < _LOOK_AGAIN:
                return ()
        folder = os.fspath(self.folder)  # strings, not Paths: a warm call is little more than this
        missing = tuple(path for path in wanted if not _has(folder, self.files.get(path)))
        if len(wanted) > _MANY and not missing:
            if len(_LOOKED) >= _REMEMBERED:
                _LOOKED.clear()
            _LOOKED[id(self)] = (self, wanted, time.monotonic())
        return missing


# To look at a file takes about two microseconds: of many, whether they are there is asked once a second.
_MANY: Final = 32
_LOOK_AGAIN: Final = 1.0
_REMEMBERED: Final = 64
_LOOKED: Final[dict[int, tuple[Snapshot, tuple[str, ...], float]]] = {}
_RECORDS: Final[dict[str, tuple[tuple[int, int, int], Snapshot]]] = {}


def _has(folder: str, file: CachedFile | None) -> bool:
    if file is None or not file.stored:
        return False
    try:
        return os.stat(f"{folder}/{file.path}").st_size == file.size  # noqa: PTH116  as above
    except OSError:
        return False


class Store:
    """Reads and writes one cache home.

    Args:
        home: the cache.
        shared: others beneath it, which are only read.
        tell: told, in a line, what a restart of the machine has brought about; None for a warning in the log.
    """

    def __init__(self, home: Path, shared: tuple[Path, ...] = (), tell: Callable[[str], None] | None = None) -> None:
        self.layout = Layout(home)
        layouts = (self.layout, *(Layout(other) for other in shared if other != home))
        self._layers = [(layout, settle(layout, tell, own=layout is self.layout)) for layout in layouts]

    def find(self, source: str, repo: str, revision: str | None) -> Iterator[Snapshot]:
        """The snapshots a revision stood for when it was last asked: here, then in the shared caches."""
        for layout, doubts in self._layers:
            if (snapshot := _find(layout, source, repo, revision)) and _is_whole(layout, snapshot, doubts):
                yield snapshot

    def read(self, source: str, repo: str, commit: str) -> Snapshot | None:
        """The snapshot of a commit, or None when there is none here or its record is not readable."""
        return _read(self.layout.snapshot(source, repo, commit), source, repo, commit)

    def mark_used(self, snapshot: Snapshot) -> None:
        """Note that a snapshot was used, to about a minute, for `hub list`; the time of its record says when."""
        record = snapshot.folder / SNAPSHOT_FILE
        with contextlib.suppress(OSError):  # a shared cache, or another user's
            if time.time() - record.stat().st_mtime > _MINUTE:
                os.utime(record)

    def find_converted(self, key: str, is_complete: Callable[[Path], bool]) -> Path | None:
        """The folder of a conversion that is complete, here or in a shared cache."""
        for layout, _ in self._layers:
            if is_complete(layout.converted(key)):
                return layout.converted(key)
        return None

    def find_blob(self, sha256: str | None, size: int | None) -> Path | None:
        """The content with this hash, here or in a shared cache beneath; one of another size is damaged."""
        if sha256 is None:
            return None
        for layout, doubts in self._layers:
            blob = layout.blob(sha256)
            with contextlib.suppress(OSError):
                if doubts and doubts.is_damaged(blob):
                    continue
                if (blob.stat().st_size == size or (size is None and blob.is_file())) and os.access(blob, os.R_OK):
                    return blob
        return None

    def owns(self, blob: Path) -> bool:
        """Whether a blob is of this cache, not of a shared one beneath, whose owner may be less careful."""
        return blob == self.layout.blob(blob.name)

    def known_contents(self, source: str, repo: str) -> dict[str, str]:
        """The sha256 of contents that a hub names by another hash, from what is cached of a repository.

        Keys are as in :attr:`CachedFile.promised`. Of the others, only git's hash says which content it is: md5 and
        crc32 can be made to fit.
        """
        known = {}
        folder = self.layout.snapshots / source / repo
        with contextlib.suppress(OSError):
            for commit in os.listdir(folder):  # noqa: PTH208  names
                if _COMMIT.fullmatch(commit) and (snapshot := self.read(source, repo, commit)):
                    for file in snapshot.files.values():
                        if file.sha256 and file.verified and file.verified.startswith("git-sha1:"):
                            known[file.verified] = file.sha256
        return known

    def linked_content(self, link: Path) -> str | None:
        """The sha256 of what a link of ours shows; a download that was cut off has made links, but no record."""
        try:
            name = os.path.basename(os.readlink(link))  # noqa: PTH115, PTH119  one for each file
        except (OSError, ValueError):
            return None
        return name if _SHA256.fullmatch(name) else None

    def touch(self, blob: Path) -> None:
        """Mark a blob as wanted: `hub prune` leaves it alone until it is linked."""
        if self.owns(blob):  # else nobody prunes it from here
            with contextlib.suppress(OSError):  # another user's
                os.utime(blob)

    def partial_keys(self) -> frozenset[str]:
        """The contents of which there is a part."""
        try:
            return frozenset(name.partition(".")[0] for name in os.listdir(self.layout.partial("")))  # noqa: PTH208
        except OSError:
            return frozenset()

    def size_of_partial(self, key: str) -> int:
        """Bytes on this disk of a content that was cut off."""
        place = self.layout.partial(key)
        return max((bytes_in(folder) for folder in place.parent.glob(f"{place.name}.*")), default=0)

    def write_blob(self, content: bytes, sha256: str, place: Path, inspect: Callable[[Path], None]) -> Path:
        """Write a verified content of a few bytes to ``place`` and, if ``inspect`` accepts it, among the blobs."""
        blob = self.layout.blob(sha256)
        with explain_os_errors("store a download", place.parent):
            make_folder(place.parent)
            make_folder(blob.parent)
            temporary = place.with_name(f"{place.name}.{new_owner()}")
            try:
                with temporary.open("xb") as stream:
                    stream.write(content)
                inspect(temporary)
                temporary.chmod(_read_only(temporary, blob.parent))
                self._move(temporary, blob)
            finally:
                temporary.unlink(missing_ok=True)
        return blob

    def expect(self, sha256: str, size: int) -> None:
        """Prepare to store a content that is about to be collected, so that less is left to do when it is here."""
        expect(self.layout, sha256, size)

    def keep_blob(self, content: Path, sha256: str) -> Path:
        """Move a verified content among the blobs; if the blob is there already it stays."""
        blob = self.layout.blob(sha256)
        with explain_os_errors("store a download", blob.parent):
            make_folder(blob.parent)
            from pphub_cache.digest import sha256_of  # not at the top: what is cached costs no import of hashes

            if blob.is_file() and sha256_of(blob) == sha256:  # it came by another name, or without locks
                content.unlink()
                self.touch(blob)
                return blob
            try:
                content.chmod(_read_only(content, blob.parent))
            except PermissionError:  # another user began it, who alone may do that: a copy is ours
                own = content.with_name("copy")
                shutil.copyfile(content, own)
                own.chmod(_read_only(own, blob.parent))
                content = own
            self._move(content, blob)
        return blob

    def _move(self, content: Path, blob: Path) -> None:
        """Put a content in its place; the disk may have it later."""
        size = content.stat().st_size
        deferred = defer(self.layout, blob.name, size)
        if deferred:
            os.utime(content)  # what changed since the note was begun is looked at after a power cut
        else:
            sync_file(content)
        # A blob whose name is lost in a power cut is missed, and fetched again.
        move(content, blob, durable=False)
        if deferred:
            confirm(self.layout, blob.name, size)

    def link(self, path: Path, blob: Path) -> None:
        """Make a file show a blob."""
        link_or_copy(blob, path)

    def record(self, snapshot: Snapshot) -> None:
        """Write ``snapshot.json``; call it after the files are in place."""
        value: dict[str, object] = {
            "format": _FORMAT,
            "source": snapshot.source,
            "repo": snapshot.repo,
            "revision": snapshot.revision,
            "commit": snapshot.commit,
            "files": {
                file.path: {
                    "size": file.size,
                    "sha256": file.sha256,
                    "verified": file.verified,
                    "promised": file.promised,
                    "stored": file.stored,
                }
                for file in snapshot.files.values()
            },
        }
        write_json(snapshot.folder / SNAPSHOT_FILE, value)

    def point(self, source: str, repo: str, revision: str | None, commit: str) -> None:
        """Remember which commit a revision stands for."""
        ref = self.layout.ref(source, repo, revision)
        with contextlib.suppress(OSError):
            if ref.read_bytes().strip() == commit.encode():
                return
        write_bytes(ref, f"{commit}\n".encode())


def _read_only(content: Path, folder: Path) -> int:
    """Permissions of a blob: nobody should write through a link into the store; the group reads what it shares."""
    return (stat.S_IMODE(content.stat().st_mode) | (file_mode(folder) & stat.S_IRGRP)) & 0o444


def _find(layout: Layout, source: str, repo: str, revision: str | None) -> Snapshot | None:
    # Not every hub names its snapshots by commit: one that was asked for by commit may have a ref of that name.
    if revision is not None and COMMIT.fullmatch(revision):
        found = _read(layout.snapshot(source, repo, revision), source, repo, revision)
        if found:
            return found
    try:
        commit = layout.ref(source, repo, revision).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return _read(layout.snapshot(source, repo, commit), source, repo, commit) if _COMMIT.fullmatch(commit) else None


def _is_whole(layout: Layout, snapshot: Snapshot, doubts: Doubts) -> bool:
    """Whether nothing of a snapshot was damaged by a power cut, as far as there is reason to ask."""
    if not doubts:
        return True
    stored = (file.sha256 for file in snapshot.files.values() if file.stored and file.sha256)
    if any(doubts.is_damaged(layout.blob(sha256)) for sha256 in stored):
        _LOG.warning("%s did not reach the disk whole, and is not used; its owner can mend it", snapshot.folder)
        return False
    return True


def _read(folder: Path, source: str, repo: str, commit: str) -> Snapshot | None:
    """The record of a snapshot; one that has not changed since is not parsed again."""
    path = f"{folder}/{SNAPSHOT_FILE}"
    try:
        found = os.stat(path)  # noqa: PTH116  a warm call is little more than this
    except OSError:
        return None
    state = (found.st_ino, found.st_size, found.st_mtime_ns)
    known = _RECORDS.get(path)
    if known is not None and known[0] == state:
        return known[1]
    snapshot = _parse(folder, source, repo, commit)
    if snapshot is not None:
        if len(_RECORDS) >= _REMEMBERED:
            _RECORDS.clear()
        _RECORDS[path] = (state, snapshot)
    return snapshot


def _parse(folder: Path, source: str, repo: str, commit: str) -> Snapshot | None:
    try:
        record = json.loads((folder / SNAPSHOT_FILE).read_bytes())
        # A record that was copied here from another place is none of this snapshot.
        if [record[key] for key in ("format", "source", "repo", "commit")] != [_FORMAT, source, repo, commit]:
            return None
        files = {path: _cached_file(path, entry) for path, entry in record["files"].items()}
        return Snapshot(folder, source, repo, str(record["revision"]), commit, files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _cached_file(path: str, entry: dict[str, Any]) -> CachedFile:
    file = CachedFile(
        path, entry["size"], entry["sha256"], entry["verified"], entry["stored"], promised=entry.get("promised")
    )
    if file.stored and not (type(file.size) is int and isinstance(file.sha256, str)):
        msg = f"the record says that {path} is stored, but not what it is"
        raise ValueError(msg)
    return file
