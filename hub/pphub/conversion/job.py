"""The conversion stage: a model folder goes in, a folder that PaddleNLP loads comes out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pphub
from pphub.checkpoint.folder import open_checkpoint, read_json
from pphub.checkpoint.pdparams import PdparamsWriter
from pphub.conversion.config import TranslatedConfig, translate_config
from pphub.conversion.dtypes import FLOATS, cast
from pphub.conversion.plan import Move, Plan, check_coverage, make_plan
from pphub.conversion.rules import Family, find_family
from pphub.errors import UsageError
from pphub.select import weight_files
from pphub_cache.atomic import (
    explain_os_errors,
    fsync_folder,
    make_folder,
    share,
    temporary_beside,
    write_bytes,
    write_json,
)
from pphub_cache.digest import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from pphub_cache.progress import Progress
    from pphub_cache.store import Snapshot

__all__ = ["RECORD_FILE", "WEIGHTS_FILE", "Job", "conversion_key", "is_complete", "make_job", "run_job"]

RECORD_FILE: Final = "conversion.json"
WEIGHTS_FILE: Final = "model_state.pdparams"
_CONVERTER: Final = 1
"""Counts up when the output of the same inputs and rules changes."""

_TOKENIZER_FILES: Final = frozenset(
    {
        "added_tokens.json",
        "merges.txt",
        "sentencepiece.bpe.model",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
        "generation_config.json",
    }
)


@dataclass(frozen=True, slots=True)
class Job:
    """A conversion that has been checked as far as names go, and not begun.

    Attributes:
        folder: where the inputs are; never written to.
        inputs: path → sha256 of every file that is read or copied.
        weights: the weight files among them.
        copied: the tokenizer files among them.
    """

    folder: Path
    origin: dict[str, str]
    inputs: dict[str, str]
    weights: tuple[str, ...]
    copied: tuple[str, ...]
    family: Family
    architecture: str
    config: TranslatedConfig
    dtype: str | None


def make_job(snapshot: Snapshot, dtype: str | None) -> Job:
    """Read the config, choose the rules and hash what is not hashed yet.

    Args:
        snapshot: the model; of a folder on this disk the hashes are computed here.
        dtype: cast floating tensors to this; None keeps each as it is.

    Raises:
        FileNotInModel: no config.json, or no weights.
        Corrupt: config.json is not JSON.
        ConversionFailed: no rules for the architecture, or a config Paddle cannot express.
    """
    stored = tuple(path for path, file in snapshot.files.items() if file.stored)
    weights = weight_files(stored)
    config = read_json(snapshot.folder / "config.json")
    if not weights:
        open_checkpoint(snapshot.folder, weights)  # raises, saying what was looked for
    family, architecture = find_family(config)
    translated = translate_config(family, architecture, config)
    copied = tuple(path for path in stored if path in _TOKENIZER_FILES)
    inputs = {}
    for path in sorted({"config.json", *weights, *copied}):
        known = snapshot.files[path].sha256
        with explain_os_errors(f"read {path}", snapshot.folder):
            inputs[path] = known or sha256_of(snapshot.folder / path)
    origin = {"source": snapshot.source, "repo": snapshot.repo, "commit": snapshot.commit}
    return Job(snapshot.folder, origin, inputs, weights, copied, family, architecture, translated, dtype)


def conversion_key(job: Job) -> str:
    """One name for one result: a hash of inputs, rules, options and converter."""
    parts = {"inputs": job.inputs, "rules": job.family.digest, "dtype": job.dtype, "converter": _CONVERTER}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def is_complete(folder: Path, key: str) -> bool:
    """Whether a folder holds this very conversion, whole. A config that was edited since is the user's choice."""
    try:
        record = json.loads((folder / RECORD_FILE).read_bytes())
        weights = record["output"]
        whole = (folder / weights["file"]).stat().st_size == weights["size"]
        return bool(record["key"] == key and whole and all((folder / name).is_file() for name in record["files"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def run_job(job: Job, target: Path, progress: Progress, *, keep_edits: bool) -> None:
    """Convert into a folder beside the target and move it there when it is whole.

    Args:
        job: from :func:`make_job`.
        target: must not exist, be empty, or hold an earlier conversion, which is replaced.
        progress: told how it goes.
        keep_edits: the target is the user's, so what was changed there since is not replaced.

    Raises:
        UsageError: the target is the source, or holds something else, or something that was changed.
        ConversionFailed, UnsafeCheckpoint, Corrupt: nothing is left behind.
        StorageFailed: the disk says no.
    """
    _check_target(job, target)
    if keep_edits and (edited := _edited(target)):
        msg = f"{target} holds an earlier conversion, and {', '.join(edited)} was changed since"
        raise UsageError(msg, hint="choose another --out folder, or move what you changed away")
    tensors = open_checkpoint(job.folder, job.weights)
    plan = make_plan(job.family, tensors)
    check_coverage(job.family, job.architecture, job.config.values, plan)
    temporary = temporary_beside(target)
    with explain_os_errors("write the converted model", target.parent):
        make_folder(temporary)
        try:
            _write_folder(job, plan, temporary, progress)
            share(temporary / WEIGHTS_FILE)
            if not keep_edits:  # in the cache, where a model that is saved to a link must not write through it
                (temporary / WEIGHTS_FILE).chmod(stat.S_IMODE((temporary / WEIGHTS_FILE).stat().st_mode) & 0o444)
            _move_into_place(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _check_target(job: Job, target: Path) -> None:
    if target.resolve() == job.folder.resolve():
        msg = f"{target} is the folder of the checkpoint itself, which is never written to"
        raise UsageError(msg, hint="choose another --out folder")
    if target.exists() and not target.is_dir():
        msg = f"{target} is a file"
        raise UsageError(msg, hint="choose a folder for --out")
    if target.is_dir() and any(target.iterdir()) and not _is_ours(target):
        msg = f"{target} holds files that are no conversion of pphub's"
        raise UsageError(msg, hint="choose an empty or new folder for --out")


def _is_ours(target: Path) -> bool:
    try:
        record = json.loads((target / RECORD_FILE).read_bytes())
        return bool(record["format"] == 1 and "key" in record and isinstance(record["files"], dict))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _edited(target: Path) -> list[str]:
    """The files of an earlier conversion that are no longer as they were written."""
    try:
        files = json.loads((target / RECORD_FILE).read_bytes())["files"]
        return [
            name for name, sha256 in files.items() if (target / name).is_file() and sha256_of(target / name) != sha256
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _move_into_place(temporary: Path, target: Path) -> None:
    """By one rename where that is possible; into a folder that exists, file by file, touching no other file."""
    if not target.exists():
        temporary.rename(target)
        fsync_folder(target.parent)
        return
    # Ours, but not whole: what a kill leaves from here on is made again, and is not taken for somebody else's.
    write_json(target / RECORD_FILE, {"format": 1, "key": None, "files": {}})
    for path in sorted(temporary.iterdir(), key=lambda path: path.name == RECORD_FILE):  # the record last
        path.replace(target / path.name)
    temporary.rmdir()
    fsync_folder(target)


def _write_folder(job: Job, plan: Plan, folder: Path, progress: Progress) -> None:
    for name in job.copied:
        write_bytes(folder / name, (job.folder / name).read_bytes())
    write_json(folder / "config.json", _final_config(job))
    written, output = _write_weights(job, plan, folder / WEIGHTS_FILE, progress)
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.name != WEIGHTS_FILE}
    files[WEIGHTS_FILE] = str(output["sha256"])
    write_json(folder / RECORD_FILE, _record(job, plan, written, output, files))


def _final_config(job: Job) -> dict[str, object]:
    values = dict(job.config.values)
    if job.dtype is not None:
        values["dtype"] = job.dtype
    return values


def _write_weights(
    job: Job, plan: Plan, path: Path, progress: Progress
) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Write tensor by tensor; at no time is more than one in memory."""
    written: list[dict[str, object]] = []
    task = progress.start(WEIGHTS_FILE, sum(move.tensor.nbytes for move in plan.moves))
    try:
        with path.open("wb", buffering=1 << 16) as stream:
            writer = PdparamsWriter(stream)
            for move in plan.moves:
                written += _write_tensor(writer, move, job.dtype)
                task.advance(move.tensor.nbytes)
            size, sha256 = writer.finish()
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        task.stop()
        raise
    task.finish()
    return written, {"file": WEIGHTS_FILE, "size": size, "sha256": sha256}


def _write_tensor(writer: PdparamsWriter, move: Move, dtype: str | None) -> list[dict[str, object]]:
    tensor = move.tensor
    array = tensor.read()
    if move.operation == "transpose":
        array = array.T
    target = dtype if dtype is not None and tensor.dtype in FLOATS else tensor.dtype
    array = cast(array, tensor.dtype, target)
    place = writer.add(move.names, target, array)
    return [
        {
            "name": name,
            "sources": list(move.sources),
            "rule": move.rule,
            "operation": move.operation,
            "dtype": target,
            "shape": list(array.shape),
            "offset": place.offset,
            "length": place.length,
            "sha256": place.sha256,
        }
        for name in move.names
    ]


def _record(
    job: Job, plan: Plan, written: list[dict[str, object]], output: dict[str, object], files: dict[str, str]
) -> dict[str, object]:
    return {
        "format": 1,
        "key": conversion_key(job),
        "pphub": pphub.__version__,
        "inputs": [{"file": path, "sha256": sha256, **job.origin} for path, sha256 in job.inputs.items()],
        "rules": {"family": job.family.name, "version": job.family.version, "sha256": job.family.digest},
        "options": {"to": "paddle", "dtype": job.dtype},
        "architecture": {"torch": job.architecture, "paddle": job.family.architectures[job.architecture]},
        "output": output,
        "files": files,
        "tensors": written,
        "dropped": [
            {
                "name": drop.tensor.name,
                "reason": drop.reason,
                "dtype": drop.tensor.dtype,
                "shape": list(drop.tensor.shape),
            }
            for drop in plan.drops
        ],
        "absent": _absent(job, plan),
        "config": {
            "renamed": dict(job.config.renamed),
            "left_out": dict(job.config.left_out),
            "replaced": dict(job.config.replaced),
        },
    }


def _absent(job: Job, plan: Plan) -> list[str]:
    """Modules of Paddle's base model that the torch class does not have, and this checkpoint does not hold."""
    names = [name for move in plan.moves for name in move.names]
    modules = job.family.absent.get(job.architecture, ())
    return [module for module in modules if not any(f".{module}." in f".{name}" for name in names)]
