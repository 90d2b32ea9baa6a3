"""The contract between pphub and a source of models.

A source turns a repository name and a revision into a :class:`Listing`: which commit that is, and which files
it holds with their sizes, hashes and URLs. It never moves file contents; the download stage does, and verifies
what it moved against the listing. A plugin declares itself in the entry-point group ``pphub.sources``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from pphub.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Algorithm", "Digest", "Listing", "RemoteFile", "Source", "SourceWithTable"]

Algorithm = Literal["sha256", "git-sha1", "md5", "crc32"]

# Hashes and commits become file names, so what a hub says of them is checked before it is believed.
_HEX = {
    "sha256": r"[0-9a-f]{64}",
    "git-sha1": r"[0-9a-f]{40}",
    "md5": r"[0-9a-f]{32}",
    "crc32": r"[0-9a-f]{8}",
}
_COMMIT = r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}"


@dataclass(frozen=True, slots=True)
class Digest:
    """A hash that a source promises for a file.

    ``git-sha1`` is the id git gives the content: ``sha1(b"blob <size>\\0" + content)``. ``md5`` and ``crc32`` show
    damage, not malice; they are for sources that know no better.
    """

    algorithm: Algorithm
    hex: str

    def __post_init__(self) -> None:
        if not re.fullmatch(_HEX[self.algorithm], self.hex):
            msg = f"{self.hex[:80]!r} is not a {self.algorithm} in lower-case hex"
            raise Corrupt(msg, hint="the hub or a mirror before it is broken; try another source")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository.

    Attributes:
        path: relative, with ``/``; checked against escaping its folder before it is used.
        size: bytes, or None where the source does not say.
        digest: what the content must hash to, or None where the source does not say.
        url: where the bytes are: ``https:``, ``http:``, for a local source ``file:``, or ``data:`` for a small
            file that the source makes itself, such as a config its hub does not store.
    """

    path: str
    size: int | None
    digest: Digest | None
    url: str

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 0:
            msg = f"the file {self.path[:80]!r} is listed with {self.size} bytes"
            raise Corrupt(msg, hint="the hub or a mirror before it is broken; try another source")


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source knows of one revision of one repository.

    Attributes:
        source: the scheme of the source, such as ``hf``.
        repo: the repository as the source calls it.
        revision: the revision that was asked for, or the source's default.
        commit: an immutable id of the content; names the snapshot folder.
        files: all files, in the source's order.
        headers: sent with each request for a file, to the origin of its URL only; may hold a token.
        folder: for a source whose files are already on this disk, the folder they are in.
    """

    source: str
    repo: str
    revision: str
    commit: str
    files: tuple[RemoteFile, ...]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    folder: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(_COMMIT, self.commit):
            msg = f"{self.source} calls the commit of {self.repo} {self.commit[:80]!r}, which is no id"
            raise Corrupt(msg, hint="the hub or a mirror before it is broken; try another source")


@runtime_checkable
class Source(Protocol):
    """What a plugin provides: a class without constructor arguments.

    Client libraries are imported inside :meth:`list_files`, not at the top of the plugin: a cached model must
    cost no import.
    """

    name: str
    """The scheme: lower-case letters, at least two."""

    def list_files(self, repo: str, revision: str | None) -> Listing:
        """List one revision of a repository.

        Args:
            repo: the repository, as written by the user or by the shortcut table.
            revision: branch, tag or commit; None for the source's default.

        Raises:
            ModelNotFound: the source does not know the repository.
            RevisionNotFound: it knows the repository, not the revision.
            AccessDenied: it knows the repository and refuses this user.
            SourceUnavailable: it could not be reached or failed.
        """
        ...

    def endpoint(self) -> str:
        """Where the source is, for messages and ``hub sources``; opens no connection."""
        ...


@runtime_checkable
class SourceWithTable(Source, Protocol):
    """A source that knows the files of some repositories without asking; ``hub plan --offline`` shows them."""

    def known_files(self, repo: str) -> tuple[RemoteFile, ...] | None:
        """The files that would be asked for, without sizes and hashes; None for a repository not in the table."""
        ...
