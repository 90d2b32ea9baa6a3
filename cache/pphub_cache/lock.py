"""One writer per entry.

Lock files are never deleted: deleting one lets two processes hold "the" lock on different inodes. Where locks do
not work nothing wrong is stored either, since every write is a rename of a verified file that one process wrote.
The lock saves double work.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Final

from pphub_cache.atomic import explain_os_errors, file_mode, make_folder, share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["claim", "entry_lock", "is_locked", "read_owner"]

_MOMENT: Final = 0.2  # seconds
_POLL: Final = 0.02  # seconds
# A file system without locks is as one that grants all of them.
_NO_LOCKS: Final = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})


@contextlib.contextmanager
def entry_lock(path: Path, *, on_wait: Callable[[str], None] = lambda _owner: None) -> Iterator[bool]:
    """Hold the lock of one entry; its value is whether that really keeps the processes of this machine out.

    Args:
        path: the lock file; its folder is made, and it stays when the lock is released.
        on_wait: called once, with a description of the owner, when another holds the lock for more than a moment.

    Raises:
        StorageFailed: the lock file cannot be made.
    """
    with explain_os_errors(f"lock {path.name}", path.parent):
        make_folder(path.parent)
        release = _wait_for(path, on_wait)
    try:
        _write_owner(path)
        # On some network file systems every lock is granted at once.
        yield is_locked(path)
    finally:
        release()


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold a lock if it is free at once, which is the value; does not wait."""
    make_folder(path.parent)
    release = _acquire(path, wait=False)
    try:
        yield release is not None
    finally:
        if release is not None:
            release()


def _wait_for(path: Path, on_wait: Callable[[str], None]) -> Callable[[], None]:
    end = time.monotonic() + _MOMENT
    while (release := _acquire(path, wait=False)) is None:
        if time.monotonic() > end:  # until then an owner that has only just got it can write down who it is
            on_wait(f"{read_owner(path)} is at it; Ctrl-C gives up, and nothing is lost")
            release = _acquire(path, wait=True)
            break
        time.sleep(_POLL)
    assert release is not None  # noqa: S101  it was waited for
    return release


def _acquire(path: Path, *, wait: bool) -> Callable[[], None] | None:
    """Lock a file; returns what unlocks it, or None when another holds the lock and it is not waited for."""
    if sys.platform == "win32":
        from filelock import FileLock, Timeout

        lock = FileLock(str(path))
        try:
            lock.acquire(timeout=-1 if wait else 0, poll_interval=_POLL)
        except Timeout:
            return None
        return lock.release
    # The kernel wakes those who wait, in turn, and takes a lock back from the dead; filelock looks again and again, and
    # its import is a sixth of a start.
    import fcntl

    mode = file_mode(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            with contextlib.suppress(OSError):  # another user's
                os.fchmod(descriptor, mode)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
    except BaseException:
        os.close(descriptor)
        raise
    return lambda: _unlock(descriptor)


def _unlock(descriptor: int) -> None:
    if sys.platform != "win32":
        import fcntl

        try:
            with contextlib.suppress(OSError):  # where there are no locks
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for a child that has inherited the file
        finally:
            os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether somebody holds a lock, be it this process; takes and releases it for a moment if not."""
    if not path.exists():
        return False
    with claim(path) as free:
        return not free


def _owner_file(path: Path) -> Path:
    return path.with_suffix(".owner")


def _write_owner(path: Path) -> None:
    """A courtesy to those who wait, so a failure is no reason to stop."""
    import socket

    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with contextlib.suppress(OSError):
        file = _owner_file(path)
        # Another user's, where the folder is the group's; or something that would be written through, or waited for.
        if os.path.lexists(file) and (file.is_symlink() or not file.is_file() or not os.access(file, os.W_OK)):
            file.unlink()
        file.write_text(json.dumps(owner), encoding="utf-8")
        share(file)


def read_owner(path: Path) -> str:
    """Who holds the lock, in words; says so when that is not known."""
    try:
        file = _owner_file(path)
        owner = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
