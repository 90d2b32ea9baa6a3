"""Shows how long work goes: bars on a terminal, one line a file when piped, nothing when asked to be quiet."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from pphub.units import human_size, plain, shown
from pphub_cache.progress import Progress, SilentProgress, Task

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["BarProgress", "LineProgress", "choose_progress"]

_LARGE: Final = 8 << 20  # a smaller file is done before its bar could be read
_MOST_BARS: Final = 6
_INTERVAL: Final = 0.1  # seconds between two pictures
_SAMPLES: Final = 100  # pictures that the rate is taken over: the last ten seconds
_SHORTEST_BAR: Final = 8  # columns


class BarProgress:
    """A bar for each large file and one for all, on a terminal.

    tqdm makes the bars, and they are placed here: its own way with several is many small writes, each bar at its own
    pace. A picture is one write, about ten times a second at most, and leaves the cursor below, so that what others
    print starts on a line of its own.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()  # over all here but the counts of tasks
        self._expected: _Total | None = None
        self._totals: list[_Total] = []
        self._height = 0  # lines of the last picture
        self._ascii = "utf" not in (stream.encoding or "").lower()
        self.due = 0.0

    def expect(self, files: int, size: int) -> None:
        """Begin a new total; what an earlier one still waits for is forgotten."""
        with self._lock:
            self._totals = [total for total in self._totals if total is not self._expected]
            self._expected = _Total(None, files, size) if files else None
            if self._expected is not None:
                self._totals.append(self._expected)

    def start(self, name: str, size: int | None, done: int = 0) -> Task:
        """A file of the expected, or, when none is expected, something by itself."""
        with self._lock:
            total = self._expected
            if total is None:
                total = _Total(name, 1, size)
                self._totals.append(total)
            task = _BarTask(self, total, self._title(name), size, done)
            total.begin(task)
            self._draw_if_due()
        return task

    def skip(self, name: str, size: int) -> None:
        """Count a file that is here."""
        with self._lock:
            if self._expected is not None:
                self._expected.add(self._title(name), size, size)
                self._count(self._expected)

    def note(self, text: str) -> None:
        """Write a line above the bars."""
        with self._lock:
            self._draw(above=plain(text))

    def tick(self) -> None:
        """Draw, unless another thread is at it."""
        if self._lock.acquire(blocking=False):
            try:
                self._draw_if_due()
            finally:
                self._lock.release()

    def end(self, task: _BarTask, *, complete: bool) -> None:
        """Take a task's bar away; the second end of a task is none."""
        with self._lock:
            total = task.total
            if task not in total.tasks:
                return
            total.end(task)
            if complete:
                total.add(task.title, task.done if task.size is None else task.size, task.here)
                self._count(total, at_once=task.has_bar())
            else:
                # Bars must be gone before the error is printed. They come again if there is a next file.
                total.hidden = not total.tasks
                if total.hidden:
                    self._totals = [other for other in self._totals if other is not total or other is self._expected]
                self._draw()

    def _count(self, total: _Total, *, at_once: bool = False) -> None:
        """After a file has been added: the last one ends the total."""
        if total.counted == total.files and total in self._totals:
            self._totals.remove(total)
            if total is self._expected:
                self._expected = None
            self._draw(above=total.summary())
        elif at_once:
            self._draw()
        else:
            self._draw_if_due()

    def _title(self, name: str) -> str:
        # Written out here where the stream would do it, so that the width is known.
        encoding = self._stream.encoding or "ascii"
        return shown(name).encode(encoding, "backslashreplace").decode(encoding)

    def _draw_if_due(self) -> None:
        if monotonic() >= self.due:
            self._draw()

    def _draw(self, above: str | None = None) -> None:
        columns, rows = _terminal_size(self._stream)
        now = monotonic()
        totals = [total for total in self._totals if not total.hidden]
        room = max(0, min(_MOST_BARS, rows - 2 - len(totals)))
        files = [task for total in totals if total.files > 1 for task in total.tasks if task.has_bar()]
        told = [_Row(task.title, task.done, task.size, []) for task in files[:room]]
        told += [_Row(total.title(), total.done(), total.size, total.pace(now)) for total in totals]
        lines = _lines(told, columns - 1, ascii_only=self._ascii)
        if lines or self._height or above is not None:
            up = f"\x1b[{self._height}A" if self._height else ""
            text = "" if above is None else f"\x1b[J{above}\n"
            picture = "".join(f"{line}\x1b[K\n" for line in lines)
            self._height = len(lines)
            _write(self._stream, f"\r{up}{text}{picture}\x1b[J")
        self.due = monotonic() + _INTERVAL


