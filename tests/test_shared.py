"""What is on this disk already is not fetched again: other revisions and hubs, other caches, a shared one beneath."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import sys
import time
import traceback
from typing import TYPE_CHECKING

import pytest

import pphub
from hubs import Hub, big_model, cut, fill, slow, small_model, status, tiny_bert
from pphub.errors import Corrupt, SourceUnavailable, StorageFailed, UnsafeCheckpoint
from pphub_cache.partial import bytes_in
from pphub_cache.progress import SilentProgress
from pphub_cache.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REPO = "org/model"
WEIGHTS = "model.safetensors"
MODEL = big_model()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub.open(tmp_path / "hub", {REPO: MODEL | {"vocab.txt": b"a\nb\n"}, "org/bert": tiny_bert()}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", running.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        yield running


def blobs(home: Path) -> dict[str, Path]:
    return {path.name: path for path in (home / "hub/blobs").rglob("*") if path.is_file()}


def check(folder: Path, hub: Hub, repo: str = REPO) -> None:
    for path in folder.iterdir():
        if path.name != "snapshot.json":
            assert path.read_bytes() == (hub.root / repo / path.name).read_bytes()


def test_the_same_weights_from_two_hubs_are_fetched_and_stored_once(hub: Hub, home: Path) -> None:
    first = pphub.download(f"hf:{REPO}")
    hub.well()
    second = pphub.download(f"ms:{REPO}")
    assert first != second
    assert hub.count(WEIGHTS) == 0
    assert (first / WEIGHTS).samefile(second / WEIGHTS)
    assert hashlib.sha256(MODEL[WEIGHTS]).hexdigest() in blobs(home)
    check(second, hub)


def test_of_another_revision_only_what_changed_is_fetched(hub: Hub, home: Path) -> None:
    first = pphub.download(REPO)
    fill(hub.root / f"{REPO}@next", {**MODEL, "vocab.txt": b"a\nb\n", "config.json": b'{"new": true}'})
    hub.well()
    second = pphub.download(REPO, revision="next")
    assert first != second
    assert [asked.path.rpartition("/")[2] for asked in hub.asked if "/resolve/" in asked.path] == ["config.json"]
    assert (first / "vocab.txt").samefile(second / "vocab.txt")
    assert (second / "config.json").read_bytes() == b'{"new": true}'


def test_what_huggingface_hub_has_is_taken_over(hub: Hub, home: Path) -> None:
    from huggingface_hub import snapshot_download

    # That client reads its settings when it is imported, perhaps by an earlier test.
    snapshot_download(REPO, endpoint=hub.url, cache_dir=home.with_name("user") / "hf/hub")
    hub.well()
    check(pphub.download(REPO), hub)
    assert hub.count("/resolve/") == 0
    # Nothing of ours depends on the other cache.
    for path in blobs(home).values():
        assert path.stat().st_nlink == 1
        assert not path.is_symlink()


def test_a_damaged_copy_of_huggingface_hub_is_not_believed(hub: Hub, tmp_path: Path) -> None:
    """That client checks sizes only, so its cache may hold anything."""
    from huggingface_hub import snapshot_download

    snapshot_download(REPO, endpoint=hub.url, cache_dir=tmp_path / "user/hf/hub")
    blob = tmp_path / "user/hf/hub/models--org--model/blobs" / hashlib.sha256(MODEL[WEIGHTS]).hexdigest()
    content = bytearray(blob.read_bytes())
    content[1_000_000] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    hub.well()
    check(pphub.download(REPO), hub)
    assert hub.count(WEIGHTS) == 1
    assert blob.read_bytes() == content  # theirs is theirs


def test_another_revision_that_modelscope_has_does_not_cost_what_is_here(hub: Hub, home: Path, tmp_path: Path) -> None:
    """Weights of the same size, as other revisions and fine-tuned models have."""
    content = MODEL[WEIGHTS]
    other = tmp_path / "user/ms/models" / REPO / WEIGHTS
    hub.on(WEIGHTS, cut(2 << 20), times=1)
    hub.on(WEIGHTS, lambda asked, answer: status(500)(asked, answer) if "range" in asked.headers else answer)
    with pytest.raises(SourceUnavailable):
        pphub.download(REPO)
    fill(other.parent, {WEIGHTS: bytes(len(content))})
    hub.well()
    check(pphub.download(REPO), hub)
    assert hub.sent(WEIGHTS) < len(content) - (1 << 20)


def test_what_modelscope_has_is_taken_over(hub: Hub, tmp_path: Path) -> None:
    modelscope = pytest.importorskip("modelscope_hub")
    modelscope.HubApi(endpoint=hub.url).download_repo(REPO, "model", cache_dir=str(tmp_path / "user/ms"))
    hub.well()
    check(pphub.download(f"ms:{REPO}"), hub)
    assert hub.count("FilePath=") == 0
    # The weights also when the model is asked for at the other hub, since its name is the same.
    shutil.rmtree(os.environ["PPNLP_HOME"])
    check(pphub.download(f"hf:{REPO}"), hub)
    assert hub.count(WEIGHTS) == 0


def test_a_shared_cache_is_read_and_not_written(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = home.with_name("shared")
    monkeypatch.setenv("PPNLP_HOME", str(shared))
    theirs = pphub.prepare("org/bert")
    pphub.download(REPO)
    before = {path: path.lstat().st_mtime_ns for path in shared.rglob("*")}
    monkeypatch.setenv("PPNLP_HOME", str(home))
    monkeypatch.setenv("PPHUB_SHARED_HOME", f"{shared}{os.pathsep}{home / 'nowhere'}")
    hub.well()
    assert pphub.download(REPO).is_relative_to(shared)
    assert pphub.prepare("org/bert") == theirs
    assert hub.asked == []
    fill(hub.root / f"{REPO}@next", {**MODEL, "config.json": b'{"new": true}'})
    mine = pphub.download(REPO, revision="next")
    assert mine.is_relative_to(home)
    assert hub.count(WEIGHTS) == 0
    assert (mine / WEIGHTS).resolve().is_relative_to(shared)
    assert {path: path.lstat().st_mtime_ns for path in shared.rglob("*")} == before
    # What is lost beneath is fetched again, into the own cache.
    shutil.rmtree(shared)
    assert pphub.download(REPO, revision="next") == mine
    assert hub.count(WEIGHTS) == 1
    assert (mine / WEIGHTS).read_bytes() == MODEL[WEIGHTS]


@pytest.mark.skipif(sys.platform == "win32", reason="no permissions of groups there")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_cache_of_a_group_stays_the_groups(hub: Hub, home: Path, mask: int) -> None:
    home.mkdir()
    home.chmod(0o2770)
    before = os.umask(mask)
    try:
        pphub.prepare("org/bert")
    finally:
        os.umask(before)
    for path in (home / "hub").rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            continue
        if path.is_dir():
            assert mode & 0o2070 == 0o2070, (path, oct(mode))
        elif path.suffix == ".lock":
            assert mode & 0o060 == 0o060, (path, oct(mode))
        else:
            assert mode & 0o040, (path, oct(mode))
            assert not path.is_relative_to(home / "hub/blobs") or mode & 0o222 == 0


def test_a_private_cache_stays_private(hub: Hub, home: Path) -> None:
    before = os.umask(0o077)
    try:
        pphub.download(REPO)
    finally:
        os.umask(before)
    for path in home.rglob("*"):
        assert path.is_symlink() or stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def test_a_download_that_cannot_fit_is_not_begun(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(home.parent)._replace(free=len(MODEL[WEIGHTS]) - 1)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: usage)
        with pytest.raises(StorageFailed, match=r"needs 3\.0 MiB, and .* has 3\.0 MiB free") as caught:
            pphub.download(REPO)
    assert "hub prune" in str(caught.value.hint)
    assert hub.count("/resolve/") == 0
    # What is here already needs no room.
    pphub.download(REPO)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: usage)
        pphub.download(REPO, refresh=True)
        pphub.download(f"ms:{REPO}", include=WEIGHTS)


def test_use_is_noted_to_a_minute(hub: Hub, home: Path) -> None:
    record = pphub.download(REPO) / "snapshot.json"
    os.utime(record, (1, 1))
    pphub.download(REPO)
    used = record.stat().st_mtime
    assert used > 1e9
    pphub.download(REPO)
    assert record.stat().st_mtime == used


def test_many_files_are_looked_at_once_a_second(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"part-{number}.json": b"%d" % number for number in range(40)}
    with Hub.open(tmp_path / "many", {"org/many": {**files, **small_model()}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        folder = pphub.download("org/many", progress=SilentProgress())
        assert pphub.download("org/many") == folder
        snapshot = next(Store(home).find("hf", "org/many", None))
        wanted = tuple(files)
        assert snapshot.missing(wanted) == ()
        blob = (folder / "part-7.json").resolve()
        blob.unlink()
        monkeypatch.setattr("pphub_cache.store._LOOK_AGAIN", 0.0)
        assert snapshot.missing(wanted) == ("part-7.json",)
        assert pphub.download("org/many") == folder
        assert blob.read_bytes() == b"7"


# ------------------------------------------------------------------------------------ what must not come in


@pytest.fixture
def evil(tmp_path: Path) -> tuple[bytes, Path]:
    """A pickle that leaves a mark, and the mark."""
    mark = tmp_path / "mark"
    return f"cposix\nsystem\n(S'touch {mark}'\ntR.".encode(), mark


@pytest.mark.parametrize("before", [b"", b"I1_0\n0", b"L1_0L\n0", b"F1_0.5\n0", b"I 1\n0"])
def test_a_pickle_that_only_python_understands_does_not_come_in(
    hub: Hub, home: Path, evil: tuple[bytes, Path], before: bytes
) -> None:
    """Numbers that pickle accepts and others do not must not hide what comes after them."""
    content, mark = evil
    fill(hub.root / "org/evil", {"config.json": b"{}", "model_state.pdparams": before + content})
    with pytest.raises((UnsafeCheckpoint, Corrupt), match=r"model_state\.pdparams") as caught:
        pphub.download("org/evil")
    assert caught.value.exit_code == 4
    assert not any(before + content in path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert not mark.exists()


def test_another_name_does_not_let_it_in(hub: Hub, home: Path, evil: tuple[bytes, Path]) -> None:
    """The same bytes as a harmless file: in the same repository, and in one that was cached before."""
    content, _ = evil
    fill(hub.root / "org/twice", {"config.json": b"{}", "model_state.pdparams": content, "vocab.txt": content})
    with pytest.raises(UnsafeCheckpoint, match=r"model_state\.pdparams"):
        pphub.download("org/twice")
    fill(hub.root / "org/harmless", {"config.json": b"{}", "vocab.txt": content})
    pphub.download("org/harmless")
    fill(hub.root / "org/evil", {"config.json": b"{}", "model_state.pdparams": content})
    for repo in ("org/evil", "org/twice"):
        with pytest.raises(UnsafeCheckpoint, match=r"model_state\.pdparams"):
            pphub.download(repo)
        assert not list((home / "hub/snapshots/hf" / repo).rglob("model_state.pdparams"))


def test_a_damaged_blob_of_a_shared_cache_is_not_linked(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = home.with_name("shared")
    monkeypatch.setenv("PPNLP_HOME", str(shared))
    blob = (pphub.download(REPO) / WEIGHTS).resolve()
    blob.chmod(0o644)
    blob.write_bytes(bytes(len(MODEL[WEIGHTS])))
    monkeypatch.setenv("PPNLP_HOME", str(home))
    monkeypatch.setenv("PPHUB_SHARED_HOME", str(shared))
    fill(hub.root / "org/other", {**MODEL, "config.json": b'{"other": true}'})
    hub.well()
    folder = pphub.download("org/other")
    assert (folder / WEIGHTS).read_bytes() == MODEL[WEIGHTS]
    assert (folder / WEIGHTS).resolve().is_relative_to(home)
    assert hub.count(WEIGHTS) == 1


# ------------------------------------------------------------------------------------ other users


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.usefixtures("others")
def test_what_other_caches_keep_to_themselves_is_passed_over(hub: Hub, tmp_path: Path) -> None:
    blobs_of_hf = tmp_path / "user/hf/hub/models--org--model/blobs"
    secret = fill(blobs_of_hf, {hashlib.sha256(MODEL[WEIGHTS]).hexdigest(): MODEL[WEIGHTS]})
    next(secret.iterdir()).chmod(0)
    fill(tmp_path / "user/ms/models/org--model/snapshots/master", {"config.json": b"{}"})
    (tmp_path / "user/ms").chmod(0o700)
    assert ended(as_user(5001, lambda: pphub.download(REPO))) == 0
    assert hub.count(WEIGHTS) == 1


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
@pytest.mark.usefixtures("others")
def test_one_user_goes_on_where_another_was_killed(hub: Hub, home: Path, mask: int) -> None:
    hub.on(WEIGHTS, slow(0.1))
    begun = as_user(5001, lambda: pphub.download(REPO), mask)
    while not any(bytes_in(part) > 1 << 20 for part in home.glob("hub/partial/sha256-*")):
        assert os.waitpid(begun, os.WNOHANG) == (0, 0)
        time.sleep(0.02)
    os.kill(begun, signal.SIGKILL)
    assert ended(begun) == -signal.SIGKILL
    hub.well()
    for user in (5002, 5001):
        assert ended(as_user(user, lambda: (pphub.prepare("org/bert"), pphub.download(REPO)), mask)) == 0
    ranged = [asked for asked in hub.asked if "model/resolve" in asked.path and WEIGHTS in asked.path]
    assert ranged
    assert all("range" in asked.headers for asked in ranged)


def as_user(user: int, work: Callable[[], object], mask: int = 0o022) -> int:
    """Begin work as another user of one group, in a process of its own; returns its id.

    A fork, since the interpreter may lie where only its owner reads; so what is needed has been imported before.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setgroups([])
        os.setgid(5000)
        os.setuid(user)
        os.umask(mask)
        work()
        code = 0
    except BaseException:  # noqa: BLE001  nothing may go on in this copy of the test
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def others(hub: Hub, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that a group shares, in folders that others may pass through; and all is imported."""
    monkeypatch.setenv("HF_TOKEN", "hf_anybody")  # or the client looks where it did when it was imported
    pphub.prepare("org/bert", progress=SilentProgress())
    shutil.rmtree(home)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o055)
    home.mkdir()
    os.chown(home, 5001, 5000)
    home.chmod(0o2775)
    hub.well()
