"""How work tells of itself: on a real pseudo-terminal, whose screen is read back, and into a pipe."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest
from tqdm.utils import disp_len

import berts
import pphub
from pphub.progress import BarProgress, LineProgress
from pphub_cache.progress import SilentProgress

if TYPE_CHECKING:
    from pathlib import Path

    from pphub_cache.progress import Task

M = 1 << 20
BEGIN = """
import sys, threading, time
from pphub.progress import choose_progress
M = 1 << 20
progress = choose_progress()
"""
PICTURE = "\x1b[J"  # ends each


def play(script: str, columns: int = 100, rows: int = 30, **env: str) -> list[list[str]]:
    """Run a script with its standard error on a terminal of this size: the screen after each picture and in the end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-c", BEGIN + script],
        stdin=subprocess.DEVNULL,
        stderr=slave,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace", "TERM": "xterm", **env},
    )
    os.close(slave)
    told = b""
    try:
        while block := os.read(master, 1 << 16):
            told += block
    except OSError:  # how a terminal says that nobody holds it any more
        pass
    os.close(master)
    assert child.wait(30) == 0, told.decode()
    screen = Screen()
    pictures = []
    for part in re.split(f"(?<={re.escape(PICTURE)})", told.decode()):
        screen.feed(part)
        pictures.append([line.rstrip() for line in screen.lines if line.strip()])
    return pictures


class Screen:
    """A terminal, as far as progress is drawn: it never scrolls, and fails at anything it does not know."""

    def __init__(self) -> None:
        self.lines = [""]
        self.row = self.column = 0

    def feed(self, text: str) -> None:
        for part in re.findall(r"\x1b\[\d*[A-Z]|[\r\n]|[^\r\n\x1b]+|\x1b", text):
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif part.endswith("A") and part[0] == "\x1b":
                self.row -= int(part[2:-1])
                assert self.row >= 0
            elif part == "\x1b[K":
                self.lines[self.row] = self.lines[self.row][: self.column]
            elif part == PICTURE:
                self.lines[self.row :] = [self.lines[self.row][: self.column]]
            else:
                assert part.isprintable(), part
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + part + line[self.column + len(part) :]
                self.column += len(part)


# -- bars -----------------------------------------------------------------------------------------------------


def test_what_is_here_counts_in_the_total_and_not_for_the_rate() -> None:
    pictures = play("""
progress.expect(4, 200 * M)
progress.skip("here.bin", 60 * M)
progress.start("same.bin", 40 * M, 40 * M).finish()
task = progress.start("rest.bin", 80 * M, 50 * M)
for _ in range(10):
    time.sleep(0.05)
    task.advance(M)
progress.note("now")
task.advance(20 * M)
task.finish()
task.finish()
task.stop()
task = progress.start("last.bin", 20 * M)
task.advance(20 * M)
task.finish()
""")
    total = next(picture for picture in pictures if "now" in picture)[-1]
    assert re.match(r"2/4 files +80%\|█+. *\| 160.0/200.0 MiB, .* MiB/s, 00:0[1-9] left$", total)
    rate = re.search(r"([\d.]+) MiB/s", total)
    assert rate
    assert 2 < float(rate[1]) <= 20
    assert len(pictures[-1]) == 2  # the note and the end
    assert re.fullmatch(r"4 files, 200.0 MiB in \d\.\d s, 150.0 MiB of it here already", pictures[-1][-1])


def test_a_cache_that_has_all() -> None:
    pictures = play("""
progress.expect(2, 3 * M)
progress.skip("a", M)
progress.skip("b", 2 * M)
""")
    assert pictures[-1] == ["2 files, 3.0 MiB, here already"]


def test_bytes_that_come_again_are_not_told_as_here() -> None:
    pictures = play("""
progress.expect(1, 50 * M)
task = progress.start("m.bin", 50 * M, 30 * M)
task.advance(-30 * M)
time.sleep(0.2)
task.advance(40 * M)
progress.note("now")
task.advance(10 * M)
task.finish()
task.stop()
task.finish()
""")
    line = next(picture for picture in pictures if "now" in picture)[-1]
    assert re.match(r"m.bin +80%\|.*\| 40.0/50.0 MiB, 1?\d\d\.\d MiB/s", line)
    assert re.fullmatch(r"m.bin, 50.0 MiB in 0.\d s", pictures[-1][-1])


