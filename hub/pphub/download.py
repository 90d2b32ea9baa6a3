"""Brings the wanted files of a listing into the cache, each verified before it counts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pphub.errors import FileNotInModel, NotCached
from pphub.registry import load_source
from pphub.source import Listing
from pphub_cache.lock import entry_lock
from pphub_cache.paths import check_paths
from pphub_cache.store import CachedFile, Snapshot, Store
from pphub_cache.transfer import fetch, new_session

if TYPE_CHECKING:
    import requests

    from pphub.select import Selection
    from pphub.source import RemoteFile
    from pphub_cache.transfer import Progress

__all__ = ["download"]


def download(
    found: Snapshot | Listing,
    store: Store,
    selection: Selection,
    progress: Progress,
    *,
    revision: str | None,
    offline: bool,
) -> Snapshot:
    """Make sure the wanted files are on this disk.

    Args:
        found: what the resolve stage returned.
        store: the cache to fill.
        selection: which files are wanted.
        progress: told how it goes.
        revision: what the user asked for, to remember what it stood for.
        offline: never open a socket.

    Returns:
        The snapshot; for a local folder, the folder itself, unchanged.

    Raises:
        NotCached: offline, and files are missing; they are named.
        FileNotInModel: the repository holds none of the wanted files.
        UnsafeCheckpoint: the listing names a file that would land outside its folder.
        AccessDenied, SourceUnavailable, Corrupt, StorageFailed: see :func:`pphub_cache.transfer.fetch`.
    """
    if isinstance(found, Listing):
        if found.folder is not None:
            return _as_snapshot(found, Path(found.folder))
        return _download_listing(found, store, selection, progress, revision)
    wanted = _wanted(selection, tuple(found.files), found.repo)
    missing = found.missing(wanted)
    if not missing:
        return found
    if offline:
        listed = "\n".join(f"  {path}" for path in missing)
        msg = f"{found.repo} is in the cache without these files, and the network is switched off:\n{listed}"
        raise NotCached(msg, hint=f"when you are online: hub download {found.source}:{found.repo}@{found.commit}")
    listing = load_source(found.source).list_files(found.repo, found.commit)
    return _download_listing(replace(listing, revision=found.revision), store, selection, progress, revision)


def _wanted(selection: Selection, paths: tuple[str, ...], repo: str) -> tuple[str, ...]:
    wanted = selection.pick(paths)
    if not wanted:
        msg = f"{repo} holds none of the wanted files; it has: {', '.join(paths[:20]) or 'no files at all'}"
        raise FileNotInModel(msg, hint="change --include and --exclude")
    return wanted


def _download_listing(
    listing: Listing, store: Store, selection: Selection, progress: Progress, revision: str | None
) -> Snapshot:
    wanted = _wanted(selection, tuple(file.path for file in listing.files), listing.repo)
    check_paths(wanted, origin=f"{listing.repo} at {listing.source}")
    folder = store.layout.snapshot(listing.source, listing.repo, listing.commit)
    lock = store.layout.lock("snapshot", f"{listing.source}/{listing.repo}/{listing.commit}")
    with entry_lock(lock, on_wait=lambda owner: progress.note(f"waiting for {listing.repo}: {owner} is at it")):
        # Another process may have fetched it while this one waited.
        snapshot = store.read(listing.source, listing.repo, listing.commit) or _as_snapshot(listing, folder)
        missing = set(snapshot.missing(wanted))
        if missing:
            snapshot = _fetch_missing(listing, missing, snapshot, store, progress)
            store.record(snapshot)
        for name in {revision, listing.revision} - {listing.commit}:
            store.point(listing.source, listing.repo, name, listing.commit)
    return snapshot


def _fetch_missing(
    listing: Listing, missing: set[str], snapshot: Snapshot, store: Store, progress: Progress
) -> Snapshot:
    files = dict(snapshot.files)
    with new_session() as session:
        for file in listing.files:
            if file.path in missing:
                blob_size, sha256 = _fetch_blob(file, listing, store, session, progress)
                store.link(snapshot.folder, file.path, store.layout.blob(sha256))
                verified = f"{file.digest.algorithm}:{file.digest.hex}" if file.digest else None
                files[file.path] = CachedFile(file.path, blob_size, sha256, verified, stored=True)
    return replace(snapshot, files=files)


def _fetch_blob(
    file: RemoteFile, listing: Listing, store: Store, session: requests.Session, progress: Progress
) -> tuple[int, str]:
    """Size and sha256 of the blob, which is in the store when this returns."""
    key = _content_key(file, listing)
    lock = store.layout.lock("blob", key)
    with entry_lock(lock, on_wait=lambda owner: progress.note(f"waiting for {file.path}: {owner} is at it")):
        if file.digest and file.digest.algorithm == "sha256":
            blob = store.layout.blob(file.digest.hex)
            if blob.is_file() and blob.stat().st_size == file.size:
                progress.note(f"{file.path} is in the cache already")
                return blob.stat().st_size, file.digest.hex
        partial = store.layout.partial(key)
        fetched = fetch(file, partial, session, listing.headers, progress)
        store.keep_blob(partial, fetched.sha256)
        return fetched.size, fetched.sha256


def _content_key(file: RemoteFile, listing: Listing) -> str:
    """One name for one content, whichever hub or revision it comes from, where a hash is promised."""
    if file.digest:
        return f"{file.digest.algorithm}-{file.digest.hex.lower()}"
    place = f"{listing.source}\0{listing.repo}\0{listing.commit}\0{file.path}"
    return f"unhashed-{hashlib.sha256(place.encode()).hexdigest()}"


def _as_snapshot(listing: Listing, folder: Path) -> Snapshot:
    """A listing seen as a snapshot: nothing stored yet, or, for a folder on this disk, everything."""
    stored = listing.folder is not None
    files = {file.path: CachedFile(file.path, file.size, None, None, stored) for file in listing.files}
    return Snapshot(folder, listing.source, listing.repo, listing.revision, listing.commit, files)
