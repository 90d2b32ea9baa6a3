"""From a name to files on this disk: name → resolve → download."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pphub import settings
from pphub.errors import AccessDenied, Corrupt, NotFound, SourceUnavailable, UsageError
from pphub.fetching import fetch_snapshot
from pphub.names import parse
from pphub.progress import choose_progress
from pphub.registry import load_source
from pphub.resolve import Search, find_cached, find_local, places
from pphub.select import Selection, is_weights, weight_files
from pphub.source import SourceWithTable
from pphub.stages import stage
from pphub.units import number_of
from pphub_cache.lock import entry_lock
from pphub_cache.store import Snapshot, Store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pphub.names import ModelRef
    from pphub.source import Listing, RemoteFile
    from pphub_cache.progress import Progress

# After these, another source may do better.
_NEXT = (AccessDenied, Corrupt, NotFound, SourceUnavailable)

__all__ = ["Outlook", "download", "fetch", "open_store", "plan"]


def open_store(tell: Callable[[str], None] | None = None) -> Store:
    """The cache that the environment names, with the shared ones beneath; ``tell`` as for :class:`Store`."""
    return Store(settings.home(), settings.shared_homes(), tell)


def download(
    name: str | os.PathLike[str],
    revision: str | None = None,
    source: str | None = None,
    offline: bool | None = None,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    *,
    refresh: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Make sure a model is on this disk.

    Args:
        name: a shortcut, ``[SCHEME:]ORG/NAME[@REVISION]``, a folder or a file.
        revision: branch, tag or commit; None for the source's default.
        source: the scheme of the one source to ask; None for the configured order.
        offline: open no socket; None asks the environment.
        include: shell patterns of the files wanted; None for one weight format, config and tokenizer files.
        exclude: shell patterns of files not wanted.
        refresh: ask the source what the revision is now, even if the model is cached.
        progress: told how it goes; None shows bars on a terminal.

    Returns:
        The folder of the snapshot; for a folder or file on this disk, that folder, or the file's.

    Raises:
        PphubError: see :mod:`pphub.errors`.
    """
    selection = Selection(_patterns(include), _patterns(exclude))
    return fetch(name, revision, source, offline, selection, refresh=refresh, progress=progress).folder


def fetch(
    name: str | os.PathLike[str],
    revision: str | None = None,
    source: str | None = None,
    offline: bool | None = None,
    selection: Selection = Selection(),  # noqa: B008  frozen
    *,
    refresh: bool = False,
    progress: Progress | None = None,
) -> Snapshot:
    """As :func:`download`, but return the snapshot with what is known of its files."""
    ref = parse(str(name), source=source, revision=revision)
    progress = progress or choose_progress()
    store = open_store(progress.note)
    no_network = settings.offline() if offline is None else offline
    if ref.kind == "file":
        _check_name(ref.path)
    with stage("resolve") as current:
        found = find_local(ref, store, selection, offline=no_network, refresh=refresh)
        current.outcome = _describe(ref, found)
    wanted = _Wanted(ref, store, selection, progress)
    if found is None:
        return wanted.from_sources(refresh=refresh)
    try:
        with stage("download") as current:
            snapshot = fetch_snapshot(
                found,
                store,
                selection,
                progress,
                revision=ref.revision,
                offline=no_network,
                more=wanted.listing_besides(found),
            )
            current.outcome = "nothing to fetch" if snapshot is found else str(snapshot.folder)
    except _NEXT as error:
        if no_network or ref.kind != "name":
            raise
        # What is cached in part cannot be completed where it came from; another source may have it whole.
        wanted.search.passed_over(found.source, found.repo, error)
        return wanted.from_sources(refresh=True)
    if ref.kind == "file":
        return _with_only(ref.path.name, snapshot)
    store.mark_used(snapshot)
    return snapshot


