"""The commands that care for the cache: what they tell is true, and what they take away nobody needs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

import pphub
import pphub_cache.care.sweeping
import pphub_cache.lock
from hubs import Hub, MiB, big_model, fill, slow, small_model, status, tiny_bert
from pphub.cached import cached_path
from pphub.cli import main
from pphub_cache.care.cleaning import clean
from pphub_cache.care.removing import find_doomed, remove
from pphub_cache.care.sweeping import remove_blobs, time_of_disk
from pphub_cache.care.verifying import check, plan_check
from pphub_cache.layout import Layout
from pphub_cache.lock import entry_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = "org/small"
TWIN = "other/small"  # has the same files, but for its README
BERT = "org/bert"
WEIGHTS = "model.safetensors"
MODEL = small_model()
WANTED = ("README.md", "config.json", "vocab.txt", WEIGHTS)
SIZE = sum(len(MODEL[path]) for path in WANTED)
HOUR = 3600


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    models = {REPO: MODEL, TWIN: {**MODEL, "README.md": b"# another\n"}, BERT: tiny_bert()}
    with Hub.open(tmp_path / "hub", models) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        yield running


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


class Command:
    """Runs a command in this process; the exit code must be as expected."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, check: int = 0) -> str:
        self._capsys.readouterr()
        code = main(arguments)
        out, err = self._capsys.readouterr()
        assert code == check, (out, err)
        return out if code == 0 or out else err

    def json(self, *arguments: str, check: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", check=check))


def child(code: str, *arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def blob(home: Path, content: bytes) -> Path:
    return Layout(home).blob(hashlib.sha256(content).hexdigest())


def blobs(home: Path) -> set[str]:
    return {path.name for path in (home / "hub/blobs").rglob("*") if path.is_file()}


def damage(path: Path) -> None:
    """Turn a bit of a file that may not be written, leaving its size."""
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    path.chmod(0o444)


def age(path: Path, seconds: float = 2 * HOUR) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def everything_below(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path): (path.lstat().st_ino, str(path.readlink()) if path.is_symlink() else path.read_bytes().hex())
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and "locks" not in path.parts
    }


def check_true(home: Path) -> None:
    """What the records promise is there, and no link leads nowhere."""
    for record in (home / "hub/snapshots").rglob("snapshot.json"):
        for path, entry in json.loads(record.read_bytes())["files"].items():
            if entry["stored"]:
                assert hashlib.sha256((record.parent / path).read_bytes()).hexdigest() == entry["sha256"]
    for path in (home / "hub").rglob("*"):
        assert not path.is_symlink() or path.exists(), path


def make_partials(home: Path, *names: str) -> None:
    """What was begun some minutes ago, on another machine."""
    for name in names:
        path = fill(home / "hub/partial", {name: b"half"}) / name
        for each in {path, path.parent}:
            age(each, 600)


def show(home: Path, name: str, repo: str, folder: Path, commit: str) -> Path:
    """A view for PaddleNLP, beside a folder of PaddleNLP's own."""
    view = home / "models" / name
    view.mkdir(parents=True)
    (view / "config.json").symlink_to(os.path.relpath(folder / "config.json", view))
    mark = {"format": 1, "name": name, "source": "hf", "repo": repo, "commit": commit, "folder": str(folder)}
    (view / ".pphub.json").write_text(json.dumps(mark))
    fill(home / "models" / "ernie", {"model_state.pdparams": b"PaddleNLP's"})
    return view


# ------------------------------------------------------------------------------------------------- list


def test_list(hub: Hub, home: Path, command: Command) -> None:
    assert command("list") == "the cache is empty\n"
    assert not home.exists()
    first = pphub.download(REPO)
    pphub.download(TWIN, revision="main")
    pphub.prepare(BERT)
    document = command.json("list")
    small, twin, bert = (
        next(model for model in document["models"] if model["repo"] == repo) for repo in (REPO, TWIN, BERT)
    )
    assert small["revisions"] == {"HEAD": first.name, "main": first.name}
    assert (small["source"], small["files"], small["size"]) == ("hf", len(WANTED), SIZE)
    assert small["shared"] == twin["shared"] == SIZE - len(MODEL["README.md"])
    assert not small["converted"]
    assert bert["converted"]
    (converted,) = (home / "hub/converted").glob("*/model_state.pdparams")
    assert bert["converted_size"] == document["total"]["converted"] == converted.stat().st_size
    stored = [path.stat().st_size for path in (home / "hub/blobs").rglob("*") if path.is_file()]
    assert document["total"]["size"] == sum(stored) == sum(m["size"] for m in document["models"]) - small["shared"]
    assert document["total"]["models"] == 3
    (snapshot,) = small["snapshots"]
    assert {key: snapshot[key] for key in ("commit", "state", "files")} == {
        "commit": first.name,
        "state": "whole",
        "files": len(WANTED),
    }
    used = datetime.fromisoformat(small["used"]).timestamp()
    assert abs(used - (first / "snapshot.json").stat().st_mtime) <= 1
    table = command("list").splitlines()
    assert table[0].split() == ["MODEL", "REVISIONS", "FILES", "SIZE", "SHARED", "CONVERTED", "LAST", "USED"]
    assert [line.split()[0] for line in table[1:-1]] == [f"hf:{BERT}", f"hf:{REPO}", f"hf:{TWIN}"]
    assert re.search(r"hf:org/small +main +4 +4\.0 KiB +4\.0 KiB +- +20\d\d-\d\d-\d\d$", table[2])
    assert table[-1].startswith("3 models, 11 files, ")
    assert [line.split() for line in command("list", "--quiet").splitlines()] == [line.split() for line in table[1:-1]]


def test_list_looks_at_no_file_of_a_model(hub: Hub, home: Path, command: Command) -> None:
    pphub.download(REPO)
    before = command("list", "--json")
    shutil.rmtree(home / "hub/blobs")
    assert command("list", "--json") == before


def test_list_two_revisions_of_one_model(hub: Hub, command: Command) -> None:
    old = pphub.download(REPO, revision="main")
    fill(hub.root / REPO, {"config.json": b'{"new": 1}'})
    new = pphub.download(REPO, refresh=True)
    (model,) = command.json("list")["models"]
    assert model["size"] == SIZE + len(b'{"new": 1}')
    assert model["shared"] == 0
    assert {one["commit"] for one in model["snapshots"]} == {old.name, new.name}
    assert {one["shared"] for one in model["snapshots"]} == {SIZE - len(MODEL["config.json"])}


def test_list_marks_what_is_not_whole(hub: Hub, home: Path, command: Command) -> None:
    pphub.download(REPO, include="config.json")
    (pphub.download(TWIN) / "snapshot.json").write_bytes(b"{")
    fill(home / "hub/snapshots/hf/org/begun/1234", {"config.json": b"{}"})
    states = {model["repo"]: model["snapshots"][0]["state"] for model in command.json("list")["models"]}
    assert states == {REPO: "incomplete", TWIN: "damaged", "org/begun": "incomplete"}
    assert "damaged" in command("list")
    pphub.download(REPO)
    assert command.json("list", "--quiet")["models"][1]["snapshots"][0]["state"] == "whole"


@pytest.mark.parametrize("columns", [80, 60])
def test_list_fits_a_terminal(
    hub: Hub, home: Path, command: Command, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    folder = pphub.download(REPO)
    for repo in ("组织/" + "模" * 40, "org/" + "m" * 60, "org/\x1b[31mred"):
        copy = home / "hub/snapshots/hf" / repo / folder.name
        shutil.copytree(folder, copy, symlinks=True)
        record = json.loads((copy / "snapshot.json").read_bytes())
        (copy / "snapshot.json").write_text(json.dumps({**record, "repo": repo}))
    whole = command("list")
    assert "m" * 60 in whole
    assert "\x1b" not in whole
    assert "'hf:org/\\x1b[31mred'" in whole
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = command("list").splitlines()
    assert all(len(line) + len(re.findall("[一-鿿]", line)) <= columns for line in lines)
    assert any("..." in line for line in lines)


def make_cache(home: Path, models: int, files: int = 10) -> None:
    """A cache as large as asked for, written without a download: half of each model is shared with others."""
    for number in range(models):
        repo, commit = f"org{number % 97}/model-{number}", hashlib.sha1(b"%d" % number).hexdigest()
        folder = Layout(home).snapshot("hf", repo, commit)
        folder.mkdir(parents=True)
        entries = {}
        for index in range(files):
            content = b"%d %d" % (number if index % 2 else number % 10, index)
            place = blob(home, content)
            if not place.exists():
                fill(place.parent, {place.name: content})
            path = f"file-{index}.json"
            (folder / path).symlink_to(os.path.relpath(place, folder))
            entries[path] = {
                "size": len(content),
                "sha256": place.name,
                "verified": None,
                "promised": None,
                "stored": True,
            }
        record = {"format": 1, "source": "hf", "repo": repo, "revision": "main", "commit": commit, "files": entries}
        (folder / "snapshot.json").write_text(json.dumps(record, indent=2))
        for revision in ("main", None):
            ref = Layout(home).ref("hf", repo, revision)
            fill(ref.parent, {ref.name: f"{commit}\n".encode()})


def test_a_made_cache_is_listed_whole(home: Path, command: Command) -> None:
    """For 10,000 models: ``make_cache(home, 10_000)``, then ``time hub list``."""
    make_cache(home, 200)
    document = command.json("list")
    assert document["total"]["size"] == sum(path.stat().st_size for path in blob(home, b"").parents[1].rglob("??/*"))
    assert len(document["models"]) == 200
    assert all(model["files"] == 10 and model["shared"] > 0 for model in document["models"])
    assert clean(Layout(home)).removed == {}


# ------------------------------------------------------------------------------------------------- remove


def test_remove(hub: Hub, home: Path, command: Command) -> None:
    folder = pphub.prepare(BERT)
    commit = next((home / "hub/snapshots/hf" / BERT).iterdir()).name
    view = show(home, "bert", BERT, folder, commit)
    small = pphub.download(REPO)
    twin = pphub.download(TWIN)
    before = everything_below(home)
    size = sum(path.stat().st_size for path in folder.iterdir())
    bert_blobs = {path.resolve() for path in (home / "hub/snapshots/hf" / BERT / commit).iterdir() if path.is_symlink()}
    size += sum(path.stat().st_size for path in bert_blobs)
    document = command.json("remove", BERT, "--dry-run")
    assert (document["freed"], document["dry_run"]) == (size, True)
    assert everything_below(home) == before
    document = command.json("remove", BERT)
    assert document["freed"] == size
    (removed,) = document["removed"]
    assert (removed["commits"], removed["conversions"]) == ([commit], 1)
    assert "bert" in removed["views"]
    assert set(removed["revisions"]) == {"HEAD", "main"}
    assert not folder.exists()
    assert not view.exists()
    assert not any(path.exists() for path in bert_blobs)
    assert (home / "models/ernie/model_state.pdparams").read_bytes() == b"PaddleNLP's"
    assert cached_path(BERT) is None
    assert (cached_path(REPO), cached_path(TWIN)) == (small, twin)
    assert f"{BERT} is not in the cache" in command("remove", BERT, check=1)
    assert command.json("remove", BERT, check=1)["error"] == "NotCached"
    left = SIZE - len(MODEL["README.md"])
    document = command.json("remove", REPO)
    assert (document["freed"], document["removed"][0]["left"]) == (len(MODEL["README.md"]), left)
    check_true(home)
    assert cached_path(TWIN) == twin
    assert command("remove", f"hf:{TWIN}") == "removed hf:other/small: 1 snapshot, 4.0 KiB\n"
    assert blobs(home) == set()


def test_remove_looks_every_name_up_first(hub: Hub, command: Command) -> None:
    folder = pphub.download(REPO)
    assert "no/such is not in the cache" in command("remove", REPO, "no/such", check=1)
    assert cached_path(REPO) == folder
    pphub.download(TWIN)
    assert len(command("remove", REPO, TWIN, "-q").splitlines()) == 2
    assert command("list") == "the cache is empty\n"


def test_remove_one_revision(hub: Hub, home: Path, command: Command) -> None:
    old = pphub.download(REPO, revision="main")
    fill(hub.root / REPO, {"config.json": b'{"new": 1}'})
    new = pphub.download(REPO, refresh=True)
    assert new != old
    command("remove", f"{REPO}@{old.name}")
    assert not old.exists()
    assert cached_path(REPO) == new
    check_true(home)
    assert not blob(home, MODEL["config.json"]).exists()
    assert "v7 is not in the cache" in command("remove", f"{REPO}@v7", check=1)
    command("remove", REPO)
    assert blobs(home) == set()


def test_remove_by_a_name_of_the_users_own(hub: Hub, home: Path, command: Command) -> None:
    pphub.download(REPO)
    fill(home / "hub", {"names.toml": f'ours = {{ hf = "{REPO}" }}\n'.encode()})
    command("remove", "ours")
    assert cached_path(REPO) is None


@pytest.mark.parametrize("state", ["damaged", "unrecorded", "only refs"])
def test_remove_what_is_not_whole(hub: Hub, home: Path, command: Command, state: str) -> None:
    folder = pphub.download(REPO)
    if state == "damaged":
        (folder / "snapshot.json").write_bytes(b"[]")
    elif state == "unrecorded":
        (folder / "snapshot.json").unlink()
    else:
        shutil.rmtree(folder)
    command("remove", REPO)
    assert not folder.exists()
    assert not list((home / "hub/refs").rglob("@*"))
    command("prune")
    assert blobs(home) == set()


def test_remove_a_folder_is_wrong_usage(hub: Hub, tmp_path: Path, command: Command) -> None:
    assert "is a folder on this disk" in command("remove", str(tmp_path), check=2)


def test_remove_waits_for_a_download(hub: Hub, home: Path) -> None:
    hub.on(WEIGHTS, slow(0.02))
    fill(hub.root / REPO, {WEIGHTS: big_model(2 * MiB)[WEIGHTS]})
    pphub.download(REPO, include="config.json")
    download = child(f"import pphub; print(pphub.download({REPO!r}))")
    while not hub.count(WEIGHTS):
        time.sleep(0.01)
    told: list[str] = []
    doomed = find_doomed(Layout(home), "hf", REPO, None)
    assert doomed is not None
    removed = remove(Layout(home), doomed, dry_run=False, note=told.append)
    out, err = download.communicate(timeout=60)
    assert download.returncode == 0, err
    assert not Path(out.strip()).exists()
    assert len(told) == 1
    assert removed.freed > 2 * MiB
    assert blobs(home) == set()


KILLED = """
import os, signal, sys
from pphub.cli import main
last, events = int(sys.argv[1]), 0
def watch(event, args):
    global events
    if event in ("os.remove", "os.rmdir", "os.rename") and str(args[0]).startswith(os.environ["PPNLP_HOME"]):
        events += 1
        if events == last:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
code = main(["remove", sys.argv[2], "-q"])
print(events)
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is no signal there")
def test_remove_killed_before_any_change_of_the_disk(
    hub: Hub, home: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pphub.prepare(BERT)
    commit = next((home / "hub/snapshots/hf" / BERT).iterdir()).name
    show(home, "bert", BERT, folder, commit)
    twin = pphub.download(TWIN).relative_to(home)
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path / "undisturbed"))
    shutil.copytree(home, tmp_path / "undisturbed", symlinks=True)
    whole = child(KILLED, 0, BERT)
    out, err = whole.communicate(timeout=60)
    assert whole.returncode == 0, err
    events = int(out.splitlines()[-1])
    assert 10 < events < 60
    for point in range(1, events + 1, 2):
        killed = tmp_path / f"home {point}"
        shutil.copytree(home, killed, symlinks=True)
        monkeypatch.setenv("PPNLP_HOME", str(killed))
        process = child(KILLED, point, BERT)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        check_records(killed)
        assert cached_path(TWIN) == killed / twin
        if point % 4 == 1:  # one way on: again, and then what nobody needs
            assert main(["remove", BERT, "-q"]) in {0, 1}
            assert main(["prune", "-q"]) == 0
            assert blobs(killed) == {path.name for path in map(Path.resolve, (killed / twin).iterdir())} - {
                "snapshot.json"
            }
            assert not list((killed / "hub/converted").iterdir())
            assert list(everything_below(killed / "models")) == [str(killed / "models/ernie/model_state.pdparams")]
        else:  # another: the model is wanted after all
            assert (pphub.prepare(BERT) / "model_state.pdparams").stat().st_size > 0
        check_true(killed)
        assert cached_path(TWIN) == killed / twin


def check_records(home: Path) -> None:
    """No record promises a file that is gone."""
    for record in (home / "hub/snapshots").rglob("snapshot.json"):
        for path, entry in json.loads(record.read_bytes())["files"].items():
            assert not entry["stored"] or (record.parent / path).stat().st_size == entry["size"]
    for record in (home / "hub/converted").glob("*/conversion.json"):
        output = json.loads(record.read_bytes())["output"]
        assert (record.parent / output["file"]).stat().st_size == output["size"]


# ------------------------------------------------------------------------------------------------- verify


def test_verify_what_is_right(hub: Hub, home: Path, command: Command) -> None:
    pphub.prepare(BERT)
    pphub.download(REPO)
    pphub.download(TWIN)
    before = everything_below(home)
    hub.well()
    document = command.json("verify")
    assert document["bad"] == []
    (converted,) = (home / "hub/converted").iterdir()
    view = home / "models" / BERT / ".pphub/current"
    made = len([*converted.iterdir()]) - 1 + len([path for path in view.iterdir() if not path.is_symlink()]) - 1
    assert document["files"] == len(blobs(home)) + made  # what two have counts once, and a record speaks for others
    assert command("verify", "-q") == ""
    assert command("verify", REPO).startswith("4 files, 4.0 KiB: 0 files damaged")
    assert "not in the cache" in command("verify", "no/such", check=1)
    assert hub.asked == []
    assert everything_below(home) == before


def test_verify_names_what_is_damaged(hub: Hub, home: Path, command: Command) -> None:
    for repo in (REPO, TWIN):
        pphub.download(repo)
    converted = pphub.prepare(BERT)
    damage(blob(home, MODEL[WEIGHTS]))
    (pphub.download(REPO) / "vocab.txt").unlink()
    damage(converted / "model_state.pdparams")
    (pphub.download(BERT) / "snapshot.json").write_bytes(b"{}")
    before = everything_below(home)
    bad = command.json("verify", check=1)["bad"]
    assert sorted((one["repo"], one["path"], one["kind"]) for one in bad) == [
        (BERT, "model_state.pdparams", "damaged"),
        (BERT, "snapshot.json", "damaged"),
        (REPO, WEIGHTS, "damaged"),
        (REPO, "vocab.txt", "missing"),
        (TWIN, WEIGHTS, "damaged"),
    ]
    assert {one["conversion"] for one in bad} == {None, converted.name}
    lines = command("verify", TWIN, "-q", check=1).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("damaged  hf:other/small@")
    assert f"{WEIGHTS}: its sha256 is " in lines[0]
    assert everything_below(home) == before


def test_quarantine_and_what_is_missing_is_fetched_again(hub: Hub, home: Path, command: Command) -> None:
    small, twin, converted = pphub.download(REPO), pphub.download(TWIN), pphub.prepare(BERT)
    whole = everything_below(home / "hub/snapshots").keys()
    damage(blob(home, MODEL[WEIGHTS]))
    damage(converted / "model_state.pdparams")
    hub.well()
    document = command.json("verify", REPO, "--quarantine", check=1)
    assert sorted((one["repo"], one["path"]) for one in document["quarantined"]) == [(REPO, WEIGHTS), (TWIN, WEIGHTS)]
    assert not blob(home, MODEL[WEIGHTS]).exists()
    assert not (small / WEIGHTS).is_symlink()
    assert len(list((home / "hub/quarantine").iterdir())) == 1
    assert cached_path(REPO) is None
    assert cached_path(TWIN) is None
    check_true(home)
    command("verify", REPO)
    command("verify", "--quarantine", check=1)  # the conversion
    assert not converted.exists()
    assert len(list((home / "hub/quarantine").iterdir())) == 2
    assert hub.asked == []
    command("verify")
    assert (pphub.download(REPO), pphub.download(TWIN), pphub.prepare(BERT)) == (small, twin, converted)
    assert hub.count(WEIGHTS) == 1
    assert everything_below(home / "hub/snapshots").keys() == whole
    command("verify")


def test_refetch(hub: Hub, home: Path, command: Command) -> None:
    small, twin = pphub.download(REPO), pphub.download(TWIN)
    damage(blob(home, MODEL[WEIGHTS]))
    (small / "vocab.txt").unlink()
    (twin / "config.json").unlink()
    (twin / "config.json").symlink_to("README.md")
    hub.on("/resolve/", status(403))
    output = command("verify", "--refetch", "-q", check=1)
    assert output.count("not fetched again: ") == 4
    hub.well()
    command("verify", "--refetch", "-q")  # what was set aside is not stored, so it is nothing bad
    assert (pphub.download(REPO), pphub.download(TWIN)) == (small, twin)
    damage(blob(home, MODEL[WEIGHTS]))
    hub.well()
    output = command("verify", "--refetch")
    assert output.count("fetched again, right") == 2
    assert hub.count(WEIGHTS) == 1
    assert (cached_path(REPO), cached_path(TWIN)) == (small, twin)
    (small / "snapshot.json").write_bytes(b"?")
    command("verify", "--refetch")
    assert cached_path(REPO) == small
    check_true(home)


def test_verify_where_links_cannot_be_made(
    hub: Hub, home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", refuse)
        patch.setattr(os, "link", refuse)
        small = pphub.download(REPO)
        damage(small / WEIGHTS)
        assert len(command.json("verify", check=1)["bad"]) == 1
        hub.well()
        command("verify", "--refetch")
        assert hub.count("/resolve/") == 0  # the blob is right
        damage(blob(home, MODEL[WEIGHTS]))
        command("verify", "--refetch")
        assert hub.count("/resolve/") == 1
        check_true(home)
    patch_free = command.json("remove", REPO)["freed"]
    assert patch_free == 2 * SIZE
    assert blobs(home) == set()


def test_what_another_removes_meanwhile_is_no_error(hub: Hub, home: Path) -> None:
    layout = Layout(home)
    pphub.download(REPO)
    pphub.prepare(BERT)
    work = plan_check([layout], None)
    for repo in (REPO, BERT):
        doomed = find_doomed(layout, "hf", repo, None)
        assert doomed is not None
        remove(layout, doomed, dry_run=False, note=print)
    assert check(work, lambda _count: None) == []


@pytest.mark.parametrize("content", [b"garbage", b"", None, "fewer heads"])
def test_every_file_of_a_conversion_is_verified(
    hub: Hub, home: Path, command: Command, content: bytes | str | None
) -> None:
    converted = pphub.prepare(BERT)
    whole = {path.name: path.read_bytes() for path in converted.iterdir()}
    config = converted / "config.json"
    if content is None:
        config.unlink()
    elif isinstance(content, str):  # of the same size
        heads = b'"num_attention_heads": %d' % json.loads(whole["config.json"])["num_attention_heads"]
        assert heads in whole["config.json"]
        config.write_bytes(whole["config.json"].replace(heads, heads[:-1] + b"7"))
    else:
        config.write_bytes(content)
    (bad,) = command.json("verify", check=1)["bad"]
    assert (bad["path"], bad["conversion"], bad["kind"]) == (
        "config.json",
        converted.name,
        "missing" if content is None else "damaged",
    )
    if not isinstance(content, str):
        assert pphub.prepare(BERT) == converted  # another size is noticed at once
    else:
        assert "set aside; it is made again" in command("verify", "--refetch")
        assert not converted.exists()
        assert pphub.prepare(BERT) == converted
    assert {path.name: path.read_bytes() for path in converted.iterdir()} == whole
    command("verify")


def test_a_conversion_of_an_earlier_version_stays_valid(hub: Hub, command: Command) -> None:
    converted = pphub.prepare(BERT)
    record = converted / "conversion.json"
    older = json.loads(record.read_bytes())
    assert older.pop("sizes").keys() == older["files"].keys()
    record.write_text(json.dumps(older))
    before = record.stat().st_ino
    assert pphub.prepare(BERT) == converted
    assert record.stat().st_ino == before
    command("verify")
    (converted / "vocab.txt").write_bytes(b"[PAD]\n")
    assert [one["path"] for one in command.json("verify", check=1)["bad"]] == ["vocab.txt"]
    record.write_bytes(record.read_bytes()[:-100])
    assert [one["path"] for one in command.json("verify", check=1)["bad"]] == ["conversion.json"]
    assert pphub.prepare(BERT) == converted
    command("verify")


def test_what_paddlenlp_finds_by_name_is_verified(hub: Hub, home: Path, command: Command) -> None:
    converted = pphub.prepare(BERT)
    shown = home / "models" / BERT
    vocabulary = (converted / "vocab.txt").read_bytes()
    for name, content in (("tokenizer_config.json", b'{"written by": "PaddleNLP"}'), ("added_tokens.json", b"{}")):
        (shown / name).write_bytes(content)
    command("verify")
    (shown / "vocab.txt").write_bytes(b"broken\n")
    (shown / "tokenizer_config.json").write_bytes(b"broken\n")
    (shown / "added_tokens.json").unlink()
    bad = command.json("verify", BERT, check=1)["bad"]
    assert {(one["view"], one["path"], one["kind"]) for one in bad} == {
        (BERT, "vocab.txt", "damaged"),
        (BERT, "tokenizer_config.json", "damaged"),
        (BERT, "added_tokens.json", "missing"),
    }
    output = command("verify", "--refetch")
    assert f"damaged  models/{BERT}, from hf:{BERT}@" in output
    assert output.count("set aside, and made again") == 3
    assert (shown / "vocab.txt").read_bytes() == vocabulary
    assert {path.read_bytes() for path in (home / "hub/quarantine").iterdir()} == {b"broken\n"}
    command("verify")
    (shown / "vocab.txt").write_bytes(vocabulary[:-1])
    pphub.prepare(BERT)
    assert (shown / "vocab.txt").read_bytes() == vocabulary
    changed = bytearray(vocabulary)
    changed[0] ^= 1
    (shown / "vocab.txt").write_bytes(changed)
    command("verify", "--quarantine", check=1)
    command("verify")
    assert (shown / "vocab.txt").read_bytes() == vocabulary


def test_folders_where_files_belong(hub: Hub, home: Path, command: Command) -> None:
    folder, deep = pphub.download(REPO), pphub.download(TWIN, include="*")
    for path in (folder / "config.json", deep / "README.md"):
        path.unlink()
        fill(path, {"note.txt": b"somebody's"})
    ref = Layout(home).ref("hf", REPO, "main")
    ref.unlink(missing_ok=True)
    fill(ref, {"note.txt": b"somebody's"})
    assert "it is a folder" in command("verify", REPO, check=1)
    assert command("verify", "--refetch").count("fetched again, right") == 2
    assert [path.name for path in (home / "hub/quarantine").glob("*/*")] == ["note.txt"] * 2
    command("verify")
    check_true(home)
    command("list")
    assert command.json("prune")["removed"]["revisions"] == 1
    assert not ref.exists()
    fill(ref, {"note.txt": b"somebody's"})
    command("remove", REPO)
    assert not ref.exists()
    assert not folder.exists()


def test_what_lies_in_the_place_of_a_folder(hub: Hub, home: Path, command: Command) -> None:
    fill(hub.root / REPO, {"sub/merges.txt": b"a b\n"})
    folder = pphub.download(REPO, include="*")
    shutil.rmtree(folder / "sub")
    (folder / "sub").write_bytes(b"a file")
    command("verify", "--refetch")
    assert (folder / "sub/merges.txt").read_bytes() == b"a b\n"


# ------------------------------------------------------------------------------------------------- shared caches


@pytest.fixture
def shared(hub: Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of others, with one model."""
    theirs = tmp_path / "shared"
    monkeypatch.setenv("PPNLP_HOME", str(theirs))
    pphub.download(REPO)
    pphub.download(BERT)
    monkeypatch.setenv("PPNLP_HOME", str(home))
    monkeypatch.setenv("PPHUB_SHARED_HOME", str(theirs))
    return theirs


def test_models_of_a_shared_cache_are_listed_and_verified(
    hub: Hub, home: Path, shared: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pphub.download(TWIN)
    models = {model["repo"]: model for model in command.json("list")["models"]}
    assert {repo: model["home"] for repo, model in models.items()} == {
        TWIN: str(home),
        REPO: str(shared),
        BERT: str(shared),
    }
    (home.parent / "empty").mkdir()
    monkeypatch.setenv("PPHUB_SHARED_HOME", os.pathsep.join(map(str, (home.parent / "empty", shared, home))))
    lines = command("list").splitlines()
    assert [line.endswith("  shared") for line in lines[1:-1]] == [True, True, False]
    assert lines[-1].startswith("1 models, ")
    assert lines[-1].endswith("; and 2 models in shared caches")
    command("verify", REPO)
    damage(blob(shared, MODEL["README.md"]))
    before = everything_below(shared)
    for options in ((), ("--quarantine",), ("--refetch",)):
        output = command("verify", REPO, *options, check=1)
        assert f"it is in the shared cache {shared}, which its owner must mend: PPNLP_HOME={shared} hub " in output
    (bad,) = command.json("verify", check=1)["bad"]
    assert (bad["repo"], bad["path"], bad["home"]) == (REPO, "README.md", str(shared))
    assert everything_below(shared) == before


def test_refetch_tells_when_it_did_not_help(
    hub: Hub, home: Path, shared: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pphub.download(TWIN)
    assert (folder / WEIGHTS).resolve().is_relative_to(shared)
    damage(blob(shared, MODEL[WEIGHTS]))

    def link_again(*_arguments: object, **_options: object) -> None:
        """As a download would that trusts the shared cache."""
        record = json.loads((folder / "snapshot.json").read_bytes())
        entry = {"size": len(MODEL[WEIGHTS]), "sha256": blob(home, MODEL[WEIGHTS]).name, "stored": True}
        record["files"][WEIGHTS] |= {**entry, "verified": None}
        (folder / "snapshot.json").write_text(json.dumps(record))
        (folder / WEIGHTS).symlink_to(blob(shared, MODEL[WEIGHTS]))

    with monkeypatch.context() as patch:
        patch.setattr(pphub, "download", link_again)
        output = command("verify", TWIN, "--refetch", check=1)
        assert "fetched again, and still bad: its sha256 is" in output
        assert f"PPNLP_HOME={shared} hub verify --refetch" in output
        document = command.json("verify", TWIN, "--refetch", check=1)
    assert [one["path"] for one in document["still_bad"]] == [WEIGHTS]
    assert document["failed"] == []


def test_remove_what_was_made_of_a_shared_model(hub: Hub, home: Path, shared: Path, command: Command) -> None:
    before = everything_below(shared)
    output = command("remove", REPO, check=1)
    assert f"hf:{REPO} is only in the shared cache {shared}" in output
    converted = pphub.prepare(BERT)
    assert converted.is_relative_to(home)
    shown = home / "models" / BERT
    assert shown.is_dir()
    output = command("remove", BERT)
    assert output.startswith(f"removed hf:{BERT}: 0 snapshots, 1 conversion, ")
    assert f"  the model stays in the shared cache {shared}\n" in output
    assert not converted.exists()
    assert not shown.exists()
    assert cached_path(BERT) is not None
    assert "is only in the shared cache" in command("remove", BERT, check=1)
    assert everything_below(shared) == before


# ------------------------------------------------------------------------------------------------- prune


def test_prune(hub: Hub, home: Path, command: Command) -> None:
    assert command("prune") == "there is nothing to remove\n"
    assert not home.exists()
    pphub.download(REPO)
    pphub.prepare(BERT)
    folder = pphub.download(TWIN)
    whole = everything_below(home)
    lonely = blob(home, b"lonely")
    shown = blob(home, b"shown by a conversion")
    fill(lonely.parent, {lonely.name: b"lonely"})
    fill(shown.parent, {shown.name: b"shown by a conversion"})
    gone_view = show(home, "gone", "org/gone", home / "hub/converted/gone", "1")
    kept_view = show(home, "kept", TWIN, folder, folder.name)
    fill(home / "hub/converted/key", {"conversion.json": b"{}"})
    (home / "hub/converted/key/config.json").symlink_to(os.path.relpath(shown, home / "hub/converted/key"))
    make_partials(home, f"sha256-{'0' * 64}.host-1-abcdef01/content", "md5-1.4711-ab")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stale = f".main-0123abcd.{dead.pid}-0123abcd.tmp"
    live = f".main-0123abcd.{os.getpid()}-0123abcd.tmp"
    fill(home / "hub/refs/hf/org", {stale: b"x", live: b"x", f"{stale[:-4]}x": b"x"})
    fill(home / "hub/converted" / stale, {"model_state.pdparams": b"half"})
    fill(home / "hub/snapshots/hf/org/begun/1234", {"a/b.txt": b"x", "config.json": b"x"})
    fill(home / "hub/refs/hf/org/gone", {"@main": b"1234\n"})
    empty = home / "hub/snapshots/hf/nobody/nothing"
    empty.mkdir(parents=True)
    young = home / "hub/snapshots/hf/org/new"
    young.mkdir()
    for path in (empty, empty.parent):
        age(path)
    expected = {
        "leftovers": 2,
        "snapshots": 1,
        "views": 1,
        "revisions": 1,
        "blobs": 1,
        "partials": 2,
        "folders": 2,
    }
    before = everything_below(home)
    assert command.json("prune", "--dry-run")["removed"] == {**expected, "folders": 1}
    assert everything_below(home) == before
    document = command.json("prune")
    assert document["removed"] == expected
    assert document["freed"] == len(b"lonely" + b"half" + b"half" + b"x" + b"half" + b"xx" + b"1234\n")
    assert not lonely.exists()
    assert shown.exists()
    assert kept_view.exists()
    assert not gone_view.exists()
    assert not empty.parent.exists()
    assert young.exists()
    assert (home / "hub/refs/hf/org" / live).exists()
    assert (home / "models/ernie/model_state.pdparams").exists()
    assert everything_below(home).items() >= whole.items()
    age(home / "hub/refs/hf/org" / live)
    assert command("prune", "-q") == "removed 1 leftover: 1 B\n"
    assert command("prune") == "there is nothing to remove\n"


def test_prune_leaves_what_a_lock_protects(hub: Hub, home: Path, command: Command) -> None:
    folder = pphub.download(REPO)
    (folder / "snapshot.json").unlink()
    digest = hashlib.sha256(b"under way").hexdigest()
    make_partials(home, f"sha256-{digest}.host-1-abcdef01/content")
    held = [
        Layout(home).lock("snapshot", f"hf/{REPO}/{folder.name}"),
        Layout(home).lock("blob", f"sha256-{digest}"),
    ]
    before = everything_below(home)
    lonely = blob(home, b"lonely")
    for lock in held:
        fill(lonely.parent, {lonely.name: b"lonely"})
        code = """
import sys, pathlib
from pphub_cache.lock import entry_lock
with entry_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""
        holder = child(code, lock)
        assert pipe(holder.stdout).readline() == "held\n"
        removed = command.json("prune")["removed"]
        assert "blobs" not in removed  # it is young, and somebody is at work
        age(lonely)
        remaining = command.json("prune")["removed"]
        # Only its time of writing is old; what has just been moved here looks the same.
        assert remaining.get("blobs") == 1
        holder.communicate("\n", timeout=60)
        assert holder.returncode == 0
        assert (lock != held[0]) == ("snapshots" in removed)
        assert (lock != held[1]) == ("partials" in removed)
        if lock == held[0]:
            assert {path for path in before if "partial" not in path} <= everything_below(home).keys()
            make_partials(home, f"sha256-{digest}.host-1-abcdef01/content")
    removed = command.json("prune")["removed"]
    assert (removed["partials"], removed["blobs"]) == (1, len(WANTED))
    assert blobs(home) == set()


def test_prune_leaves_what_a_living_process_collects(home: Path, command: Command) -> None:
    owners = {}
    for who in ("dead", "living"):
        process = child("import sys; sys.stdin.readline()")
        if who == "dead":
            process.communicate()
        owners[who] = process
        host = re.sub(r"[^0-9A-Za-z-]", "_", socket.gethostname())[:60]
        fill(home / "hub/partial", {f"git-sha1-12.{host}-{process.pid}-abcdef01": who.encode()})
    assert command.json("prune")["removed"] == {"partials": 1}
    assert [path.read_bytes() for path in (home / "hub/partial").iterdir()] == [b"living"]
    owners["living"].communicate()
    assert command.json("prune")["removed"] == {"partials": 1}


def test_prune_leaves_what_another_machine_collects(home: Path, command: Command) -> None:
    """As a download does, which would take over what has been silent for ten minutes."""
    names = [f"sha256-{digit * 64}.elsewhere-1-abcdef01" for digit in "012"]
    for name, minutes in zip(names, (2, 11, 0), strict=True):
        folder = fill(home / "hub/partial" / name, {"content": b"half"})
        for path in (folder / "content", folder):
            age(path, 60 * minutes)
    for name, seconds in (("a.elsewhere-1-abcdef01", 5 * 60), ("b.elsewhere-1-abcdef01", 2 * HOUR)):
        fill(home / "hub/partial", {name: b"few bytes"})
        age(home / "hub/partial" / name, seconds)
    assert command.json("prune")["removed"] == {"partials": 2}
    left = {path.name for path in (home / "hub/partial").iterdir()}
    assert left == {names[0], names[2], "a.elsewhere-1-abcdef01"}


def test_a_blob_that_changed_after_the_look_stays(hub: Hub, home: Path) -> None:
    layout = Layout(home)
    lonely = blob(home, b"lonely")
    fill(lonely.parent, {lonely.name: b"lonely"})
    before = pphub_cache.care.sweeping.look_around(layout, [lonely.name])
    lonely.chmod(0o444)  # as whoever moves it here does
    assert remove_blobs(layout, [lonely.name], before) == {}
    after = pphub_cache.care.sweeping.look_around(layout, [lonely.name])
    assert after.began > before.began
    with entry_lock(layout.lock("blob", f"sha256-{lonely.name}")):
        assert remove_blobs(layout, [lonely.name], after) == {}
    os.link(lonely, home / "another name")
    again = pphub_cache.care.sweeping.look_around(layout, [lonely.name])
    assert remove_blobs(layout, [lonely.name], again) == {}
    (home / "another name").unlink()
    time_of_disk(layout)
    last = pphub_cache.care.sweeping.look_around(layout, [lonely.name])
    assert remove_blobs(layout, [lonely.name], last) == {lonely.name: 6}
    assert blobs(home) == set()


def test_where_locks_do_not_work_all_that_is_young_is_in_use(
    hub: Hub, home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on network file systems where flock says yes to everybody."""
    folder = pphub.download(REPO)
    (folder / "snapshot.json").unlink()
    lonely = blob(home, b"lonely")
    fill(lonely.parent, {lonely.name: b"lonely"})
    fill(home / "hub/partial", {"md5-1.4711-ab/content": b"half"})
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    fill(home / "hub/refs/hf", {f".main-0123abcd.{dead.pid}-0123abcd.tmp": b"x"})
    before = everything_below(home)
    monkeypatch.setattr("fcntl.flock", lambda *_arguments: None)
    assert not pphub_cache.care.sweeping.locks_work(Layout(home))
    assert "snapshots" not in command.json("prune")["removed"]
    assert everything_below(home).keys() >= {path for path in before if "refs/hf/org" not in path}
    for path in home.rglob("*"):
        age(path)
    assert command.json("prune")["removed"].keys() >= {"snapshots", "blobs", "partials", "leftovers"}


DOWNLOADS = """
import sys, pphub
for repo in sys.argv[1:]:
    folder = pphub.download(repo)
    for path in folder.rglob("*"):
        assert path.is_dir() or path.stat().st_size >= 0, path
print("done")
"""


def test_prune_again_and_again_while_others_download(hub: Hub, home: Path) -> None:
    hub.on(WEIGHTS, slow(0.002))
    groups = [[f"group{group}/model{number}" for number in range(6)] for group in range(3)]
    for group, repos in enumerate(groups):
        for number, repo in enumerate(repos):
            own = {"sub/merges.txt": repo.encode(), WEIGHTS: big_model(256 << 10)[WEIGHTS] + b"%d" % (number // 2)}
            fill(hub.root / repo, {**MODEL, **own, "tokenizer.json": b"%d" % group})
    running = [child(DOWNLOADS, *repos) for repos in groups]
    lonely = blob(home, b"lonely")
    fill(lonely.parent, {lonely.name: b"lonely"})
    ends: list[tuple[str, str]] = []
    waiters = [threading.Thread(target=lambda one=one: ends.append(one.communicate(timeout=60))) for one in running]
    for waiter in waiters:
        waiter.start()
    rounds = 0
    while any(waiter.is_alive() for waiter in waiters):
        clean(Layout(home))
        rounds += 1
    for waiter in waiters:
        waiter.join()
    assert [one.returncode for one in running] == [0, 0, 0], "".join(err[-2000:] for _, err in ends)
    assert rounds > 5
    check_true(home)
    for repo in (repo for repos in groups for repo in repos):
        folder = cached_path(repo)
        assert folder is not None
        assert (folder / "sub/merges.txt").read_bytes() == repo.encode()
    clean(Layout(home))
    assert not lonely.exists()


def test_remove_and_prune_while_others_download_the_same(hub: Hub, home: Path) -> None:
    """Models that come and go share contents with those that stay."""
    repos = [f"stays/model{number}" for number in range(8)]
    for number, repo in enumerate(repos):
        fill(hub.root / repo, {**MODEL, "README.md": b"%d" % number})
    running = child(DOWNLOADS, *repos)
    ends: list[tuple[str, str]] = []
    waiter = threading.Thread(target=lambda: ends.append(running.communicate(timeout=60)))
    waiter.start()
    layout = Layout(home)
    while waiter.is_alive():
        pphub.download(TWIN)
        doomed = find_doomed(layout, "hf", TWIN, None)
        assert doomed is not None
        remove(layout, doomed, dry_run=False, note=lambda _owner: None)
        clean(layout)
    waiter.join()
    assert running.returncode == 0, ends
    check_true(home)
    assert all(cached_path(repo) for repo in repos)


# ------------------------------------------------------------------------------------------------- the disk says no

# Root may write anywhere; without its capabilities it is a user like any other.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if getattr(os, "geteuid", int)() == 0 else ()


@pytest.mark.skipif(bool(UNPRIVILEGED) and not shutil.which("setpriv"), reason="root, and cannot be less")
@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_a_home_that_may_only_be_read(hub: Hub, home: Path) -> None:
    pphub.download(REPO)
    for path in (home, *home.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    before = everything_below(home)
    code = f"""
from pphub.cli import main
for arguments in (["list"], ["verify"], ["remove", "--dry-run", {REPO!r}], ["remove", {REPO!r}], ["prune"]):
    print("code", main(arguments), arguments[0], flush=True)
"""
    process = child(code, prefix=UNPRIVILEGED)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    results = [line.removeprefix("code ") for line in out.splitlines() if line.startswith("code ")]
    assert results == ["0 list", "0 verify", "0 remove", "1 remove", "1 prune"], (out, err)
    assert len(re.findall("^hub: ", err, re.MULTILINE)) == 2
    assert "Permission denied" in err
    assert "Traceback" not in err
    assert everything_below(home) == before


def as_user(user: int, mask: int, *commands: list[str]) -> list[int]:
    """Run commands as another user of one group; a fork, since the interpreter may lie where only its owner reads."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(5000)
            os.setuid(user)
            os.umask(mask)
            os.write(writing, json.dumps([main(arguments) for arguments in commands]).encode())
        finally:
            os._exit(0)  # nothing may go on in this copy of the test
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    os.waitpid(pid, 0)
    codes: list[int] = json.loads(answer)
    return codes


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_each_of_a_group_may_care(
    hub: Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_anybody")  # or the client looks where it did when it was imported
    pphub.prepare(BERT)  # imports what the others may not be allowed to read
    assert main(["remove", BERT, "-q"]) == 0
    assert main(["prune", "-q"]) == 0
    shutil.rmtree(home)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o055)
    home.mkdir()
    os.chown(home, 5001, 5000)
    home.chmod(0o2775)
    assert as_user(5001, mask, ["prepare", BERT, "-q"], ["download", TWIN, "-q"], ["prune", "-q"]) == [0, 0, 0]
    (home / "hub/locks/care/test.lock").touch(0o600)  # of an earlier version
    assert as_user(5002, mask, ["prune", "-q"], ["remove", BERT, "-q"], ["verify", "-q"]) == [0, 0, 0]
    assert as_user(5001, mask, ["prune", "-q"], ["remove", TWIN, "-q"]) == [0, 0]
    assert blobs(home) == set()


def test_remove_does_nothing_where_it_could_not_finish(
    hub: Hub, home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pphub.prepare(BERT)
    before = everything_below(home)

    def refuse(_layout: Layout) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pphub_cache.care.sweeping, "time_of_disk", refuse)
    assert "Permission denied" in command("remove", BERT, check=1)
    assert everything_below(home) == before


_WITH_A_NAME = [(command, "org/name") for command in ("download", "convert", "prepare", "path", "plan", "remove")]


@pytest.mark.parametrize("arguments", [("list",), ("verify",), ("prune",), ("env",), *_WITH_A_NAME])
def test_a_home_that_is_a_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """An empty cache would be another matter."""
    fill(tmp_path, {"file": b"mine"})
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path / "file"))
    assert "is no folder" in command(*arguments, check=2)
    assert (tmp_path / "file").read_bytes() == b"mine"
