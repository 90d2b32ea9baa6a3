"""Brings the wanted files of a listing into the cache, each verified before it counts."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pphub.errors import (
    Corrupt,
    FileNotInModel,
    NotCached,
    NotFound,
    PphubError,
    RevisionNotFound,
    StorageFailed,
    UnsafeCheckpoint,
)
from pphub.resolve import ask
from pphub.source import Listing
from pphub_cache.lock import entry_lock
from pphub_cache.offer import Offer
from pphub_cache.paths import check_paths
from pphub_cache.store import CachedFile, Snapshot, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from pphub.select import Selection
    from pphub.source import RemoteFile
    from pphub_cache.progress import Progress

    More: TypeAlias = Callable[[int], Listing | None]

__all__ = ["fetch_snapshot"]

_FRESH_SECONDS: Final = 5.0


def fetch_snapshot(
    found: Snapshot | Listing,
    store: Store,
    selection: Selection,
    progress: Progress,
    *,
    revision: str | None,
    offline: bool,
    more: More = lambda _number: None,
) -> Snapshot:
    """Make sure the wanted files are on this disk.

    Args:
        found: what the resolve stage returned.
        store: the cache to fill.
        selection: which files are wanted.
        progress: told how it goes.
        revision: what the user asked for, to remember what it stood for.
        offline: never open a socket.
        more: the listings of the sources that come after this one, by number, for files of the same hash; None at
            the end.

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
        return _download_listing(found, store, selection, progress, more, refs=frozenset({revision, found.revision}))
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
    return _download_listing(listing, store, selection, progress, more, refs=frozenset())


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
    listing: Listing, store: Store, selection: Selection, progress: Progress, more: More, *, refs: frozenset[str | None]
) -> Snapshot:
    wanted = _wanted(selection, tuple(file.path for file in listing.files), listing.repo)
    folder = store.layout.snapshot(listing.source, listing.repo, listing.commit)
    lock = store.layout.lock("snapshot", f"{listing.source}/{listing.repo}/{listing.commit}")
    with entry_lock(lock, on_wait=lambda owner: progress.note(f"waiting for {listing.repo}: {owner}")):
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
            snapshot = _fetch_missing(listing, missing, snapshot, store, progress, more)
            if gone := [path for path in missing if not (snapshot.folder / path).is_file()]:
                msg = f"{snapshot.folder / gone[0]} has vanished: somebody has removed files of the cache meanwhile"
                raise StorageFailed(msg, hint="see what else is at work there, and do it again")
            store.record(snapshot)
        for name in refs - {listing.commit}:
            store.point(listing.source, listing.repo, name, listing.commit)
    return snapshot


def _fetch_missing(
    listing: Listing, missing: set[str], snapshot: Snapshot, store: Store, progress: Progress, more: More
) -> Snapshot:
    from pphub_cache.gather import Want, content_key, gather  # what is cached costs no import of an HTTP library

    place = f"{listing.source}\0{listing.repo}\0{listing.commit}"
    files = [file for file in listing.files if file.path in missing]
    keys = {file.path: content_key(file, place) for file in files}
    elsewhere = _Elsewhere(listing, more)
    known = store.known_contents(listing.source, listing.repo)
    wants = {}
    for file in files:
        key = keys[file.path]
        paths = tuple(path for path, other in keys.items() if other == key)
        targets = tuple(snapshot.folder / path for path in paths)
        offer = Offer(listing.source, file, listing.headers)
        sha256 = _known_sha256(file, known) or (store.linked_content(targets[0]) if file.digest else None)
        wants[key] = Want(offer, listing.repo, elsewhere.of(file), targets, key, sha256, paths)
    fetched = gather(tuple(wants.values()), store, progress, _refuse_unsafe)
    now = dict(snapshot.files)
    for file in files:
        got, verified = fetched[keys[file.path]], _promised(file)
        now[file.path] = CachedFile(file.path, got.size, got.sha256, verified, stored=True, promised=verified)
    return replace(snapshot, files=now)


def _known_sha256(file: RemoteFile, known: Mapping[str, str]) -> str | None:
    """The store's name of a content, which it has by sha256 and a listing perhaps by git's hash."""
    if file.digest and file.digest.algorithm == "sha256":
        return file.digest.hex
    return known.get(_promised(file) or "")


class _Elsewhere:
    """The other listings that may have the files of one, each asked for once, and only when a place fails."""

    def __init__(self, listing: Listing, more: More) -> None:
        self._listing = listing
        self._more = more
        self._lock = threading.Lock()
        self._renewed: tuple[float, Listing | None] | None = None

    def of(self, file: RemoteFile) -> _Places:
        """Where else this file may be had."""
        return _Places(file, self)

    def renew(self) -> Listing | None:
        """The same listing as its source gives it now; None if it has changed or cannot be had."""
        with self._lock:  # when one URL has expired the others have, too
            if self._renewed is None or time.monotonic() - self._renewed[0] > _FRESH_SECONDS:
                self._renewed = (time.monotonic(), self._ask())
            return self._renewed[1]

    def _ask(self) -> Listing | None:
        old = self._listing
        for revision in (old.revision, old.commit):
            with suppress(PphubError):
                listing = ask(old.source, old.repo, revision)
                if listing.commit == old.commit:
                    return listing
        return None

    def get(self, number: int) -> Listing | None:
        """The listing of another source, by number; None when there are no more."""
        with self._lock:
            return self._more(number)


class _Places:
    """Where else one file may be had: wherever the same hash is promised."""

    def __init__(self, file: RemoteFile, elsewhere: _Elsewhere) -> None:
        self._file = file
        self._elsewhere = elsewhere
        self._number = 0

    def renew(self, offer: Offer) -> Offer | None:
        listing = self._elsewhere.renew()
        if listing is None or listing.source != offer.source:
            return None
        for file in listing.files:
            if file.path == self._file.path and (file.digest, file.size) == (self._file.digest, self._file.size):
                return Offer(listing.source, file, listing.headers)
        return None

    def another(self) -> Offer | None:
        if self._file.digest is None:
            return None
        while listing := self._elsewhere.get(self._number):
            self._number += 1
            for file in listing.files:
                if file.digest == self._file.digest and file.size in {self._file.size, None}:
                    return Offer(listing.source, file, listing.headers)
        return None


def _promised(file: RemoteFile) -> str | None:
    return f"{file.digest.algorithm}:{file.digest.hex}" if file.digest else None


def _refuse_unsafe(path: str, content: Path) -> None:
    """A ``.pdparams`` is a pickle that paddle would run: one that names more than arrays does not get in.

    Nor does one that our reader cannot follow to its end: paddle's might, and meet what ours did not see.
    """
    if not path.lower().endswith((".pdparams", ".pdopt")):
        return
    from pphub.checkpoint.pdparams import scan_pdparams

    try:
        scan_pdparams(content)
    except (UnsafeCheckpoint, Corrupt) as error:
        raise type(error)(error.message.replace(content.name, path), hint=error.hint) from error


def _as_snapshot(listing: Listing, folder: Path) -> Snapshot:
    """A listing seen as a snapshot: nothing stored yet, or, for a folder on this disk, everything."""
    stored = listing.folder is not None
    files = {
        file.path: CachedFile(file.path, file.size, None, None, stored, promised=_promised(file))
        for file in listing.files
    }
    return Snapshot(folder, listing.source, listing.repo, listing.revision, listing.commit, files)
