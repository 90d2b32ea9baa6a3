"""Where everything is under PPNLP_HOME.

::

    hub/blobs/sha256/ab/abcd…                    verified contents, immutable, stored once
    hub/partial/<key>.<owner>/…                  a download that is under way, or was cut off
    hub/snapshots/<source>/<repo>/<commit>/…     links to blobs, and snapshot.json
    hub/refs/<source>/<repo>/@<revision>         the commit a revision stood for when it was last asked
    hub/converted/<key>/…                        conversions; the key hashes inputs, rules and options
    hub/unsynced/<boot>.<owner>                  contents that the disk may not have yet
    hub/quarantine/…                             what `hub verify` found to be damaged
    hub/locks/…                                  never deleted
    models/<name>/…                              what PaddleNLP finds by name: links to the above

A part of a path that would be too long for a file system is cut and ends with a hash of the whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DEFAULT_REVISION", "SNAPSHOT_FILE", "Layout"]

SNAPSHOT_FILE: Final = "snapshot.json"
DEFAULT_REVISION: Final = "HEAD"
"""The ref that stands for "no revision was asked for"; git gives the default branch this name."""

_MAX_NAME: Final = 200  # file systems allow 255 bytes; suffixes and temporary names need a few


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths under one cache home; touches no disk.

    Repository names and revisions must have been checked by :mod:`pphub.names`.
    """

    home: Path

    @property
    def hub(self) -> Path:
        """The part of the home that is pphub's own."""
        return self.home / "hub"

    @property
    def snapshots(self) -> Path:
        """The folder of all snapshots."""
        return self.hub / "snapshots"

    @property
    def conversions(self) -> Path:
        """The folder of all conversions."""
        return self.hub / "converted"

    @property
    def unsynced(self) -> Path:
        """The folder of notes on what was stored without waiting for the disk."""
        return self.hub / "unsynced"

    def blob(self, sha256: str) -> Path:
        """The file that holds the content with this hash."""
        return self.hub / "blobs" / "sha256" / sha256[:2] / sha256

    def partial(self, key: str) -> Path:
        """Where a content is collected before it is verified."""
        return self.hub / "partial" / key

    def snapshot(self, source: str, repo: str, commit: str) -> Path:
        """The folder of one commit of one repository."""
        return self.snapshots / source / repo / commit

    def ref(self, source: str, repo: str, revision: str | None) -> Path:
        """The file that names the commit of a revision.

        The ``@`` keeps the revision ``b`` of a repository ``a`` apart from the repository ``a/b``.
        """
        return self.hub / "refs" / source / repo / f"@{_file_name(revision or DEFAULT_REVISION)}"

    def converted(self, key: str) -> Path:
        """The folder of one conversion."""
        return self.conversions / key

    def lock(self, kind: str, key: str) -> Path:
        """The lock file of one entry, such as ``("blob", sha256)``."""
        return self.hub / "locks" / kind / f"{_file_name(key)}.lock"


def _file_name(text: str) -> str:
    """The text as one file name; a Chinese character takes nine when it is quoted."""
    name = quote(text, safe="")
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 33]}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
