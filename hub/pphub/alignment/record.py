"""``alignment.json`` beside a conversion: the proof that it is the torch model, and whether it still is one.

The proof names both sides' files with their hashes, so it belongs to these bytes and to no others. ``hub list`` shows
what :func:`describe_proof` says, ``hub verify`` what :func:`proof_problems` finds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pphub.errors import StorageFailed
from pphub_cache.atomic import write_json
from pphub_cache.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pphub.alignment.values import Report, StageResult

__all__ = ["PROOF_FILE", "describe_proof", "proof_problems", "read_proof", "record_proof"]

PROOF_FILE: Final = "alignment.json"
_FORMAT: Final = 1


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
    try:
        if not report.passed:
            if _refutes(report, folder):
                path.unlink(missing_ok=True)
            return None
        passed = {stage.name: _stage(stage) for stage in report.stages if stage.status == "passed"}
        earlier = read_proof(folder)
        if earlier is not None and earlier["files"] == _files(report):
            passed = {**earlier["stages"], **passed}
        if "forward" not in passed:
            return None  # nothing of the model itself has been looked at
        write_json(path, _document(report, passed))
    except (StorageFailed, OSError) as error:
        note(f"the proof could not be written beside the model: {error}")
        return None
    return str(path)


def read_proof(folder: Path) -> dict[str, Any] | None:
    """The proof of a folder; None if there is none, or none that can be read."""
    try:
        found = json.loads((folder / PROOF_FILE).read_bytes())
        if found["format"] == _FORMAT and isinstance(found["stages"], dict) and isinstance(found["files"], dict):
            return dict(found)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def describe_proof(folder: Path) -> str | None:
    """In a few words, for lists: ``aligned: forward, data (mean 1.6e-07, max 3.6e-06)``; None without a proof."""
    proof = read_proof(folder)
    if proof is None:
        return None
    forward = proof["stages"].get("forward", {})
    mean, largest = forward.get("mean"), forward.get("max")
    figures = f" (mean {mean:.1e}, max {largest:.1e})" if isinstance(mean, float) and isinstance(largest, float) else ""
    loose = [name for name, stage in proof["stages"].items() if stage.get("tolerance", {}).get("given_by_user")]
    own = f", tolerance of {', '.join(loose)} given by the user" if loose else ""
    return f"aligned: {', '.join(proof['stages'])}{figures}{own}"


def proof_problems(folder: Path, *, read: bool = True) -> list[str]:
    """Why the proof of a folder is none; empty if it holds, or if there is none.

    Args:
        folder: a conversion.
        read: hash the files; False only looks whether they are there.
    """
    if not (folder / PROOF_FILE).exists():
        return []
    proof = read_proof(folder)
    if proof is None:
        return [f"{PROOF_FILE} cannot be read"]
    paddle = proof["files"].get("paddle", {})
    problems = []
    if not isinstance(paddle, dict) or not paddle:
        return [f"{PROOF_FILE} names no files"]
    for name, sha256 in paddle.items():
        file = folder / Path(name).name
        if not file.is_file():
            problems.append(f"{name}, which was aligned, is not there any more")
        elif read and sha256_of(file) != sha256:
            problems.append(f"{name} is not the file that was aligned")
    try:
        inputs = json.loads((folder / "conversion.json").read_bytes())["inputs"]
        made_from = {str(entry["file"]): entry["sha256"] for entry in inputs}
    except (OSError, ValueError, KeyError, TypeError):
        return problems  # not every Paddle folder is a conversion of ours
    torch = proof["files"].get("torch", {})
    if any(made_from.get(name) not in (None, sha256) for name, sha256 in torch.items()):
        problems.append("it was held against another torch model than it was made from")
    return problems


def _files(report: Report) -> dict[str, object]:
    return {"torch": dict(report.torch.files), "paddle": dict(report.paddle.files)}


def _refutes(report: Report, folder: Path) -> bool:
    """Whether a failed run speaks against an earlier proof: by the project's tolerance, of the same files or others."""
    return not report.options.get("given_by_user") and (folder / PROOF_FILE).is_file()


def _stage(stage: StageResult) -> dict[str, object]:
    tolerance = stage.tolerance
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
    }


def _document(report: Report, passed: dict[str, Any]) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "created": report.created,
        "name": report.name,
        "sides": {
            "torch": {"class": report.torch.kind, "version": report.torch.version, "library": report.torch.library},
            "paddle": {"class": report.paddle.kind, "version": report.paddle.version, "library": report.paddle.library},
        },
        "files": _files(report),
        "packages": report.environment.get("packages"),
        "stages": passed,
    }
