"""Moves what was found to be damaged aside, and mends the records."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pphub_cache.atomic import explain_os_errors, move
from pphub_cache.care.inventory import VIEW_FILE, VIEW_FOLDER, read_held, snapshots
from pphub_cache.care.sweeping import delete_file
from pphub_cache.care.verifying import claim_in, is_inside
from pphub_cache.layout import SNAPSHOT_FILE
from pphub_cache.lock import entry_lock
from pphub_cache.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from pphub_cache.care.inventory import Held
    from pphub_cache.care.verifying import Claim, Finding
    from pphub_cache.layout import Layout

__all__ = ["set_aside"]


def set_aside(layout: Layout, findings: Iterable[Finding], on_wait: Callable[[str], None]) -> list[Claim]:
    """Move what is bad to ``hub/quarantine`` and mend the records, so that it counts as not stored.

    A conversion is moved whole, since it is made again; a blob is taken out of every model that has it; of a view, of
    which a link leads nowhere then, :func:`pphub.view.show_by_name` makes another.

    Args:
        layout: the cache.
        findings: what is bad in it, and not in a shared one.
        on_wait: told whom it waits for.

    Returns:
        The files that are no longer stored, of all models; the path of a record stands for a whole snapshot.

    Raises:
        StorageFailed: the disk says no.
    """
    bad: dict[tuple[str, str, str], set[str]] = {}
    blobs: set[str] = set()
    records: list[Claim] = []
    for finding in findings:
        claim = finding.claim
        if claim.conversion is not None:
            with entry_lock(layout.lock("converted", claim.conversion), on_wait=on_wait):
                _quarantine(layout, layout.converted(claim.conversion))
        elif claim.view is not None:
            with entry_lock(layout.lock("view", claim.view), on_wait=on_wait):
                _set_aside_copy(layout, claim)
        elif claim.path == SNAPSHOT_FILE:
            records.append(claim)
        elif _is_blob(layout, claim):
            blobs.add(claim.sha256 or "")
        else:
            bad.setdefault((claim.source, claim.repo, claim.commit), set()).add(claim.path)
    lost = [claim for claim in records if _set_aside_record(layout, claim, on_wait)]
    for held in snapshots(layout):
        paths = bad.get((held.source, held.repo, held.commit), set())
        if paths or any(sha256 in blobs for _, _, sha256 in held.stored()):
            lost += _mend(layout, held, paths, blobs, on_wait)
    for sha256 in blobs:
        with entry_lock(layout.lock("blob", f"sha256-{sha256}"), on_wait=on_wait):
            _quarantine(layout, layout.blob(sha256))
    return lost


def _is_blob(layout: Layout, claim: Claim) -> bool:
    """Whether the file that is bad is the blob itself, not a copy of it or a link to another."""
    try:
        return os.path.samefile(claim.file, layout.blob(claim.sha256 or ""))  # noqa: PTH121
    except (OSError, ValueError):
        return False


def _set_aside_copy(layout: Layout, claim: Claim) -> None:
    """What the link shows, or what is there in its place."""
    file = Path(claim.file)
    own = file.parent / VIEW_FOLDER
    shown = Path(os.path.realpath(file))
    # Where links cannot be made, the copies are in the folder itself.
    linked = (file.parent / VIEW_FILE).is_symlink()
    _quarantine(layout, shown if linked and shown.is_relative_to(os.path.realpath(own)) else file)


def _set_aside_record(layout: Layout, claim: Claim, on_wait: Callable[[str], None]) -> bool:
    with entry_lock(layout.lock("snapshot", f"{claim.source}/{claim.repo}/{claim.commit}"), on_wait=on_wait):
        now = read_held(layout, claim.source, claim.repo, claim.commit)
        if now is None or now.state != "damaged":
            return False
        _quarantine(layout, Path(claim.file))
    return True


def _mend(
    layout: Layout, held: Held, paths: Collection[str], blobs: Collection[str], on_wait: Callable[[str], None]
) -> list[Claim]:
    """Say in the record that files are not stored, then take them away."""
    store = Store(layout.home)
    lost = []
    with entry_lock(layout.lock("snapshot", held.key), on_wait=on_wait):
        snapshot = store.read(held.source, held.repo, held.commit)
        if snapshot is None:
            return []
        files = dict(snapshot.files)
        for path, file in snapshot.files.items():
            if file.stored and (path in paths or file.sha256 in blobs):
                promised = file.promised or file.verified
                files[path] = replace(file, sha256=None, verified=None, stored=False, promised=promised)
                lost.append(claim_in(layout, held, path, file.size, file.sha256 or ""))
        store.record(replace(snapshot, files=files))
        for claim in lost:
            if not is_inside(claim.path):
                continue
            copied = not os.path.islink(claim.file) and claim.sha256 not in blobs  # noqa: PTH114
            with explain_os_errors("remove a link", Path(held.folder)):
                way = _in_the_way(held.folder, claim.path)
                if way is not None or (copied and os.path.isfile(claim.file)):  # noqa: PTH113
                    _quarantine(layout, Path(way or claim.file))
                else:
                    delete_file(claim.file)
    return lost


def _in_the_way(folder: str, path: str) -> str | None:
    """A folder in the place of a file, or something else in the place of a folder around it."""
    place = folder
    for part in PurePosixPath(path).parts[:-1]:
        place = f"{place}/{part}"
        if os.path.lexists(place) and not os.path.isdir(place):  # noqa: PTH112
            return place
    file = f"{folder}/{path}"
    return file if os.path.isdir(file) and not os.path.islink(file) else None  # noqa: PTH112, PTH114


def _quarantine(layout: Layout, path: Path) -> None:
    """Move a file or a folder aside, under a name that is not taken; one that is gone is no error."""
    target = layout.hub / "quarantine" / f"{path.name}.{secrets.token_hex(4)}"
    if os.path.lexists(path):
        move(path, target)
