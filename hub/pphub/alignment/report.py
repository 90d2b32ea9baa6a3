"""``report.json``: everything an alignment found, for programs and for whoever draws it.

::

    format          1
    name            what was asked for
    passed          true or false
    problems        texts: what makes the whole run void
    created         2026-01-31T12:00:00+00:00
    seconds
    recorded        the file with the proof, or null
    tokenizer       torch, paddle: {name: sha256} of the files that a tokenizer is made from
    sides           torch, paddle: framework, version, library, class, folder, files {name: sha256}, device
    environment     python, system, machine, cores, threads, device, packages {name: version}
    options         what the run was made with; given_by_user: whether the tolerance was; data_sha256: of --data
    stages          a list of
        name, rows, title, status (passed, failed, skipped), reason, inputs, seconds, notes [text]
        tolerance       mean, max, floor, given_by_user, rule (in words)
        mean, max       the largest of the differences that are held to the stage's own tolerance, or null
        scaled          their mean and max as held against the tolerance, or null
        worst           the difference that uses up most of its tolerance, or null
        first           the first module that diverges, with the call where it has several, or null
        differences     a list of: name, shape, elements, mean, max, scaled_mean, scaled_max, rms, passed, problem,
                        tolerance, worst {index, torch, paddle} or null
        layers          a list of: order, torch, paddle, kind (layer, module), question, note, difference or null
        parameters      null or: compared, elements, unequal [difference], unread [name], unused [name],
                        torch_only [name], paddle_only [name], neither [name], unproved [name]: also what
                        the checkpoints hold in two dtypes and torch's class does not read
        curves          a list of: name, steps, torch, paddle, formula or null: lists of one length
        histogram       of the absolute differences of all arrays and layers: edges, powers of ten; counts, one for
                        each bin between two edges; zero, below, above: elements that are in none

A number that is not finite is written as the text ``nan``, ``inf`` or ``-inf``.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from pphub.alignment.compare import add_counts
from pphub.alignment.html import REPORT_PAGE, write_html
from pphub.alignment.values import (
    HISTOGRAM_EDGES,
    Curve,
    Difference,
    LayerDifference,
    Parameters,
    Report,
    SideInfo,
    StageResult,
    Tolerance,
)
from pphub_cache.atomic import write_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["REPORT_FILE", "report_document", "write_report"]

REPORT_FILE = "report.json"


def write_report(report: Report, folder: Path) -> Path:
    """Write ``report.json`` into a folder, which is made, and ``report.html`` beside it; returns the former."""
    path = folder / REPORT_FILE
    document = report_document(report)
    write_json(path, document)
    write_html(document, folder / REPORT_PAGE)
    return path


def report_document(report: Report) -> dict[str, object]:
    """The report as plain values that JSON knows; see the head of this module."""
    document: dict[str, object] = {
        "format": 1,
        "name": report.name,
        "passed": report.passed,
        "problems": list(report.problems),
        "created": report.created,
        "seconds": report.seconds,
        "recorded": report.recorded,
        "sides": {"torch": side_document(report.torch), "paddle": side_document(report.paddle)},
        "tokenizer": {side: dict(files) for side, files in report.tokenizer.items()},
        "environment": dict(report.environment),
        "options": dict(report.options),
        "stages": [_stage(stage) for stage in report.stages],
    }
    plain: dict[str, object] = json.loads(json.dumps(_finite(document)))
    return plain


def side_document(side: SideInfo) -> dict[str, object]:
    """One side."""
    return {
        "framework": side.framework,
        "version": side.version,
        "library": side.library,
        "class": side.kind,
        "folder": side.folder,
        "files": dict(side.files),
        "device": side.device,
    }


def _stage(stage: StageResult) -> dict[str, object]:
    return {
        "name": stage.name,
        "rows": stage.rows,
        "title": stage.title,
        "status": stage.status,
        "reason": stage.reason,
        "inputs": stage.inputs,
        "seconds": stage.seconds,
        "notes": list(stage.notes),
        "tolerance": _tolerance(stage.tolerance),
        "mean": stage.mean,
        "max": stage.max,
        "scaled": None if stage.scaled is None else list(stage.scaled),
        "worst": _difference(stage.worst),
        "first": stage.first,
        "differences": [_difference(each) for each in stage.differences],
        "layers": [_layer(each) for each in stage.layers],
        "parameters": _parameters(stage.parameters),
        "curves": [_curve(each) for each in stage.curves],
        "histogram": _histogram(stage),
    }


def _tolerance(tolerance: Tolerance) -> dict[str, object]:
    return {
        "mean": tolerance.mean,
        "max": tolerance.max,
        "floor": tolerance.floor,
        "given_by_user": tolerance.by_user,
        "rule": tolerance.rule(),
    }


def _difference(difference: Difference | None) -> dict[str, object] | None:
    if difference is None:
        return None
    worst = difference.worst
    return {
        "name": difference.name,
        "shape": list(difference.shape),
        "elements": difference.elements,
        "mean": difference.mean,
        "max": difference.max,
        "scaled_mean": difference.scaled_mean,
        "scaled_max": difference.scaled_max,
        "rms": difference.rms,
        "passed": difference.passed,
        "problem": difference.problem,
        "tolerance": _tolerance(difference.tolerance),
        "worst": None if worst is None else {"index": list(worst.index), "torch": worst.torch, "paddle": worst.paddle},
    }


def _layer(layer: LayerDifference) -> dict[str, object]:
    return {
        "order": layer.order,
        "torch": layer.torch,
        "paddle": layer.paddle,
        "kind": layer.kind,
        "question": layer.question,
        "note": layer.note,
        "difference": _difference(layer.difference),
    }


def _parameters(parameters: Parameters | None) -> dict[str, object] | None:
    if parameters is None:
        return None
    return {
        "compared": parameters.compared,
        "elements": parameters.elements,
        "unequal": [_difference(each) for each in parameters.unequal],
        "unread": list(parameters.unread),
        "unused": list(parameters.unused),
        "torch_only": list(parameters.torch_only),
        "paddle_only": list(parameters.paddle_only),
        "neither": list(parameters.neither),
        "unproved": [*parameters.unproved, *parameters.recast],
    }


def _curve(curve: Curve) -> dict[str, object]:
    return {
        "name": curve.name,
        "steps": list(curve.steps),
        "torch": list(curve.torch),
        "paddle": list(curve.paddle),
        "formula": None if curve.formula is None else list(curve.formula),
    }


def _histogram(stage: StageResult) -> dict[str, object]:
    layers = tuple(each.difference for each in stage.layers if each.difference is not None)
    zero, below, *inner, above = add_counts((*stage.differences, *layers))
    return {"edges": list(HISTOGRAM_EDGES), "counts": inner, "zero": zero, "below": below, "above": above}


def _finite(value: object) -> object:
    """The same with numbers that JSON does not have as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value