def test_small_files_have_no_bar() -> None:
    pictures = play("""
progress.expect(201, 20 * M + 200 * 1000)
large = progress.start("large.bin", 20 * M)
tasks = [progress.start(f"small{number}.json", 1000) for number in range(5)]
for number in range(5, 205):
    if number < 200:
        tasks.append(progress.start(f"small{number}.json", 1000))
    time.sleep(0.002)
    task = tasks.pop(0)
    task.advance(1000)
    task.finish()
large.advance(20 * M)
large.finish()
""")
    everything = "\n".join(line for picture in pictures for line in picture)
    assert "small" not in everything
    assert re.search(r"large.bin +0%\|", everything)
    assert re.search(r"^1\d\d/201 files", everything, re.MULTILINE)
    assert len(pictures[-1]) == 1
    assert re.fullmatch(r"201 files, 20.2 MiB in \d\.\d s", pictures[-1][0])


@pytest.mark.parametrize(("rows", "most"), [(30, 7), (6, 4), (3, 1)])
def test_six_bars_at_most_and_no_more_than_fit(rows: int, most: int) -> None:
    pictures = play(
        """
progress.expect(9, 90 * M)
tasks = [progress.start(f"{number}.bin", 10 * M) for number in range(9)]
for task in tasks:
    task.advance(10 * M)
    task.finish()
""",
        rows=rows,
    )
    assert max(map(len, pictures)) == most
    assert all(picture[-1].startswith(f"{picture[-1][0]}/9 files") for picture in pictures[:-2] if picture)
    assert re.fullmatch(r"9 files, 90.0 MiB in 0.\d s", pictures[-1][0])


def test_one_file_has_one_bar() -> None:
    pictures = play("""
progress.expect(1, 20 * M)
task = progress.start("only.bin", 20 * M)
for _ in range(20):
    time.sleep(0.01)
    task.advance(M)
task.finish()
task = progress.start("model_state.pdparams", 2 * M)
task.advance(M)
progress.note("half")
task.advance(M)
task.finish()
task = progress.start("unknown", None)
task.advance(9 * M)
progress.note("more")
time.sleep(0.11)
task.advance(1 - 9 * M)
""")
    assert max(len(picture) for picture in pictures if not any("only.bin," in line for line in picture)) == 1
    assert any(re.match(r"only.bin +\d+%\|.* MiB/s, 00:00 left$", picture[0]) for picture in pictures if picture)
    assert re.fullmatch(r"only.bin, 20.0 MiB in 0.\d s", pictures[-1][0])
    half = next(picture for picture in pictures if "half" in picture)
    assert re.match(r"model_state.pdparams +50%\|", half[-1])
    more = next(picture for picture in pictures if "more" in picture)
    assert re.fullmatch(r"unknown 9.0 MiB, \d+.\d MiB/s", more[-1])
    assert re.fullmatch(r"unknown 1 B, \d+.\d MiB/s", pictures[-1][-1])


def test_notes_stay_above_the_bars() -> None:
    pictures = play(r"""
progress.note("before")
progress.expect(2, 20 * M)
tasks = [progress.start(name, 10 * M) for name in ("a", "b")]
for number in range(5):
    progress.note(f"note {number}\nand \x1b[2J\r more")
for task in tasks:
    task.finish()
progress.note("after")
""")
    notes = [line for number in range(5) for line in (f"note {number}", r"and \x1b[2J\r more")]
    assert pictures[-1][:11] == ["before", *notes]
    assert re.fullmatch(r"2 files, 20.0 MiB in 0.\d s", pictures[-1][11])
    assert pictures[-1][12:] == ["after"]


