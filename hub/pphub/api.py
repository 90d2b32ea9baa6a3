"""The library's face: each call walks the stages name → resolve → download → convert."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pphub import settings
from pphub.checkpoint.folder import is_paddle, open_checkpoint, read_config
from pphub.conversion.dtypes import check_dtype
from pphub.conversion.job import conversion_key, is_complete, make_job, run_job
from pphub.errors import AccessDenied, ConversionFailed, Corrupt, NotFound, SourceUnavailable, UsageError
from pphub.fetching import fetch_snapshot
from pphub.names import parse
from pphub.progress import choose_progress
from pphub.registry import load_source
from pphub.resolve import Search, find_cached, find_local, places
from pphub.select import Selection, is_weights, weight_files
from pphub.source import SourceWithTable
from pphub.stages import stage
from pphub_cache.atomic import link_or_copy, remove_leftovers
from pphub_cache.lock import entry_lock
from pphub_cache.store import Snapshot, Store

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from pphub.names import ModelRef
    from pphub.source import Listing, RemoteFile
    from pphub_cache.progress import Progress

# After these, another source may do better.
_NEXT = (AccessDenied, Corrupt, NotFound, SourceUnavailable)

__all__ = ["Outlook", "convert", "convert_snapshot", "download", "fetch", "plan", "prepare"]


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
    store = Store(settings.home())
    progress = progress or choose_progress()
    no_network = settings.offline() if offline is None else offline
    with stage("resolve") as current:
        found = find_local(ref, store, selection, offline=no_network, refresh=refresh)
        current.outcome = _describe(ref, found)
    search = Search(ref, progress.note)
    if found is None:
        return _fetch_remote(ref, search, store, selection, progress)
    try:
        with stage("download") as current:
            snapshot = fetch_snapshot(found, store, selection, progress, revision=ref.revision, offline=no_network)
            current.outcome = "nothing to fetch" if snapshot is found else str(snapshot.folder)
    except _NEXT as error:
        if no_network or ref.kind != "name":
            raise
        # What is cached in part cannot be completed where it came from; another source may have it whole.
        search.passed_over(found.source, found.repo, error)
        return _fetch_remote(ref, search, store, selection, progress)
    return _with_only(ref.path.name, snapshot) if ref.kind == "file" else snapshot


def _fetch_remote(ref: ModelRef, search: Search, store: Store, selection: Selection, progress: Progress) -> Snapshot:
    """From the first source that has the model and hands it over, whole: files of two are never mixed."""
    listings = search.listings()
    while True:
        with stage("resolve") as current:
            listing = next(listings, None)
            current.outcome = _describe(ref, listing)
        if listing is None:
            raise search.error()
        try:
            with stage("download") as current:
                snapshot = fetch_snapshot(listing, store, selection, progress, revision=ref.revision, offline=False)
                current.outcome = str(snapshot.folder)
                return snapshot
        except _NEXT as error:
            search.passed_over(listing.source, listing.repo, error)


def _describe(ref: ModelRef, found: Snapshot | Listing | None) -> str:
    if found is None:
        return f"{ref} is not in the cache"
    where = "in the cache" if isinstance(found, Snapshot) else "listed"
    return f"{ref} is {found.source}:{found.repo} {found.commit[:12]}, {where}"


def _with_only(weights: str, snapshot: Snapshot) -> Snapshot:
    """The folder around a weights file, seen without the other weights in it."""
    if weight_files([weights]) != (weights,):
        msg = f"{snapshot.folder / weights} is not named like a checkpoint"
        raise UsageError(msg, hint="name a .bin, .pt, .pth, .safetensors or .pdparams file, or the model's folder")
    files = {path: file for path, file in snapshot.files.items() if path == weights or not is_weights(path)}
    return replace(snapshot, files=files)


def convert(
    path_or_name: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    to: str = "paddle",
    dtype: str | None = None,
    *,
    revision: str | None = None,
    source: str | None = None,
    offline: bool | None = None,
    progress: Progress | None = None,
) -> Path:
    """Convert a torch checkpoint to a folder that PaddleNLP loads; a name is downloaded first.

    Args:
        path_or_name: as for :func:`download`.
        out: the folder to write; None for a place in the cache. Converting again is a no-op when the inputs,
            the rules and the options are the same.
        to: ``paddle``.
        dtype: cast floating tensors to ``float32``, ``float16``, ``bfloat16`` or ``float64``.
        revision: as for :func:`download`.
        source: as for :func:`download`.
        offline: as for :func:`download`.
        progress: as for :func:`download`.

    Returns:
        The folder with ``model_state.pdparams``, ``config.json``, vocab files and ``conversion.json``.

    Raises:
        ConversionFailed: no rules for the architecture or for a tensor; what is unknown is listed.
        UnsafeCheckpoint, Corrupt: the checkpoint is refused; nothing of it was run.
        PphubError: see :mod:`pphub.errors`.
    """
    if to != "paddle":
        msg = f"cannot convert to {to!r}"
        raise UsageError(msg, hint="only 'paddle' is supported")
    check_dtype(dtype)
    progress = progress or choose_progress()
    snapshot = fetch(path_or_name, revision, source, offline, progress=progress)
    weights = weight_files(snapshot.files)
    if is_paddle(weights):
        open_checkpoint(snapshot.folder, weights)  # refuses a pickle that is more than arrays
        msg = f"{snapshot.folder} holds a Paddle checkpoint already"
        raise ConversionFailed(msg, hint="load it as it is, or with `hub prepare`")
    return convert_snapshot(snapshot, _out_folder(out), dtype, progress)


def _out_folder(out: str | os.PathLike[str] | None) -> Path | None:
    if out is None:
        return None
    if not str(out):
        msg = "the folder to write to has no name"
        raise UsageError(msg, hint="give --out a folder, or leave it out")
    return Path(out).expanduser().resolve()


def prepare(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    source: str | None = None,
    offline: bool | None = None,
    progress: Progress | None = None,
) -> Path:
    """Download a model and convert it if it needs to be: the result is a folder PaddleNLP loads.

    Args:
        name: as for :func:`download`.
        revision: as for :func:`download`.
        source: as for :func:`download`.
        offline: as for :func:`download`.
        progress: as for :func:`download`.

    Returns:
        The folder of the conversion; for a Paddle checkpoint, its own folder, after its pickle was checked.

    Raises:
        PphubError: see :mod:`pphub.errors`.
    """
    progress = progress or choose_progress()
    snapshot = fetch(name, revision, source, offline, progress=progress)
    weights = weight_files(snapshot.files)
    if is_paddle(weights):
        return _paddle_folder(snapshot, weights)
    return convert_snapshot(snapshot, None, None, progress)


def _paddle_folder(snapshot: Snapshot, weights: tuple[str, ...]) -> Path:
    """A folder from which PaddleNLP can load nothing but what was checked."""
    open_checkpoint(snapshot.folder, weights)  # refuses a pickle that is more than arrays
    read_config(snapshot.folder)
    others = {path for path in snapshot.files if is_weights(path) and "/" not in path} - set(weights)
    if not others:
        return snapshot.folder
    # PaddleNLP would rather take another format, or the shards of an index, than the file that was checked.
    store = Store(settings.home())
    key = hashlib.sha256(f"{snapshot.folder}\0{snapshot.commit}".encode("utf-8", "surrogateescape")).hexdigest()[:40]
    folder = store.layout.converted(f"view-{key}")
    for path, file in snapshot.files.items():
        if file.stored and "/" not in path and path not in others:
            link_or_copy(snapshot.folder / path, folder / path)
    return folder


def convert_snapshot(snapshot: Snapshot, out: Path | None, dtype: str | None, progress: Progress) -> Path:
    """Convert what the download stage returned; two processes convert the same model once."""
    store = Store(settings.home())
    job = make_job(snapshot, dtype)
    key = conversion_key(job)
    target = out or store.layout.converted(key)
    with stage("convert") as current:
        current.outcome = "converted already"
        if is_complete(target, key):
            return target
        # A folder elsewhere is one entry whatever is written there; in the cache the key names the entry.
        lock = store.layout.lock("converted", key) if out is None else store.layout.lock("out", str(out.resolve()))
        with entry_lock(lock, on_wait=lambda owner: progress.note(f"waiting for the conversion: {owner} is at it")):
            if not is_complete(target, key):
                remove_leftovers(target)
                run_job(job, target, progress, keep_edits=out is not None)
                current.outcome = str(target)
    return target


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
    store = Store(settings.home())
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
