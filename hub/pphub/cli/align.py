"""``hub align``."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from pphub.alignment.values import StageResult

__all__ = ["add_align", "run_align"]


def add_align(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--against", metavar="TORCH_FOLDER", help="the torch model to hold it against")
    parser.add_argument(
        "--stages",
        default="forward,data",
        help="of forward, data, metric, loss, schedule, backward, train; or all (default: %(default)s)",
    )
    parser.add_argument("--task", default="sst2,qnli", help="what `train` trains (default: %(default)s)")
    parser.add_argument("--data", metavar="FILE.tsv", help="labelled texts for `data` and `train` (default: our own)")
    parser.add_argument("--report", metavar="DIR", help="write report.json and report.html there")
    parser.add_argument("--reprod-log", metavar="DIR", help="write the arrays there as the tool reprod_log reads them")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="where to run (default: %(default)s)")
    parser.add_argument("--low-memory", action="store_true", help="one model in memory at most; the rest in files")
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="of `backward` (default: %(default)s)")
    parser.add_argument(
        "--tolerance",
        type=float,
        nargs=2,
        metavar=("MEAN", "MAX"),
        help="allowed differences of outputs, in place of 1e-6 and 1e-5; the report says so",
    )


def run_align(arguments: argparse.Namespace) -> int:
    """Run it; 1 if any stage fails."""
    from pphub.alignment.report import report_document
    from pphub.alignment.run import align
    from pphub.progress import choose_progress
    from pphub.units import plain

    # What is imported for Paddle's side shows whatever others log, and a hub's client logs each request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    found = align(
        arguments.name,
        arguments.against,
        arguments.stages,
        task=arguments.task,
        data=arguments.data,
        report=arguments.report,
        reprod_log=arguments.reprod_log,
        device=arguments.device,
        low_memory=arguments.low_memory,
        tolerance=tuple(arguments.tolerance) if arguments.tolerance else None,
        steps=arguments.steps,
        revision=arguments.revision,
        source=arguments.source,
        offline=arguments.offline,
        progress=choose_progress(quiet=arguments.quiet or arguments.json),
    )
    if arguments.json:
        from pphub.cli.printing import print_json

        print_json(report_document(found))
        return 0 if found.passed else 1
    for stage in found.stages:
        print(plain(stage_line(stage)))
    for problem in found.problems:
        print(plain(f"void: {problem}"))
    if not arguments.quiet:
        for stage in found.stages:
            for note in stage.notes:
                print(plain(f"{stage.name}: {note}"), file=sys.stderr)
        if found.recorded:
            print(f"recorded in {found.recorded}", file=sys.stderr)
    return 0 if found.passed else 1


def stage_line(stage: StageResult) -> str:
    """One line: what, whether, figures, and why if not."""
    line = f"{stage.name:10}  {stage.status:7}"
    if stage.mean is not None and stage.max is not None and stage.scaled is not None:
        line += f"  mean {stage.mean:.2e}  max {stage.max:.2e}"
        allowed = f"{stage.tolerance.mean:g} and {stage.tolerance.max:g}"
        if stage.scaled != (stage.mean, stage.max):
            line += f"  scaled {stage.scaled[0]:.2e} and {stage.scaled[1]:.2e}"
        line += f"  allowed {allowed}  {len(stage.differences)} arrays"
    if stage.parameters is not None:
        equal = stage.parameters.compared - len(stage.parameters.unequal)
        line += f", {equal} of {stage.parameters.compared} parameters equal"
    layers = len({each.torch for each in stage.layers if each.difference is not None and each.kind == "layer"})
    if layers:
        line += f", {layers} layers"
    if stage.reason:
        line += f"  {' '.join(stage.reason.split())}"
    worst = stage.worst
    if stage.status == "failed" and worst is not None and worst.worst is not None:
        at = worst.worst
        line += f"; worst at {list(at.index)} of {worst.name}: torch {at.torch:.7g}, Paddle {at.paddle:.7g}"
    return line
