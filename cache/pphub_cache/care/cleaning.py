"""Removes what is of no use to anybody; what a running process may need stays."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pphub_cache.atomic import explain_os_errors
from pphub_cache.care.inventory import CONVERSION_FILE, names_in, read_view, refs, snapshots, views
from pphub_cache.care.removing import delete_conversion, delete_view
from pphub_cache.care.sweeping import (
    all_blobs,
    delete_file,
    delete_tree,
    is_somebody_at_work,
    look_around,
    newest_change,
    referenced,
    remove_blobs,
    size_below,
    time_of_disk,
    walk,
)
from pphub_cache.layout import SNAPSHOT_FILE
from pphub_cache.lock import claim
from pphub_cache.partial import is_abandoned
from pphub_cache.process import is_alive

if TYPE_CHECKING:
    from pphub_cache.care.inventory import View
    from pphub_cache.care.sweeping import Scene
    from pphub_cache.layout import Layout

__all__ = ["Cleaned", "clean"]

# As pphub_cache.atomic.temporary_beside makes them.
_LEFTOVER: Final = re.compile(r"\..*-[0-9a-f]{8}\.([0-9]+)-[0-9a-f]{8}\.tmp", re.DOTALL)
_MINUTE: Final = 60_000_000_000  # nanoseconds
_PARTS: Final = ("snapshots", "refs", "converted", "blobs", "quarantine")


@dataclass(slots=True)
class Cleaned:
    """What went: how many of each kind, and bytes."""

    removed: Counter[str] = field(default_factory=Counter)
    freed: int = 0


def clean(layout: Layout, *, dry_run: bool = False) -> Cleaned:
    """Remove leftovers of killed processes, blobs that nothing shows, and what leads nowhere.

    Args:
        layout: the cache.
        dry_run: remove nothing, only say what would go.

    Raises:
        StorageFailed: the disk says no.
    """
    if not layout.hub.is_dir():
        return Cleaned()
    with explain_os_errors("clean up", layout.hub):
        return _Cleaning(layout, dry_run=dry_run).run()


class _Cleaning:
    def __init__(self, layout: Layout, *, dry_run: bool) -> None:
        self._layout = layout
        self._dry_run = dry_run
        self._done = Cleaned()
        self._gone: set[str] = set()  # folders

    def run(self) -> Cleaned:
        # Links go before it is looked up what they show, and the time is taken anew: their blobs may change by it.
        first = look_around(self._layout, ())
        self._leftovers(first)
        self._snapshots(first)
        self._views(first)
        self._conversions(first)
        self._refs(first)
        scene = look_around(self._layout, all_blobs(self._layout))
        shown = referenced(self._layout, without=self._gone)
        unused = [sha256 for sha256 in all_blobs(self._layout) if sha256 not in shown]
        gone = remove_blobs(self._layout, unused, scene, dry_run=self._dry_run)
        self._count("blobs", len(gone), sum(gone.values()))
        self._partials(scene)
        self._empty_folders()
        return self._done

    def _count(self, kind: str, number: int, freed: int) -> None:
        if number:
            self._done.removed[kind] += number
            self._done.freed += freed

    def _drop(self, kind: str, path: str) -> None:
        """Delete a file or a folder, and count it."""
        self._count(kind, 1, size_below(path))
        self._gone.add(path)
        if self._dry_run:
            return
        if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
            delete_tree(path)
        else:
            delete_file(path)

    def _leftovers(self, scene: Scene) -> None:
        roots = [self._layout.hub / part for part in _PARTS] + [self._layout.home / "models"]
        found = [entry.path for root in roots for entry in walk(os.fspath(root)) if _LEFTOVER.fullmatch(entry.name)]
        for path in found:
            match = _LEFTOVER.fullmatch(os.path.basename(path))  # noqa: PTH119
            in_use = match is None or not scene.locks_work or is_alive(int(match[1])) is not False
            if os.path.lexists(path) and not (in_use and scene.is_young(newest_change(path))):
                self._drop("leftovers", path)

    def _snapshots(self, scene: Scene) -> None:
        """Folders of links without a record: nobody finds them, unless a download is filling them right now."""
        root = os.fspath(self._layout.snapshots)
        for held in snapshots(self._layout):
            if held.state != "unrecorded" or (not scene.locks_work and scene.is_young(newest_change(held.folder))):
                continue
            with contextlib.ExitStack() as stack:
                # Of `a/b/c` without a record nobody knows whether it is c of a/b, or b of a and a folder in it.
                folders = [held.folder, os.path.dirname(held.folder)]  # noqa: PTH120
                keys = [folder[len(root) + 1 :] for folder in folders]
                free = [
                    stack.enter_context(claim(self._layout.lock("snapshot", key))) for key in keys if key.count("/") > 1
                ]
                if all(free) and not os.path.lexists(f"{held.folder}/{SNAPSHOT_FILE}"):
                    self._drop("snapshots", held.folder)

    def _views(self, scene: Scene) -> None:
        for view in views(self._layout):
            if not scene.locks_work and scene.is_young(newest_change(view.folder)):
                continue
            with claim(self._layout.lock("view", view.name)) as free:
                now = read_view(self._layout, view.name) if free else None
                if now is not None and _leads_nowhere(now):
                    self._count("views", 1, 0)
                    self._gone.add(now.folder)
                    if not self._dry_run:
                        delete_view(now)

    def _conversions(self, scene: Scene) -> None:
        """Those without a record, since a removal was cut short, and folders of links of which some lead nowhere."""
        root = os.fspath(self._layout.conversions)
        for name in names_in(root):
            folder = f"{root}/{name}"
            if os.path.lexists(f"{folder}/{CONVERSION_FILE}") or not os.path.isdir(folder):  # noqa: PTH112
                continue
            if not scene.locks_work and scene.is_young(newest_change(folder)):
                continue
            with claim(self._layout.lock("converted", name)) as free:
                useless = _has_broken_link(folder) if name.startswith("view-") else True
                if free and useless and not os.path.lexists(f"{folder}/{CONVERSION_FILE}"):
                    self._count("conversions", 1, size_below(folder))
                    self._gone.add(folder)
                    if not self._dry_run:
                        delete_conversion(folder)

    def _refs(self, scene: Scene) -> None:
        for ref in refs(self._layout):
            folder = os.fspath(self._layout.snapshots / ref.source / ref.repo / Path(ref.commit).name)
            gone = folder in self._gone or not os.path.lexists(folder) or ref.commit != Path(ref.commit).name
            if (gone or not ref.commit) and newest_change(ref.path) < scene.began:
                self._drop("revisions", ref.path)

    def _partials(self, scene: Scene) -> None:
        """Downloads that were cut off, that the next one of the same content would take over, too."""
        root = os.fspath(self._layout.partial("x").parent)
        for name in names_in(root):
            path = f"{root}/{name}"
            young = scene.is_young(newest_change(path))
            if young and not scene.locks_work:
                continue
            with claim(self._layout.lock("blob", name.partition(".")[0])) as free:
                if free and os.path.lexists(path):
                    # A content of a few bytes is written to a file, without the lock, and in a moment.
                    in_folder = os.path.isdir(path)  # noqa: PTH112
                    late = not in_folder and not young
                    if late or is_abandoned(Path(path), alone=scene.locks_work and in_folder):
                        self._drop("partials", path)

    def _empty_folders(self) -> None:
        """Where nobody is at work, and none was made a moment ago: who makes a folder will put something into it."""
        began = time_of_disk(self._layout)
        roots = [self._layout.hub / part for part in ("snapshots", "refs", "converted")]
        folders = [entry.path for root in roots for entry in walk(os.fspath(root)) if _is_folder(entry)]
        old = [folder for folder in folders if began - _changed(folder) > _MINUTE]
        if not any(map(_is_empty, old)) or is_somebody_at_work(self._layout):
            return
        for folder in reversed(old):  # what is in a folder comes after it
            if _is_empty(folder):
                if not self._dry_run:
                    with contextlib.suppress(OSError):  # not any more
                        os.rmdir(folder)  # noqa: PTH106
                self._count("folders", 1, 0)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _changed(folder: str) -> int:
    try:
        return os.lstat(folder).st_mtime_ns
    except FileNotFoundError:
        return 0


def _is_empty(folder: str) -> bool:
    try:
        return not os.listdir(folder)  # noqa: PTH208
    except FileNotFoundError:
        return False


def _leads_nowhere(view: View) -> bool:
    if view.origin is None:
        return True
    links = [entry.path for entry in walk(view.folder) if entry.is_symlink()]
    return not all(map(os.path.exists, links)) if links else not os.path.isdir(view.shown)  # noqa: PTH112


def _has_broken_link(folder: str) -> bool:
    return any(entry.is_symlink() and not os.path.exists(entry.path) for entry in walk(folder))  # noqa: PTH110
