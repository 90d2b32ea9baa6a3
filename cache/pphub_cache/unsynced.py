"""Contents that were stored without waiting for the disk, and what becomes of them after a power cut.

The kernel writes a file to the disk when it likes; to wait for that can take longer than the download. As long as the
machine runs, everybody reads what was written all the same. So before a process stores its first content it makes a
note ``hub/unsynced/<boot>.<owner>`` durable, and adds to it what it stores. Who opens the cache later syncs what an old
note lists, which by then costs next to nothing, and removes the note. A note of an earlier boot means that the machine
stopped before that: what was written since the note was made is read and hashed before any of it is believed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from pphub.errors import StorageFailed
from pphub.units import human_size
from pphub_cache.atomic import explain_os_errors, file_mode, fsync_folder, make_folder, share
from pphub_cache.process import boot_id, new_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from pphub_cache.layout import Layout

__all__ = ["defer", "settle", "sync_file"]

_OLD: Final = 60.0  # seconds; kernels keep what was written to themselves for half of that
_HOUR: Final = 3_600_000_000_000  # nanoseconds that a clock may have been put back
_NOTES: Final[dict[Path, Path]] = {}  # folder of the notes → this process's own
_NOTING: Final = threading.Lock()
_SETTLED: Final[set[tuple[Path, str]]] = set()


def defer(layout: Layout, sha256: str) -> bool:
    """Note that a content is about to be stored; False if it cannot be noted, and must be synced before."""
    boot = boot_id()
    if boot is None:
        return False
    folder = layout.unsynced
    line = f"{sha256}\n".encode()
    try:
        with _NOTING:
            while not (folder in _NOTES and _append(_NOTES[folder], line)):
                _NOTES[folder] = _begin(folder, boot)
    except OSError:  # it can be stored in a cache that is another user's
        return False
    return True


def _begin(folder: Path, boot: str) -> Path:
    make_folder(folder)
    note = folder / f"{boot}.{new_owner()}"
    descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file_mode(folder))
    try:
        os.write(descriptor, f"{os.fstat(descriptor).st_mtime_ns}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    share(note)
    fsync_folder(folder)
    return note


def _append(note: Path, line: bytes) -> bool:
    """False if somebody has settled the note, so that nobody would read the line."""
    try:
        descriptor = os.open(note, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        return False
    try:
        os.write(descriptor, line)
        return os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Wait until the disk has a file."""
    # Not every system syncs what is open for reading only; a blob may not be written to.
    writable = os.access(path, os.W_OK)
    descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def settle(layout: Layout, tell: Callable[[str], None] = lambda _line: None) -> None:
    """See to the notes of earlier processes and boots; once in a process for each cache.

    Args:
        layout: the cache.
        tell: told, in a line, what takes long.

    Raises:
        StorageFailed: a content that a power cut has damaged cannot be removed.
    """
    boot = boot_id()
    if boot is None or (layout.unsynced, boot) in _SETTLED:
        return
    _SETTLED.add((layout.unsynced, boot))
    try:
        names = os.listdir(layout.unsynced)  # noqa: PTH208  each command pays for this
    except OSError:
        return
    if any(not name.startswith(f"{boot}.") for name in names):
        _distrust(layout, boot, tell)
    for name in names:
        if name.startswith(f"{boot}."):
            with contextlib.suppress(OSError):  # somebody else has done it, or has to
                _sync_noted(layout, layout.unsynced / name)


def _sync_noted(layout: Layout, note: Path) -> None:
    """Sync what an old note of this boot lists, and remove it; its process may be alive, and begins another."""
    if time.time() - note.stat().st_mtime < _OLD:
        return
    with note.open("rb") as stream:
        for sha256 in _hashes(stream):
            _sync_blob(layout, sha256)
        note.unlink()
        for sha256 in _hashes(stream):  # added meanwhile: whoever adds looks afterwards whether the note is still there
            _sync_blob(layout, sha256)


def _hashes(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        text = line.decode("ascii", "replace").strip()
        if len(text) == 64 and text.isalnum():
            yield text


def _sync_blob(layout: Layout, sha256: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # it did not come to that, or was removed
        sync_file(layout.blob(sha256))


def _distrust(layout: Layout, boot: str, tell: Callable[[str], None]) -> None:
    """Hash what was written since the oldest note of an earlier boot, and throw away what is not what it should be."""
    from pphub_cache.digest import sha256_of  # not at the top: it is seldom needed, and each command pays for imports
    from pphub_cache.lock import entry_lock

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(StorageFailed):  # a cache that is only read: each process has to look for itself
            stack.enter_context(entry_lock(layout.lock("care", "unsynced"), on_wait=tell))
        with explain_os_errors("read the notes", layout.unsynced):
            notes = [path for path in layout.unsynced.iterdir() if not path.name.startswith(f"{boot}.")]
            begins = [begin for note in notes if (begin := _beginning(note)) is not None]
        blobs = list(_changed_since(layout, min(begins) - _HOUR)) if begins else []
        if blobs:
            size = human_size(sum(blob.stat().st_size for blob in blobs))
            tell(f"this machine was started anew since the last download; reading {size} of it once")
        for blob in blobs:
            with explain_os_errors("check a download", blob.parent):
                if sha256_of(blob) != blob.name:
                    _throw_away(blob)
        for note in notes:
            with contextlib.suppress(OSError):
                note.unlink()


def _beginning(note: Path) -> int | None:
    """When the first content of a note may have been stored; None if the power went before there was one."""
    try:
        with note.open("rb") as stream:
            return int(stream.readline(32))
    except (OSError, ValueError):
        return None


def _changed_since(layout: Layout, begin: int) -> Iterator[Path]:
    root = layout.blob("00").parents[1]
    for shard in root.iterdir() if root.is_dir() else ():
        with os.scandir(shard) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat().st_mtime_ns >= begin:
                        yield shard / entry.name


def _throw_away(blob: Path) -> None:
    """Remove a damaged content under all its names; a link to it then leads nowhere, and it is missed."""
    if blob.stat().st_nlink > 1:
        blob.chmod(0o600)
        os.truncate(blob, 0)
    blob.unlink()