def test_a_stop_leaves_a_clean_line_for_the_error() -> None:
    pictures = play("""
progress.expect(3, 60 * M)
tasks = [progress.start(name, 20 * M) for name in ("a", "b")]
tasks[0].advance(15 * M)
tasks[1].advance(5 * M)
for task in tasks:
    task.stop()
print("stopped", file=sys.stderr, flush=True)
task = progress.start("a", 20 * M, 15 * M)
progress.note("goes on")
task.stop()
progress.expect(2, 10 * M)
progress.start("c", 5 * M).finish()
progress.start("d", 5 * M).finish()
print("hub: error", file=sys.stderr)
""")
    first = next(picture for picture in pictures if "stopped" in picture)
    assert first[0] == "stopped"
    again = next(picture for picture in pictures if "goes on" in picture and len(picture) > 2)
    assert re.match(r"0/3 files +25%\|", again[-1])
    assert re.fullmatch(r"2 files, 10.0 MiB in 0.\d s", pictures[-1][-2])
    assert pictures[-1][:2] + pictures[-1][3:] == ["stopped", "goes on", "hub: error"]


def test_other_output_starts_on_a_line_of_its_own() -> None:
    pictures = play("""
progress.expect(3, 60 * M)
progress.start("a", 20 * M)
print("hub: error", file=sys.stderr)
""")
    assert [line.split()[0] for line in pictures[-1]] == ["a", "0/3", "hub:"]


@pytest.mark.parametrize(("columns", "rows"), [(200, 50), (80, 24), (60, 24), (40, 12), (20, 5), (5, 3), (0, 0)])
def test_any_terminal(columns: int, rows: int) -> None:
    script = r"""
names = ["folder/model-00001-of-00002.safetensors", "库/" + "模型" * 60 + ".bin", "evil\x1b[2J\r.bin", "x" * 250]
progress.expect(len(names) + 1, 16 * M * len(names))
progress.skip("here", 0)
tasks = [progress.start(name, 16 * M) for name in names]
for _ in range(10):
    time.sleep(0.02)
    for task in tasks:
        task.advance(M)
"""
    pictures = play(script, columns, rows)
    assert max(disp_len(line) for picture in pictures for line in picture) < (columns or 80)
    assert all(len(picture) <= max(1, (rows or 24) - 2) for picture in pictures)
    lines = pictures[-1]
    if columns in {80, 200, 0}:
        assert any(line.startswith(r"'evil\x1b[2J\r.bin'") for line in lines)
        assert re.match(r"1/5 files +\d+%\|█.*\|.* \d+.\d MiB/s, 00:0\d left$", lines[-1])
    if columns >= 40:
        assert any(re.match(r"folder/mod.*s +\d+%\|█+", line) for line in lines)
    if columns == 40:
        assert re.match(r"1/5 files +\d+%, .* left$", lines[-1])


def test_bars_of_letters_where_the_terminal_has_no_others() -> None:
    script = """
task = progress.start("größe 模.bin", 16 * M)
task.advance(8 * M)
progress.note("now")
"""
    pictures = play(script, PYTHONIOENCODING="ascii:backslashreplace")
    assert re.match(r"gr\\xf6\\xdfe \\u6a21.bin +50%\|#+[ \d]*\| 8.0/16.0 MiB", pictures[-1][-1])


def test_many_threads_count_exactly_and_draw_ten_times_a_second() -> None:
    pictures = play("""
sys.setswitchinterval(1e-5)
progress.expect(2, 960)
tasks = [progress.start("a", 480), progress.start("b", 480)]
end = time.monotonic() + 1
def run():
    for task in tasks:
        task.advance(30)
    while time.monotonic() < end:
        for task in tasks:
            for count in (7, 3, -10):
                task.advance(count)
threads = [threading.Thread(target=run) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
progress.note("now")
""")
    assert re.match(r"0/2 files +50%\|.*\| 480/960 B, ", pictures[-1][-1])
    assert 5 <= len(pictures) <= 16


def test_many_threads_with_files_of_their_own() -> None:
    pictures = play("""
progress.expect(400, 400 * 1000)
def run(first):
    for number in range(first, 400, 8):
        task = progress.start(f"{number}.json", 1000, 10 * (number % 2))
        if number % 3:
            task.advance(990)
            task.stop()
            task = progress.start(f"{number}.json", 1000)
        for _ in range(100):
            task.advance(10)
        if number % 5 == 0:
            progress.note(f"note {number}")
        task.finish()
threads = [threading.Thread(target=run, args=(first,)) for first in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
""")
    *notes, end = pictures[-1]
    assert sorted(notes) == sorted(f"note {number}" for number in range(0, 400, 5))
    assert re.match(r"400 files, 390.6 KiB in \d\.\d s", end)


