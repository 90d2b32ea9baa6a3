"""From a name to a folder that PaddleNLP loads: name → resolve → download → convert."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pphub import settings
from pphub.checkpoint.folder import is_paddle, open_checkpoint, read_config
from pphub.conversion.dtypes import check_dtype
from pphub.conversion.job import conversion_key, is_complete, make_job, run_job
from pphub.errors import ConversionFailed, StorageFailed, UsageError
from pphub.names import parse
from pphub.obtain import fetch, open_store
from pphub.progress import choose_progress
from pphub.select import is_weights, weight_files
from pphub.stages import stage
from pphub.view import show_by_name
from pphub_cache.atomic import link_or_copy, remove_leftovers
from pphub_cache.lock import entry_lock

if TYPE_CHECKING:
    import os

    from pphub.conversion.family import Side
    from pphub_cache.progress import Progress
    from pphub_cache.store import Snapshot

__all__ = ["convert", "convert_snapshot", "prepare"]


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
    """Convert a torch checkpoint to a folder that PaddleNLP loads, or back; a name is downloaded first.

    Args:
        path_or_name: as for :func:`download`.
        out: the folder to write; None for a place in the cache. Converting again is a no-op when the inputs,
            the rules and the options are the same.
        to: ``paddle``, or ``torch``: a Paddle model becomes a folder that transformers loads.
        dtype: cast floating tensors to ``float32``, ``float16``, ``bfloat16`` or ``float64``.
        revision: as for :func:`download`.
        source: as for :func:`download`.
        offline: as for :func:`download`.
        progress: as for :func:`download`.

    Returns:
        The folder with ``model_state.pdparams`` (``model.safetensors`` for torch), ``config.json``, vocab files and
        ``conversion.json``.

    Raises:
        ConversionFailed: no rules for the architecture or for a tensor; what is unknown is listed.
        UnsafeCheckpoint, Corrupt: the checkpoint is refused; nothing of it was run.
        PphubError: see :mod:`pphub.errors`.
    """
    if to not in ("paddle", "torch"):
        msg = f"cannot convert to {to!r}"
        raise UsageError(msg, hint="only 'paddle' and 'torch' are supported")
    check_dtype(dtype)
    progress = progress or choose_progress()
    snapshot = fetch(path_or_name, revision, source, offline, progress=progress)
    weights = weight_files(snapshot.files)
    if is_paddle(weights) and to == "paddle":
        open_checkpoint(snapshot.folder, weights)  # refuses a pickle that is more than arrays
        msg = f"{snapshot.folder} holds a Paddle checkpoint already"
        raise ConversionFailed(msg, hint="load it as it is, or with `hub prepare`")
    if weights and not is_paddle(weights) and to == "torch":
        msg = f"{snapshot.folder} holds a torch checkpoint already"
        raise ConversionFailed(msg, hint="load it with transformers as it is")
    return convert_snapshot(snapshot, _out_folder(out), dtype, progress, to="torch" if to == "torch" else "paddle")


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

    A model asked for by name is also shown at ``$PPNLP_HOME/models/NAME``, where PaddleNLP itself finds it.

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
        folder = _paddle_folder(snapshot, weights)
    else:
        folder = convert_snapshot(snapshot, None, None, progress)
    ref = parse(str(name), source=source, revision=revision)
    if ref.kind == "name":
        show_by_name(
            settings.home(),
            ref.name,
            folder,
            source=snapshot.source,
            repo=snapshot.repo,
            commit=snapshot.commit,
            note=progress.note,
        )
    return folder


def _paddle_folder(snapshot: Snapshot, weights: tuple[str, ...]) -> Path:
    """A folder from which PaddleNLP can load nothing but what was checked."""
    open_checkpoint(snapshot.folder, weights)  # refuses a pickle that is more than arrays
    read_config(snapshot.folder)
    others = {path for path in snapshot.files if is_weights(path) and "/" not in path} - set(weights)
    if not others:
        return snapshot.folder
    # PaddleNLP would rather take another format, or the shards of an index, than the file that was checked.
    store = open_store()
    key = hashlib.sha256(f"{snapshot.folder}\0{snapshot.commit}".encode("utf-8", "surrogateescape")).hexdigest()[:40]
    folder = store.layout.converted(f"view-{key}")
    for path, file in snapshot.files.items():
        if file.stored and "/" not in path and path not in others:
            link_or_copy(snapshot.folder / path, folder / path)
    return folder


def convert_snapshot(
    snapshot: Snapshot, out: Path | None, dtype: str | None, progress: Progress, *, to: Side = "paddle"
) -> Path:
    """Convert what the download stage returned; two processes convert the same model once."""
    store = open_store()
    job = make_job(snapshot, dtype, to)
    key = conversion_key(job)
    target = out or store.layout.converted(key)
    with stage("convert") as current:
        current.outcome = "converted already"
        if out is None and (found := store.find_converted(key, lambda folder: is_complete(folder, key))):
            return found
        if is_complete(target, key):
            return target
        # A folder elsewhere is one entry whatever is written there; in the cache the key names the entry.
        lock = store.layout.lock("converted", key) if out is None else store.layout.lock("out", str(out.resolve()))

        def wait(owner: str) -> None:
            progress.note(f"waiting for the conversion: {owner}")

        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(entry_lock(lock, on_wait=wait))
                if snapshot.folder.is_relative_to(store.layout.snapshots):
                    # `hub remove` waits for this lock: the files that are read must not go meanwhile.
                    key_of_source = f"{snapshot.source}/{snapshot.repo}/{snapshot.commit}"
                    stack.enter_context(entry_lock(store.layout.lock("snapshot", key_of_source), on_wait=wait))
            except StorageFailed:
                if out is None:  # elsewhere, it can be done without: what counts is renamed into place
                    raise
            if not is_complete(target, key):
                remove_leftovers(target)
                run_job(job, target, progress, keep_edits=out is not None)
                current.outcome = str(target)
    return target
