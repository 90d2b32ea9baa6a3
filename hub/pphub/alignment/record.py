"""``alignment.json`` beside a conversion: the proof that it is the torch model, and whether it still is one.

The proof names both sides' files with their hashes, so it belongs to these bytes and to no others. ``hub list`` shows
what :func:`describe_proof` and :func:`proof_words` say, ``hub verify`` what :func:`proof_problems` finds.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pphub import settings
from pphub.errors import StorageFailed
from pphub.select import is_weights
from pphub.tokenizer.classes import VOCABULARY_FILES
from pphub_cache.atomic import write_json
from pphub_cache.digest import sha256_of
from pphub_cache.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from pphub.alignment.values import Report, StageResult

__all__ = [
    "PROOF_FILE",
    "describe_proof",
    "proof_problems",
    "proof_words",
    "published_proof",
    "read_proof",
    "record_proof",
    "tokenizer_files",
]

PROOF_FILE: Final = "alignment.json"
_FORMAT: Final = 1
_SHA256: Final = re.compile("[0-9a-f]{64}")
_RECORD: Final = "conversion.json"
_TOKENIZER_FILES: Final = VOCABULARY_FILES | {
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


def tokenizer_files(folder: Path) -> dict[str, str]:
    """The files that a tokenizer is made from, with their sha256."""
    return {name: sha256_of(folder / name) for name in sorted(_TOKENIZER_FILES) if (folder / name).is_file()}


def record_proof(report: Report, folder: Path, note: Callable[[str], None]) -> str | None:
    """Write a passed alignment beside the conversion, and take away an earlier one that a failure refutes.

    Stages of an earlier proof of the same files stay, so that a proof may grow.

    Args:
        report: what was found.
        folder: Paddle's.
        note: told in a line why nothing was written, where that is not as one would expect.

    Returns:
        The file, or None when there is no proof: the run failed, or did not look at the model itself.
    """
    path = folder / PROOF_FILE
    if _is_downloaded(folder):  # what is there is as it was downloaded, also a proof of its publisher's
        note(f"nothing is recorded in {folder}, which is a download: copy the model elsewhere for a proof beside it")
        return None
    try:
        if not report.passed:
            if _refutes(report, folder):
                path.unlink(missing_ok=True)
                note(f"the proof in {path} is taken away")
            return None
        passed = {stage.name: _stage(stage, report) for stage in report.stages if stage.status == "passed"}
        earlier = read_proof(folder)
        if earlier is not None and earlier["files"] == _files(report):
            same = earlier.get("tokenizer", {}) == _tokenizer(report)
            proved = {name: each for name, each in earlier["stages"].items() if same or not _reads(name)}
            # By a tolerance of the user's own, less is proved than is known.
            passed = {name: each for name, each in passed.items() if not _is_loose(each) or name not in proved}
            passed = {**proved, **passed}
        if "forward" not in passed:
            return None  # nothing of the model itself has been looked at
        made_from = _made_from(folder)
        is_input = not any(made_from.get(name, sha256) != sha256 for name, sha256 in report.torch.files.items())
        if not is_input:
            note(f"the torch folder has other files than {folder.name} was made from: the proof is of that folder")
        write_json(path, _document(report, passed, is_input=is_input))
    except (StorageFailed, OSError) as error:
        note(f"the proof could not be written beside the model: {error}")
        return None
    return str(path)


def read_proof(folder: Path) -> dict[str, Any] | None:
    """The proof of a folder; None if there is none, or none that can be read: it may have come from anywhere."""
    try:
        found = json.loads((folder / PROOF_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if _is_proof(found) else None


def describe_proof(folder: Path) -> str | None:
    """In a few words, for programs: ``aligned: forward, data (mean 1.6e-07, max 3.6e-06)``; None without a proof."""
    proof = read_proof(folder)
    if proof is None:
        return None
    forward = proof["stages"].get("forward", {})
    mean, largest = forward.get("mean"), forward.get("max")
    figures = f" (mean {mean:.1e}, max {largest:.1e})" if isinstance(mean, float) and isinstance(largest, float) else ""
    loose = _loose(proof)
    own = f", tolerance of {', '.join(loose)} given by the user" if loose else ""
    return f"aligned: {', '.join(proof['stages'])}{figures}{own}"


def proof_words(folder: Path) -> str | None:
    """In a word or three, for the table of ``hub list``: a tolerance of the user's own is no detail."""
    proof = read_proof(folder)
    if proof is None:
        return None
    return "aligned (own tolerance)" if _loose(proof) else "aligned"


def published_proof(folder: Path, contents: Container[str], describe: Callable[[Path], str | None]) -> str | None:
    """What the publisher of a downloaded Paddle model says of it; None without a proof, or if it is of other files.

    Args:
        folder: of the download.
        contents: the sha256 of what it holds.
        describe: :func:`describe_proof` or :func:`proof_words`.
    """
    proof = read_proof(folder)
    weights = proof["files"].get("paddle") if proof else None
    if not weights or not all(sha256 in contents for sha256 in weights.values()):
        return None
    return f"{describe(folder)}, says its publisher"