class _BarTask:
    """One file under way; its count has a lock of its own, so that no thread waits for another's."""

    def __init__(self, board: BarProgress, total: _Total, title: str, size: int | None, done: int) -> None:
        self.total = total
        self.title = title
        self.size = size
        self.done = done
        self.here = done  # how many of these were not fetched
        self.moved = 0  # bytes that have come, also in vain: what the rate is taken from
        self._board = board
        self._lock = threading.Lock()

    def advance(self, count: int) -> None:
        """Count, and now and then draw."""
        with self._lock:
            self.done += count
            if count > 0:
                self.moved += count
            else:
                self.here = min(self.here, self.done)
        if monotonic() >= self._board.due:
            self._board.tick()

    def finish(self) -> None:
        """Count the file as done."""
        self._board.end(self, complete=True)

    def stop(self) -> None:
        """Take the bar away."""
        self._board.end(self, complete=False)

    def has_bar(self) -> bool:
        """Whether it is large; one of unknown size as soon as that shows."""
        return max(self.size or 0, self.done) >= _LARGE


class _Total:
    """Several files together, or one by itself; guarded by the lock of its board."""

    def __init__(self, title: str | None, files: int, size: int | None) -> None:
        self.files = files
        self.size = size
        self.counted = 0
        self.tasks: list[_BarTask] = []
        self.hidden = True  # until there is something to show
        self._title = title
        self._done = 0  # bytes of the files that were counted
        self._here = 0
        self._moved = 0  # by tasks that have ended
        self._began = monotonic()
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)

    def begin(self, task: _BarTask) -> None:
        """A file of these is under way."""
        self.tasks.append(task)
        self.hidden = False
        self._title = task.title
        if not self._samples:
            self._samples.append((monotonic(), 0))

    def end(self, task: _BarTask) -> None:
        """It no longer is; what was fetched stays in the rate."""
        self.tasks.remove(task)
        self._moved += task.moved

    def add(self, title: str, size: int, here: int) -> None:
        """One file more is done, of which so many bytes were here."""
        self.counted += 1
        self.hidden = False
        self._title = title
        self._done += size
        self._here += here

    def title(self) -> str:
        """What stands before the bar."""
        return f"{self.counted}/{self.files} files" if self.files > 1 else self._title or ""

    def done(self) -> int:
        """Bytes in all, wherever they are from."""
        return self._done + sum(task.done for task in self.tasks)

    def pace(self, now: float) -> list[str]:
        """The rate of the last seconds and, where the end is known, the time left at that rate."""
        from tqdm import tqdm

        moved = self._moved + sum(task.moved for task in self.tasks)
        since, before = self._samples[0] if self._samples else (now, moved)
        rate = (moved - before) / max(_INTERVAL, now - since)
        if self._samples and now - self._samples[-1][0] >= _INTERVAL:
            self._samples.append((now, moved))
        told = [f"{human_size(rate)}/s"]
        if self.size:
            told.append(f"{tqdm.format_interval(max(0, self.size - self.done()) / rate) if rate else '?'} left")
        return told

    def summary(self) -> str:
        """What is left to read in the end: `200 files, 12.3 MiB in 0.4 s`."""
        told = f"{f'{self.files} files' if self.files > 1 else self._title}, {human_size(self._done)}"
        if self._here >= self._done > 0:
            return f"{told}, here already"
        seconds = monotonic() - self._began
        told += f" in {seconds:.1f} s" if seconds < 60 else f" in {seconds // 60:.0f} min {seconds % 60:.0f} s"
        return f"{told}, {human_size(self._here)} of it here already" if self._here else told


