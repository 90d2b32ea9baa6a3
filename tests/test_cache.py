"""The cache on this disk: what is where, what is found again without a network, and what heals."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

import pphub.fetching
import pphub.resolve
from hubs import Hub, big_model, edit, fill, git_sha1, slow, small_model, status, tree
from pphub.cached import cached_path
from pphub.errors import NotCached, PphubError, SourceUnavailable, StorageFailed, UnsafeCheckpoint
from pphub.obtain import download, fetch
from pphub.select import Selection
from pphub.source import Listing, RemoteFile
from pphub_cache.layout import Layout
from pphub_cache.lock import entry_lock, read_owner
from pphub_cache.process import boot_id, host_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPO = "org/bert"
WEIGHTS = "model.safetensors"
MODEL = small_model()
WANTED = {path: MODEL[path] for path in ("README.md", "config.json", "vocab.txt", WEIGHTS)}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub.open(tmp_path / "hub", {REPO: MODEL}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        yield running


def run_python(code: str, prefix: list[str] | None = None) -> str:
    """Run code in another process that imports what this one does; return what it prints."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*(prefix or []), sys.executable, "-c", code], env=env, timeout=60, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_whole(folder: Path, files: dict[str, bytes] = WANTED) -> None:
    for path, content in files.items():
        assert (folder / path).read_bytes() == content


def everything_below(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its inode and content; two of these are equal if nothing was touched."""
    return {str(path): (path.stat().st_ino, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------ the layout


def test_the_layout(hub: Hub, home: Path) -> None:
    folder = download(REPO)
    layout = Layout(home)
    commit = folder.name
    assert folder == layout.snapshot("hf", REPO, commit)
    assert {path.name for path in folder.iterdir()} == {*WANTED, "snapshot.json"}
    for path, content in WANTED.items():
        blob = layout.blob(hashlib.sha256(content).hexdigest())
        assert (folder / path).is_symlink()
        assert not (folder / path).readlink().is_absolute()
        assert (folder / path).resolve() == blob.resolve()
        assert blob.read_bytes() == content
        assert stat.S_IMODE(blob.stat().st_mode) == 0o444
    assert sum(path.is_file() for path in (home / "hub/blobs").rglob("*")) == len(WANTED)
    refs = {path: path.read_text() for path in (home / "hub/refs/hf/org/bert").iterdir()}
    assert refs == dict.fromkeys([layout.ref("hf", REPO, "main"), layout.ref("hf", REPO, None)], f"{commit}\n")
    assert list((home / "hub/partial").iterdir()) == []
    assert {path.name for path in (home / "hub").iterdir()} == {
        "blobs",
        "locks",
        "partial",
        "refs",
        "snapshots",
        "unsynced",
    }
    assert list(home.rglob("*.tmp")) == []


def test_the_record(hub: Hub) -> None:
    folder = download(REPO, revision="main")
    record = json.loads((folder / "snapshot.json").read_text(encoding="utf-8"))
    assert {key: record[key] for key in ("source", "repo", "revision", "commit")} == {
        "source": "hf",
        "repo": REPO,
        "revision": "main",
        "commit": folder.name,
    }
    assert record["files"].keys() == MODEL.keys()
    for path, content in MODEL.items():
        entry = record["files"][path]
        assert entry["size"] == len(content)
        assert entry["stored"] == (path in WANTED)
        if path in WANTED:
            assert entry["sha256"] == hashlib.sha256(content).hexdigest()
            promised = f"sha256:{entry['sha256']}" if path == WEIGHTS else f"git-sha1:{git_sha1(content)}"
            assert entry["verified"] == promised


def test_relocated_home_still_works(hub: Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download(REPO)
    home.rename(tmp_path / "moved")
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path / "moved"))
    check_whole(download(REPO, offline=True))


@pytest.mark.parametrize("part", ["hub", "hub/blobs", "hub/snapshots", "hub/partial"])
def test_a_part_of_the_home_on_another_disk(
    hub: Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Relative links must start where the folder really is."""
    elsewhere = tmp_path / "a/b/c/disk"
    elsewhere.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _only_within(elsewhere))
        check_part(hub, home, elsewhere, part)


