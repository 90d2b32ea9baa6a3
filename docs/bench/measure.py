"""Rounds, tables, and processes that are timed from outside or from inside."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[2]
WORK: Final = ROOT / ".cache" / "bench"
ROUNDS: Final = int(os.environ.get("BENCH_ROUNDS", "5"))
PYTHON: Final = sys.executable
HUB: Final = str(Path(sys.executable).with_name("hub"))

# What the user has set for the programs that are measured; proxies and tokens are none of their business here.
_PRIVATE: Final = ("HF_", "HUGGING", "PPNLP_", "PPHUB_", "MODELSCOPE", "TRANSFORMERS", "XDG_", "PYTHON")

LAUNCH: Final = """
import os, sys, time
null = os.open(os.devnull, os.O_RDWR)
silent = [(os.POSIX_SPAWN_DUP2, null, stream) for stream in (1, 2)]
begin = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - begin, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Run:
    """One measurement: seconds, and the peak memory in KiB (mapped pages included) of a process that was measured."""

    seconds: float
    peak: int | None = None


@dataclass
class Series:
    """The measurements of one row."""

    runs: list[Run] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def peak(self) -> float | None:
        """MB of the largest run."""
        peaks = [run.peak for run in self.runs if run.peak is not None]
        return max(peaks) / 1024 if peaks else None

    def row(self, name: str, base: float, unit: str) -> str:
        """A line of a table."""
        scale = {"s": 1, "ms": 1000}[unit]
        low, high = (scale * pick(run.seconds for run in self.runs) for pick in (min, max))
        cells = [name, f"{scale * self.median:.3f} {unit}", f"{low:.3f}–{high:.3f} {unit}", f"{self.median / base:.2f}"]
        if self.peak is not None:
            cells.append(f"{self.peak:.0f} MB")
        return f"| {' | '.join(cells)} |"


def compare(
    title: str,
    rows: Mapping[str, Callable[[], Run]],
    *,
    rounds: int = ROUNDS,
    warm_up: bool = True,
    unit: str = "s",
) -> dict[str, Series]:
    """Measure the rows in turn in each round and print a table; ratios are to the first row.

    Args:
        title: the headline.
        rows: what measures once, by the name that the table shows.
        rounds: how often.
        warm_up: whether there is a round before, which is not counted.
        unit: of the times that are shown, ``s`` or ``ms``.
    """
    series = {name: Series() for name in rows}
    for turn in range(-1 if warm_up else 0, rounds):
        for name, measure in rows.items():
            run = measure()
            if turn >= 0:
                series[name].runs.append(run)
    first = next(iter(series.values()))
    with_peak = first.peak is not None
    print(f"\n## {title} ({rounds} round{'s' * (rounds != 1)})\n")
    print(f"| what | median | min–max | ratio |{' peak memory |' * with_peak}")
    print(f"|---|---|---|---|{'---|' * with_peak}")
    for name, values in series.items():
        print(values.row(name, first.median, unit), flush=True)
    return series


def tell(*lines: str) -> None:
    """Print what there is to say of a table."""
    print()
    for line in lines:
        print(f"- {line}", flush=True)


def target(text: str, value: float, unit: str = "", *, at_most: float | None = None, at_least: float = 0) -> str:
    """Whether something is as it should be.

    Args:
        text: what ``value`` is.
        value: as measured.
        unit: what stands behind the numbers, with a space if there is to be one.
        at_most: the upper limit, if there is one.
        at_least: the lower limit; one of the two is given.
    """
    met = value >= at_least and (at_most is None or value <= at_most)
    limit = f"at least {at_least:g}{unit}" if at_most is None else f"at most {at_most:g}{unit}"
    return f"{text}: {value:.3g}{unit}, target {limit}: {'met' if met else '**missed**'}"


def environment(home: Path, **more: str) -> dict[str, str]:
    """One home for all that a program keeps, and nothing of the user's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_PRIVATE) and not name.lower().endswith("_proxy")
    }
    ours = {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "MODELSCOPE_CACHE": str(home / "ms"),
        "PPNLP_HOME": str(home / "pphub"),
        "PPHUB_SOURCES": "hf",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return {**kept, **ours, **more}


def fresh_home() -> Path:
    """An empty home; what an earlier run wrote is gone, also from what the disk has yet to write."""
    home = WORK / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    os.sync()
    return home


def time_command(command: Sequence[str], env: Mapping[str, str] | None = None, *, codes: Sequence[int] = (0,)) -> Run:
    """One whole process, from outside."""
    # A child's peak memory starts from what its parent has, so the parent is as small a Python as there is.
    launcher = [PYTHON, "-I", "-S", "-c", LAUNCH, *command]
    with subprocess.Popen(launcher, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            answer, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    seconds, peak, code = answer.split()
    _check(command, int(code), codes)
    return Run(float(seconds), int(peak))


def time_together(commands: Sequence[Sequence[str]], env: Mapping[str, str]) -> Run:
    """Processes that run at the same time, until the last has ended."""
    processes: list[subprocess.Popen[bytes]] = []
    begin = time.perf_counter()
    try:
        for command in commands:
            processes.append(subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        codes = [process.wait() for process in processes]
    finally:
        seconds = time.perf_counter() - begin
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    for command, code in zip(commands, codes, strict=True):
        _check(command, code, (0,))
    return Run(seconds)


def ask_process(code: str, *arguments: str, env: Mapping[str, str] | None = None) -> list[str]:
    """What a few lines of Python say in the last line that they print, word by word."""
    command = [PYTHON, "-c", code, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    _check(command, done.returncode, (0,), done.stderr[-2000:])
    return done.stdout.splitlines()[-1].split() if done.stdout else []


def _check(command: Sequence[str], code: int, accepted: Sequence[int], said: str = "") -> None:
    if code not in accepted:
        raise SystemExit(f"{' '.join(command)}\nfailed with exit code {code}\n{said}")
