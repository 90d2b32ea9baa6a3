"""From a snapshot to a folder that PaddleNLP loads: converted, or looked through, with the tokenizer's files.

Apart from :mod:`pphub.api`, since the code of conversions takes a while to import, in which a core can hash.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from pphub.checkpoint.folder import open_checkpoint, open_wrapped, read_config
from pphub.conversion.job import RECORD_FILE, conversion_key, is_complete, make_job, run_job
from pphub.errors import ConversionFailed, Corrupt, StorageFailed
from pphub.obtain import open_store
from pphub.select import is_weights
from pphub.stages import stage
from pphub.tokenizer.classes import refuse_unpickling
from pphub.tokenizer.derive import lacks_vocabulary
from pphub.tokenizer.folder import complete_folder
from pphub.view import family_class, tokenizer_class
from pphub_cache.atomic import explain_os_errors, link_or_copy, remove_leftovers, sync_file
from pphub_cache.layout import SNAPSHOT_FILE
from pphub_cache.lock import entry_lock

if TYPE_CHECKING:
    from pathlib import Path

    from pphub.conversion.family import Side
    from pphub.conversion.job import Job
    from pphub_cache.digest import Hashing
    from pphub_cache.progress import Progress
    from pphub_cache.store import Snapshot

__all__ = ["convert_snapshot", "paddle_folder", "tokenizer_folder"]


def tokenizer_folder(snapshot: Snapshot) -> Path:
    """A folder from which PaddleNLP makes the tokenizer: the model's own, unless it has a ``tokenizer.json`` alone.

    Raises:
        ConversionFailed: PaddleNLP's tokenizer would give other ids; the message says why.
        Corrupt: the tokenizer.json is none.
    """
    names = _beside_weights(snapshot)
    if not lacks_vocabulary(names):
        return snapshot.folder
    return complete_folder(snapshot, names, (), open_store().layout, family_class(snapshot.folder))


def _beside_weights(snapshot: Snapshot) -> tuple[str, ...]:
    """The files at the top of a model that are no weights."""
    top = (path for path, file in snapshot.files.items() if file.stored and "/" not in path)
    return tuple(path for path in top if not is_weights(path) and path not in {RECORD_FILE, SNAPSHOT_FILE})


def paddle_folder(snapshot: Snapshot, weights: tuple[str, ...], progress: Progress) -> Path:
    """A folder from which PaddleNLP can load nothing but what was checked."""
    open_checkpoint(snapshot.folder, weights)  # refuses a pickle that is more than arrays
    read_config(snapshot.folder)
    refuse_unpickling(tokenizer_class(snapshot.folder))
    for path, file in snapshot.files.items():
        if file.stored:  # PaddleNLP, which reads it from here, knows nothing of what the disk may not have yet
            with explain_os_errors(f"read {path}", snapshot.folder):
                sync_file(snapshot.folder / path)
    names = _beside_weights(snapshot)
    if lacks_vocabulary(names):
        try:
            return complete_folder(snapshot, names, weights, open_store().layout, family_class(snapshot.folder))
        except (ConversionFailed, Corrupt) as error:
            progress.note(f"the model has no tokenizer of PaddleNLP: {error.message}")
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
    snapshot: Snapshot,
    out: Path | None,
    dtype: str | None,
    progress: Progress,
    *,
    to: Side = "paddle",
    hashing: Hashing | None = None,
) -> Path:
    """Convert what the download stage returned; two processes convert the same model once.

    Args:
        snapshot: what is converted.
        out: the folder to write; None for a place in the cache.
        dtype: as for :func:`pphub.convert`; likewise ``to``.
        progress: told how it goes.
        to: see ``dtype``.
        hashing: of the weights, where it has begun.

    Raises:
        PphubError: see :mod:`pphub.errors`.
    """
    job = make_job(snapshot, dtype, to, hashing)
    with job.hashing:
        if out is None and job.hashing.is_running:  # to find a place in the cache waits for it
            open_wrapped(job.folder, job.weights)  # what is no checkpoint is refused now, and not when it is hashed
        return _convert(job, snapshot, out, progress)


def _convert(job: Job, snapshot: Snapshot, out: Path | None, progress: Progress) -> Path:
    store = open_store()

    def is_done(folder: Path) -> bool:
        # The key waits until the inputs are hashed, which is done meanwhile where there is nothing to compare it with.
        return folder.is_dir() and is_complete(folder, conversion_key(job))

    target = out or store.layout.converted(conversion_key(job))
    with stage("convert") as current:
        current.outcome = "converted already"
        if out is None and (found := store.find_converted(target.name, is_done)):
            return found
        if is_done(target):
            return target
        # A folder elsewhere is one entry whatever is written there; in the cache the key names the entry.
        lock = (
            store.layout.lock("converted", target.name) if out is None else store.layout.lock("out", str(out.resolve()))
        )

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
            if not is_done(target):
                remove_leftovers(target)
                run_job(job, target, progress, keep_edits=out is not None)
                current.outcome = str(target)
    return target
