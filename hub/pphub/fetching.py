"""Brings the wanted files of a listing into the cache, each verified before it counts."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pphub.errors import Corrupt, FileNotInModel, NotCached, NotFound, RevisionNotFound, UnsafeCheckpoint
from pphub.resolve import ask
from pphub.source import Listing
from pphub_cache.lock import entry_lock
from pphub_cache.paths import check_paths
from pphub_cache.store import CachedFile, Snapshot, Store

if TYPE_CHECKING:
    import requests

    from pphub.select import Selection
    from pphub.source import RemoteFile
    from pphub_cache.progress import Progress

__all__ = ["fetch_snapshot"]


def fetch_snapshot(
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
            _wanted(selection, tuple(file.path for file in found.files), found.repo)  # there must be something
            return _as_snapshot(found, Path(found.folder))
        return _download_listing(found, store, selection, progress, refs=frozenset({revision, found.revision}))
    wanted = _wanted(selection, tuple(found.files), found.repo)
    missing = found.missing(wanted)
    if not missing:
        return found
    if offline:
        listed = "\n".join(f"  {path}" for path in missing)
        msg = f"{found.repo} is in the cache without these files, and the network is switched off:\n{listed}"
        raise NotCached(msg, hint=f"when you are online: hub download {found.source}:{found.repo}@{found.revision}")
    listing = replace(_same_again(found), revision=found.revision)
    # What the branch stood for then is not what it stands for now, so the refs stay as they are.
    return _download_listing(listing, store, selection, progress, refs=frozenset())


def _same_again(snapshot: Snapshot) -> Listing:
    """The listing of a commit that is cached in part.

    Not every source can be asked for a commit; one that cannot is asked for the revision, and must not have moved.
    """
    # The revision first: the commit may be a name of ours for what the hub listed, which it has never heard of.
    listing = None
    with suppress(NotFound):
        listing = ask(snapshot.source, snapshot.repo, snapshot.revision)
    if listing is None or listing.commit != snapshot.commit:
        with suppress(NotFound):
            listing = ask(snapshot.source, snapshot.repo, snapshot.commit)
    if listing is None or listing.commit != snapshot.commit:
        msg = f"{snapshot.repo} at {snapshot.source} is cached in part, and {snapshot.revision!r} has changed since"
        raise RevisionNotFound(msg, hint=f"fetch what it is now: hub download {snapshot.repo} --refresh")
    return listing


def _wanted(selection: Selection, paths: tuple[str, ...], repo: str) -> tuple[str, ...]:
    wanted = selection.pick(paths)
    if not wanted:
        # The names are the hub's: one that would steer the terminal is shown in quotes.
        names = ", ".join(path if path.isprintable() else repr(path) for path in paths[:20])
        msg = f"{repo} holds none of the wanted files; it has: {names or 'no files at all'}"
        raise FileNotInModel(msg, hint="change --include and --exclude")
    return wanted


def _download_listing(
    listing: Listing, store: Store, selection: Selection, progress: Progress, *, refs: frozenset[str | None]
) -> Snapshot:
    wanted = _wanted(selection, tuple(file.path for file in listing.files), listing.repo)
    folder = store.layout.snapshot(listing.source, listing.repo, listing.commit)
    lock = store.layout.lock("snapshot", f"{listing.source}/{listing.repo}/{listing.commit}")
    with entry_lock(lock, on_wait=lambda owner: progress.note(f"waiting for {listing.repo}: {owner} is at it")):
        # Another process may have fetched it while this one waited.
        snapshot = store.read(listing.source, listing.repo, listing.commit) or _as_snapshot(listing, folder)
        # With what is stored: `a.txt` of an earlier call may clash with the `A.txt` of this one.
        # All names, since one bad name shows what the source is; of a choice of the user's, those chosen.
        listed = [file.path for file in listing.files if not selection.leaves_out(file.path)]
        checked = list(wanted) if selection.include else listed
        stored = [path for path, file in snapshot.files.items() if file.stored and path not in checked]
        check_paths([*stored, *checked], wanted, origin=f"{listing.repo} at {listing.source}")
        missing = set(snapshot.missing(wanted))
        if missing:
            snapshot = _fetch_missing(listing, missing, snapshot, store, progress)
            store.record(snapshot)
        for name in refs - {listing.commit}:
            store.point(listing.source, listing.repo, name, listing.commit)
    return snapshot


def _fetch_missing(
    listing: Listing, missing: set[str], snapshot: Snapshot, store: Store, progress: Progress
) -> Snapshot:
    from pphub_cache.transfer import new_session  # what is cached costs no import of an HTTP library

    files = dict(snapshot.files)
    with new_session() as session:
        for file in listing.files:
            if file.path in missing:
                blob_size, sha256 = _fetch_blob(file, listing, store, session, progress)
                store.link(snapshot.folder, file.path, store.layout.blob(sha256))
                verified = _promised(file)
                files[file.path] = CachedFile(file.path, blob_size, sha256, verified, stored=True, promised=verified)
    return replace(snapshot, files=files)


def _fetch_blob(
    file: RemoteFile, listing: Listing, store: Store, session: requests.Session, progress: Progress
) -> tuple[int, str]:
    """Size and sha256 of the blob, which is in the store when this returns."""
    from pphub_cache.transfer import fetch

    key = _content_key(file, listing)
    lock = store.layout.lock("blob", key)
    with entry_lock(lock, on_wait=lambda owner: progress.note(f"waiting for {file.path}: {owner} is at it")):
        # The store is named by sha256; of a git id it is only known once the content is here.
        sha256 = file.digest.hex if file.digest and file.digest.algorithm == "sha256" else None
        if sha256 and file.size is not None and store.holds(sha256, file.size):
            progress.note(f"{file.path} is in the cache already")
            return file.size, sha256
        with store.incoming(key) as partial:
            fetched = fetch(file, partial, session, listing.headers, progress)
            _refuse_unsafe(file.path, partial)
            store.keep_blob(partial, fetched.sha256)
        return fetched.size, fetched.sha256


def _promised(file: RemoteFile) -> str | None:
    return f"{file.digest.algorithm}:{file.digest.hex}" if file.digest else None


def _refuse_unsafe(path: str, content: Path) -> None:
    """A ``.pdparams`` is a pickle that paddle would run: one that names more than arrays does not get in."""
    if not path.endswith(".pdparams"):
        return
    from pphub.checkpoint.pdparams import read_pdparams

    try:
        read_pdparams(content)
    except UnsafeCheckpoint as error:
        raise UnsafeCheckpoint(error.message.replace(content.name, path), hint=error.hint) from error
    except Corrupt:
        pass  # harmless, if of a kind that is not read yet: the loader says so


def _content_key(file: RemoteFile, listing: Listing) -> str:
    """One name for one content, whichever hub or revision it comes from, where a hash is promised."""
    if file.digest:
        return f"{file.digest.algorithm}-{file.digest.hex.lower()}"
    place = f"{listing.source}\0{listing.repo}\0{listing.commit}\0{file.path}"
    return f"unhashed-{hashlib.sha256(place.encode()).hexdigest()}"


def _as_snapshot(listing: Listing, folder: Path) -> Snapshot:
    """A listing seen as a snapshot: nothing stored yet, or, for a folder on this disk, everything."""
    stored = listing.folder is not None
    files = {
        file.path: CachedFile(file.path, file.size, None, None, stored, promised=_promised(file))
        for file in listing.files
    }
    return Snapshot(folder, listing.source, listing.repo, listing.revision, listing.commit, files)
