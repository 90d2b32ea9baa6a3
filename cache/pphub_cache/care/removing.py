"""Removes models: the record first, then the links, then the blobs that nothing else shows.

A kill at any moment leaves no record of files that are gone. What it leaves is found by the same command again, or,
when only blobs are left, by :func:`pphub_cache.care.cleaning.clean`.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pphub_cache.atomic import explain_os_errors, fsync_folder, temporary_beside
from pphub_cache.care.inventory import (
    CONVERSION_FILE,
    VIEW_FILE,
    VIEW_FOLDER,
    conversions,
    names_in,
    read_held,
    read_view,
    refs_of,
    snapshots_of,
    views,
)
from pphub_cache.care.sweeping import (
    SHA256,
    delete_file,
    delete_tree,
    look_around,
    referenced,
    remove_blobs,
    size_below,
    walk,
)
from pphub_cache.layout import SNAPSHOT_FILE
from pphub_cache.lock import entry_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from pphub_cache.care.inventory import Held, Ref, View
    from pphub_cache.layout import Layout

__all__ = ["Doomed", "Removed", "delete_conversion", "delete_view", "find_doomed", "remove"]


@dataclass(frozen=True, slots=True)
class Doomed:
    """What is to go of one repository: snapshots, and the revisions that stand for them.

    Attributes:
        origins: source, repository and commit of what is here: snapshots, and what was made of those in shared caches.
        shared: the snapshots in shared caches, which stay.
    """

    source: str
    repo: str
    snapshots: tuple[Held, ...]
    refs: tuple[Ref, ...]
    origins: frozenset[tuple[str, str, str]]
    shared: tuple[Held, ...] = ()

    @property
    def is_here(self) -> bool:
        """Whether there is anything to remove."""
        return bool(self.snapshots or self.refs or self.origins)


@dataclass(frozen=True, slots=True)
class Removed:
    """What went.

    Attributes:
        commits: of the snapshots.
        revisions: that stood for them.
        conversions: how many.
        views: the names they had for PaddleNLP.
        files: how many contents nothing else had.
        freed: bytes, of those and of the conversions.
        left: bytes that other models have too, or that had to stay since others are at work.
    """

    source: str
    repo: str
    commits: tuple[str, ...]
    revisions: tuple[str, ...]
    conversions: int
    views: tuple[str, ...]
    files: int
    freed: int
    left: int


def find_doomed(
    layout: Layout, source: str, repo: str, revision: str | None, shared: Iterable[Layout] = ()
) -> Doomed | None:
    """What the cache has of a repository, or of one revision of it; None if nothing, in the shared caches neither."""
    held, refs = _of_revision(layout, source, repo, revision)
    elsewhere = [one for other in shared for one in _of_revision(other, source, repo, revision)[0]]
    # By the commit, not the revision: views and conversions have no other name.
    commits = {one.commit for one in (*held, *elsewhere)} | {ref.commit for ref in refs} | {revision}
    made = {origin for conversion in conversions(layout) for origin in conversion.origins}
    made |= {view.origin for view in views(layout) if view.origin is not None}
    origins = {one for one in made if one[:2] == (source, repo) and (revision is None or one[2] in commits)}
    origins |= {(one.source, one.repo, one.commit) for one in held}
    doomed = Doomed(source, repo, tuple(held), tuple(refs), frozenset(origins), tuple(elsewhere))
    return doomed if doomed.is_here or elsewhere else None


def _of_revision(layout: Layout, source: str, repo: str, revision: str | None) -> tuple[list[Held], list[Ref]]:
    """Snapshots and refs of a repository, or of one revision of it."""
    held, refs = snapshots_of(layout, source, repo), refs_of(layout, source, repo)
    if revision is None:
        return held, refs
    path = os.fspath(layout.ref(source, repo, revision))
    commits = {ref.commit for ref in refs if ref.path == path} | {revision}
    held = [one for one in held if one.commit in commits]
    return held, [ref for ref in refs if ref.commit in commits and (ref.commit or ref.path == path)]


def remove(layout: Layout, doomed: Doomed, *, dry_run: bool, note: Callable[[str], None]) -> Removed:
    """Remove what was found; waits for a download of the same that is under way.

    Args:
        layout: the cache.
        doomed: from :func:`find_doomed`.
        dry_run: remove nothing, and wait for nobody.
        note: told whom it waits for.

    Raises:
        StorageFailed: the disk says no.
    """
    origins = doomed.origins
    contents = _contents(doomed.snapshots)
    names = tuple(view.name for view in views(layout) if view.origin in origins)
    made = [one for one in conversions(layout) if one.origins & origins]
    folders = [one.folder for one in made] + _links_to(layout, contents | _contents(doomed.shared))
    freed = sum(map(size_below, folders)) + sum(_size_of_copies(one) for one in doomed.snapshots)
    if dry_run:
        others = referenced(layout, without=_going(layout, doomed, folders, names))
        gone = {sha256: size for sha256, size in contents.items() if sha256 not in others}
    else:
        # What is needed at the end must work at the beginning, or a model would be left in part.
        with explain_os_errors("see who else is at work", layout.hub):
            look_around(layout, ())
        # Views and conversions before the snapshot: should this be killed, the next one finds the rest by it.
        for name in names:
            _remove_view(layout, name, origins, note)
        for folder in folders:
            with entry_lock(layout.lock("converted", os.path.basename(folder)), on_wait=note):  # noqa: PTH119
                delete_conversion(folder)
        for one in doomed.snapshots:
            with entry_lock(layout.lock("snapshot", one.key), on_wait=note):
                now = read_held(layout, one.source, one.repo, one.commit) or one  # it may have been waited for
                contents |= _contents([now])
                _remove_snapshot(now, doomed.refs)
        _remove_refs(layout, doomed.refs)
        gone = _remove_unreferenced(layout, contents)
    freed += sum(gone.values())
    return Removed(
        doomed.source,
        doomed.repo,
        tuple(one.commit for one in doomed.snapshots),
        tuple(ref.revision for ref in doomed.refs),
        len(made),
        names,
        len(gone),
        freed,
        sum(contents.values()) - sum(gone.values()),
    )


def _contents(snapshots: Iterable[Held]) -> dict[str, int]:
    """sha256 → size in bytes of what is stored."""
    return {sha256: size for one in snapshots for _, size, sha256 in one.stored() if SHA256.fullmatch(sha256)}


def _size_of_copies(held: Held) -> int:
    """Bytes that the folder itself takes up: nothing, unless links cannot be made."""
    return size_below(held.folder) - size_below(f"{held.folder}/{SNAPSHOT_FILE}")


def _links_to(layout: Layout, contents: Collection[str]) -> list[str]:
    """The folders of links among the conversions that show nothing but these contents."""
    files = set()
    for sha256 in contents:
        with contextlib.suppress(OSError):
            status = layout.blob(sha256).stat()
            files.add((status.st_dev, status.st_ino))
    root = os.fspath(layout.conversions)
    found = []
    for name in names_in(root):
        folder = f"{root}/{name}"
        if name.startswith("view-") and not os.path.lexists(f"{folder}/{CONVERSION_FILE}"):
            shown = [_shows(entry, contents, files) for entry in walk(folder)]
            if shown and all(shown):
                found.append(folder)
    return found


def _shows(entry: os.DirEntry[str], contents: Collection[str], files: Collection[tuple[int, int]]) -> bool:
    try:
        if entry.is_symlink():
            # By way of the snapshot's link, which is named otherwise.
            return os.path.basename(os.path.realpath(entry.path)) in contents  # noqa: PTH119
        status = os.stat(entry.path)  # noqa: PTH116  of a DirEntry, Windows does not tell the inode
    except OSError:
        return False
    return (status.st_dev, status.st_ino) in files


def _going(layout: Layout, doomed: Doomed, folders: Iterable[str], names: Iterable[str]) -> set[str]:
    models = os.fspath(layout.home / "models")
    return {*folders, *(one.folder for one in doomed.snapshots), *(f"{models}/{name}" for name in names)}


def _remove_view(
    layout: Layout, name: str, origins: Collection[tuple[str, str, str]], note: Callable[[str], None]
) -> None:
    with entry_lock(layout.lock("view", name), on_wait=note):
        view = read_view(layout, name)
        if view is not None and view.origin in origins:  # it may show another by now
            delete_view(view)


def delete_view(view: View) -> None:
    """Delete what is ours in a folder of ``models/``; hold its lock. What PaddleNLP put there stays."""
    with explain_os_errors("remove links", Path(view.folder)):
        linked = os.path.islink(f"{view.folder}/{VIEW_FILE}")  # noqa: PTH114
        for name in names_in(view.folder):
            path = f"{view.folder}/{name}"
            # Where links cannot be made, the files are in the folder itself, and the record tells which.
            if os.path.islink(path) or (name in view.files and not linked and os.path.isfile(path)):  # noqa: PTH113, PTH114
                delete_file(path)
        delete_tree(f"{view.folder}/{VIEW_FOLDER}")
        delete_file(f"{view.folder}/{VIEW_FILE}")
        with contextlib.suppress(OSError):  # there is more in it
            os.rmdir(view.folder)  # noqa: PTH106
            if "/" in view.name:
                os.rmdir(os.path.dirname(view.folder))  # noqa: PTH106, PTH120


def delete_conversion(folder: str) -> None:
    """Delete a conversion; hold its lock. A part of one would be in the way of the next, so it is renamed first."""
    with explain_os_errors("remove a conversion", Path(folder)):
        gone = temporary_beside(Path(folder))
        with contextlib.suppress(FileNotFoundError):
            Path(folder).rename(gone)
        delete_tree(os.fspath(gone))


def _remove_snapshot(held: Held, refs: Iterable[Ref]) -> None:
    folder = Path(held.folder)
    with explain_os_errors("remove a model", folder):
        delete_file(f"{held.folder}/{SNAPSHOT_FILE}")
        if folder.is_dir():
            fsync_folder(folder)  # after a power cut, too, the record must not be back without the files
        for ref in refs:
            if ref.commit == held.commit:
                _remove_ref(ref)
        delete_tree(held.folder)


def _remove_refs(layout: Layout, refs: Iterable[Ref]) -> None:
    """Those whose snapshot was gone before."""
    with explain_os_errors("remove a revision", layout.hub / "refs"):
        for ref in refs:
            _remove_ref(ref)


def _remove_ref(ref: Ref) -> None:
    if not ref.commit and os.path.isdir(ref.path) and not os.path.islink(ref.path):  # noqa: PTH112, PTH114
        delete_tree(ref.path)  # in the place of the file
        return
    with contextlib.suppress(FileNotFoundError):
        if Path(ref.path).read_bytes().strip() == ref.commit.encode("utf-8", "replace"):  # else it has moved on
            delete_file(ref.path)


def _remove_unreferenced(layout: Layout, contents: dict[str, int]) -> dict[str, int]:
    with explain_os_errors("look for what else is used", layout.hub):
        scene = look_around(layout, contents)
        others = referenced(layout)
    return remove_blobs(layout, [sha256 for sha256 in contents if sha256 not in others], scene)