def test_advance_is_cheap() -> None:
    progress = BarProgress(io.StringIO())
    progress.expect(2, 1 << 40)
    task = progress.start("m.bin", 1 << 40)
    rounds = []
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(2000):
            task.advance(1 << 18)
        rounds.append((time.perf_counter() - began) / 2000)
    assert min(rounds) < 2e-6


# -- lines, and silence ---------------------------------------------------------------------------------------


LINES = """
progress.expect(8, 8)
progress.skip("here", 1)
def run(first):
    for number in range(200):
        task = progress.start(f"{first}-{number}.bin", number, 1)
        task.advance(5)
        if number % 2:
            task.finish()
        else:
            task.stop()
            progress.note(f"{first}-{number} stopped")
threads = [threading.Thread(target=run, args=(first,)) for first in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert "tqdm" not in sys.modules
"""


def test_lines_are_whole_and_tqdm_is_not_imported() -> None:
    told = subprocess.run([sys.executable, "-c", BEGIN + LINES], capture_output=True, text=True, check=True).stderr
    finished = [f"{first}-{number}.bin ({number} bytes)" for first in range(8) for number in range(1, 200, 2)]
    stopped = [f"{first}-{number} stopped" for first in range(8) for number in range(0, 200, 2)]
    assert sorted(told.splitlines()) == sorted(finished + stopped)


def test_a_terminal_that_cannot_go_up_gets_lines() -> None:
    pictures = play("progress.start('a.bin', 5).finish()", TERM="dumb")
    assert pictures == [["a.bin (5 bytes)"]]


def test_a_line_is_one_write() -> None:
    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    writes: list[str] = []
    progress = LineProgress(Stream())
    progress.start("evil\r\x1b.bin", 5).finish()
    progress.start("unknown", None).finish()
    progress.note("a note\x07")
    assert writes == ["'evil\\r\\x1b.bin' (5 bytes)\n", "unknown\n", "a note\\x07\n"]


def test_quiet_is_silent() -> None:
    script = """
progress = choose_progress(quiet=True)
progress.expect(1, 5)
progress.skip("a", 5)
progress.note("x")
task = progress.start("b", 5, 1)
task.advance(4)
task.stop()
task.finish()
assert "tqdm" not in sys.modules
"""
    assert play(script) == [[]]


# -- conversion -----------------------------------------------------------------------------------------------


class Recorder(SilentProgress):
    """Remembers what it was told, and can be interrupted."""

    def __init__(self, *, interrupt: bool = False) -> None:
        self.told: list[tuple[str, object]] = []
        self.interrupt = interrupt

    def start(self, name: str, size: int | None, done: int = 0) -> Task:
        self.told.append((name, size))
        return self

    def advance(self, count: int) -> None:
        if self.interrupt:
            raise KeyboardInterrupt
        self.told.append(("advance", count))

    def finish(self) -> None:
        self.told.append(("finish", None))

    def stop(self) -> None:
        self.told.append(("stop", None))


def test_a_conversion_is_a_task(tmp_path: Path) -> None:
    settings = berts.config()
    berts.write_bin(tmp_path / "model", settings, berts.state(settings))
    recorder = Recorder()
    pphub.convert(tmp_path / "model", tmp_path / "out", progress=recorder)
    (name, size), *advances, end = recorder.told
    assert (name, end) == ("model_state.pdparams", ("finish", None))
    assert size == sum(count for _, count in advances if isinstance(count, int))

    interrupted = Recorder(interrupt=True)
    with pytest.raises(KeyboardInterrupt):
        pphub.convert(tmp_path / "model", tmp_path / "other", progress=interrupted)
    assert interrupted.told == [(name, size), ("stop", None)]
    assert not (tmp_path / "other").exists()