def _only_within(disk: Path) -> Callable[[Path, Path], Path]:
    """A rename as it is where ``disk`` is one: not possible from or to anywhere else."""

    def replace(source: Path, target: Path) -> Path:
        if source.parent.resolve().is_relative_to(disk) != target.parent.resolve().is_relative_to(disk):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        os.replace(source, target)  # noqa: PTH105  it is the one that is replaced here
        return target

    return replace


def check_part(hub: Hub, home: Path, elsewhere: Path, part: str) -> None:
    (home / part).parent.mkdir(parents=True)
    (home / part).symlink_to(elsewhere, target_is_directory=True)
    check_whole(download(REPO))
    check_whole(download(REPO, offline=True))


@pytest.mark.parametrize("name", ["模型 缓存", "with space", "a'b\"c$d`e;f", "ünï/ço dé", "%41#?", "~", "-x"])
def test_homes_with_all_kinds_of_names(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path / "homes" / name))
    folder = download(REPO)
    assert folder.is_relative_to(tmp_path / "homes" / name)
    check_whole(folder)
    check_whole(download(REPO, offline=True))


def test_names_as_long_as_file_systems_allow(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{hub.url}/{REPO}/resolve/main/config.json"
    path = f"{'长' * 78}.json"  # 239 bytes
    repo, revision = f"{'组' * 80}/{'模' * 80}", "版本/" * 60

    class Chinese:
        def list_files(self, name: str, asked: str | None) -> Listing:
            return Listing("zh", name, asked or "x", "1", (RemoteFile(path, None, None, url),))

    monkeypatch.setattr(pphub.resolve, "load_source", lambda _scheme: Chinese())
    folder = download(f"zh:{repo}", revision=revision)
    check_whole(folder, {path: MODEL["config.json"]})
    assert download(f"zh:{repo}", revision=revision, offline=True) == folder
    assert cached_path(f"zh:{repo}", revision=f"{revision}x") is None


@pytest.mark.parametrize("gone", [("symlink",), ("symlink", "link")])
def test_file_systems_without_links(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, gone: tuple[str, ...]
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(95, "Operation not supported")

    for name in gone:
        monkeypatch.setattr(os, name, refuse)
    folder = download(REPO)
    check_whole(folder)
    blob = Layout(home).blob(hashlib.sha256(MODEL[WEIGHTS]).hexdigest())
    assert not (folder / WEIGHTS).is_symlink()
    assert (folder / WEIGHTS).samefile(blob) == ("link" not in gone)
    check_whole(download(REPO, offline=True))
    # A damaged copy heals from the blob, without fetching.
    (folder / WEIGHTS).unlink()
    hub.well()
    check_whole(download(REPO))
    assert hub.count("/resolve/") == 0


# ------------------------------------------------------------------------------------------ warm and offline


def test_a_second_call_opens_no_socket_and_imports_no_client(hub: Hub) -> None:
    folder = download(REPO)
    hub.well()
    printed = run_python(
        f"""
import socket, sys
class Forbidden(socket.socket):
    def __init__(self, *a, **k): raise AssertionError("a socket was opened")
socket.socket = Forbidden
def no(*a, **k): raise AssertionError("a name was looked up")
socket.getaddrinfo = socket.create_connection = no
import pphub
print(pphub.download({REPO!r}))
from pphub.cached import cached_path
print(cached_path({REPO!r}))
print(*sorted({{"huggingface_hub", "modelscope", "paddle", "torch", "httpx"}} & sys.modules.keys()))
"""
    )
    assert printed.splitlines() == [str(folder), str(folder), ""]
    assert hub.asked == []


@pytest.mark.parametrize("how", ["argument", "PPHUB_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how != "argument":
        monkeypatch.setenv(how, "1")
    offline = True if how == "argument" else None
    with pytest.raises(NotCached, match="not in the cache") as caught:
        download(REPO, offline=offline)
    assert isinstance(caught.value, FileNotFoundError)
    assert "hub download org/bert" in str(caught.value.hint)
    assert hub.asked == []
    assert not home.exists()
    monkeypatch.delenv(how, raising=False)
    folder = download(REPO)
    if how != "argument":
        monkeypatch.setenv(how, "1")
    hub.well()
    assert download(REPO, offline=offline) == folder
    assert download(REPO, offline=offline, refresh=True) == folder
    assert download(f"hf:{REPO}@main", offline=offline) == folder
    assert download(REPO, revision=folder.name, offline=offline) == folder
    with pytest.raises(NotCached):
        download(REPO, revision="v1.0", offline=offline)
    assert hub.asked == []


def test_partly_cached_and_offline_names_the_files(hub: Hub) -> None:
    folder = download(REPO, include=["config.json", "vocab.txt"])
    assert cached_path(REPO) is None
    assert download(REPO, include="vocab.txt", offline=True) == folder
    with pytest.raises(NotCached) as caught:
        download(REPO, offline=True)
    assert f"\n  README.md\n  {WEIGHTS}" in caught.value.message
    assert "vocab.txt" not in caught.value.message
    assert caught.value.hint == f"when you are online: hub download hf:{REPO}@main"
    hub.well()
    assert download(REPO) == folder == cached_path(REPO)
    check_whole(folder)
    assert hub.count("/resolve/") == 2  # and not the two that were there


def test_a_cached_model_is_not_asked_for_until_refreshed(hub: Hub) -> None:
    old = download(REPO)
    fill(hub.root / REPO, {"config.json": b'{"new": 1}'})
    hub.well()
    assert download(REPO) == old
    assert hub.asked == []
    new = download(REPO, refresh=True)
    assert new != old
    assert (new / "config.json").read_bytes() == b'{"new": 1}'
    assert hub.count(WEIGHTS) == 0  # the weights did not change
    assert download(REPO) == new
    check_whole(download(REPO, revision=old.name))


def test_more_files_of_an_old_commit_do_not_turn_the_branch_back(hub: Hub) -> None:
    old = download(REPO, revision="main", include="config.json")
    shutil.copytree(hub.root / REPO, hub.root / f"{REPO}@old")
    fill(hub.root / REPO, {"config.json": b'{"new": 1}'})
    new = download(REPO, refresh=True)
    assert download(REPO, revision="main", refresh=True) == new != old
    assert download(REPO, revision=old.name, include="vocab.txt") == old
    assert download(REPO, revision="main", offline=True) == new
    assert download(REPO, offline=True) == new


def test_one_content_in_two_repositories_is_fetched_and_stored_once(hub: Hub, home: Path) -> None:
    fill(hub.root / "other/bert", MODEL)
    first, second = download(REPO), download("other/bert")
    assert hub.count(WEIGHTS) == 1
    for path in WANTED:
        assert (first / path).samefile(second / path)
    assert sum(path.is_file() for path in (home / "hub/blobs").rglob("*")) == len(WANTED)


def test_one_content_under_two_names(hub: Hub) -> None:
    fill(hub.root / REPO, {"a.txt": b"same", "sub/b.txt": b"same", "empty.txt": b""})
    check_whole(download(REPO), {"a.txt": b"same", "sub/b.txt": b"same", "empty.txt": b""})


def test_names_that_clash_with_those_of_an_earlier_call(hub: Hub) -> None:
    oid = git_sha1(MODEL["vocab.txt"])
    size = len(MODEL["vocab.txt"])
    hub.on("/tree/", tree(lambda files: files.append({"type": "file", "path": "VOCAB.txt", "size": size, "oid": oid})))
    folder = download(REPO, include="vocab.txt")
    with pytest.raises(UnsafeCheckpoint, match="clashes"):
        download(REPO, include="VOCAB.txt")
    check_whole(folder, {"vocab.txt": MODEL["vocab.txt"]})


# ---------------------------------------------------------------------------------------------- damage


def cut_through_link(folder: Path, _home: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"short")


def cut_blob(_folder: Path, home: Path) -> None:
    Layout(home).blob(hashlib.sha256(MODEL[WEIGHTS]).hexdigest()).write_bytes(b"")


def drop_link(folder: Path, _home: Path) -> None:
    (folder / "config.json").unlink()


def drop_blobs(_folder: Path, home: Path) -> None:
    shutil.rmtree(home / "hub/blobs")


def misdirect_link(folder: Path, _home: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("/nowhere/at/all")


def loop_link(folder: Path, _home: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(WEIGHTS)


def drop_folder(folder: Path, _home: Path) -> None:
    shutil.rmtree(folder)


def drop_all_but_blobs(_folder: Path, home: Path) -> None:
    for part in ("snapshots", "refs", "locks", "partial"):
        shutil.rmtree(home / "hub" / part)


def write_record(content: bytes) -> Callable[[Path, Path], object]:
    return lambda folder, _home: (folder / "snapshot.json").write_bytes(content)


def change_record(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Path], None]:
    def damage(folder: Path, _home: Path) -> None:
        record = json.loads((folder / "snapshot.json").read_bytes())
        change(record)
        (folder / "snapshot.json").write_text(json.dumps(record))

    return damage


def write_refs(content: bytes) -> Callable[[Path, Path], None]:
    def damage(_folder: Path, home: Path) -> None:
        for ref in (home / "hub/refs/hf/org/bert").iterdir():
            ref.write_bytes(content)

    return damage


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "cut through link": cut_through_link,
    "cut blob": cut_blob,
    "no link": drop_link,
    "no blobs": drop_blobs,
    "link to nowhere": misdirect_link,
    "link to itself": loop_link,
    "no folder": drop_folder,
    "only blobs": drop_all_but_blobs,
    "record empty": write_record(b""),
    "record cut": write_record(b'{"format": 1, "fi'),
    "record null": write_record(b"null"),
    "record list": write_record(b"[1]"),
    "record text": write_record(b'"x"'),
    "record no UTF-8": write_record(b"\xff\xfe\xfd"),
    "record deep": write_record(b"[" * 200_000),
    "record of the future": change_record(lambda record: record.update(format=99)),
    "record of another commit": change_record(lambda record: record.update(commit="0" * 40)),
    "record of another repository": change_record(lambda record: record.update(repo="org/other")),
    "record without repository": change_record(lambda record: record.pop("repo")),
    "record of no files": change_record(lambda record: record.update(files=None)),
    "record of listed files": change_record(lambda record: record.update(files=["config.json"])),
    "record with text for a file": change_record(lambda record: record["files"].update({WEIGHTS: "yes"})),
    "record without hash": change_record(lambda record: record["files"][WEIGHTS].update(sha256=None)),
    "record with text for a size": change_record(lambda record: record["files"][WEIGHTS].update(size="4096")),
    "record with another size": change_record(lambda record: record["files"][WEIGHTS].update(size=5)),
    "ref empty": write_refs(b""),
    "ref to a parent": write_refs(b".."),
    "ref to elsewhere": write_refs(b"../../../x"),
    "ref with NUL": write_refs(b"\0"),
    "ref no UTF-8": write_refs(b"\xff"),
    "ref long": write_refs(b"a" * 100_000),
    "ref to another commit": write_refs(b"0" * 40),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_told_offline_and_heals_online(hub: Hub, home: Path, damage: Callable[[Path, Path], object]) -> None:
    folder = download(REPO)
    damage(folder, home)
    with pytest.raises(NotCached) as caught:
        download(REPO, offline=True)
    assert caught.value.exit_code == 1
    assert cached_path(REPO) is None
    hub.on("/", status(500))
    with pytest.raises(SourceUnavailable):
        download(REPO)
    hub.well()
    assert download(REPO) == folder
    check_whole(folder)
    assert download(REPO, offline=True) == folder == cached_path(REPO)
    snapshot = fetch(REPO, offline=True)
    assert {path for path, file in snapshot.files.items() if file.stored} == set(WANTED)


def test_a_link_that_is_lost_is_made_again_from_the_store(hub: Hub, home: Path) -> None:
    folder = download(REPO)
    before = everything_below(folder)
    drop_link(folder, home)
    hub.well()
    download(REPO)
    assert hub.count("/resolve/") == 0
    assert everything_below(folder).keys() == before.keys()


def test_a_damaged_blob_heals_for_every_repository(hub: Hub, home: Path) -> None:
    fill(hub.root / "other/bert", MODEL)
    folders = [download(REPO), download("other/bert")]
    cut_blob(folders[0], home)
    download("other/bert")
    for folder in folders:
        check_whole(folder)
    check_whole(download(REPO, offline=True))


def test_what_a_killed_download_left_is_cleared_away(hub: Hub, home: Path) -> None:
    key = f"sha256-{hashlib.sha256(MODEL[WEIGHTS]).hexdigest()}"
    left = Layout(home).partial(f"{key}.4711-abcdef01")
    fill(left.parent, {left.name: b"the first half"})
    left.chmod(0o444)
    check_whole(download(REPO))
    assert list(left.parent.iterdir()) == []


def test_a_name_that_is_no_unicode_is_recorded_and_read_back(hub: Hub) -> None:
    oid = git_sha1(b"")
    hub.on("/tree/", tree(lambda files: files.append({"type": "file", "path": "\ud800.so", "size": 0, "oid": oid})))
    folder = download(REPO, include="*.json")
    (folder / "snapshot.json").read_bytes().decode("utf-8")
    assert "\ud800.so" in fetch(REPO, offline=True, selection=Selection(include=("*.json",))).files


# --------------------------------------------------------------------------------------- the disk says no


@pytest.mark.parametrize("what", ["hub", "hub/blobs", "hub/snapshots", "hub/refs", "hub/locks", "hub/partial"])
def test_a_file_where_a_folder_must_be(hub: Hub, home: Path, what: str) -> None:
    (home / what).parent.mkdir(parents=True, exist_ok=True)
    (home / what).write_bytes(b"mine")
    with pytest.raises(StorageFailed) as caught:
        download(REPO)
    assert isinstance(caught.value, OSError)
    assert caught.value.exit_code == 1
    assert str(home) in caught.value.message
    assert "PPNLP_HOME" in str(caught.value.hint)
    assert (home / what).read_bytes() == b"mine"
    assert cached_path(REPO) is None
    (home / what).unlink()
    check_whole(download(REPO))


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of processes there")
@pytest.mark.parametrize("limit", [0, 10, 1000, (1 << 20) + 5, (3 << 20) - 1000, (3 << 20) - 1])
def test_a_disk_that_is_full_in_the_middle(hub: Hub, home: Path, limit: int) -> None:
    """A full disk takes part of a write without complaint; a limit on the size of files does the same."""
    before_folder = download(REPO)
    before = everything_below(home / "hub/snapshots") | everything_below(home / "hub/blobs")
    big = big_model()
    fill(hub.root / "org/big", big)
    printed = run_python(
        f"""
import resource
import pphub
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    print(pphub.download("org/big"))
except pphub.errors.StorageFailed as error:
    print(error.message)
"""
    )
    assert "File too large" in printed
    assert cached_path("org/big") is None
    assert (
        everything_below(home / "hub/snapshots").items()
        >= {name: state for name, state in before.items() if "snapshots" in name}.items()
    )
    assert (
        everything_below(home / "hub/blobs").items()
        >= {name: state for name, state in before.items() if "blobs" in name}.items()
    )
    for blob in (home / "hub/blobs").rglob("*"):
        assert blob.is_dir() or hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    check_whole(download(REPO, offline=True))
    assert download(REPO) == before_folder
    check_whole(download("org/big"), big)
    assert list((home / "hub/partial").iterdir()) == []


# Root may write anywhere; without its capabilities it is a user like any other.
UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if getattr(os, "geteuid", int)() == 0 else []


@pytest.mark.skipif(bool(UNPRIVILEGED) and not shutil.which("setpriv"), reason="root, and cannot be less")
@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_a_home_that_may_only_be_read(hub: Hub, home: Path) -> None:
    folder = download(REPO)
    fill(hub.root / "org/big", big_model())
    for path in (home, *home.rglob("*")):
        if path.is_dir():
            path.chmod(0o555)
        elif not path.is_symlink():
            path.chmod(0o444)
    before = everything_below(home)
    code = f"""
import pphub
print(pphub.download({REPO!r}))
try:
    pphub.download("org/big")
except pphub.errors.StorageFailed as error:
    print(error.message)
"""
    first, second = run_python(code, prefix=UNPRIVILEGED).splitlines()
    assert first == str(folder)
    assert "Permission denied" in second
    assert everything_below(home) == before


# -------------------------------------------------------------------------------------------------- locks


HOLDER = """
import os, sys, time
from pathlib import Path
from pphub_cache.lock import entry_lock
lock, inside = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(20):
    with entry_lock(lock):
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails if another holder is inside
        time.sleep(0.001)
        inside.unlink()
print("done")
"""


def test_two_holders_never_overlap_and_the_file_stays(tmp_path: Path) -> None:
    lock = tmp_path / "locks/blob/x.lock"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", HOLDER, str(lock), str(tmp_path / "inside")]
    holders = [subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [holder.communicate(timeout=60)[0] for holder in holders] == ["done\n"] * 4
    assert lock.is_file()
    inode = lock.stat().st_ino
    with entry_lock(lock):
        pass
    assert lock.stat().st_ino == inode


def test_a_waiter_is_told_once_whom_it_waits_for(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    told: list[str] = []
    inside = threading.Event()

    def hold() -> None:
        with entry_lock(lock):
            inside.set()
            time.sleep(0.5)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait()
    with entry_lock(lock, on_wait=told.append):
        pass
    holder.join()
    assert len(told) == 1
    assert f"process {os.getpid()} on " in told[0]


INTERRUPTED = """
import sys
from pathlib import Path
from pphub_cache.lock import entry_lock
try:
    with entry_lock(Path(sys.argv[1]), on_wait=lambda owner: print("waiting", flush=True)):
        print("got it")
except KeyboardInterrupt:
    print("gave up")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_who_waits_can_give_up(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with entry_lock(tmp_path / "x.lock"):
        command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "x.lock")]
        waiter = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "waiting\n"
        time.sleep(0.1)
        waiter.send_signal(signal.SIGINT)
        assert waiter.communicate(timeout=30)[0] == "gave up\n"


def test_a_file_system_without_locks_is_as_one_that_grants_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with entry_lock(tmp_path / "x.lock") as alone:
        assert alone
    monkeypatch.setattr("fcntl.flock", refuse)
    with entry_lock(tmp_path / "x.lock") as alone:
        assert not alone


def test_nobody_is_bothered_about_a_short_wait(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    inside = threading.Event()

    def hold() -> None:
        with entry_lock(lock):
            inside.set()
            time.sleep(0.02)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait()
    with entry_lock(lock, on_wait=pytest.fail):
        pass
    holder.join()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_what_is_in_the_place_of_the_owner_is_neither_written_through_nor_waited_for(tmp_path: Path) -> None:
    """In a cache of a group, another member may have put it there."""
    lock, owner, victim = tmp_path / "x.lock", tmp_path / "x.owner", tmp_path / "victim"
    victim.write_text("mine")
    owner.symlink_to(victim)
    with entry_lock(lock):
        assert f"process {os.getpid()} " in read_owner(lock)
    assert victim.read_text() == "mine"
    owner.unlink()
    os.mkfifo(owner)
    assert read_owner(lock) == "another process"
    with entry_lock(lock):
        assert f"process {os.getpid()} " in read_owner(lock)


def test_a_part_that_is_a_link_is_not_gone_on_with(hub: Hub, home: Path, tmp_path: Path) -> None:
    """Else the content would be written elsewhere."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    content = big_model()["model.safetensors"]
    sha256 = hashlib.sha256(content).hexdigest()
    place = home / f"hub/partial/sha256-{sha256}.{host_name()}-4194000-abcdef01"
    state: dict[str, Any] = {
        "format": 1,
        "size": len(content),
        "boot": boot_id(),
        "done": [[0, 4]],
        "synced": [],
        "validators": {},
    }
    fill(place, {"state.json": json.dumps(state).encode()})
    (place / "content").symlink_to(victim)
    with Hub.open(tmp_path / "large", {"org/large": big_model()}) as large, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", large.url)
        folder = pphub.download("hf:org/large")
    assert (folder / "model.safetensors").read_bytes() == content
    assert victim.read_bytes() == b"mine"
    assert not (folder / "model.safetensors").resolve().is_symlink()


def test_a_folder_that_vanishes_meanwhile_is_an_error(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def removing(*arguments: Any) -> Any:
        found = gather(*arguments)
        shutil.rmtree(home / "hub/blobs")
        return found

    from pphub_cache.gather import gather

    monkeypatch.setattr("pphub_cache.gather.gather", removing)
    with pytest.raises(StorageFailed, match="has vanished"):
        pphub.download(REPO)
    monkeypatch.undo()
    assert not list(home.glob("hub/snapshots/**/snapshot.json"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b'{"pid": 1}', b"\xff"])
def test_an_unreadable_owner_is_another_process(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.owner").write_bytes(content)
    assert read_owner(tmp_path / "x.lock") == "another process"


def test_where_locks_do_not_work_nothing_wrong_is_stored(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on network file systems where flock says yes to everybody."""
    monkeypatch.setattr(pphub.fetching, "entry_lock", lambda *_args, **_options: nullcontext())
    big = big_model()
    fill(hub.root / "org/big", big)
    hub.on("/resolve/", slow(0.002))
    ends: list[Path | PphubError] = []

    def run() -> None:
        try:
            ends.append(download("org/big"))
        except PphubError as error:
            ends.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for number, thread in enumerate(threads):
        thread.start()
        time.sleep(0.01 * number)
    for thread in threads:
        thread.join()
    assert any(isinstance(end, Path) for end in ends)
    assert all(isinstance(end, (Path, StorageFailed)) for end in ends)
    for blob in (home / "hub/blobs").rglob("*"):
        assert blob.is_dir() or hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    check_whole(download("org/big"), big)


def test_refs_of_revisions_that_look_alike(hub: Hub) -> None:
    for revision in ("a/b", "a%2Fb", "a b", "a+b"):
        fill(hub.root / f"{REPO}@{quote(revision, safe='')}", {"config.json": revision.encode()})
    for revision in ("a/b", "a+b"):
        check_whole(download(REPO, revision=revision), {"config.json": revision.encode()})
    for revision in ("a/b", "a+b"):
        check_whole(download(REPO, revision=revision, offline=True), {"config.json": revision.encode()})


def test_selection_of_a_cached_model_needs_no_hub(hub: Hub) -> None:
    folder = download(REPO)
    hub.on("/", edit(status=500))
    assert fetch(REPO, selection=Selection(include=("*.txt",))).folder == folder