class LineProgress:
    """One line a file, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def expect(self, files: int, size: int) -> None:
        """Say nothing."""

    def start(self, name: str, size: int | None, done: int = 0) -> Task:  # noqa: ARG002  all of it is told in the end
        """Remember the file."""
        return _LineTask(self, f"{shown(name)} ({size} bytes)" if size is not None else shown(name))

    def skip(self, name: str, size: int) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Write a line, in one piece: others write too."""
        with self._lock:
            _write(self._stream, f"{plain(text)}\n")


class _LineTask:
    def __init__(self, log: LineProgress, line: str) -> None:
        self._log = log
        self._line = line

    def advance(self, count: int) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say that the file is done."""
        self._log.note(self._line)

    def stop(self) -> None:
        """Say nothing."""


def choose_progress(*, quiet: bool = False) -> Progress:
    """Bars on a terminal, lines when piped, silence when quiet."""
    if quiet or sys.stderr is None:  # a program without a console
        return SilentProgress()
    drawable = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"  # a dumb one cannot go up a line
    return BarProgress(sys.stderr) if drawable else LineProgress(sys.stderr)


def _write(stream: TextIO, text: str) -> None:
    """What cannot be shown is no reason to fail."""
    with contextlib.suppress(OSError):
        stream.write(text)
        stream.flush()


class _Row(NamedTuple):
    """What one line of a picture says."""

    title: str
    done: int
    size: int | None
    pace: list[str]


def _terminal_size(stream: TextIO) -> tuple[int, int]:
    """Columns and rows as they are now; some terminals do not know theirs."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, rows = 0, 0
    return columns or 80, rows or 24


def _lines(rows: list[_Row], width: int, *, ascii_only: bool) -> list[str]:
    """Titles in one column, each with its percentage, bar and facts."""
    if not rows:
        return []
    from tqdm.utils import disp_len, disp_trim

    column = min(40, width // 2, max(disp_len(row.title) for row in rows))
    return [str(disp_trim(_line(row, column, width, ascii_only=ascii_only), width)) for row in rows]


def _line(row: _Row, column: int, width: int, *, ascii_only: bool) -> str:
    """Where there is no room for all, the first facts go, then the bar."""
    from tqdm import tqdm
    from tqdm.utils import disp_len

    title, done, size, pace = row
    if not size or done > size:
        return f"{_cut(title, column)} {', '.join((human_size(done), *pace))}"
    for facts in ([human_size(done, size), *pace], pace):
        tail = f" {', '.join(facts)}" if facts else ""
        if width - column - len(" 100%||") - len(tail) >= _SHORTEST_BAR:
            form = f"{{desc}} {{percentage:3.0f}}%|{{bar}}|{tail}"
            return tqdm.format_meter(done, size, 0, width, _cut(title, column), ascii=ascii_only, bar_format=form)
    percentage = f"{100 * done / size:3.0f}%"
    tails = [", ".join((percentage, *pace[start:])) for start in range(len(pace))]
    tail = next((tail for tail in tails if disp_len(title) + 1 + len(tail) <= width), percentage)
    return f"{_cut(title, width - 1 - len(tail)).rstrip()} {tail}"


def _cut(text: str, width: int) -> str:
    """A text of this width: filled with blanks, or without its middle. The head, which numbers shards, gets more."""
    from tqdm.utils import disp_len

    if disp_len(text) > width:
        start, end = text[: max(0, width)], text[-max(1, width) :]
        while start and disp_len(start) + disp_len(end) > width - 3:
            start, end = (start[:-1], end) if len(start) > 2 * len(end) else (start, end[1:])
        text = f"{start}...{end}"
    return text + " " * (width - disp_len(text))