class _Wanted:
    """One model on its way from the sources, whose listings are asked for one at a time, as they are needed."""

    def __init__(self, ref: ModelRef, store: Store, selection: Selection, progress: Progress) -> None:
        self.search = Search(ref, progress.note)
        self._ref = ref
        self._store = store
        self._selection = selection
        self._progress = progress
        self._listings: list[Listing] = []
        self._rest = self.search.listings()

    def listing(self, number: int) -> Listing | None:
        """The listing of the n-th source that has the model."""
        while len(self._listings) <= number:
            listing = next(self._rest, None)
            if listing is None:
                return None
            self._listings.append(listing)
        return self._listings[number]

    def listing_besides(self, found: Snapshot | Listing) -> Callable[[int], Listing | None]:
        """Listings of the other sources, by number."""

        def more(number: int) -> Listing | None:
            others = 0
            while listing := self.listing(others):
                others += 1
                if (listing.source, listing.repo) != (found.source, found.repo):
                    number -= 1
                if number < 0:
                    return listing
            return None

        return more

    def from_sources(self, *, refresh: bool) -> Snapshot:
        """From the first source that has the model and hands it over, whole; see :func:`fetch`.

        Of several processes that want the same, one asks and the others find it in the cache.
        """
        lock = self._store.layout.lock("name", str(self._ref))
        with entry_lock(lock, on_wait=lambda owner: self._progress.note(f"waiting for {self._ref}: {owner}")):
            # It may have been fetched while this one waited.
            cached = None if refresh else find_cached(self._ref, self._store, self._selection)
            if cached and not cached.missing(self._selection.pick(cached.files)):
                return cached
            return self._ask_in_turn()

    def _ask_in_turn(self) -> Snapshot:
        number = 0
        while True:
            with stage("resolve") as current:
                listing = self.listing(number)
                current.outcome = _describe(self._ref, listing)
            if listing is None:
                raise self.search.error()
            number += 1
            self.search.tell_why(listing.source)
            try:
                with stage("download") as current:
                    snapshot = fetch_snapshot(
                        listing,
                        self._store,
                        self._selection,
                        self._progress,
                        revision=self._ref.revision,
                        offline=False,
                        more=self._after(number),
                    )
                    current.outcome = str(snapshot.folder)
            except _NEXT as error:
                self.search.passed_over(listing.source, listing.repo, error)
            else:
                self._tell_of_unhashed(listing, snapshot)
                return snapshot

    def _tell_of_unhashed(self, listing: Listing, snapshot: Snapshot) -> None:
        here = [file for file in listing.files if file.path in snapshot.files and snapshot.files[file.path].stored]
        unhashed = sum(file.digest is None for file in here)
        if unhashed:
            what = f"{unhashed} of {number_of(len(here), 'file')}"
            self._progress.note(f"{listing.source} lists no hash for {what}: their sizes alone could be checked")

    def _after(self, first: int) -> Callable[[int], Listing | None]:
        return lambda number: self.listing(first + number)


def _describe(ref: ModelRef, found: Snapshot | Listing | None) -> str:
    if found is None:
        return f"{ref} is not in the cache"
    where = "in the cache" if isinstance(found, Snapshot) else "listed"
    return f"{ref} is {found.source}:{found.repo} {found.commit[:12]}, {where}"


def _check_name(path: Path) -> None:
    """Refuse a file that is no checkpoint by its name; one that is a program says so."""
    if weight_files([path.name]) != (path.name,):
        from pphub.checkpoint.torch_zip import refuse_program

        refuse_program(path)
        msg = f"{path} is not named like a checkpoint"
        raise UsageError(msg, hint="name a .bin, .pt, .pth, .safetensors or .pdparams file, or the model's folder")


def _with_only(weights: str, snapshot: Snapshot) -> Snapshot:
    """The folder around a weights file, seen without the other weights in it."""
    files = {path: file for path, file in snapshot.files.items() if path == weights or not is_weights(path)}
    return replace(snapshot, files=files)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of a name that is not cached, without asking anybody.

    Attributes:
        places: source and repository, in the order they would be asked.
        source: the first of them whose files are known from a table, or None.
        files: those files.
    """

    places: tuple[tuple[str, str], ...]
    source: str | None = None
    files: tuple[RemoteFile, ...] = ()


def plan(
    name: str | os.PathLike[str],
    revision: str | None = None,
    source: str | None = None,
    offline: bool | None = None,
    selection: Selection = Selection(),  # noqa: B008  frozen
    *,
    refresh: bool = False,
) -> tuple[Snapshot | Listing | Outlook, tuple[str, ...]]:
    """What a name resolves to, and which of its files would be wanted; fetches no file.

    Offline, a name that is not cached has an :class:`Outlook`: where it would be looked for.
    """
    ref = parse(str(name), source=source, revision=revision)
    store = open_store()
    no_network = settings.offline() if offline is None else offline
    if no_network and ref.kind == "name" and find_cached(ref, store, selection) is None:
        outlook = _outlook(ref)
        return outlook, selection.pick(file.path for file in outlook.files)
    found = find_local(ref, store, selection, offline=no_network, refresh=refresh)
    if found is None:
        search = Search(ref)
        found = next(search.listings(), None)
        if found is None:
            raise search.error()
    paths = tuple(found.files) if isinstance(found, Snapshot) else tuple(file.path for file in found.files)
    return found, selection.pick(paths)


def _outlook(ref: ModelRef) -> Outlook:
    asked = tuple(places(ref))
    for scheme, repo in asked:
        plugin = load_source(scheme)
        if isinstance(plugin, SourceWithTable) and (files := plugin.known_files(repo)):
            return Outlook(asked, scheme, files)
    return Outlook(asked)


def _patterns(value: str | Iterable[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
