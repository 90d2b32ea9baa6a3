"""Power cuts: what was stored and not yet on the disk is read before it is believed, and costs no more than itself."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pphub
import pphub_cache.digest
import pphub_cache.process
import pphub_cache.store
import pphub_cache.unsynced
from hubs import Hub, big_model, fill, tiny_bert
from pphub.cached import cached_path
from pphub.cli import main
from pphub.errors import PphubError
from pphub.obtain import fetch
from pphub_cache.atomic import move
from pphub_cache.layout import Layout
from pphub_cache.transfer import fetch as fetch_content
from pphub_cache.unsynced import defer

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = "org/bert"
WEIGHTS = "model.safetensors"
MODEL = big_model()
DAY = 24 * 3600

pytestmark = pytest.mark.skipif(
    pphub_cache.process.boot_id() is None, reason="this system does not tell one boot from another: all is synced"
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub.open(tmp_path / "hub", {REPO: MODEL}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        begin_anew()
        yield running


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that have been synced."""
    paths: list[Path] = []
    fsync = os.fsync

    def remember(descriptor: int) -> None:
        paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", remember)
    return paths


def begin_anew() -> None:
    """Forget what a process remembers of the caches it has seen."""
    pphub_cache.unsynced._NOTES.clear()
    pphub_cache.unsynced._LISTED.clear()
    pphub_cache.unsynced._DOUBTS.clear()
    pphub_cache.store._RECORDS.clear()
    pphub_cache.store._LOOKED.clear()


def notes(home: Path) -> list[Path]:
    return sorted((home / "hub/unsynced").iterdir())


def cut_the_power(home: Path) -> None:
    """What was noted is now of an earlier boot."""
    for note in notes(home):
        _, dot, owner = note.name.partition(".")
        note.rename(note.with_name(f"00000000-0000-4000-8000-000000000000{dot}{owner}"))
    begin_anew()


def damage(link: Path) -> None:
    """As file systems do it: the size is right, and there are zeros in it."""
    blob = link.resolve()
    blob.chmod(0o600)
    with blob.open("r+b") as stream:
        before = os.fstat(stream.fileno())
        stream.seek(100)
        stream.write(b"\0" * 1000)
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))


def check_right(folder: Path) -> None:
    for path, content in MODEL.items():
        assert (folder / path).read_bytes() == content, path


def test_what_is_stored_is_noted(hub: Hub, home: Path) -> None:
    folder = fetch(REPO).folder
    (note,) = notes(home)
    noted = note.read_text().split()[1:]
    assert sorted(noted) == sorted((folder / path).resolve().name for path in MODEL)


