"""The library's face: each call walks the stages name → resolve → download → convert."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pphub import settings
from pphub.checkpoint.folder import is_paddle, open_checkpoint
from pphub.conversion.dtypes import check_dtype
from pphub.conversion.job import conversion_key, is_complete, make_job, run_job
from pphub.errors import ConversionFailed, UsageError
from pphub.fetching import fetch_snapshot
from pphub.names import parse
from pphub.progress import choose_progress
from pphub.resolve import resolve
from pphub.select import Selection, weight_files
from pphub.stages import stage
from pphub_cache.atomic import remove_leftovers
from pphub_cache.lock import entry_lock
from pphub_cache.store import Snapshot, Store

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from pphub.source import Listing
    from pphub_cache.transfer import Progress

__all__ = ["convert", "convert_snapshot", "download", "fetch", "plan", "prepare"]


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
    no_network = settings.offline() if offline is None else offline
    with stage("resolve") as current:
        found = resolve(ref, store, offline=no_network, refresh=refresh)
        where = "in the cache" if isinstance(found, Snapshot) else "listed"
        current.outcome = f"{ref} is {found.source}:{found.repo} {found.commit[:12]}, {where}"
    progress = progress or choose_progress()
    with stage("download") as current:
        snapshot = fetch_snapshot(found, store, selection, progress, revision=ref.revision, offline=no_network)
        current.outcome = "nothing to fetch" if snapshot is found else str(snapshot.folder)
    return _with_only(ref.path.name, snapshot) if ref.kind == "file" else snapshot


def _with_only(weights: str, snapshot: Snapshot) -> Snapshot:
    """The folder around a weights file, seen without the other weights in it."""
    if weight_files([weights]) != (weights,):
        msg = f"{snapshot.folder / weights} is not named like a checkpoint"
        raise UsageError(msg, hint="name a .bin, .pt, .pth, .safetensors or .pdparams file, or the model's folder")
    suffixes = (".bin", ".pt", ".pth", ".safetensors", ".pdparams", ".index.json")
    files = {path: file for path, file in snapshot.files.items() if path == weights or not path.endswith(suffixes)}
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
    if is_paddle(weight_files(snapshot.files)):
        msg = f"{snapshot.folder} holds a Paddle checkpoint already"
        raise ConversionFailed(msg, hint="load it as it is, or with `hub prepare`")
    return convert_snapshot(snapshot, Path(out).expanduser().absolute() if out is not None else None, dtype, progress)


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
        open_checkpoint(snapshot.folder, weights)  # refuses a pickle that is more than arrays
        return snapshot.folder
    return convert_snapshot(snapshot, None, None, progress)


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
                run_job(job, target, progress)
                current.outcome = str(target)
    return target


def plan(
    name: str | os.PathLike[str],
    revision: str | None = None,
    source: str | None = None,
    offline: bool | None = None,
    selection: Selection = Selection(),  # noqa: B008  frozen
    *,
    refresh: bool = False,
) -> tuple[Snapshot | Listing, tuple[str, ...]]:
    """What a name resolves to, and which of its files would be wanted; fetches no file."""
    ref = parse(str(name), source=source, revision=revision)
    no_network = settings.offline() if offline is None else offline
    found = resolve(ref, Store(settings.home()), offline=no_network, refresh=refresh)
    paths = tuple(found.files) if isinstance(found, Snapshot) else tuple(file.path for file in found.files)
    return found, selection.pick(paths)


def _patterns(value: str | Iterable[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
