"""Checks the file names of a listing before any of them touches the disk."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from pphub.errors import UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

__all__ = ["check_paths"]

_MAX_SEGMENT_BYTES: Final = 240  # file systems allow 255; temporary names need a few
_MAX_PATH_BYTES: Final = 1024
# Names Windows reserves, with any suffix; a cache may be shared with Windows, so they are refused everywhere.
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
# Control characters, and those that turn the direction of text, could make a name look like another.
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\\]")
# Logs beside a model are often named by the time of day; that matters only for files that are wanted here.
_NOT_ON_WINDOWS: Final = re.compile(r'[:*?"<>|]')


def check_paths(paths: Iterable[str], wanted: Container[str], *, origin: str) -> None:
    """Refuse a listing that would write outside its folder, or that no file system could hold faithfully.

    Args:
        paths: the file names as the source gave them; also those that are not fetched show what the source is.
        wanted: those that will be written.
        origin: who gave them, for the message.

    Raises:
        UnsafeCheckpoint: naming the first bad path and what is wrong with it.
    """
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        problem = _problem(path, is_wanted=path in wanted) or _clash(path, files, folders)
        if problem:
            shown = path if len(path) <= 120 else f"{path[:120]}…"
            msg = f"{origin} lists the file name {shown!r}, which {problem}; nothing was written"
            raise UnsafeCheckpoint(msg, hint="leave the file out with --exclude, or tell the owner of the repository")


def _problem(path: str, *, is_wanted: bool) -> str | None:
    segments = path.split("/")
    if not path or path.startswith("/") or any(segment in {"", ".", ".."} for segment in segments):
        return "is empty, absolute, or leaves its folder"
    if _FORBIDDEN.search(path) or (is_wanted and _NOT_ON_WINDOWS.search(path)):
        return "has a character that some file systems forbid or take for a separator"
    if any(_RESERVED.fullmatch(segment) or segment.endswith((".", " ")) for segment in segments):
        return "is reserved on Windows"
    try:
        sizes = [len(segment.encode()) for segment in segments]
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if max(sizes) > _MAX_SEGMENT_BYTES or sum(sizes) + len(sizes) > _MAX_PATH_BYTES:
        return "is too long"
    if segments[0].casefold() == "snapshot.json":
        return "is the name of pphub's own record"
    return None


def _clash(path: str, files: dict[str, str], folders: dict[str, str]) -> str | None:
    """Whether the path equals an earlier one, or would where case, or how accents are written, makes no difference."""
    folded = unicodedata.normalize("NFC", path).casefold()
    other = files.get(folded) or folders.get(folded)
    if other:
        return f"clashes with {other!r}"
    files[folded] = path
    parts = folded.split("/")
    for end in range(1, len(parts)):
        parent = "/".join(parts[:end])
        if parent in files:
            return f"needs {files[parent]!r} to be a folder"
        folders.setdefault(parent, path)
    return None
