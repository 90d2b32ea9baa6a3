"""From a name to a folder that PaddleNLP loads: name → resolve → download → convert."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pphub import settings
from pphub.errors import ConversionFailed, UsageError
from pphub.names import parse
from pphub.obtain import fetch
from pphub.progress import choose_progress
from pphub.select import weight_files
from pphub_cache.digest import Hashing

if TYPE_CHECKING:
    import os

    from pphub.conversion.family import Side
    from pphub_cache.progress import Progress
    from pphub_cache.store import Snapshot

__all__ = ["convert", "prepare"]


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
    if dtype is not None:
        from pphub.conversion.dtypes import check_dtype

        check_dtype(dtype)
    progress = progress or choose_progress()
    snapshot = fetch(path_or_name, revision, source, offline, progress=progress)
    weights = weight_files(snapshot.files)
    with _hash(snapshot, weights) as hashing:
        from pphub.checkpoint.folder import is_paddle, open_checkpoint
        from pphub.preparing import convert_snapshot

        if is_paddle(weights) and to == "paddle":
            open_checkpoint(snapshot.folder, weights)  # refuses a pickle that is more than arrays
            msg = f"{snapshot.folder} holds a Paddle checkpoint already"
            raise ConversionFailed(msg, hint="load it as it is, or with `hub prepare`")
        if weights and not is_paddle(weights) and to == "torch":
            msg = f"{snapshot.folder} holds a torch checkpoint already"
            raise ConversionFailed(msg, hint="load it with transformers as it is")
        side: Side = "torch" if to == "torch" else "paddle"
        return convert_snapshot(snapshot, _out_folder(out), dtype, progress, to=side, hashing=hashing)


def _hash(snapshot: Snapshot, weights: tuple[str, ...]) -> Hashing:
    """Begin to hash the weights whose hash is not known from a download, while the code that converts is imported."""
    return Hashing(snapshot.folder, {path: snapshot.files[path].sha256 for path in weights})


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
    folder = _loadable(snapshot, progress)
    ref = parse(str(name), source=source, revision=revision)
    if ref.kind == "name":
        from pphub.view import show_by_name

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


def _loadable(snapshot: Snapshot, progress: Progress) -> Path:
    weights = weight_files(snapshot.files)
    with _hash(snapshot, weights) as hashing:
        from pphub.checkpoint.folder import is_paddle
        from pphub.preparing import convert_snapshot, paddle_folder

        if is_paddle(weights):
            return paddle_folder(snapshot, weights, progress)
        return convert_snapshot(snapshot, None, None, progress, hashing=hashing)
