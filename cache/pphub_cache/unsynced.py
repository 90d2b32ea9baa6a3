"""Contents that were stored without waiting for the disk, and what becomes of them after a power cut.

The kernel writes a file to the disk when it likes; to wait for that can take longer than the download. As long as the
machine runs, everybody reads what was written all the same. So before a process stores its first content it makes a
note ``hub/unsynced/<boot>.<owner>`` durable, and adds to it what it stores. Who opens the cache later syncs what an old
note lists, which by then costs next to nothing, and removes the note. A note of another boot means that the machine may
have stopped before that: what the note lists, and what was written since it was made, is read and hashed before any of
it is believed. Whoever may write to the cache does that once, for all; others do it for what they use. A note that is
to be removed is renamed before it is read: its process, if it is alive, begins another one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from pphub.errors import StorageFailed
from pphub.units import human_size
from pphub_cache.atomic import fsync_folder, make_folder, share, sync_file
from pphub_cache.process import boot_id, new_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from pphub_cache.layout import Layout

__all__ = ["Doubts", "confirm", "defer", "expect", "settle"]

_LOG: Final = logging.getLogger("pphub")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_OLD: Final = 60.0  # seconds; kernels keep what was written to themselves for half of that
_HOUR: Final = 3_600_000_000_000  # nanoseconds that a clock may have been put back
_LARGE: Final = 16 << 20  # a content of so many bytes is worth waiting until the disk has its line
_NOTES: Final[dict[Path, Path]] = {}  # folder of the notes → this process's own
_SETTLED: Final = ".old"  # what a note is called that is being settled
_LISTED: Final[set[tuple[Path, str]]] = set()  # what the disk has of them: note and sha256
_NOTING: Final = threading.Lock()
_DOUBTS: Final[dict[tuple[Path, str], Doubts]] = {}  # by cache and boot
_SETTLING: Final = threading.RLock()


# -- storing -------------------------------------------------------------------------------------------------


def expect(layout: Layout, sha256: str, size: int) -> None:
    """Note that a content is about to be collected, if it is large.

    The disk has the line sooner than at the end, when it is busy with the content.
    """
    if size >= _LARGE:
        defer(layout, sha256, size)


def defer(layout: Layout, sha256: str, size: int) -> bool:
    """Note that a content is about to be stored; False if it cannot be noted, and must be synced before."""
    boot = boot_id()
    if boot is None:
        return False
    folder = layout.unsynced
    try:
        with _NOTING:
            while not (folder in _NOTES and _append(_NOTES[folder], sha256, durable=size >= _LARGE)):
                _NOTES[folder] = _begin(folder, boot)
    except OSError:  # it can be stored in a cache that is another user's
        return False
    return True


def confirm(layout: Layout, sha256: str, size: int) -> None:
    """See that a content that has its place now is still noted: it may have been settled before it had."""
    note = _NOTES.get(layout.unsynced)
    if note is None or not note.exists():
        defer(layout, sha256, size)


def _begin(folder: Path, boot: str) -> Path:
    make_folder(folder)
    note = folder / f"{boot}.{new_owner()}"
    # As readable as what it speaks of.
    descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, f"{os.fstat(descriptor).st_mtime_ns}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    share(note)
    fsync_folder(folder)
    return note


def _append(note: Path, sha256: str, *, durable: bool) -> bool:
    """False if somebody has settled the note, so that nobody would read the line."""
    if (note, sha256) in _LISTED:
        return note.exists()
    try:
        descriptor = os.open(note, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        return False
    try:
        os.write(descriptor, f"{sha256}\n".encode())
        if durable:
            os.fsync(descriptor)
            _LISTED.add((note, sha256))
        return _is_at(note, descriptor)
    finally:
        os.close(descriptor)


def _is_at(note: Path, descriptor: int) -> bool:
    """Whether an open note still has its name: one that is being settled has another."""
    try:
        return os.path.samestat(note.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


# -- believing -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Doubts:
    """What a power cut may have damaged in one cache.

    Attributes:
        listed: contents that a note of another boot lists.
        since: so are those that changed after this time, in nanoseconds; None if none is for that reason.
        known: sha256 and the time of the last change → whether the content is right, as far as it was looked at.
    """

    listed: set[str] = field(default_factory=set)
    since: int | None = None
    known: dict[tuple[str, int], bool] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.listed) or self.since is not None

    def is_damaged(self, blob: Path) -> bool:
        """Whether a content is not what its name says; only one that is doubted is read, once in a process."""
        try:
            changed = blob.stat().st_mtime_ns
            if blob.name not in self.listed and not (self.since is not None and changed >= self.since):
                return False
            key = blob.name, changed
            if key not in self.known:
                from pphub_cache.digest import sha256_of  # not at the top: each command pays for imports

                self.known[key] = sha256_of(blob) == blob.name
            return not self.known[key]
        except FileNotFoundError:
            return False
        except OSError:
            return True  # what cannot be read cannot be used

    def add(self, note: Path) -> None:
        """Take in what a note says; if it cannot be read, everything is in doubt."""
        begin = 0
        with contextlib.suppress(OSError, ValueError), _open(note) as stream:
            if not os.fstat(stream.fileno()).st_size:
                return  # the power went before anything was stored
            first = stream.readline(32)
            self.listed.update(_hashes(stream))
            begin = min(int(first), os.fstat(stream.fileno()).st_mtime_ns) - _HOUR
        self.since = begin if self.since is None else min(begin, self.since)


def _open(note: Path) -> BinaryIO:
    """Open a note; a pipe in its place would be waited for."""
    if not note.is_file():
        raise FileNotFoundError(note)
    return note.open("rb")


def _hashes(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        text = line.decode("ascii", "replace").strip()
        if _SHA256.fullmatch(text):
            yield text


def settle(layout: Layout, tell: Callable[[str], None] | None = None, *, own: bool) -> Doubts:
    """See to the notes of earlier processes and boots, the first time that this process opens a cache.

    Args:
        layout: the cache.
        tell: told, in a line, what takes long and what was lost; None for a warning in the log.
        own: whether the cache is this user's, to be mended.

    Returns:
        What is left to doubt.
    """
    boot = boot_id()
    if boot is None:
        return Doubts()
    key = layout.home, boot
    if key not in _DOUBTS:
        with _SETTLING:  # another thread waits until it is known
            if key not in _DOUBTS:
                _DOUBTS[key] = _settle(layout, boot, tell or _LOG.warning, own=own)
    return _DOUBTS[key]


def _settle(layout: Layout, boot: str, tell: Callable[[str], None], *, own: bool) -> Doubts:
    notes = _notes(layout)
    foreign = [note for note in notes if not note.name.startswith(f"{boot}.")]
    if own:
        for note in notes:
            if note not in foreign:
                with contextlib.suppress(OSError):  # somebody else has done it, or has to
                    _sync_noted(layout, note)
        if foreign and os.access(layout.unsynced, os.W_OK):
            return _mend(layout, boot, tell)
    return _doubts(foreign)


def _notes(layout: Layout) -> list[Path]:
    try:
        return [layout.unsynced / name for name in os.listdir(layout.unsynced)]  # noqa: PTH208  each command pays
    except OSError:
        return []


def _take(note: Path) -> Path:
    """Rename a note, so that nothing is added to it any more."""
    if note.name.endswith(_SETTLED):  # by one who did not come to its end
        return note
    return note.rename(note.with_name(f"{note.name}{_SETTLED}"))


def _doubts(notes: Iterable[Path]) -> Doubts:
    doubts = Doubts()
    for note in notes:
        doubts.add(note)
    return doubts


def _sync_noted(layout: Layout, note: Path) -> None:
    """Sync what an old note of this boot lists, and remove it; its process may be alive, and begins another."""
    if time.time() - note.stat().st_mtime < _OLD:
        return
    taken = _take(note)
    with _open(taken) as stream:
        for sha256 in _hashes(stream):
            # Not yet there: who stores it looks for the note again. Or not any more.
            with contextlib.suppress(FileNotFoundError):
                sync_file(layout.blob(sha256))
    taken.unlink()


def _mend(layout: Layout, boot: str, tell: Callable[[str], None]) -> Doubts:
    """Read all that is doubted, and throw away what is damaged; what cannot be mended stays in doubt."""
    from pphub_cache.lock import entry_lock  # as above

    def wait(owner: str) -> None:
        tell(f"waiting until what was stored before a restart has been read: {owner}")

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(StorageFailed):
            stack.enter_context(entry_lock(layout.lock("care", "unsynced"), on_wait=wait))
        notes = []
        for note in _notes(layout):
            if not note.name.startswith(f"{boot}."):
                with contextlib.suppress(OSError):  # another has taken it, or it is not ours to take
                    notes.append(_take(note))
        doubts = _doubts(note for note in _notes(layout) if not note.name.startswith(f"{boot}."))
        blobs = list(_doubted(layout, doubts))
        if size := sum(size for _, size in blobs):
            tell(f"{human_size(size)} were stored before a restart, or by another machine; they are read once")
        if [blob for blob, _ in blobs if not _is_mended(blob, doubts, tell)]:
            return doubts
        for note in notes:
            with contextlib.suppress(OSError):
                (note.rmdir if note.is_dir() else note.unlink)()
    return Doubts()


def _doubted(layout: Layout, doubts: Doubts) -> Iterator[tuple[Path, int]]:
    """The contents that may be damaged, and their sizes."""
    root = layout.blob("00").parents[1]
    for shard in _entries(root):
        for entry in _entries(shard.path):
            if _SHA256.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # gone meanwhile
                    status = entry.stat()
                    late = doubts.since is not None and status.st_mtime_ns >= doubts.since
                    if late or entry.name in doubts.listed:
                        yield layout.blob(entry.name), status.st_size


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # not a folder, or not ours
        return []


def _is_mended(blob: Path, doubts: Doubts, tell: Callable[[str], None]) -> bool:
    """Remove a content that is damaged, under all its names; a link to it then leads nowhere, and it is missed."""
    if not doubts.is_damaged(blob):
        return True
    try:
        if blob.stat().st_nlink > 1:
            blob.chmod(0o600)
            os.truncate(blob, 0)
        blob.unlink()
    except FileNotFoundError:
        return True
    except OSError as error:
        tell(f"{blob} did not reach the disk whole, and cannot be removed ({error.strerror}); it is not used")
        return False
    tell(f"{blob} did not reach the disk whole before the machine stopped, and was removed")
    return True
