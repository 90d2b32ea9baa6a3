"""Deleting from a cache that others use: what is in use stays, and what goes, goes in an order that a kill may end.

A download holds the lock of its snapshot from before it touches its first blob until its record is written. A blob
that it finds here it touches, and links before it lets go of that blob's lock. So a blob may go when no link and no
record shows it, its lock is free, and it has not changed since before all this was looked at.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pphub_cache.atomic import explain_os_errors, file_mode, make_folder, share
from pphub_cache.care.inventory import names_in, snapshots
from pphub_cache.lock import claim

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from pphub_cache.layout import Layout

__all__ = [
    "SHA256",
    "Scene",
    "all_blobs",
    "delete_file",
    "delete_tree",
    "is_somebody_at_work",
    "locks_work",
    "look_around",
    "newest_change",
    "referenced",
    "remove_blobs",
    "size_below",
    "time_of_disk",
    "walk",
]

SHA256: Final = re.compile(r"[0-9a-f]{64}")
_HOUR: Final = 3_600_000_000_000  # nanoseconds


def _test_lock(layout: Layout) -> Path:
    # Earlier versions called it "test", and other users of a shared cache could not write to that.
    return layout.lock("care", "probe")


def locks_work(layout: Layout) -> bool:
    """Whether a lock keeps others out; on some network file systems each gets it who asks."""
    with claim(_test_lock(layout)) as first:
        if not first:
            return True
        with claim(_test_lock(layout)) as second:
            return not second


def time_of_disk(layout: Layout) -> int:
    """Nanoseconds, by the clock of the file system.

    What changed before has an earlier time, and what changes from now on has this one or a later one.
    """
    path = _test_lock(layout)
    make_folder(path.parent)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, file_mode(path.parent)))
    share(path)  # whatever the umask
    os.utime(path)
    before = path.stat().st_mtime_ns
    while (now := path.stat().st_mtime_ns) <= before:
        time.sleep(0.001)
        os.utime(path)
    return now


@dataclass(frozen=True, slots=True)
class Scene:
    """What was known of others before the cache was looked through.

    Attributes:
        began: when that was, see :func:`time_of_disk`.
        busy: whether others are at work, or may be, since locks do not tell.
        locks_work: see :func:`locks_work`.
    """

    began: int
    busy: bool
    locks_work: bool

    def is_young(self, changed: int) -> bool:
        """Whether a change, in nanoseconds, was less than an hour before."""
        return self.began - changed < _HOUR


def look_around(layout: Layout, candidates: Iterable[str]) -> Scene:
    """See who is at work. Call it before anything is looked up that decides what goes.

    Args:
        layout: the cache.
        candidates: the blobs that may go. Only for young ones it matters who is at work, and to ask takes a while.
    """
    began = time_of_disk(layout)  # before the locks are tried: who begins later will be seen by the times of blobs
    scene = Scene(began, busy=True, locks_work=locks_work(layout))
    if any(scene.is_young(_changed(layout, sha256)) for sha256 in candidates) and is_somebody_at_work(layout):
        return scene
    return replace(scene, busy=not scene.locks_work)


def _changed(layout: Layout, sha256: str) -> int:
    try:
        return layout.blob(sha256).stat().st_mtime_ns
    except OSError:
        return 0


def is_somebody_at_work(layout: Layout) -> bool:
    """Whether a lock of a snapshot or a blob is held, or locks do not tell."""
    if not locks_work(layout):
        return True
    for kind in ("snapshot", "blob"):
        folder = layout.lock(kind, "x").parent
        for name in names_in(os.fspath(folder)):
            if name.endswith(".lock"):
                with claim(folder / name) as free:
                    if not free:
                        return True
    return False


def walk(folder: str) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder; links are not followed, and what vanishes meanwhile is passed over."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)


def newest_change(path: str) -> int:
    """When a file, or anything in a folder, was last changed, in nanoseconds; 0 if it is gone."""
    newest = 0
    for each in (path, *(entry.path for entry in walk(path))):
        with contextlib.suppress(FileNotFoundError):
            newest = max(newest, os.lstat(each).st_mtime_ns)
    return newest


def size_below(path: str) -> int:
    """Bytes that deleting a file, or a folder with all that is in it, would free."""
    size = 0
    for each in (path, *(entry.path for entry in walk(path))):
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(each)
            size += status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0
    return size


def delete_file(path: str) -> None:
    """Delete a file or a link; one that is gone is no error."""
    with contextlib.suppress(FileNotFoundError):
        if os.name == "nt":  # there, what may not be written may not be deleted either
            os.chmod(path, stat.S_IWRITE)  # noqa: PTH101
        os.unlink(path)  # noqa: PTH108


def delete_tree(folder: str) -> None:
    """Delete a folder and what is in it; links are not followed."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            delete_tree(entry.path)
        else:
            delete_file(entry.path)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(folder)  # noqa: PTH106


def all_blobs(layout: Layout) -> Iterator[str]:
    """The name of every blob."""
    root = os.fspath(layout.hub / "blobs" / "sha256")
    for shard in names_in(root):
        for name in names_in(f"{root}/{shard}"):
            if SHA256.fullmatch(name) and name.startswith(shard):
                yield name


def referenced(layout: Layout, *, without: Collection[str] = ()) -> set[str]:
    """The blobs that a record or a link shows.

    Args:
        layout: the cache.
        without: folders that do not count.
    """
    found: set[str] = set()
    for held in snapshots(layout):
        if held.folder not in without:
            found.update(sha256 for _, _, sha256 in held.stored())
    for root in (layout.snapshots, layout.conversions, layout.home / "models"):
        found.update(_linked(os.fspath(root), without))
    return found


def _linked(folder: str, without: Collection[str]) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_symlink():
            with contextlib.suppress(OSError):
                yield os.path.basename(os.readlink(entry.path))  # noqa: PTH115, PTH119
        elif entry.is_dir(follow_symlinks=False) and entry.path not in without:
            yield from _linked(entry.path, without)


def remove_blobs(layout: Layout, candidates: Iterable[str], scene: Scene, *, dry_run: bool = False) -> dict[str, int]:
    """Remove blobs that nothing shows, unless somebody uses them after all.

    Args:
        layout: the cache.
        candidates: those that :func:`referenced`, called after ``scene`` was taken, did not find.
        scene: who is at work.
        dry_run: remove nothing.

    Returns:
        sha256 → size in bytes of what is gone, or would be.

    Raises:
        StorageFailed: the disk says no.
    """
    gone: dict[str, int] = {}
    for sha256 in candidates:
        blob = layout.blob(sha256)
        with explain_os_errors("remove a blob", blob.parent), claim(layout.lock("blob", f"sha256-{sha256}")) as free:
            if not free:
                continue
            try:
                status = blob.lstat()
            except FileNotFoundError:
                continue
            # The other time too: a blob that has just been moved here was written before.
            changed = max(status.st_mtime_ns, status.st_ctime_ns if os.name != "nt" else 0)
            in_use = changed >= scene.began or (scene.busy and scene.is_young(status.st_mtime_ns))
            if in_use or status.st_nlink > 1:
                continue
            if not dry_run:
                delete_file(os.fspath(blob))
            gone[sha256] = status.st_size
    return gone
