"""A content on its way in: the bytes that are here, and a ledger of which they are.

A partial content is a folder ``hub/partial/<key>.<owner>`` with ``content`` and ``state.json``. It belongs to the
process that its name tells; one that a dead process left is taken over by renaming it. The state is written after
the bytes it speaks of, so a kill costs at most the bytes since, and after a power cut only what was synced counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from pphub_cache.atomic import explain_os_errors, make_folder, share
from pphub_cache.process import boot_id, host_name, is_alive, new_owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import FileIO
    from pathlib import Path

__all__ = ["SMALL", "Partial", "Ranges", "bytes_in", "collect", "is_abandoned", "sweep"]

_FORMAT: Final = 1
_STATE: Final = "state.json"
_CONTENT: Final = "content"
# The process that owns a partial on another machine cannot be asked; one at work writes more often than this.
_FOREIGN_SECONDS: Final = 600.0
_OURS: Final[set[str]] = set()  # owners that are this process's own, and at work


class Ranges:
    """Which bytes of a content are here: disjoint ranges, in order."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges: list[tuple[int, int]] = []
        for start, end in ranges:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """The bytes from start to end are here."""
        if start >= end:
            return
        merged = []
        for other_start, other_end in self._ranges:
            if other_end < start or end < other_start:
                merged.append((other_start, other_end))
            else:
                start, end = min(start, other_start), max(end, other_end)
        self._ranges = sorted([*merged, (start, end)])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    @property
    def front(self) -> int:
        """The first byte that is missing."""
        return self._ranges[0][1] if self._ranges and self._ranges[0][0] == 0 else 0

    @property
    def count(self) -> int:
        """How many bytes are here."""
        return sum(end - start for start, end in self._ranges)

    def gaps(self, end: int | None) -> list[tuple[int, int | None]]:
        """What is missing of the bytes before ``end``, or of all there may be."""
        gaps: list[tuple[int, int | None]] = []
        at = 0
        for start, stop in self._ranges:
            if at < start:
                gaps.append((at, start))
            at = stop
        if end is None or at < end:
            gaps.append((at, end))
        return gaps


