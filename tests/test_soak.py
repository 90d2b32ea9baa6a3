"""Death, company and bad disks, again and again at random moments. `make soak` does it for long.

The moments come from a seed that is told when a test fails; `SOAK_SEED` chooses another one.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from hubs import Hub, MiB, big_model, fill, slow, small_model, tiny_bert
from killing import Process, check_nothing_wrong, pipe, result
from pphub.api import prepare
from pphub.obtain import fetch
from pphub.select import Selection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is no signal there")

FULL = os.environ.get("SOAK") == "full"
SEED = int(os.environ.get("SOAK_SEED") or 20260101)
KILLS = 200 if FULL else 15
PROCESSES = 16 if FULL else 6
ROUNDS = 10 if FULL else 1

REPO = "org/bert"
WEIGHTS = "model.safetensors"
MODEL = tiny_bert(hidden=128, words=4000)
SIZE = len(MODEL[WEIGHTS])

# Imports everything, and waits for a line before it begins.
CHILD = """
import os, signal, sys
{before}
import huggingface_hub.utils
import pphub.api
import pphub_cache.gather, pphub_cache.transfer
from pphub.conversion import job
from pphub.registry import load_source
load_source("hf")
{after}
print("ready", flush=True)
sys.stdin.readline()
print(pphub.{call}, flush=True)
"""

NO_FLOCK = """
import fcntl
fcntl.flock = lambda *_: None  # as on network file systems that say yes to everybody
"""

# Tries more connections at once, where it would take a second to see that they are worth it.
HASTY_LANES = """
import pphub_cache.lanes
pphub_cache.lanes._WINDOW, pphub_cache.lanes._SETTLE, pphub_cache.lanes._WORTH = 0.05, 0.02, 0.0
"""

# Writes down who is between getting a lock and letting go of it; one write each, so that lines stay whole.
WATCHED = """
import contextlib
import pphub_cache.lock
original = pphub_cache.lock.entry_lock
journal = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
@contextlib.contextmanager
def watched(path, **options):
    with original(path, **options) as alone:
        os.write(journal, f"enter {os.getpid()} {path.parent.name}/{path.name}\\n".encode())
        try:
            yield alone
        finally:
            os.write(journal, f"leave {os.getpid()} {path.parent.name}/{path.name}\\n".encode())
pphub_cache.lock.entry_lock = watched
"""


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _no_survivors() -> Iterator[None]:
    """Whatever a test that failed has left."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
        process.communicate()


