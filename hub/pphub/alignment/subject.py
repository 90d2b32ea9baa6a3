"""Finds what is to be held against what: a torch folder and the Paddle folder that is said to be the same model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pphub.alignment.session import Subject
from pphub.checkpoint.folder import is_paddle, open_checkpoint, read_config, read_json
from pphub.conversion.job import RECORD_FILE, WEIGHTS_FILE, make_job
from pphub.errors import Corrupt, FileNotInModel, PphubError, UsageError
from pphub.obtain import fetch
from pphub.preparing import convert_snapshot
from pphub.select import weight_files, weight_formats
from pphub_cache.digest import sha256_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from pphub.conversion.moves import Request
    from pphub_cache.progress import Progress
    from pphub_cache.store import Snapshot

__all__ = ["CONFIG_FILES", "find_subject"]

_PADDLENLP_ORDER = (
    "model.safetensors.index.json",
    "model.safetensors",
    "model_state.pdparams.index.json",
    "model_state.pdparams",
)
CONFIG_FILES = ("config.json", "model_config.json")


def find_subject(
    name: str | os.PathLike[str],
    against: str | os.PathLike[str] | None,
    progress: Progress,
    *,
    revision: str | None = None,
    source: str | None = None,
    offline: bool | None = None,
) -> Subject:
    """Bring both sides onto this disk.

    Args:
        name: a torch model, which is converted if it has not been, or a folder in Paddle's layout.
        against: the torch model to hold it against; None for the model itself, or, of a Paddle folder, for the inputs
            that its ``conversion.json`` names.
        progress: told how it goes.
        revision: of ``name``.
        source: likewise.
        offline: open no socket; None asks the environment.

    Raises:
        UsageError: both would be Paddle models, or nothing says what the Paddle folder was made from.
        Corrupt: what the record names is not what the folder was made from.
        PphubError: as for :func:`pphub.convert`.
    """
    snapshot = fetch(name, revision, source, offline, progress=progress)
    weights = weight_files(snapshot.files)
    if is_paddle(weights):
        folder = snapshot.folder
        open_checkpoint(folder, weights)  # refuses a pickle that is more than arrays
        torch = (
            _torch_of(folder, offline, progress)
            if against is None
            else fetch(against, None, None, offline, progress=progress)
        )
    else:
        folder, weights = convert_snapshot(snapshot, None, None, progress), (WEIGHTS_FILE,)
        torch = snapshot if against is None else fetch(against, None, None, offline, progress=progress)
    torch_weights = weight_files(torch.files)
    if is_paddle(torch_weights):
        msg = f"{torch.folder} holds a Paddle model, so both sides would be Paddle's, which proves nothing"
        raise UsageError(msg, hint="give --against a folder with torch's weights")
    job = make_job(torch, None)
    torch_files = {path: job.inputs[path] for path in ("config.json", *torch_weights)}
    _check_formats(folder)
    paddle_files = hashes_of(folder, (*weights, *(each for each in CONFIG_FILES if (folder / each).is_file())))
    request = _for_paddle(job.request, read_config(folder))
    return Subject(
        str(name),
        torch.folder,
        torch_files,
        folder,
        weights,
        paddle_files,
        request,
        job.request,
        _other_formats(torch.folder, torch_weights),
    )


def hashes_of(folder: Path, names: tuple[str, ...]) -> Mapping[str, str]:
    """The sha256 of files as they are now."""
    return {name: sha256_of(folder / name) for name in names}


def _check_formats(folder: Path) -> None:
    """Refuse a Paddle folder with weights in several formats: libraries differ in which they load."""
    formats = weight_formats(_names(folder))
    if len(formats) > 1:
        held = " and ".join(names[0] for names in formats)
        present = [name for names in formats for name in names]
        taken = next(name for name in (*_PADDLENLP_ORDER, *present) if name in present)
        msg = f"{folder} holds weights in several formats, {held}: PaddleNLP by itself would load {taken}"
        raise UsageError(msg, hint="leave those in the folder that are to be the model, and move the others away")


def _other_formats(folder: Path, chosen: tuple[str, ...]) -> tuple[str, ...]:
    others = [names[0] for names in weight_formats(_names(folder)) if not set(names) & set(chosen)]
    if not others:
        return ()
    return (f"torch's side is {chosen[0]}, which transformers loads; nothing is said of {', '.join(others)} beside it",)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def _torch_of(folder: Path, offline: bool | None, progress: Progress) -> Snapshot:
    """What a conversion was made from, by its record; the files must be the same still."""
    if not (folder / RECORD_FILE).is_file():
        msg = f"{folder} holds a Paddle model and no {RECORD_FILE}, so nothing says what it was made from"
        raise UsageError(msg, hint="name the torch model with --against")
    inputs = read_json(folder / RECORD_FILE).get("inputs")
    entries = [entry for entry in inputs if isinstance(entry, dict)] if isinstance(inputs, list) else []
    if not entries:
        msg = f"{folder / RECORD_FILE} names no inputs"
        raise Corrupt(msg, hint="name the torch model with --against")
    first = entries[0]
    source, repo, commit = (str(first.get(key, "")) for key in ("source", "repo", "commit"))
    if source == "file" and not Path(repo).is_absolute():  # a name without its folder: as models are published
        msg = f"{folder} was made from a folder {repo!r} on the machine of whoever made it, which is not here"
        raise FileNotInModel(msg, hint="name a place of the torch model with --against")
    try:
        found = fetch(repo if source == "file" else f"{source}:{repo}@{commit}", None, None, offline, progress=progress)
    except PphubError as error:
        msg = f"{folder} was made from {source}:{repo}, which is not to be had: {error.message}"
        raise FileNotInModel(msg, hint="name another place of the torch model with --against") from error
    for entry in entries:
        file, sha256 = str(entry.get("file")), entry.get("sha256")
        if not (found.folder / file).is_file() or sha256_of(found.folder / file) != sha256:
            msg = f"{file} in {found.folder} is not what {folder} was made from"
            raise Corrupt(msg, hint="convert the model again, or name the right one with --against")
    return found


def _for_paddle(request: Request, config: Mapping[str, object]) -> Request:
    """The torch class whose model the Paddle folder's class is, where that is not the checkpoint's own."""
    listed = config.get("architectures")
    named = listed[-1] if isinstance(listed, list) and listed else config.get("init_class")
    known = request.family.architectures
    if named == known.get(request.architecture) or named not in known.values():
        return request
    return replace(request, architecture=next(torch for torch, paddle in known.items() if paddle == named))
