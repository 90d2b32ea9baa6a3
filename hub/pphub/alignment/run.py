"""Runs the stages of an alignment and makes the report: ``pphub.align``."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pphub.alignment.record import record_proof, tokenizer_files
from pphub.alignment.report import write_report
from pphub.alignment.reprod_log import write_reprod_log
from pphub.alignment.session import DEFAULT_TOLERANCE, Options, Session, Skipped
from pphub.alignment.stages.backward import run_backward
from pphub.alignment.stages.data import run_data
from pphub.alignment.stages.forward import run_forward
from pphub.alignment.stages.loss import run_loss
from pphub.alignment.stages.metric import METRIC_TOLERANCE, run_metric
from pphub.alignment.stages.result import Found
from pphub.alignment.stages.schedule import SCHEDULE_TOLERANCE, run_schedule
from pphub.alignment.stages.train import TASKS, TRAINED_TOLERANCE, run_train
from pphub.alignment.subject import find_subject
from pphub.alignment.torch_side import import_torch
from pphub.alignment.values import EXACT, Report, SideInfo, StageResult, Tolerance
from pphub.errors import MissingDependency, PphubError, StorageFailed, UsageError
from pphub.loading import import_paddlenlp
from pphub.progress import choose_progress
from pphub_cache.atomic import explain_os_errors, make_folder
from pphub_cache.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pphub.alignment.session import Subject
    from pphub_cache.progress import Progress

__all__ = ["DEFAULT_STAGES", "STAGES", "align", "check_sides", "run_stages"]

STAGES: Final = ("forward", "data", "metric", "loss", "schedule", "backward", "train")
DEFAULT_STAGES: Final = ("forward", "data")

_UNKNOWN: Final = "?"
_PACKAGES: Final = ("torch", "transformers", "tokenizers", "safetensors", "paddlepaddle", "paddlenlp", "numpy")


def align(
    name: str | os.PathLike[str],
    against: str | os.PathLike[str] | None = None,
    stages: str | Iterable[str] = DEFAULT_STAGES,
    *,
    task: str | Iterable[str] = tuple(TASKS),
    data: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None,
    reprod_log: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    low_memory: bool = False,
    tolerance: tuple[float, float] | None = None,
    steps: int = 10,
    revision: str | None = None,
    source: str | None = None,
    offline: bool | None = None,
    progress: Progress | None = None,
) -> Report:
    """Prove, or disprove, that the Paddle model is the torch model.

    Args:
        name: a torch model, by name or folder, which is converted if it has not been; or a folder in Paddle's layout.
        against: the torch model it is held against; None for the model itself, or what a Paddle folder was made from.
        stages: of :data:`STAGES`, or ``all``.
        task: what the stage ``train`` trains: ``sst2`` (single texts), ``qnli`` (pairs), or both.
        data: a TSV file of labelled texts for the stages ``data`` and ``train``; None for texts of our own.
        report: a folder that ``report.json`` and ``report.html`` are written to.
        reprod_log: a folder for the compared arrays, in the form that the tool of this name reads.
        device: ``cpu`` or ``gpu``.
        low_memory: keep parameters and activations in files: no more than one model in memory.
        tolerance: the largest mean and the largest single difference that are allowed of outputs and hidden states,
            in place of 1e-6 and 1e-5; the report says that they were given.
        steps: of the stage ``backward``.
        revision: as for :func:`pphub.download`.
        source: likewise.
        offline: likewise.
        progress: likewise.

    Returns:
        What was found; ``passed`` says whether all of it is as it should be. A passed run is recorded in
        ``alignment.json`` beside the conversion.

    Raises:
        MissingDependency: Paddle's side or torch's is not installed; the hint is the command that does.
        UsageError: unknown stages, or two sides of one framework.
        StorageFailed: nothing can be written where the report or the arrays should go.
        PphubError: as for :func:`pphub.convert`.
    """
    names = _chosen(stages, STAGES, "stage")
    tasks = _chosen(task, tuple(TASKS), "task")
    options = Options(
        tolerance=_tolerance(tolerance),
        device=_device(device),
        low_memory=low_memory,
        data=Path(data).expanduser() if data is not None else None,
        tasks=tasks,
        steps=_positive(steps),
        reprod_log=Path(reprod_log).expanduser() if reprod_log is not None else None,
    )
    if data is not None:
        from pphub.alignment.labelled import read_tsv

        read_tsv(Path(data).expanduser())  # before anything that takes long
    for wanted in (report, reprod_log):
        if wanted is not None:
            _make_writable(Path(wanted).expanduser())  # likewise
    _import_both()
    progress = progress or choose_progress()
    subject = find_subject(name, against, progress, revision=revision, source=source, offline=offline)
    found = run_stages(subject, names, options, progress)
    found = replace(found, recorded=record_proof(found, Path(found.paddle.folder), progress.note))
    if report is not None:
        write_report(found, Path(report).expanduser())
    return found


def run_stages(subject: Subject, names: tuple[str, ...], options: Options, progress: Progress) -> Report:
    """Run stages on what is on this disk.

    Args:
        subject: what is held against what.
        names: of :data:`STAGES`.
        options: how.
        progress: told how it goes.
    """
    begin = time.perf_counter()
    files = [subject.torch / name for name in subject.torch_files] + [
        subject.paddle / name for name in subject.paddle_files
    ]
    before = {path: _stamp(path) for path in files}
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    tokenizer = {"torch": tokenizer_files(subject.torch), "paddle": tokenizer_files(subject.paddle)}
    chosen = _options(options)
    with Session(subject, options, progress) as session:
        results = tuple(_run(session, *entry) for name in names for entry in _entries(name, options))
        sides = _sides(session)
        problems = list(check_sides(*sides))
        problems += [f"{path} was changed meanwhile" for path in files if _stamp(path) != before[path]]
        if options.reprod_log is not None:
            try:
                write_reprod_log(session.logs, options.reprod_log)
            except StorageFailed as error:  # after all that was found
                problems.append(error.message)
    return Report(
        subject.name,
        *sides,
        results,
        _environment(options.device),
        chosen,
        created,
        time.perf_counter() - begin,
        tuple(problems),
        tokenizer=tokenizer,
    )


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Changes with a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def check_sides(torch: SideInfo, paddle: SideInfo) -> tuple[str, ...]:
    """What makes a comparison of two sides void."""
    problems: list[str] = []
    if _UNKNOWN in (torch.framework, paddle.framework):
        return ("the two models were never live together, so nothing was proved",)
    if torch.framework == paddle.framework:
        problems.append(f"both sides are {torch.framework}: a framework held against itself proves nothing")
    problems += [
        f"the side of {expected} is {side.framework}, as far as can be told"
        for side, expected in ((torch, "torch"), (paddle, "paddle"))
        if side.framework != expected
    ]
    problems += [f"the side of {side.framework} was loaded from no file" for side in (torch, paddle) if not side.files]
    return tuple(problems)


_Entry = tuple[str, str, str, "Callable[[Session], Found]", Tolerance]


def _entries(name: str, options: Options) -> list[_Entry]:
    """Name, rows, title, function and main tolerance of what a stage runs."""
    chosen = options.tolerance
    if name == "train":
        return [
            (
                f"train {task}",
                TASKS[task].row,
                TASKS[task].title,
                partial(run_train, task=TASKS[task]),
                TRAINED_TOLERANCE,
            )
            for task in options.tasks
        ]
    table: dict[str, _Entry] = {
        "forward": (name, "A1, C5", "parameters, hidden states and outputs", run_forward, chosen),
        "data": (name, "A2", "tokenizers and batches", run_data, EXACT),
        "metric": (name, "A3", "accuracy", run_metric, METRIC_TOLERANCE),
        "loss": (name, "A4", "cross-entropy", run_loss, chosen),
        "schedule": (name, "A5", "learning rates", run_schedule, SCHEDULE_TOLERANCE),
        "backward": (name, "A6", "losses, gradients and parameters of AdamW", run_backward, chosen),
    }
    return [table[name]]


def _run(
    session: Session, name: str, rows: str, title: str, stage: Callable[[Session], Found], tolerance: Tolerance
) -> StageResult:
    begin = time.perf_counter()
    found, skipped = Found(), None
    try:
        found = stage(session)
        if not found.differences:
            found.fail("nothing was compared")
        wrong = [each for each in found.differences if not each.passed]
        if wrong:
            worst = max(wrong, key=lambda each: each.excess)
            found.fail(f"{len(wrong)} of {len(found.differences)} arrays are out of tolerance, such as {worst.name}")
            if worst.problem:
                found.fail(worst.problem)
    except Skipped as reason:
        skipped = str(reason)
    except (MissingDependency, UsageError):
        raise  # of the installation or the command, and not of the model
    except Exception as error:  # noqa: BLE001  whatever breaks one stage, the results of the others are told
        found.fail(_broken(error))
    return StageResult(
        name,
        rows,
        title,
        "skipped" if skipped else "failed" if found.failures else "passed",
        skipped or "; ".join(found.failures),
        found.inputs,
        tolerance,
        time.perf_counter() - begin,
        tuple(found.differences),
        tuple(found.layers),
        found.parameters,
        tuple(found.curves),
        found.first,
        tuple(found.notes),
    )


def _broken(error: Exception) -> str:
    """In one sentence, why nothing more was found."""
    if isinstance(error, PphubError):
        return error.message
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]  # Paddle's end with what matters
    return f"it broke off with {type(error).__name__}: {lines[-1][:300] if lines else 'no message'}"


def _sides(session: Session) -> tuple[SideInfo, SideInfo]:
    """The two sides, as they were when they were live; the models are opened for it if no stage has."""
    try:
        facts = session.known(session.own)
    except (MissingDependency, UsageError):
        raise
    except Exception as error:  # noqa: BLE001  likewise
        subject, reason = session.subject, _broken(error)
        torch = SideInfo(_UNKNOWN, "", "", reason, str(subject.torch), subject.torch_files, "")
        paddle = SideInfo(_UNKNOWN, "", "", reason, str(subject.paddle), subject.paddle_files, "")
        return torch, paddle
    assert facts.paddle is not None  # noqa: S101  known() has opened both
    return facts.torch, facts.paddle


def _environment(device: str) -> Mapping[str, object]:
    from importlib.metadata import PackageNotFoundError, version

    import paddle
    import torch

    from pphub import __version__

    packages: dict[str, str] = {"pphub": __version__}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "paddle_device": paddle.device.get_device(),
        "packages": packages,
    }


def _options(options: Options) -> Mapping[str, object]:
    return {
        "mean": options.tolerance.mean,
        "max": options.tolerance.max,
        "given_by_user": options.tolerance.by_user,
        "seed": options.sizes.seed,
        "batch": options.sizes.batch,
        "length": options.sizes.length,
        "steps": options.steps,
        "tasks": list(options.tasks),
        "data": str(options.data) if options.data is not None else None,
        "data_sha256": sha256_of(options.data) if options.data is not None else None,
        "low_memory": options.low_memory,
        "device": options.device,
    }


def _chosen(given: str | Iterable[str], known: tuple[str, ...], what: str) -> tuple[str, ...]:
    """Names in the order in which they run."""
    names = [each.strip() for each in given.split(",")] if isinstance(given, str) else list(given)
    if names == ["all"]:
        return known
    unknown = [each for each in names if each not in known]
    if unknown or not names:
        msg = f"there is no {what} {unknown[0]!r}" if unknown else f"no {what} was chosen"
        raise UsageError(msg, hint=f"any of {', '.join(known)}, or all")
    return tuple(each for each in known if each in names)


def _import_both() -> None:
    """Import both sides; who lacks one of them may lack the other, so the command installs both."""
    import_torch()
    try:
        import_paddlenlp()
    except MissingDependency as error:
        if error.hint is not None:
            error.hint = error.hint.replace("pphub[paddle]", "pphub[paddle,torch]")
        raise


def _make_writable(folder: Path) -> None:
    """Make a folder, and find out whether files can be written there.

    Raises:
        UsageError: it is a file.
        StorageFailed: the disk says no.
    """
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file, and a folder is wanted"
        raise UsageError(msg, hint="name a folder, which is made if it is not there")
    with explain_os_errors("write", folder):
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass


def _tolerance(given: tuple[float, float] | None) -> Tolerance:
    if given is None:
        return DEFAULT_TOLERANCE
    mean, largest = given
    if not (0 < mean < float("inf") and 0 < largest < float("inf")):
        msg = f"a tolerance of {mean} and {largest} means nothing"
        raise UsageError(msg, hint="two numbers above 0: of the mean, and of the largest difference")
    return Tolerance(mean, largest, by_user=(mean, largest) != (DEFAULT_TOLERANCE.mean, DEFAULT_TOLERANCE.max))


def _device(name: str) -> str:
    if name not in ("cpu", "gpu"):
        msg = f"{name!r} is no device"
        raise UsageError(msg, hint="cpu or gpu")
    return name


def _positive(steps: int) -> int:
    if steps < 1:
        msg = f"{steps} steps are none"
        raise UsageError(msg, hint="1 or more")
    return steps