class Child(Process):
    """Does something with the model once it is told to go."""

    def __init__(self, home: Path, *, before: str = "", after: str = "", call: str = f"prepare({REPO!r})") -> None:
        super().__init__(home, CHILD.format(before=before, after=after, call=call))
        STARTED.append(self.process)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub.open(tmp_path / "hub", {REPO: MODEL}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        yield running


@pytest.fixture
def right(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What an undisturbed run makes."""
    with monkeypatch.context() as patch:
        patch.setenv("PPNLP_HOME", str(tmp_path / "undisturbed"))
        made = result(prepare(REPO))
    hub.well()
    return made


def states(home: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in home.glob("hub/partial/*/state.json")]


def bytes_here(home: Path) -> int:
    """How much of the weights need not be fetched: the ledger says it, or they are stored."""
    sha256 = hashlib.sha256(MODEL[WEIGHTS]).hexdigest()
    if (home / "hub/blobs/sha256" / sha256[:2] / sha256).exists():
        return SIZE
    return max((sum(end - start for start, end in state["done"]) for state in states(home)), default=0)


# ------------------------------------------------------------------------------------------ death


@pytest.mark.timeout(3600 if FULL else 300)
@pytest.mark.parametrize("piece", [16 * MiB, MiB // 2], ids=["one connection", "several connections"])
def test_killed_at_random_moments(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: dict[str, bytes], piece: int
) -> None:
    """With kill -9; the run after it fetches what is missing by the ledger, which lags by no more than a chunk."""
    seeded = random.Random(f"{SEED} {piece}")
    several = piece < MiB
    after = f"pphub_cache.transfer.PIECE = {piece}"
    if several:
        after += f"\n{HASTY_LANES}"
    number = max(5, KILLS // 4) if several else KILLS
    lost: list[int] = []
    connections = []
    following = Child(tmp_path / "home 0", after=after)
    for index in range(number):
        child, home = following, tmp_path / f"home {index}"
        following = Child(tmp_path / f"home {index + 1}", after=after)
        hub.well()
        hub.on(WEIGHTS, slow(0.03 if several else 0.01))
        child.go()
        # Most of the moments are in the middle of the weights, some in the conversion after them.
        moment = seeded.uniform(0, 1.2)
        time.sleep(moment)
        child.kill()
        code, _, err = child.end()
        assert code in {-signal.SIGKILL, 0}, (SEED, index, err)
        check_nothing_wrong(home, MODEL)
        connections.append(hub.connections(WEIGHTS))
        here, sent = bytes_here(home), hub.sent(WEIGHTS)
        if 2 * MiB < sent < SIZE:
            lost.append(sent - here)
        hub.well()
        monkeypatch.setenv("PPNLP_HOME", str(home))
        assert result(prepare(REPO)) == right, f"seed {SEED}, killed after {moment:.3f} s"
        assert hub.sent(WEIGHTS) <= SIZE - here + MiB
        check_nothing_wrong(home, MODEL)
        assert list((home / "hub/partial").iterdir()) == []
        hub.well()
        prepare(REPO)
        assert hub.asked == []
    assert (max(connections) > 1) == several
    # What the hub had sent and the ledger did not know: a chunk a connection, and what was on its way.
    if lost:
        chunks = 1 if piece > MiB else max(connections)
        assert sorted(lost)[len(lost) // 2] <= chunks * MiB + MiB // 2, (SEED, lost)


@pytest.mark.timeout(3600 if FULL else 300)
def test_killed_again_and_again_in_one_home(hub: Hub, home: Path, right: dict[str, bytes]) -> None:
    """Each run brings it further: altogether no more is sent than the model, and a chunk for each kill."""
    seeded = random.Random(SEED + 1)
    for _ in range(ROUNDS):
        hub.well()
        hub.on(WEIGHTS, slow(0.02))  # more than a second
        kills = 0
        following = Child(home)
        while True:
            child, following = following, Child(home)
            child.go()
            time.sleep(seeded.uniform(0.4, 0.8) * (1 + kills / 10))  # a busy machine needs longer for the last step
            child.kill()
            code, _, err = child.end()
            check_nothing_wrong(home, MODEL)
            if code == 0:
                break
            assert code == -signal.SIGKILL, (SEED, err)
            kills += 1
            assert kills < 40, "it gets no further"
        assert SIZE <= hub.sent(WEIGHTS) <= SIZE + kills * 2 * MiB
        assert result(prepare(REPO)) == right
        assert list((home / "hub/partial").iterdir()) == []
        for path in (home / "hub").iterdir():  # from the start, with the locks that are there
            if path.name != "locks":
                subprocess.run(["rm", "-rf", str(path)], check=True)


KILL_AFTER_OPEN = """
import pathlib
plain = pathlib.Path.open
def killing(self, *args, **options):
    existed = self.name == "state.json" and self.stat().st_size if self.exists() else 0
    stream = plain(self, *args, **options)
    if existed and stream.writable():
        os.kill(os.getpid(), signal.SIGKILL)
    return stream
pathlib.Path.open = killing
"""


def test_killed_when_the_ledger_is_opened_again(hub: Hub, home: Path, right: dict[str, bytes]) -> None:
    """The run that goes on must not empty the ledger before it has something to write into it."""
    hub.on(WEIGHTS, slow(0.02))
    first = Child(home)
    first.go()
    while bytes_here(home) < 2 * MiB:
        time.sleep(0.01)
    first.kill()
    first.end()
    here = bytes_here(home)
    second = Child(home, after=KILL_AFTER_OPEN)
    second.go()
    code, _, err = second.end()
    assert code == -signal.SIGKILL, err
    hub.well()
    assert result(prepare(REPO)) == right
    assert hub.sent(WEIGHTS) <= SIZE - here + MiB


# ------------------------------------------------------------------------------------------ company


def check_no_overlap(journal: Path, killed: set[int]) -> int:
    """Nobody enters where another is who has not left or died; returns how often somebody entered."""
    inside: dict[str, int] = {}
    dead: set[int] = set()
    entered = 0
    for line in journal.read_text().splitlines():
        what, pid, name = line.split(maxsplit=2)
        assert int(pid) not in dead, f"{pid} was taken for dead and is not: {line}"
        if what == "enter":
            entered += 1
            if (other := inside.get(name)) is not None:
                assert other in killed, f"{pid} and {other} are both in {name}"
                dead.add(other)
            inside[name] = int(pid)
        else:
            assert inside.pop(name) == int(pid)
    return entered


@pytest.mark.timeout(3600 if FULL else 300)
def test_company_of_which_some_are_killed(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: dict[str, bytes]
) -> None:
    """Many processes on one cold model, and every half second a random one of them dies."""
    seeded = random.Random(SEED + 2)
    for number in range(ROUNDS):
        home, journal = tmp_path / f"home {number}", tmp_path / f"journal {number}"
        monkeypatch.setenv("JOURNAL", str(journal))
        monkeypatch.setenv("PPNLP_HOME", str(home))
        hub.well()
        hub.on(WEIGHTS, slow(0.04))  # more than two seconds
        children = [Child(home, before=WATCHED) for _ in range(PROCESSES)]
        for child in children:
            child.ready()
        for child in children:
            child.go()
        alive, killed = list(children), set()
        while len(alive) > 2:
            time.sleep(0.5)
            alive = [child for child in alive if child.process.poll() is None]
            if len(alive) > 2:
                child = seeded.choice(alive)
                alive.remove(child)
                child.kill()
                killed.add(child.process.pid)
        folders = set()
        for child in children:
            code, out, err = child.end()
            if code == -signal.SIGKILL:
                assert child.process.pid in killed
            else:
                assert code == 0, (SEED, err)
                folders.add(out.strip())
        assert len(folders) == 1
        assert check_no_overlap(journal, killed) >= PROCESSES - len(killed)
        assert hub.sent(WEIGHTS) <= SIZE + len(killed) * 2 * MiB
        check_nothing_wrong(home, MODEL)
        assert result(prepare(REPO)) == right
        assert list((home / "hub/partial").iterdir()) == []


def test_the_journal_shows_who_breaks_in(tmp_path: Path) -> None:
    """The check above can fail."""
    journal = tmp_path / "journal"
    journal.write_text("enter 1 a\nenter 2 b\nenter 2 a\n")
    assert check_no_overlap(journal, {1}) == 3
    with pytest.raises(AssertionError, match="both in a"):
        check_no_overlap(journal, {2})
    journal.write_text("enter 1 a\nenter 2 a\nleave 1 a\n")
    with pytest.raises(AssertionError, match="taken for dead"):
        check_no_overlap(journal, {1})


PAUSED = """
import time
def pause(event, args):
    if event == "os.chmod" and "/partial/" in str(args[0]):
        print("paused", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.2)  # it takes a moment to stop all threads
sys.addaudithook(pause)
"""


def test_a_small_file_that_two_models_share(
    hub: Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are fetched at the same time, and no lock is common to them until the file is seen in part."""
    fill(hub.root / "org/other", {"config.json": b"{}", "vocab.txt": MODEL["vocab.txt"]})
    child = Child(home, after=PAUSED, call=f"download({REPO!r}, include='vocab.txt')")
    child.go()
    assert pipe(child.process.stdout).readline() == "paused\n"
    try:
        snapshot = fetch("org/other", selection=Selection(("vocab.txt",)))
        assert (snapshot.folder / "vocab.txt").read_bytes() == MODEL["vocab.txt"]
    finally:
        child.process.send_signal(signal.SIGCONT)
    code, _, err = child.end()
    assert code == 0, err
    check_nothing_wrong(tmp_path / "nothing", MODEL)


# ------------------------------------------------------------------------------------------ bad disks


@pytest.mark.timeout(3600 if FULL else 300)
@pytest.mark.parametrize(
    "call",
    [
        f"download({REPO!r})",
        f"prepare({REPO!r})",
    ],
    ids=["download", "prepare"],
)
def test_without_locks_nobody_fails(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: dict[str, bytes], call: str
) -> None:
    seeded = random.Random(SEED + 3)
    for number in range(5 * ROUNDS if FULL else 1):
        home, journal = tmp_path / f"home {number}", tmp_path / f"journal {number}"
        monkeypatch.setenv("JOURNAL", str(journal))
        monkeypatch.setenv("PPNLP_HOME", str(home))
        hub.well()
        hub.on(WEIGHTS, slow(0.01))
        children = [Child(home, before=NO_FLOCK + WATCHED, call=call) for _ in range(4 if FULL else 3)]
        for child in children:
            child.ready()
        for child in children:
            child.go()
            time.sleep(seeded.choice([0, 0, 0.1, 0.3]))
        ends = [child.end() for child in children]
        assert [code for code, _, _ in ends] == [0] * len(children), "\n".join(err for _, _, err in ends)
        assert len({out for _, out, _ in ends}) == 1
        with pytest.raises(AssertionError, match="are both in"):  # locks do keep others out, and these did not
            check_no_overlap(journal, set())
        check_nothing_wrong(home, MODEL)
        assert list((home / "hub/partial").iterdir()) == []
        hub.well()
        assert result(prepare(REPO)) == right
        assert hub.asked == []


def test_without_locks_the_part_of_a_dead_process_is_taken_over_and_that_of_a_living_one_is_not(
    hub: Hub, home: Path, right: dict[str, bytes]
) -> None:
    hub.on(WEIGHTS, slow(0.02))
    dead, living, third = (Child(home, before=NO_FLOCK) for _ in range(3))
    for child in (dead, living, third):
        child.ready()
    dead.go()
    living.go()
    while len(states(home)) < 2 or min(sum(e - s for s, e in state["done"]) for state in states(home)) < MiB:
        time.sleep(0.01)
    dead.kill()
    dead.end()
    asked = len(hub.gets(WEIGHTS))
    third.go()
    for child in (living, third):
        code, _, err = child.end()
        assert code == 0, err
    check_nothing_wrong(home, MODEL)
    assert result(prepare(REPO)) == right
    later = hub.gets(WEIGHTS)[asked:]
    assert all("range" in one.headers for one in later)  # nobody began anew, and the living one was not disturbed
    assert list((home / "hub/partial").iterdir()) == []


NO_LINKS = {
    "no symlinks": "def no(*_, **__): raise OSError(1, 'Operation not permitted')\nos.symlink = no",
    "no links": "def no(*_, **__): raise OSError(1, 'Operation not permitted')\nos.symlink = os.link = no",
}


@pytest.mark.parametrize("before", NO_LINKS.values(), ids=NO_LINKS)
def test_without_links_all_works_and_warm_is_warm(hub: Hub, home: Path, right: dict[str, bytes], before: str) -> None:
    """The disk of a memory stick: files are hard links or copies."""
    first = Child(home, before=before)
    first.go()
    code, out, err = first.end()
    assert code == 0, err
    folder = type(home)(out.strip())
    assert result(folder) == right
    check_nothing_wrong(home, MODEL)
    assert not [path for path in home.rglob("*") if path.is_symlink()]
    (snapshot,) = (path.parent for path in home.glob("hub/snapshots/**/snapshot.json"))
    assert {path.name: path.stat().st_size for path in snapshot.iterdir() if path.name in MODEL} == {
        path: len(content) for path, content in MODEL.items()
    }
    inodes = {str(path): path.stat().st_ino for path in home.rglob("*") if path.is_file() and "locks" not in path.parts}
    hub.well()
    second = Child(home, before=before)
    second.go()
    code, again, err = second.end()
    assert code == 0, err
    assert (again, err) == (out, "")  # nothing was fetched, converted or told
    assert hub.asked == []
    assert inodes == {
        str(path): path.stat().st_ino for path in home.rglob("*") if path.is_file() and "locks" not in path.parts
    }


# The home is a disk of memory, and something else fills it up when a part of the weights is here.
FILLING = """
import glob, json, subprocess, threading, time
import pphub
home = os.environ["PPNLP_HOME"]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", home], check=True)
print("mounted", flush=True)
small = pphub.download("org/small")
def here():
    for path in glob.glob(home + "/hub/partial/*/state.json"):
        return sum(end - start for start, end in json.load(open(path))["done"])
    return 0
def fill(after):
    while here() < after:
        time.sleep(0.01)
    with open(home + "/ballast", "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            pass
def download():
    try:
        print("done", pphub.download("org/big"), flush=True)
    except pphub.errors.StorageFailed as error:
        print("failed", error.message, flush=True)
        assert error.hint
    print("here", here(), flush=True)
threading.Thread(target=fill, args=(2 << 20,), daemon=True).start()
download()
print("small", sorted(os.listdir(small)) == sorted(os.listdir(pphub.download("org/small", offline=True))), flush=True)
download()  # it is still full
os.unlink(home + "/ballast")
sys.stdin.readline()
print("done", pphub.download("org/big"), flush=True)
import hashlib
for path in glob.glob(home + "/hub/blobs/sha256/*/*"):
    print("blob", hashlib.sha256(open(path, "rb").read()).hexdigest() == os.path.basename(path), flush=True)
"""

APART = ["unshare", "--map-root-user", "--mount"]


def can_mount() -> bool:
    try:
        done = subprocess.run([*APART, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


@pytest.mark.skipif(sys.platform != "linux" or not can_mount(), reason="no disk can be mounted here")
def test_a_disk_that_fills_up(hub: Hub, home: Path) -> None:
    """No space left on the device, in the middle of the weights: one error, nothing lost, and the rest later."""
    big = big_model(6 * MiB)
    fill(hub.root / "org/big", big)
    fill(hub.root / "org/small", small_model())
    hub.on("big/resolve", slow(0.02))
    home.mkdir()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [*APART, sys.executable, "-c", f"import os, sys\n{FILLING}"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(child)
    lines = [pipe(child.stdout).readline().rstrip() for _ in range(6)]
    assert lines[0] == "mounted", pipe(child.stderr).read()
    assert lines[1].startswith("failed could not write"), lines
    assert "No space left on device" in lines[1]
    first = int(lines[2].removeprefix("here "))
    assert first >= 2 * MiB
    assert lines[3] == "small True"
    assert lines[4].startswith("failed "), lines
    second = int(lines[5].removeprefix("here "))
    assert second >= first  # what was here is still here
    hub.well()
    pipe(child.stdin).write("go\n")
    pipe(child.stdin).flush()
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert out.startswith("done "), out
    assert "False" not in out
    assert out.count("blob True") >= 4
    assert all("range" in asked.headers for asked in hub.gets(WEIGHTS))
    assert hub.sent(WEIGHTS) == len(big[WEIGHTS]) - second
    assert list(home.iterdir()) == []  # the disk is gone with the process
