"""Power cuts: what was stored and not yet on the disk is read before it is believed, and costs no more than itself."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pphub_cache.process
import pphub_cache.store
import pphub_cache.unsynced
from hubs import Hub, big_model
from pphub.cached import cached_path
from pphub.cli import main
from pphub.errors import PphubError
from pphub.obtain import fetch
from pphub_cache.atomic import move
from pphub_cache.layout import Layout
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
    pphub_cache.unsynced._SETTLED.clear()
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
    assert "this machine was started anew" in capsys.readouterr().err


def test_what_was_stored_long_before_is_not_read(hub: Hub, home: Path) -> None:
    """Or a large cache would be read from end to end after each power cut."""
    folder = fetch(REPO).folder
    old = (folder / WEIGHTS).resolve()
    damage(old)
    os.utime(old, (time.time() - DAY, time.time() - DAY))
    cut_the_power(home)
    fetch(REPO)
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
    assert defer(layout, "a" * 64)
    notes(home)[0].unlink()
    assert defer(layout, "b" * 64)
    (note,) = notes(home)
    assert note.read_text().split()[1:] == ["b" * 64]


def test_a_note_that_the_power_cut_left_empty_says_that_nothing_was_stored(hub: Hub, home: Path) -> None:
    fetch(REPO)
    notes(home)[0].write_bytes(b"")
    cut_the_power(home)
    check_right(fetch(REPO).folder)
    assert notes(home) == []


def test_where_boots_cannot_be_told_apart_all_is_synced(
    hub: Hub, home: Path, synced: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pphub_cache.unsynced, "boot_id", lambda: None)
    fetch(REPO)
    assert not (home / "hub/unsynced").exists()
    assert sum("partial" in path.parts for path in synced) == len(MODEL)
