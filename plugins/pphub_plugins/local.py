"""Folders on this disk: nothing is moved, and no socket is ever opened."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pphub.errors import ModelNotFound, RevisionNotFound, StorageFailed
from pphub.source import Listing, RemoteFile

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LocalSource"]


class LocalSource:
    """Lists a folder that holds a model."""

    name = "file"

    def endpoint(self) -> str:
        """This disk."""
        return "this disk"

    def list_files(self, repo: str, revision: str | None) -> Listing:
        """List a folder; see :meth:`pphub.source.Source.list_files`.

        The commit is made of names, sizes and times: it changes when the folder does, and costs no reading.
        """
        folder = Path(repo).expanduser().absolute()
        if revision is not None:
            msg = f"{folder} is a folder, and a folder has no revisions (asked for {revision!r})"
            raise RevisionNotFound(msg)
        if not folder.is_dir():
            msg = f"there is no folder {str(folder)!r}"
            raise ModelNotFound(msg, hint="check the path")
        state = hashlib.sha1(usedforsecurity=False)
        files = []
        try:
            for path in _walk(folder):
                stat = path.stat()
                relative = path.relative_to(folder).as_posix()
                state.update(f"{relative}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
                files.append(RemoteFile(relative, stat.st_size, None, path.as_uri()))
        except OSError as error:
            msg = f"could not read the folder {str(folder)!r}: {error.strerror or error}"
            raise StorageFailed(msg, hint="check the permissions") from error
        return Listing(self.name, str(folder), "", state.hexdigest(), tuple(files), folder=str(folder))


def _walk(folder: Path) -> Iterator[Path]:
    """Files in a fixed order; hidden ones, and folders such as .git, are no part of a model."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        elif path.is_file():
            yield path
