"""The store: blobs by content, snapshots of links to them, refs, and records of what is there.

A snapshot's files never change; files that were left out at first may join it later. Its ``snapshot.json`` is
written after the files it speaks of, so whatever a kill leaves behind, a record never promises too much.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pphub.names import COMMIT
from pphub_cache.atomic import explain_os_errors, link_or_copy, move, write_bytes, write_json
from pphub_cache.layout import SNAPSHOT_FILE, Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["CachedFile", "Snapshot", "Store"]

_FORMAT: Final = 1
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
        folder = os.fspath(self.folder)  # strings, not Paths: a warm call is little more than this
        return tuple(path for path in wanted if not _has(folder, self.files.get(path)))


def _has(folder: str, file: CachedFile | None) -> bool:
    if file is None or not file.stored:
        return False
    try:
        return os.stat(f"{folder}/{file.path}").st_size == file.size  # noqa: PTH116  as above
    except OSError:
        return False


class Store:
    """Reads and writes one cache home."""

    def __init__(self, home: Path) -> None:
        self.layout = Layout(home)

    def find(self, source: str, repo: str, revision: str | None) -> Snapshot | None:
        """The snapshot a revision stood for when it was last asked, or None; opens no socket."""
        # Not every hub names its snapshots by commit: one that was asked for by commit may have a ref of that name.
        if revision is not None and COMMIT.fullmatch(revision) and (found := self.read(source, repo, revision)):
            return found
        try:
            commit = self.layout.ref(source, repo, revision).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return self.read(source, repo, commit) if _COMMIT.fullmatch(commit) else None

    def read(self, source: str, repo: str, commit: str) -> Snapshot | None:
        """The snapshot of a commit, or None when there is none or its record is not readable."""
        folder = self.layout.snapshot(source, repo, commit)
        try:
            record = json.loads((folder / SNAPSHOT_FILE).read_bytes())
            # A record that was copied here from another place is none of this snapshot.
            if [record[key] for key in ("format", "source", "repo", "commit")] != [_FORMAT, source, repo, commit]:
                return None
            files = {path: _cached_file(path, entry) for path, entry in record["files"].items()}
            return Snapshot(folder, source, repo, str(record["revision"]), commit, files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def holds(self, sha256: str, size: int | None) -> bool:
        """Whether the blob is there with the size it should have; anything else is fetched anew."""
        blob = self.layout.blob(sha256)
        with explain_os_errors("look for a blob", blob.parent):
            return blob.is_file() and blob.stat().st_size == size

    @contextlib.contextmanager
    def incoming(self, key: str) -> Iterator[Path]:
        """Where to collect a content before :meth:`keep_blob` takes it; gone at the end if that did not.

        The name is this process's own, so that where locks do not work, as on some network file systems, two
        processes do not write into one file. What a killed process left behind is removed; hold the lock.
        """
        partial = self.layout.partial(f"{key}.{os.getpid()}-{secrets.token_hex(4)}")
        with explain_os_errors("prepare a download", partial.parent):
            partial.parent.mkdir(parents=True, exist_ok=True)
            for left in partial.parent.glob(f"{key}.*"):
                left.unlink(missing_ok=True)
        try:
            yield partial
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def keep_blob(self, partial: Path, sha256: str) -> Path:
        """Move a verified partial file among the blobs; if the blob is there already it stays."""
        blob = self.layout.blob(sha256)
        with explain_os_errors("store a download", blob.parent):
            if blob.is_file() and blob.stat().st_size == partial.stat().st_size:
                partial.unlink()
                return blob
            partial.chmod(0o444)  # nobody should write through a link into the store
            move(partial, blob)
        return blob

    def link(self, snapshot: Path, path: str, blob: Path) -> None:
        """Make a file of a snapshot show a blob."""
        link_or_copy(blob, snapshot / path)

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


def _cached_file(path: str, entry: dict[str, Any]) -> CachedFile:
    file = CachedFile(
        path, entry["size"], entry["sha256"], entry["verified"], entry["stored"], promised=entry.get("promised")
    )
    if file.stored and not (type(file.size) is int and isinstance(file.sha256, str)):
        msg = f"the record says that {path} is stored, but not what it is"
        raise ValueError(msg)
    return file
