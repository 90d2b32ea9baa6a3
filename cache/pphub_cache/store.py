"""The store: blobs by content, snapshots of links to them, refs, and records of what is there.

A snapshot's files never change; files that were left out at first may join it later. Its ``snapshot.json`` is
written after the files it speaks of, so whatever a kill leaves behind, a record never promises too much.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pphub.names import COMMIT
from pphub_cache.atomic import explain_os_errors, fsync_folder, link_or_copy, write_bytes, write_json
from pphub_cache.layout import SNAPSHOT_FILE, Layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["CachedFile", "Snapshot", "Store"]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class CachedFile:
    """One file of a snapshot.

    Attributes:
        path: relative to the snapshot, with ``/``.
        size: bytes; None only for a file that is not stored and whose size the source did not say.
        sha256: of the content; None for a file that is not stored.
        verified: the hash the source promised and the content met, as ``algorithm:hex``; None if it promised none.
        stored: whether the file is in the cache; the others are known from the listing only.
    """

    path: str
    size: int | None
    sha256: str | None
    verified: str | None
    stored: bool


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
        return tuple(path for path in wanted if not self._has(path))

    def _has(self, path: str) -> bool:
        file = self.files.get(path)
        if file is None or not file.stored:
            return False
        try:
            return (self.folder / path).stat().st_size == file.size
        except OSError:
            return False


class Store:
    """Reads and writes one cache home."""

    def __init__(self, home: Path) -> None:
        self.layout = Layout(home)

    def find(self, source: str, repo: str, revision: str | None) -> Snapshot | None:
        """The snapshot a revision stood for when it was last asked, or None; opens no socket."""
        if revision is not None and COMMIT.fullmatch(revision):
            return self.read(source, repo, revision)
        try:
            commit = self.layout.ref(source, repo, revision).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return self.read(source, repo, commit) if commit and "/" not in commit else None

    def read(self, source: str, repo: str, commit: str) -> Snapshot | None:
        """The snapshot of a commit, or None when there is none or its record is not readable."""
        folder = self.layout.snapshot(source, repo, commit)
        try:
            record = json.loads((folder / SNAPSHOT_FILE).read_bytes())
            if record["format"] != _FORMAT:
                return None
            files = {
                path: CachedFile(path, entry["size"], entry.get("sha256"), entry.get("verified"), entry["stored"])
                for path, entry in record["files"].items()
            }
            return Snapshot(folder, record["source"], record["repo"], record["revision"], record["commit"], files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep_blob(self, partial: Path, sha256: str) -> Path:
        """Move a verified partial file among the blobs; if the blob is there already it stays."""
        blob = self.layout.blob(sha256)
        with explain_os_errors("store a download", blob.parent):
            blob.parent.mkdir(parents=True, exist_ok=True)
            if blob.is_file() and blob.stat().st_size == partial.stat().st_size:
                partial.unlink()
                return blob
            partial.chmod(0o444)  # nobody should write through a link into the store
            partial.replace(blob)
            fsync_folder(blob.parent)
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
                    "stored": file.stored,
                }
                for file in snapshot.files.values()
            },
        }
        write_json(snapshot.folder / SNAPSHOT_FILE, value)

    def point(self, source: str, repo: str, revision: str | None, commit: str) -> None:
        """Remember which commit a revision stands for."""
        ref = self.layout.ref(source, repo, revision)
        if ref.is_file() and ref.read_text(encoding="utf-8", errors="replace").strip() == commit:
            return
        write_bytes(ref, f"{commit}\n".encode())