def test_the_note_is_on_the_disk_before_the_first_content_has_its_place(
    hub: Hub, home: Path, synced: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[int] = []

    def remember(source: Path, target: Path, *, durable: bool = True) -> None:
        moved.append(len(synced))
        move(source, target, durable=durable)

    monkeypatch.setattr("pphub_cache.store.move", remember)
    fetch(REPO)
    (note,) = notes(home)
    assert synced[:2] == [note, note.parent]
    assert moved == [2, 2]
    assert not any("blobs" in path.parts or "partial" in path.parts for path in synced), "nobody waited for the disk"


def test_a_large_content_is_noted_while_the_disk_has_nothing_else_to_do(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, synced: list[Path]
) -> None:
    monkeypatch.setattr("pphub_cache.unsynced._LARGE", len(MODEL[WEIGHTS]))
    in_time: list[bool] = []

    def fetching(*arguments: Any) -> Any:
        sha256 = hashlib.sha256(MODEL[WEIGHTS]).hexdigest()
        in_time.append(any(sha256 in note.read_text() for note in notes(home)) and notes(home)[0] in synced)
        synced.clear()
        return fetch_content(*arguments)

    monkeypatch.setattr("pphub_cache.gather.fetch", fetching)
    folder = fetch(REPO).folder
    assert in_time == [True]
    assert (folder / WEIGHTS).read_bytes() == MODEL[WEIGHTS]
    assert not [path for path in synced if path in notes(home)]  # not once more, when the disk is busy
    assert sum(note.read_text().count(hashlib.sha256(MODEL[WEIGHTS]).hexdigest()) for note in notes(home)) == 1


def test_a_new_download_is_never_cut_to_nothing(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else ext4 would make whoever closes it wait until the disk has everything."""
    cut: list[object] = []
    truncate = os.truncate

    def remember(path: Path, length: int) -> None:
        cut.append(path)
        truncate(path, length)

    monkeypatch.setattr(os, "truncate", remember)
    fetch(REPO)
    assert cut == []


def test_after_a_power_cut_damage_is_found_and_fetched_again(hub: Hub, home: Path) -> None:
    damage(fetch(REPO).folder / WEIGHTS)
    cut_the_power(home)
    before = hub.sent(WEIGHTS)
    check_right(fetch(REPO).folder)
    assert hub.sent(WEIGHTS) == before + len(MODEL[WEIGHTS])
    assert hub.count("/config.json") == 1


def test_after_a_power_cut_what_is_whole_stays(hub: Hub, home: Path) -> None:
    fetch(REPO)
    cut_the_power(home)
    asked = hub.count("/")
    check_right(fetch(REPO).folder)
    assert hub.count("/") == asked
    assert notes(home) == []


def test_after_a_power_cut_nothing_damaged_is_handed_out_offline(
    hub: Hub, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(fetch(REPO).folder / WEIGHTS)
    cut_the_power(home)
    assert cached_path(REPO) is None
    with pytest.raises(PphubError, match=WEIGHTS):
        fetch(REPO, offline=True)
    assert main(["path", REPO]) == 1
    capsys.readouterr()


def test_the_user_is_told_why_it_takes_a_while(hub: Hub, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(REPO)
    cut_the_power(home)
    assert main(["download", REPO]) == 0
    assert "stored before a restart" in capsys.readouterr().err


def test_what_was_stored_long_before_is_not_read(hub: Hub, home: Path) -> None:
    """Or a large cache would be read from end to end after each power cut."""
    old = (fetch(REPO).folder / WEIGHTS).resolve()
    damage(old)
    os.utime(old, (time.time() - DAY, time.time() - DAY))
    for note in notes(home):
        note.unlink()
    begin_anew()
    assert defer(Layout(home), "a" * 64, 1)
    cut_the_power(home)
    assert cached_path(REPO) is not None
    assert old.exists()
    assert notes(home) == []


def test_damage_is_found_under_hard_links_too(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.symlink_to", _no_symlinks)
    folder = fetch(REPO).folder
    assert (folder / WEIGHTS).stat().st_nlink == 2
    damage(folder / WEIGHTS)
    cut_the_power(home)
    assert cached_path(REPO) is None
    check_right(fetch(REPO).folder)


def _no_symlinks(*_arguments: object, **_options: object) -> None:
    raise OSError("not here")


def test_an_old_note_of_this_boot_is_synced_and_goes(hub: Hub, home: Path, synced: list[Path]) -> None:
    folder = fetch(REPO).folder
    (note,) = notes(home)
    begin_anew()
    assert cached_path(REPO) == folder
    assert notes(home) == [note], "it is young: the disk may have much to do"
    os.utime(note, (time.time() - 120, time.time() - 120))
    begin_anew()
    synced.clear()
    assert cached_path(REPO) == folder
    assert notes(home) == []
    assert set(synced) == {(folder / path).resolve() for path in MODEL}


def test_a_process_whose_note_was_removed_begins_another(home: Path) -> None:
    layout = Layout(home)
    begin_anew()
    assert defer(layout, "a" * 64, 1)
    notes(home)[0].unlink()
    assert defer(layout, "b" * 64, 1)
    (note,) = notes(home)
    assert note.read_text().split()[1:] == ["b" * 64]


def test_what_comes_while_its_note_is_settled_stays_noted(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large content is listed long before it has its place; another process looks for it in between."""
    layout = Layout(home)
    content, sha256 = b"large" * 100, hashlib.sha256(b"large" * 100).hexdigest()
    monkeypatch.setattr("pphub_cache.unsynced._LARGE", 1)
    pphub_cache.unsynced.expect(layout, sha256, len(content))
    fetch(REPO)
    (note,) = notes(home)
    os.utime(note, (time.time() - 100,) * 2)
    place = home / "arrived"

    def arriving(path: Path) -> None:
        sync(path)
        if not layout.blob(sha256).exists():  # its line was the first, so it has been passed over by now
            fill(home, {"arrived": content})
            pphub_cache.store.Store(home).keep_blob(place, sha256)

    from pphub_cache.atomic import sync_file as sync

    monkeypatch.setattr("pphub_cache.unsynced.sync_file", arriving)
    pphub_cache.unsynced._settle(layout, str(pphub_cache.process.boot_id()), print, own=True)
    assert layout.blob(sha256).read_bytes() == content
    assert any(sha256 in left.read_text() for left in notes(home))


def test_what_another_machine_notes_while_its_note_is_mended_stays(hub: Hub, home: Path) -> None:
    fetch(REPO)
    cut_the_power(home)
    (note,) = notes(home)
    descriptor = os.open(note, os.O_WRONLY | os.O_APPEND)
    begin_anew()
    fetch(REPO)
    assert not note.exists()
    try:
        assert not pphub_cache.unsynced._is_at(note, descriptor)  # so it begins another
    finally:
        os.close(descriptor)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_in_the_place_of_a_note_is_not_waited_for(hub: Hub, home: Path) -> None:
    fetch(REPO)
    (note,) = notes(home)
    os.mkfifo(note.with_name("0-another-boot.x"))
    begin_anew()
    check_right(fetch(REPO).folder)
    begin_anew()
    assert [left.name for left in notes(home)] == [note.name]


def test_a_note_that_the_power_cut_left_empty_says_that_nothing_was_stored(hub: Hub, home: Path) -> None:
    fetch(REPO)
    notes(home)[0].write_bytes(b"")
    cut_the_power(home)
    check_right(fetch(REPO).folder)
    assert notes(home) == []


@pytest.mark.parametrize("text", ["zeros", "first line", "letters"])
def test_a_note_that_cannot_be_read_puts_everything_in_doubt(hub: Hub, home: Path, text: str) -> None:
    link = fetch(REPO).folder / WEIGHTS
    (note,) = notes(home)
    first, rest = note.read_bytes().split(b"\n", 1)
    size = note.stat().st_size
    note.write_bytes({"zeros": bytes(size), "first line": bytes(len(first)) + b"\n" + rest, "letters": b"x\n"}[text])
    damage(link)
    os.utime(link, (time.time() - DAY, time.time() - DAY))
    cut_the_power(home)
    check_right(fetch(REPO).folder)


def test_what_is_listed_is_read_whatever_the_clock_says(hub: Hub, home: Path) -> None:
    """Where the clock was put back by hours, what was stored looks older than the note."""
    link = fetch(REPO).folder / WEIGHTS
    damage(link)
    os.utime(link, (time.time() - DAY, time.time() - DAY))
    cut_the_power(home)
    check_right(fetch(REPO).folder)


def test_who_is_interrupted_while_reading_reads_again(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(fetch(REPO).folder / WEIGHTS)
    cut_the_power(home)
    with monkeypatch.context() as patch:
        patch.setattr("pphub_cache.digest.sha256_of", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(REPO)
    check_right(fetch(REPO).folder)


def _interrupt(*_arguments: object, **_options: object) -> str:
    raise KeyboardInterrupt


def test_threads_wait_until_it_is_read(hub: Hub, home: Path) -> None:
    damage(fetch(REPO).folder / WEIGHTS)
    cut_the_power(home)
    with ThreadPoolExecutor(4) as pool:
        for snapshot in pool.map(lambda _: fetch(REPO), range(4)):
            check_right(snapshot.folder)


def share_what_is_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of another user's, beneath one's own; the tests may run as root, who may write everywhere."""
    monkeypatch.setenv("PPHUB_SHARED_HOME", str(home))
    own = home.with_name("own")
    monkeypatch.setenv("PPNLP_HOME", str(own))
    return own


@pytest.mark.parametrize("is_readable", [True, False])
def test_a_shared_cache_is_doubted_too_and_not_written_to(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, is_readable: bool
) -> None:
    link = fetch(REPO).folder / WEIGHTS
    damage(link)
    cut_the_power(home)
    (note,) = notes(home)
    if not is_readable:
        note.unlink()
        note.mkdir()  # which root cannot read either
    own = share_what_is_here(home, monkeypatch)
    assert cached_path(REPO) is None
    snapshot = fetch(REPO)
    assert snapshot.folder.is_relative_to(own)
    check_right(snapshot.folder)
    assert note.exists()
    assert link.exists()


def test_damage_in_a_shared_cache_is_no_matter_to_other_models(
    hub: Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(fetch(REPO).folder / WEIGHTS)
    cut_the_power(home)
    share_what_is_here(home, monkeypatch)
    with Hub.open(tmp_path / "other", {"org/other": {"config.json": b"{}", WEIGHTS: b"w" * 5000}}) as other:
        monkeypatch.setenv("HF_ENDPOINT", other.url)
        assert (fetch("org/other").folder / WEIGHTS).read_bytes() == b"w" * 5000


def test_strange_things_among_the_blobs_are_passed_over(hub: Hub, home: Path) -> None:
    folder = fetch(REPO).folder
    blobs = home / "hub/blobs/sha256"
    (blobs / ".DS_Store").write_bytes(b"?")
    shard = (folder / WEIGHTS).resolve().parent
    (shard / "folder").mkdir()
    (shard / ("a" * 64)).mkdir()
    (shard / ("b" * 64)).symlink_to("nowhere")
    cut_the_power(home)
    assert cached_path(REPO) == folder
    check_right(fetch(REPO).folder)


def test_what_goes_while_it_is_looked_through_is_passed_over(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch(REPO).folder
    cut_the_power(home)
    read = pphub_cache.digest.sha256_of

    def removing(path: Path) -> str:
        (folder / WEIGHTS).resolve().unlink(missing_ok=True)
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr("pphub_cache.digest.sha256_of", removing)
        assert cached_path(REPO) is None
    check_right(fetch(REPO).folder)


def test_damage_that_cannot_be_removed_is_not_used(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    damage(fetch(REPO).folder / WEIGHTS)
    cut_the_power(home)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", refuse)
        assert cached_path(REPO) is None
    assert "cannot be removed (Operation not permitted)" in caplog.text
    assert notes(home), "the next process is to look again"


@pytest.mark.parametrize("size", [3 << 20, 900 << 10])
def test_what_has_just_come_is_not_given_up_for_what_was_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A hub that names a content by git's hash alone: that it is here already is seen when it has come."""
    files = {"config.json": b"{}", "vocab.txt": os.urandom(size)}
    with Hub.open(tmp_path / "hub", {"org/a": files, "org/b": files}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        damage(fetch("org/a").folder / "vocab.txt")
        assert (fetch("org/b").folder / "vocab.txt").read_bytes() == files["vocab.txt"]


def test_who_stores_while_the_note_is_settled_notes_again(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process reads the line before the content has its place, syncs nothing, and removes the note."""

    def settling(source: Path, target: Path, *, durable: bool = True) -> None:
        for note in notes(home):
            note.unlink(missing_ok=True)  # both files of the model are stored at the same time
        move(source, target, durable=durable)

    with monkeypatch.context() as patch:
        patch.setattr("pphub_cache.store.move", settling)
        folder = fetch(REPO).folder
    noted = " ".join(note.read_text() for note in notes(home))
    assert (folder / WEIGHTS).resolve().name in noted or (folder / "config.json").resolve().name in noted


def test_what_paddlenlp_reads_itself_is_synced(home: Path, tmp_path: Path, synced: list[Path]) -> None:
    """It knows nothing of notes."""
    paddle = pphub.convert(fill(tmp_path / "torch", tiny_bert()), out=tmp_path / "paddle")
    files = {path.name: path.read_bytes() for path in paddle.iterdir() if path.name != "conversion.json"}
    with Hub.open(tmp_path / "hub", {"org/paddle": files}) as hub, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("PPHUB_SOURCES", "hf")
        synced.clear()
        folder = pphub.prepare("org/paddle")
    assert {(folder / name).resolve() for name in files} <= set(synced)


def test_where_boots_cannot_be_told_apart_all_is_synced(
    hub: Hub, home: Path, synced: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pphub_cache.unsynced, "boot_id", lambda: None)
    fetch(REPO)
    assert not (home / "hub/unsynced").exists()
    assert sum("partial" in path.parts for path in synced) == len(MODEL)