def proof_problems(folder: Path, *, read: bool = True, known: Mapping[str, str] | None = None) -> list[str]:
    """Why the proof of a folder is none; empty if it holds, or if there is none.

    Args:
        folder: a conversion, or a download.
        read: hash the files; False only looks whether they are there.
        known: name → sha256 of the files of a download, which are looked at elsewhere; None to look at them here.
    """
    if not os.path.lexists(folder / PROOF_FILE):
        return []
    proof = read_proof(folder)
    if proof is None:
        return [f"{PROOF_FILE} cannot be read"]
    paddle, tokenizer = proof["files"].get("paddle"), proof.get("tokenizer", {}).get("paddle", {})
    told = "tokenizer" in proof
    if not paddle:
        return [f"{PROOF_FILE} names no files"]
    problems = []
    for name, sha256 in {**tokenizer, **paddle}.items():
        if problem := _file_problem(folder / Path(name).name, sha256, read=read, known=known):
            problems.append(f"{name}{problem}")
    if any(map(_reads, proof["stages"])):
        if not told:
            problems.append("it does not name the files of the tokenizer that was aligned")
        # A file that was not there may say more, such as tokens to add.
        problems += [
            f"{name} was not there when the tokenizer was aligned"
            for name in sorted(_TOKENIZER_FILES - tokenizer.keys())
            if told and (folder / name).is_file()
        ]
    made_from = _made_from(folder)
    torch = proof["files"].get("torch", {})
    # Where the run itself has found other files there, it has proved the model by those.
    if proof.get("torch_is_input", True) and any(
        is_weights(name) and made_from.get(name, sha256) != sha256 for name, sha256 in torch.items()
    ):
        problems.append("it was held against another torch model than it was made from")
    return problems


def _file_problem(file: Path, sha256: str, *, read: bool, known: Mapping[str, str] | None) -> str | None:
    try:
        if not file.is_file():
            return ", which was aligned, is not there any more"
        if known is not None:
            return " is not the file that was aligned" if known.get(file.name) != sha256 else None
        return " is not the file that was aligned" if read and sha256_of(file) != sha256 else None
    except (OSError, StorageFailed) as error:
        return f" cannot be read: {error}"


def _made_from(folder: Path) -> dict[str, object]:
    """The inputs of a conversion with their sha256; empty for a Paddle folder that is none of ours."""
    try:
        inputs = json.loads((folder / _RECORD).read_bytes())["inputs"]
        return {str(entry["file"]): entry["sha256"] for entry in inputs}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _is_downloaded(folder: Path) -> bool:
    """Whether a folder is a snapshot of a cache, whose files are links to what was downloaded."""
    real = folder.resolve()
    layouts = [Layout(home) for home in (settings.home(), *settings.shared_homes())]
    return any(real.is_relative_to(layout.snapshots.resolve()) for layout in layouts)


# -- what a proof looks like ---------------------------------------------------------------------------------------


def _is_proof(found: object) -> bool:
    """Whether all that is read of a proof has the type it is read as."""
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        return False
    stages = found.get("stages")
    return (
        isinstance(stages, dict)
        and all(_is_stage(stage) for stage in stages.values())
        and _are_files(found.get("files"))
        and _are_files(found.get("tokenizer", {}))
        and isinstance(found.get("torch_is_input", True), bool)
    )


def _is_stage(stage: object) -> bool:
    return isinstance(stage, dict) and isinstance(stage.get("tolerance", {}), dict)


def _are_files(sides: object) -> bool:
    """Whether these are the files of both sides: side → name → sha256."""
    return isinstance(sides, dict) and all(
        isinstance(files, dict)
        and all(isinstance(sha256, str) and _SHA256.fullmatch(sha256) for sha256 in files.values())
        for files in sides.values()
    )


def _loose(proof: dict[str, Any]) -> list[str]:
    """The stages whose tolerance was the user's."""
    return [name for name, stage in proof["stages"].items() if _is_loose(stage)]


def _is_loose(stage: dict[str, Any]) -> bool:
    return bool(stage.get("tolerance", {}).get("given_by_user"))


def _reads(stage: str) -> bool:
    """Whether what a stage finds depends on the tokenizer."""
    return stage == "data" or stage.startswith("train ")


def _files(report: Report) -> dict[str, object]:
    return {"torch": dict(report.torch.files), "paddle": dict(report.paddle.files)}


def _tokenizer(report: Report) -> dict[str, object]:
    return {side: dict(files) for side, files in report.tokenizer.items()}


def _refutes(report: Report, folder: Path) -> bool:
    """Whether a failed run speaks against an earlier proof: not one against another torch model, or too strict."""
    proof = read_proof(folder)
    if report.options.get("given_by_user") or proof is None:
        return False
    files = proof["files"]
    return bool(files.get("torch") == dict(report.torch.files) or files.get("paddle") != dict(report.paddle.files))


def _stage(stage: StageResult, report: Report) -> dict[str, object]:
    tolerance = stage.tolerance
    texts = {"data": report.options.get("data_sha256")} if _reads(stage.name) else {}
    return {
        "rows": stage.rows,
        "arrays": len(stage.differences),
        "mean": stage.mean,
        "max": stage.max,
        "tolerance": {
            "mean": tolerance.mean,
            "max": tolerance.max,
            "given_by_user": tolerance.by_user,
            "rule": tolerance.rule(),
        },
        "parameters": stage.parameters.compared if stage.parameters is not None else None,
        "inputs": stage.inputs,
        **texts,
    }


def _document(report: Report, passed: dict[str, Any], *, is_input: bool) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "created": report.created,
        "name": report.name,
        "sides": {
            "torch": {"class": report.torch.kind, "version": report.torch.version, "library": report.torch.library},
            "paddle": {"class": report.paddle.kind, "version": report.paddle.version, "library": report.paddle.library},
        },
        "files": _files(report),
        **({"tokenizer": _tokenizer(report)} if any(map(_reads, passed)) else {}),
        "torch_is_input": is_input,
        "packages": report.environment.get("packages"),
        "stages": passed,
    }
