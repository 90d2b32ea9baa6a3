"""Writes that are either whole or not there, also after a kill or a power cut."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import shutil
import stat
import threading
import zlib
from typing import TYPE_CHECKING, Final

from pphub.errors import PphubError, StorageFailed
from pphub_cache.process import is_alive

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = [
    "explain_os_errors",
    "file_mode",
    "fsync_folder",
    "link_or_copy",
    "make_folder",
    "move",
    "remove_leftovers",
    "share",
    "sync_file",
    "temporary_beside",
    "write_bytes",
    "write_json",
]


_MAKING: Final = threading.Lock()


@contextlib.contextmanager
def explain_os_errors(what: str, where: Path) -> Iterator[None]:
    """Turn an OSError of the disk into one StorageFailed that says what could not be done."""
    try:
        yield
    except PphubError:  # some of ours are OSErrors too, and already say what happened
        raise
    except OSError as error:
        msg = f"could not {what} in {where}: {error.strerror or error}"
        raise StorageFailed(msg, hint="check free space and permissions, or point PPNLP_HOME elsewhere") from error


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; below one that a group may write to, the group may write to them, too."""
    if folder.is_dir():
        return
    with _MAKING:  # or another thread would take a folder that is being made for a private one
        made = []
        parent = folder
        while not parent.exists():
            made.append(parent)
            parent = parent.parent
        folder.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(parent.stat().st_mode)
        if mode & stat.S_IWGRP:
            for new in reversed(made):
                with contextlib.suppress(OSError):  # another process made it
                    new.chmod(mode)


def file_mode(folder: Path) -> int:
    """Permissions of a file in the folder: the group's, too, where the group may write to the folder."""
    return 0o664 if folder.stat().st_mode & stat.S_IWGRP else 0o600


def share(path: Path) -> None:
    """Let the group read and write a file, whatever the umask, in a folder where the group may write."""
    if path.parent.stat().st_mode & stat.S_IWGRP:
        with contextlib.suppress(OSError):  # another user's
            path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o060)


def temporary_beside(path: Path) -> Path:
    """A fresh name in the folder of ``path``, so that a rename onto it never crosses file systems."""
    return path.with_name(f"{_temporary_prefix(path)}{os.getpid()}-{os.urandom(4).hex()}.tmp")


def _temporary_prefix(path: Path) -> str:
    # Only the start of the name, which may be as long as the file system allows already; the sum tells them apart.
    return f".{path.name[:20]}-{zlib.crc32(os.fsencode(path.name)):08x}."


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of :func:`temporary_beside`; hold the lock of ``path``.

    The lock may be one that does not keep others out, so what a living process has begun stays.
    """
    for left in path.parent.glob(f"{glob.escape(_temporary_prefix(path))}*.tmp"):
        pid = left.name[len(_temporary_prefix(path)) :].partition("-")[0]
        if pid.isdecimal() and is_alive(int(pid)):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file atomically and durably; parents are made."""
    with explain_os_errors(f"write {path.name}", path.parent):
        make_folder(path.parent)
        temporary = temporary_beside(path)
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            share(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)


def move(source: Path, target: Path, *, durable: bool = True) -> None:
    """Rename a file, which must have been synced or noted to be not, atomically; parents are made.

    Should the target be on another disk, it is copied there first. What is not durable may have its old name, or
    none, after a power cut.
    """
    with explain_os_errors(f"move {source.name}", target.parent):
        make_folder(target.parent)
        try:
            source.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            temporary = temporary_beside(target)
            try:
                _copy(source, temporary)
                temporary.chmod(source.stat().st_mode)
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            source.unlink()
        if durable:
            fsync_folder(target.parent)


def sync_file(path: Path) -> None:
    """Wait until the disk has a file."""
    # Not every system syncs what is open for reading only; a blob may not be written to.
    writable = os.access(path, os.W_OK)
    descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON document for people and programs: UTF-8, indented, one newline at the end."""
    # Half a character, as in a name from a careless hub, is written as the escape that JSON has for it.
    write_bytes(path, (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "backslashreplace"))


def fsync_folder(folder: Path) -> None:
    """Make a rename in the folder durable; where folders cannot be opened (Windows) there is nothing to do."""
    flags = getattr(os, "O_DIRECTORY", None)
    if flags is None:
        return
    descriptor = os.open(folder, os.O_RDONLY | flags)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse; the rename is still atomic
        pass
    finally:
        os.close(descriptor)


def link_or_copy(target: Path, link: Path) -> None:
    """Make ``link`` show the content of ``target``: relative symlink, else hard link, else copy; atomic."""
    with explain_os_errors(f"link {link.name}", link.parent):
        make_folder(link.parent)
        with contextlib.suppress(OSError, NotImplementedError):
            _symlink(target, link)  # atomic by itself, where there is nothing to replace
            return
        temporary = temporary_beside(link)
        try:
            _link(target, temporary)
            temporary.replace(link)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _link(target: Path, link: Path) -> None:
    with contextlib.suppress(OSError, NotImplementedError):
        _symlink(target, link)
        return
    with contextlib.suppress(OSError, NotImplementedError):
        link.hardlink_to(target)
        return
    _copy(target, link)


def _symlink(target: Path, link: Path) -> None:
    # From real place to real place: a part of the home may itself be a link to another disk.
    real = os.path.join(os.path.realpath(target.parent), target.name)  # noqa: PTH118  strings are much faster
    link.symlink_to(os.path.relpath(real, os.path.realpath(link.parent)))


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as original, target.open("wb") as copy:
        shutil.copyfileobj(original, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())  # the record that speaks of it will be durable, so must it be
