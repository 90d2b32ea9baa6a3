"""Death at any moment, and company: what is left is never wrong, and nothing is done twice."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from hubs import Hub, slow, tiny_bert
from killing import Process, check_nothing_wrong, pipe, result
from pphub.api import prepare
from pphub.cached import cached_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is no signal there")

REPO = "org/bert"
MODEL = tiny_bert(hidden=128, words=4000)  # about 3 MB

# Waits for a line once everything is imported, so that a moment counts from the start of the work. The audit hook
# sees each change of the disk before it is made: the n-th of them below the home kills the process.
CHILD = f"""
import os, signal, sys
import huggingface_hub.utils, requests
import pphub.api
from pphub.conversion import job
from pphub.registry import load_source
load_source("hf")
events, last = 0, int(sys.argv[1])
changes = "open os.rename os.symlink os.link os.mkdir os.remove os.chmod os.rmdir shutil.rmtree".split()
def watch(event, args):
    global events
    if event in changes and any(str(arg).startswith(os.environ["PPNLP_HOME"]) for arg in args):
        events += 1
        if events == last:
            os.kill(os.getpid(), signal.SIGKILL)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with it ignored
print("ready", flush=True)
sys.stdin.readline()
sys.addaudithook(watch)
print(pphub.api.prepare({REPO!r}), flush=True)
print(events, flush=True)
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub.open(tmp_path / "hub", {REPO: MODEL}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        yield running


class Child(Process):
    """Prepares the model once it is told to go."""

    def __init__(self, home: Path, die_at: int = 0) -> None:
        super().__init__(home, CHILD, str(die_at))


@pytest.fixture
def undisturbed(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, bytes], int]:
    """The right result, and how many changes of the disk lead there."""
    home = tmp_path / "undisturbed"
    child = Child(home)
    child.go()
    code, out, err = child.end()
    assert code == 0, err
    folder, events = out.splitlines()
    assert folder.startswith(str(home / "hub/converted"))
    with monkeypatch.context() as patch:
        patch.setenv("PPNLP_HOME", str(home))
        assert str(prepare(REPO)) == folder
    return result(home / folder), int(events)


def test_killed_before_any_change_of_the_disk(
    hub: Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: tuple[dict[str, bytes], int]
) -> None:
    right, events = undisturbed
    assert events > 40
    points = sorted({1 + number * (events - 1) // 27 for number in range(28)})
    children: dict[int, Child] = {}
    for index, point in enumerate(points):
        # Two at a time: while one works, the next one imports.
        for ahead in points[index : index + 2]:
            if ahead not in children:
                children[ahead] = Child(tmp_path / f"home {ahead}", ahead)
        child = children[point]
        child.go()
        code, out, err = child.end()
        # How many changes there are depends a little on the timing of threads, so the last may not be reached.
        assert code == -signal.SIGKILL or (code == 0 and point > 0.9 * events), (point, code, out, err)
        lived = tmp_path / f"home {point}"
        check_nothing_wrong(lived, MODEL)
        monkeypatch.setenv("PPNLP_HOME", str(lived))
        assert result(prepare(REPO)) == right, f"killed at change {point} of {events}"
        check_nothing_wrong(lived, MODEL)
        assert list((lived / "hub/partial").iterdir()) == []


def test_killed_again_and_again_in_one_home(hub: Hub, home: Path, undisturbed: tuple[dict[str, bytes], int]) -> None:
    """At moments of the clock, most of them in the middle of the weights."""
    right, _ = undisturbed
    hub.on("model.safetensors", slow(0.01))  # half a second
    moments = [0.04 * number for number in range(1, 14)]
    following = Child(home)
    for moment in moments:
        child, following = following, Child(home)
        child.go()
        time.sleep(moment)
        child.process.kill()
        code, _, err = child.end()
        assert code == -signal.SIGKILL or (moment > 0.3 and code == 0), err
        check_nothing_wrong(home, MODEL)
    following.go()
    code, _, err = following.end()
    assert code == 0, err
    assert result(prepare(REPO)) == right
    assert list((home / "hub/partial").iterdir()) == []


def test_interrupted(hub: Hub, home: Path, undisturbed: tuple[dict[str, bytes], int]) -> None:
    """Ctrl-C leaves no half file and no lock behind."""
    hub.on("model.safetensors", slow(0.04))
    child = Child(home)
    child.go()
    while not hub.count("model.safetensors") > 1:  # one was undisturbed
        time.sleep(0.01)
    time.sleep(0.1)
    child.process.send_signal(signal.SIGINT)
    code, _, err = child.end()
    assert code != 0
    assert "KeyboardInterrupt" in err
    assert cached_path(REPO) is None
    hub.well()
    assert result(prepare(REPO)) == undisturbed[0]
    assert list((home / "hub/partial").iterdir()) == []


@pytest.mark.parametrize("number", [2, 4])
def test_company_does_the_work_once(
    hub: Hub, home: Path, undisturbed: tuple[dict[str, bytes], int], number: int
) -> None:
    hub.well()
    hub.on("model.safetensors", slow(0.02))  # a second
    children = [Child(home) for _ in range(number)]
    for child in children:
        child.ready()
    for child in children:
        child.go()
    ends = [child.end() for child in children]
    assert [code for code, _, _ in ends] == [0] * number, ends
    assert len({out.splitlines()[0] for _, out, _ in ends}) == 1
    for path in MODEL:
        assert hub.count(f"/{path}") == 1
    told = [err for _, _, err in ends]
    assert sum("model.safetensors (" in err for err in told) == 1
    assert sum("model_state.pdparams (" in err for err in told) == 1
    (worker,) = (child for child, err in zip(children, told, strict=True) if "model.safetensors (" in err)
    waiting = [err for err in told if f"waiting for {REPO}: process {worker.process.pid} on " in err]
    assert len(waiting) == number - 1
    assert result(prepare(REPO)) == undisturbed[0]


def test_who_waits_for_one_that_is_killed_takes_over(
    hub: Hub, home: Path, undisturbed: tuple[dict[str, bytes], int]
) -> None:
    hub.well()
    hub.on("model.safetensors", slow(0.02))
    first, second = Child(home), Child(home)
    second.ready()
    first.go()
    while not hub.count("model.safetensors"):
        time.sleep(0.01)
    second.go()
    line = pipe(second.process.stderr).readline()
    assert f"waiting for {REPO}: process {first.process.pid} on " in line
    first.process.kill()
    first.end()
    code, _, err = second.end()
    assert code == 0, err
    assert hub.count("model.safetensors") == 2
    assert result(prepare(REPO)) == undisturbed[0]