class Partial:
    """A content that is being collected by this process; its methods are safe to call from several threads."""

    def __init__(self, folder: Path, size: int | None) -> None:
        self.folder = folder
        self.content = folder / _CONTENT
        self.size = size
        self.done = Ranges()
        self.validators: dict[str, str] = {}
        self.changed = threading.Condition()
        self._synced: list[tuple[int, int]] = []
        self._restarts = 0
        self._closed = False
        self._state: FileIO | None = None
        self._state_length = 0

    @property
    def front(self) -> int:
        """Bytes that are here without a gap, from the first."""
        return self.done.front

    def open(self) -> FileIO:
        """Another handle to write with."""
        with explain_os_errors("write a download", self.folder):
            return self.content.open("r+b", buffering=0)

    def add(self, start: int, end: int) -> int:
        """The bytes from start to end have been written; wakes whoever follows. How many of them are new."""
        with self.changed:
            before = self.done.count
            self.done.add(start, end)
            self._save()
            self.changed.notify_all()
            return self.done.count - before

    def mark(self, url: str, validator: str) -> None:
        """Remember what a server marks the content with, to notice when it changes."""
        with self.changed:
            self.validators[url] = validator

    def sync(self) -> None:
        """Make what has been written survive a power cut."""
        with self.changed:
            written, restarts = list(self.done), self._restarts
        with explain_os_errors("write a download", self.folder), self.content.open("r+b", buffering=0) as stream:
            os.fsync(stream.fileno())
        with self.changed:
            if restarts == self._restarts:
                self._synced = written
                self._save()

    def restart(self) -> None:
        """Forget the bytes that are here; they were not the right ones."""
        with self.changed:
            self.done = Ranges()
            self._synced = []
            self._restarts += 1
            self.validators.clear()
            with explain_os_errors("write a download", self.folder):
                os.truncate(self.content, 0)
            self._save()
            self.changed.notify_all()

    def _save(self) -> None:
        if self._closed:
            return
        if self.size is not None and self.size <= SMALL:
            return  # fetched again at the cost of a request
        state = {
            "format": _FORMAT,
            "size": self.size,
            "boot": boot_id(),
            "done": list(self.done),
            "synced": self._synced,
            "validators": self.validators,
        }
        text = json.dumps(state).encode()
        # One write over what was there, never shorter: a kill leaves the old state or the new one.
        self._state_length = max(self._state_length, len(text))
        with explain_os_errors("write a download", self.folder):
            if self._state is None:
                path = self.folder / _STATE
                self._state = path.open("r+b" if path.exists() else "wb", buffering=0)
                share(path)
                self._state_length = max(self._state_length, path.stat().st_size)
            self._state.seek(0)
            self._state.write(text.ljust(self._state_length))

    def load(self) -> None:
        """Believe the state that is written beside the content, as far as it can be true."""
        try:
            state = json.loads((self.folder / _STATE).read_bytes())
            if (state["format"], state["size"]) != (_FORMAT, self.size):
                return
            same_boot = state["boot"] is not None and state["boot"] == boot_id()
            here = min(self.content.stat().st_size, sys.maxsize if self.size is None else self.size)
            synced = [(int(start), min(int(end), here)) for start, end in state["synced"]]
            done = [(int(start), min(int(end), here)) for start, end in state["done"]] if same_boot else synced
            validators = {str(url): str(mark) for url, mark in state["validators"].items() if _is_mark(mark)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return
        self.done = Ranges(pair for pair in done if 0 <= pair[0] < pair[1])
        self._synced = list(Ranges(pair for pair in synced if 0 <= pair[0] < pair[1]))
        self.validators = validators

    def close(self) -> None:
        """Let go of the files; nothing is written down any more."""
        with self.changed:
            self._closed = True
            if self._state is not None:
                self._state.close()
                self._state = None

    def remove(self) -> None:
        """Remove what is here."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


SMALL: Final = 1 << 20
"""Up to this size, in bytes, a download that was cut off is not worth resuming."""


@contextlib.contextmanager
def collect(place: Path, size: int | None, *, resumable: bool, alone: bool) -> Iterator[Partial]:
    """A partial content to write to: what a dead process left of the same, or a new one.

    At the end it is gone if its content was moved away, or if there is nothing worth resuming; else it stays for the
    next try. Hold the lock of the content. Where locks do not work two processes have one each, and the first to be
    done is served.

    Args:
        place: ``hub/partial/<key>``; the owner is added to it.
        size: bytes the content will have, or None.
        resumable: whether what another left of this key can be believed to be the same content.
        alone: whether the lock that is held really keeps the other processes of this machine out.
    """
    owner = new_owner()
    partial = Partial(place.with_name(f"{place.name}.{owner}"), size)
    _OURS.add(owner)
    try:
        with explain_os_errors("prepare a download", place.parent):
            if not _take_over(place, partial.folder, resumable=resumable, alone=alone):
                make_folder(partial.folder)
            partial.content.touch()
            share(partial.content)
        partial.load()
        with explain_os_errors("prepare a download", place.parent):
            # What the ledger does not know of may be anything, and must not become the end of the content.
            known = max((end for _, end in partial.done), default=0)
            # Where there is nothing to cut off: of a file that was once cut to nothing, ext4 waits for the disk at the
            # end of the download, when it is closed.
            if partial.content.stat().st_size != known:
                os.truncate(partial.content, known)
        yield partial
    finally:
        _OURS.discard(owner)
        partial.close()
        worth = resumable and partial.done.count > SMALL and partial.content.exists()
        if not worth:
            partial.remove()


def sweep(place: Path, *, alone: bool) -> None:
    """Remove what dead processes left of a content that is in the store; hold its lock."""
    _take_over(place, place, resumable=False, alone=alone)


def _take_over(place: Path, folder: Path, *, resumable: bool, alone: bool) -> bool:
    """Rename the fullest partial that nobody works on to ``folder``; remove the others."""
    try:
        names = [name for name in os.listdir(place.parent) if name.startswith(f"{place.name}.")]  # noqa: PTH208
    except FileNotFoundError:
        return False
    left = [place.with_name(name) for name in names]
    # A few bytes are written to a file, without the lock.
    left = [path for path in left if is_abandoned(path, alone=alone and path.is_dir())]
    left.sort(key=bytes_in, reverse=True)
    taken = False
    for other in left:
        if resumable and not taken and _is_usable(other):
            with contextlib.suppress(OSError):  # another was faster
                other.rename(folder)
                taken = True
                continue
        if other.is_dir():
            shutil.rmtree(other, ignore_errors=True)
        else:
            other.unlink(missing_ok=True)
    return taken


def _is_usable(folder: Path) -> bool:
    """Whether a part can be gone on with; one whose ledger is damaged, or which is another user's alone, cannot."""
    files = (folder / _CONTENT, folder / _STATE)
    # A link would have the content written elsewhere.
    own = all(path.is_file() and not path.is_symlink() for path in files) and not folder.is_symlink()
    return own and all(os.access(path, os.R_OK | os.W_OK) for path in files) and bytes_in(folder) > 0


def bytes_in(folder: Path) -> int:
    """How many bytes of a content were collected in a folder."""
    if not (folder / _STATE).is_file():
        return 0
    try:
        return Ranges((int(a), int(b)) for a, b in json.loads((folder / _STATE).read_bytes())["done"]).count
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0


def _is_mark(text: object) -> bool:
    """Whether it can be sent as a header."""
    return isinstance(text, str) and text.isascii() and text.isprintable()


def is_abandoned(folder: Path, *, alone: bool) -> bool:
    """Whether nobody works on a partial content, as far as can be told.

    Args:
        folder: the partial content, whose lock is held.
        alone: whether that lock really keeps the other processes of this machine out.
    """
    match = _OWNER.search(folder.name)
    if match is None:
        return True  # of an older version, which held the lock
    host, pid, token = match[1], int(match[2]), match[3]
    if f"{host}-{pid}-{token}" in _OURS:
        return False
    if host == host_name():
        return alone or pid == os.getpid() or not is_alive(pid)
    try:
        entries = [folder, *folder.iterdir()] if folder.is_dir() else [folder]
        newest = max(entry.stat().st_mtime for entry in entries)
    except (OSError, ValueError):
        return False
    return time.time() - newest > _FOREIGN_SECONDS


_OWNER: Final = re.compile(r"\.([^.]*)-(\d+)-([0-9a-f]{8})$")
