"""Attacks on the transfer: faults alone and in pairs, going on where it stopped, and one hub taking over from another.

Whatever happens there is never a wrong byte: a run ends with the right model or with one error that says what to do,
and the run after the last fault fetches no more than what was missing. `make soak` tries every pair.
"""

from __future__ import annotations

import contextlib
import email.utils
import gzip
import hashlib
import itertools
import json
import logging
import os
import random
import re
import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import pphub.resolve
import pphub_cache.choice
import pphub_cache.lanes
import pphub_cache.transfer
import pphub_cache.web
from hubs import (
    LOGIN,
    Canned,
    Hub,
    MiB,
    big_model,
    changed,
    cut,
    edit,
    expiring,
    fill,
    ignore_range,
    redirect,
    reset,
    slow,
    stall,
    status,
)
from pphub.cached import cached_path
from pphub.errors import Corrupt, PphubError, SourceUnavailable
from pphub.obtain import fetch
from pphub.select import Selection
from pphub.source import Digest, Listing, RemoteFile
from pphub_cache.partial import Partial
from pphub_cache.process import boot_id, host_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hubs import Answer, Asked
    from pphub_cache.store import Snapshot

    Fault = Callable[[Asked, Answer], Answer]

FULL = os.environ.get("SOAK") == "full"


REPO = "org/bert"
WEIGHTS = "model.safetensors"
MODEL = big_model()
WHOLE = MODEL[WEIGHTS]
SIZE = len(WHOLE)
MIDDLE = 2 * MiB
TOKEN = "hf_secretSECRETsecret"
SIGNED = "X-Amz-Signature=secretSECRETsecret"


class Notes:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def expect(self, files: int, size: int) -> None:
        pass

    def start(self, name: str, size: int | None, done: int = 0) -> Notes:
        return self

    def skip(self, name: str, size: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def finish(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def note(self, text: str) -> None:
        self.texts.append(text)

    def told(self, part: str) -> bool:
        return any(part in text for text in self.texts)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pphub_cache.choice, "_FIRST_DELAY", 0.001)
    monkeypatch.setattr(pphub_cache.web, "READ_SECONDS", 0.5)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub.open(tmp_path / "hub", {REPO: MODEL}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        yield running


@pytest.fixture
def second(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Another hub, of another protocol, with the same files."""
    pytest.importorskip("modelscope_hub")
    with Hub.open(tmp_path / "second", {REPO: MODEL}) as running:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", running.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf,ms")
        yield running


def check_whole(snapshot: Snapshot, model: dict[str, bytes] = MODEL) -> None:
    found = {path.name: path.read_bytes() for path in snapshot.folder.iterdir() if path.name != "snapshot.json"}
    assert found.keys() == model.keys()
    for path, content in model.items():
        assert found[path] == content, path


def check_nothing_wrong(home: Path, *, whole: bool = False) -> None:
    """What is among the blobs is what its name says; without a right answer there is no snapshot either."""
    for blob in (home / "hub/blobs").rglob("*"):
        assert blob.is_dir() or hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    assert (cached_path(REPO) is not None) == whole
    assert list(home.rglob("*.tmp")) == []


def state_file(home: Path) -> Path | None:
    """The ledger of the one content that is here in part."""
    found = [path for path in home.glob("hub/partial/*/state.json") if path.with_name("content").exists()]
    (path, *more) = [*found, None]
    assert more in ([], [None])
    return path


def read_state(home: Path) -> dict[str, Any]:
    path = state_file(home)
    state: dict[str, Any] = json.loads(path.read_bytes()) if path else {"done": []}
    return state


def bytes_here(home: Path) -> int:
    """How much of the weights the ledger says is here."""
    return sum(end - start for start, end in read_state(home)["done"])


def ranges(asked: list[Asked]) -> list[str | None]:
    return [one.headers.get("range") for one in asked]


def leave_a_part(hub: Hub, home: Path, after: int = MIDDLE) -> None:
    """A run that fails for good when so many bytes of the weights have come."""
    hub.on(WEIGHTS, cut(after), times=1)
    hub.on(WEIGHTS, lambda asked, answer: status(500)(asked, answer) if "range" in asked.headers else answer)
    with pytest.raises(SourceUnavailable):
        fetch(REPO)
    assert bytes_here(home) == after
    hub.well()


# ------------------------------------------------------------------------------------ requests and connections


def many_files(number: int = 40) -> dict[str, bytes]:
    parts = {f"tokenizer/{n:02}.json": f"[{n}]".encode() * (1 + n * 500) for n in range(number)}
    return {"config.json": b"{}", "model.safetensors": WHOLE, **parts}


def test_each_file_is_asked_for_once_over_connections_that_stay(hub: Hub, tmp_path: Path) -> None:
    files = many_files()
    with Hub.open(tmp_path / "many", {"org/many": files}) as many, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", many.url)
        snapshot = fetch("org/many", selection=Selection(("*",)))
        for path, content in files.items():
            assert (snapshot.folder / path).read_bytes() == content
            assert many.count(f"/{path}") == 1
        assert many.sent("/resolve/") == sum(map(len, files.values()))
        assert 1 < many.connections("/resolve/") <= 8


def test_redirects_do_not_cost_a_connection_each(hub: Hub, tmp_path: Path) -> None:
    """The public hub redirects every large file to its storage."""
    files = many_files()
    with (
        Hub.open(tmp_path / "many", {"org/many": files}) as storage,
        Hub.open(tmp_path / "many", {}) as many,
        pytest.MonkeyPatch.context() as patch,
    ):
        many.on("/resolve/", redirect(f"{storage.url}{{path}}?{SIGNED}"))
        patch.setenv("HF_ENDPOINT", many.url)
        snapshot = fetch("org/many", selection=Selection(("*",)))
        for path, content in files.items():
            assert (snapshot.folder / path).read_bytes() == content
        assert storage.connections("/resolve/") <= 8
        assert many.connections("/resolve/") <= 8


def test_a_hub_that_throttles_connections_is_asked_by_several(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pphub_cache.transfer, "PIECE", 2 * MiB)
    model = big_model(24 * MiB)
    with Hub.open(tmp_path / "large", {"org/large": model}) as large:
        monkeypatch.setenv("HF_ENDPOINT", large.url)
        large.on(WEIGHTS, slow(0.125))  # half a MiB a second: alone, one connection would take 48 s
        begin = time.monotonic()
        check_whole(fetch("org/large"), model)
        assert time.monotonic() - begin < 36
        assert large.connections(WEIGHTS) >= 4
        asked = large.gets(WEIGHTS)
        assert ranges(asked)[0] is None
        assert all(text for text in ranges(asked)[1:])
        assert len({one.headers.get("if-range") for one in asked[1:]}) == 1
        # No byte is fetched twice, but for what was on its way when a range was given to others.
        assert large.sent(WEIGHTS) < len(model[WEIGHTS]) + 2 * MiB


def test_a_hub_that_does_not_throttle_is_not_bothered(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = big_model(64 * MiB)
    with Hub.open(tmp_path / "large", {"org/large": model}) as large:
        monkeypatch.setenv("HF_ENDPOINT", large.url)
        check_whole(fetch("org/large", selection=Selection((WEIGHTS,))), {WEIGHTS: model[WEIGHTS]})
        assert large.connections(WEIGHTS) <= 2


# ------------------------------------------------------------------------------------ going on in the middle


@pytest.mark.parametrize("fault", [cut(MIDDLE), cut(MIDDLE, length=False), stall(MIDDLE, 3)])
def test_what_breaks_goes_on_where_it_was(hub: Hub, fault: Fault) -> None:
    hub.on(WEIGHTS, fault, times=1)
    notes = Notes()
    check_whole(fetch(REPO, progress=notes))
    first, again = hub.gets(WEIGHTS)
    assert "range" not in first.headers
    at = int(again.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert again.headers["if-range"].strip('"') == hashlib.sha256(WHOLE).hexdigest()
    assert again.traffic.bytes == SIZE - at
    assert at == MIDDLE
    assert first.traffic.bytes == MIDDLE
    assert notes.told("trying again in")


def test_a_reset_loses_no_more_than_what_was_on_its_way(hub: Hub) -> None:
    hub.on(WEIGHTS, reset(MIDDLE), times=1)
    check_whole(fetch(REPO))
    first, again = hub.gets(WEIGHTS)
    assert first.traffic.bytes == MIDDLE
    # RST throws away what the client has not read yet.
    at = int(again.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    assert at <= MIDDLE
    assert again.traffic.bytes == SIZE - at


def test_the_next_run_goes_on_where_the_last_one_failed(hub: Hub, home: Path) -> None:
    leave_a_part(hub, home)
    check_whole(fetch(REPO))
    (asked,) = hub.gets(WEIGHTS)
    assert asked.headers["range"] == f"bytes={MIDDLE}-"
    assert asked.headers["if-range"].strip('"') == hashlib.sha256(WHOLE).hexdigest()
    assert hub.sent(WEIGHTS) == SIZE - MIDDLE
    assert list((home / "hub/partial").iterdir()) == []


def test_a_server_that_ignores_ranges(hub: Hub, home: Path) -> None:
    leave_a_part(hub, home)
    hub.on(WEIGHTS, ignore_range(WHOLE))
    check_whole(fetch(REPO))
    assert hub.count(WEIGHTS) == 1


def test_a_server_that_ignores_ranges_and_throttles(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """More connections are no help there: whoever opens one must notice, and the first goes on."""
    monkeypatch.setattr(pphub_cache.transfer, "PIECE", MiB // 2)
    monkeypatch.setattr(pphub_cache.lanes, "_WORTH", 0.1)
    hub.on(WEIGHTS, ignore_range(WHOLE))
    hub.on(WEIGHTS, slow(0.02))
    check_whole(fetch(REPO))
    assert hub.count(WEIGHTS) < 20


@pytest.mark.parametrize("etag", ['"another"', 'W/"weak"', None], ids=["another", "weak", "none"])
def test_another_etag_when_it_goes_on(hub: Hub, home: Path, etag: str | None) -> None:
    """The content is what it was; whatever the server calls it now, the hash decides."""
    leave_a_part(hub, home)
    hub.on(WEIGHTS, edit(headers={"etag": etag, "last-modified": None}))
    check_whole(fetch(REPO))
    hub.well()
    check_whole(fetch(REPO))
    assert hub.asked == []


def test_content_that_changed_meanwhile_and_back(hub: Hub, home: Path) -> None:
    """The bytes that are here are of another content than those that come."""
    other = bytes(reversed(WHOLE))
    hub.on(WEIGHTS, changed(other))
    hub.on(WEIGHTS, cut(MIDDLE))
    hub.on(WEIGHTS, lambda asked, answer: status(500)(asked, answer) if "range" in asked.headers else answer)
    with pytest.raises(SourceUnavailable):
        fetch(REPO)
    check_nothing_wrong(home)
    assert bytes_here(home) == MIDDLE
    hub.well()
    check_whole(fetch(REPO))
    assert hub.sent(WEIGHTS) <= 2 * SIZE


def test_content_that_changed_without_a_sign(hub: Hub, home: Path) -> None:
    """A server without ETag and date: the hash notices, and all is fetched again."""
    none = {"etag": None, "last-modified": None}
    other = bytes(reversed(WHOLE))
    hub.on(WEIGHTS, edit(body=lambda body: other[: len(body)], headers=none))
    hub.on(WEIGHTS, cut(MIDDLE))
    hub.on(WEIGHTS, lambda asked, answer: status(500)(asked, answer) if "range" in asked.headers else answer)
    with pytest.raises(SourceUnavailable):
        fetch(REPO)
    hub.well()
    hub.on(WEIGHTS, edit(headers=none))
    check_whole(fetch(REPO))
    assert ranges(hub.gets(WEIGHTS)) == [f"bytes={MIDDLE}-", None]


@pytest.mark.parametrize(
    "etags",
    [True, False],
)
def test_content_without_a_hash_is_never_mixed(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, etags: bool
) -> None:
    """Nobody could tell at the end: what is here counts only if the server says that it is still the same."""
    other = bytes(reversed(WHOLE))
    url = f"{hub.url}/{REPO}/resolve/main/{WEIGHTS}"
    monkeypatch.setattr(pphub.resolve, "load_source", lambda _scheme: Bare(RemoteFile("w.bin", SIZE, None, url)))
    none = {} if etags else {"etag": None, "last-modified": None}
    hub.on(WEIGHTS, edit(headers=none))
    hub.on(WEIGHTS, cut(MIDDLE))
    hub.on(WEIGHTS, lambda asked, answer: status(500)(asked, answer) if "range" in asked.headers else answer)
    with pytest.raises(SourceUnavailable):
        fetch_bare()
    hub.well()
    hub.on(WEIGHTS, changed(other))
    hub.on(WEIGHTS, edit(headers=none))
    assert (fetch_bare().folder / "w.bin").read_bytes() == other


def test_content_without_a_hash_and_a_part_without_a_sign(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ignores If-Range, and does not say what its part is of."""
    other = bytes(reversed(WHOLE))
    url = f"{hub.url}/{REPO}/resolve/main/{WEIGHTS}"
    monkeypatch.setattr(pphub.resolve, "load_source", lambda _scheme: Bare(RemoteFile("w.bin", SIZE, None, url)))
    replaced = changed(other)

    def careless(asked: Asked, answer: Answer) -> Answer:
        headers = {name: value for name, value in asked.headers.items() if name != "if-range"}
        return edit(headers={"etag": None, "last-modified": None})(
            asked, replaced(replace(asked, headers=headers), answer)
        )

    hub.on(WEIGHTS, cut(MIDDLE), times=1)
    hub.on(WEIGHTS, lambda asked, answer: careless(asked, answer) if len(hub.gets(WEIGHTS)) > 1 else answer)
    assert (fetch_bare().folder / "w.bin").read_bytes() == other


def leave_gaps(home: Path, number: int) -> int:
    """What several connections leave of the weights; returns how many bytes are missing."""
    sha256 = hashlib.sha256(WHOLE).hexdigest()
    step = SIZE // number
    done = [[at, at + step - step // 4] for at in range(0, SIZE - step + 1, step)]
    content = bytearray(SIZE)
    for start, end in done:
        content[start:end] = WHOLE[start:end]
    state: dict[str, Any] = {"format": 1, "size": SIZE, "boot": boot_id(), "done": done, "synced": [], "validators": {}}
    place = home / f"hub/partial/sha256-{sha256}.{host_name()}-4194000-abcdef01"
    fill(place, {"content": bytes(content), "state.json": json.dumps(state).encode()})
    return SIZE - sum(end - start for start, end in done)


def test_one_answer_fills_all_gaps(hub: Hub, home: Path) -> None:
    leave_gaps(home, 6)
    hub.on(WEIGHTS, ignore_range(WHOLE))
    check_whole(fetch(REPO))
    assert hub.sent(WEIGHTS) <= SIZE + MiB


def test_a_single_refusal_of_a_part_does_not_make_it_all_come_again_and_again(hub: Hub, home: Path) -> None:
    leave_gaps(home, 6)
    hub.on(WEIGHTS, lambda asked, answer: answer if len(hub.gets(WEIGHTS)) > 1 else status(416)(asked, answer))
    hub.on(WEIGHTS, lambda asked, answer: cut(MiB)(asked, answer) if len(hub.gets(WEIGHTS)) == 2 else answer)
    check_whole(fetch(REPO))
    asked = ranges(hub.gets(WEIGHTS))
    assert asked[1] is None  # as the server wanted it, until that was cut
    assert None not in asked[2:]


def test_compressed_and_cut(hub: Hub) -> None:
    """What was unpacked is here; of a compressed body no part can be asked for, so it comes whole."""
    packed = gzip.compress(WHOLE)
    hub.on(WEIGHTS, ignore_range(packed))
    hub.on(WEIGHTS, edit(headers={"content-encoding": "gzip"}))
    hub.on(WEIGHTS, cut(len(packed) * 3 // 4), times=1)
    check_whole(fetch(REPO))
    assert hub.count(WEIGHTS) == 2


@pytest.mark.parametrize("headers", [{"content-encoding": "gzip"}, {"content-range": f"bytes 0-99/{SIZE}"}])
def test_parts_that_cannot_be_used(hub: Hub, home: Path, headers: dict[str, str]) -> None:
    """A server whose whole answers are good, and whose ranges are not: the whole is asked for."""
    leave_a_part(hub, home)
    hub.on(
        WEIGHTS,
        lambda asked, answer: edit(headers=headers)(asked, answer) if "range" in asked.headers else answer,
    )
    check_whole(fetch(REPO))


# ------------------------------------------------------------------------------------ two hubs


TAKEN_OVER: dict[str, Fault] = {
    "cut": cut(MIDDLE),
    "stall": stall(MIDDLE, 3),
    "cut without length": cut(MIDDLE, length=False),
}


@pytest.mark.parametrize("fault", TAKEN_OVER.values(), ids=TAKEN_OVER)
def test_another_hub_takes_over_in_the_middle(hub: Hub, second: Hub, home: Path, fault: Fault) -> None:
    hub.on(WEIGHTS, fault)
    notes = Notes()
    snapshot = fetch(REPO, progress=notes)
    check_whole(snapshot)
    assert snapshot.source == "hf"
    assert [one.traffic.bytes for one in hub.gets(WEIGHTS)] == [MIDDLE]
    (asked,) = second.gets(WEIGHTS)
    assert asked.headers["range"] == f"bytes={MIDDLE}-"
    assert asked.traffic.bytes == SIZE - MIDDLE
    assert "authorization" not in asked.headers
    assert notes.told(f"ms has the same file and goes on at byte {MIDDLE}")
    assert second.count("config.json") == 0
    check_nothing_wrong(home, whole=True)


def test_each_hub_gives_what_it_can(hub: Hub, second: Hub) -> None:
    """Both break again and again, at other places."""
    hub.on(WEIGHTS, cut(700_000))
    second.on(WEIGHTS, cut(500_000))
    notes = Notes()
    check_whole(fetch(REPO, progress=notes))
    assert hub.count(WEIGHTS) >= 2
    assert second.count(WEIGHTS) >= 2
    assert hub.sent(WEIGHTS) + second.sent(WEIGHTS) == SIZE


def test_wrong_bytes_are_asked_for_once_more_and_then_elsewhere(hub: Hub, second: Hub, home: Path) -> None:
    hub.on(WEIGHTS, edit(body=flip))
    snapshot = fetch(REPO)
    check_whole(snapshot)
    assert snapshot.source == "hf"
    assert ranges(hub.gets(WEIGHTS)) == [None, None]
    assert ranges(second.gets(WEIGHTS)) == [None]
    check_nothing_wrong(home, whole=True)


def test_a_wrong_byte_of_the_first_before_the_second_takes_over(hub: Hub, second: Hub, home: Path) -> None:
    """Nobody can tell which of them it was from; in the end it is gone."""
    hub.on(WEIGHTS, edit(body=lambda body: b"?" + body[1:]))
    hub.on(WEIGHTS, cut(MIDDLE))
    check_whole(fetch(REPO))
    check_nothing_wrong(home, whole=True)


def test_wrong_bytes_everywhere(hub: Hub, second: Hub, home: Path) -> None:
    hub.on(WEIGHTS, edit(body=flip))
    second.on(WEIGHTS, edit(body=flip))
    with pytest.raises(Corrupt) as caught:
        fetch(REPO)
    assert caught.value.hint
    check_nothing_wrong(home)
    assert hub.count(WEIGHTS) + second.count(f"FilePath={WEIGHTS}") <= 8
    second.well()
    check_whole(fetch(REPO))


def flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


# ------------------------------------------------------------------------------------ waiting


@pytest.mark.parametrize(("code", "date"), [(429, False), (503, True)])
def test_as_long_as_the_server_asks_for(hub: Hub, code: int, date: bool) -> None:
    until = email.utils.formatdate(time.time() + 2.9, usegmt=True) if date else "1"
    hub.on(WEIGHTS, status(code, {"retry-after": until}), times=1)
    begin = time.monotonic()
    notes = Notes()
    check_whole(fetch(REPO, progress=notes))
    assert time.monotonic() - begin >= (0.9 if date else 1.0)
    assert notes.told("trying again in")


@pytest.mark.parametrize("how", ["3600", "date", "99999999999"])
def test_longer_than_anybody_waits(hub: Hub, home: Path, how: str) -> None:
    until = email.utils.formatdate(time.time() + 3600, usegmt=True) if how == "date" else how
    hub.on(WEIGHTS, status(429, {"retry-after": until}))
    begin = time.monotonic()
    with pytest.raises(SourceUnavailable, match="asks to wait for") as caught:
        fetch(REPO)
    assert caught.value.hint
    assert time.monotonic() - begin < 20
    assert hub.count(WEIGHTS) == 1
    check_nothing_wrong(home)


@pytest.mark.parametrize("seconds", [5, 3600])
def test_rather_elsewhere_than_waiting(hub: Hub, second: Hub, seconds: int) -> None:
    hub.on(WEIGHTS, cut(MIDDLE), times=1)
    hub.on(WEIGHTS, status(503, {"retry-after": str(seconds)}))
    snapshot = fetch(REPO)
    check_whole(snapshot)
    assert snapshot.source == "hf"
    assert second.sent(WEIGHTS) >= SIZE - MIDDLE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-1",
        "1e3",
        "Wed, 99 Nov 2099",
        "9" * 400,
        "9" * 5000,
    ],
    ids=range(7),
)
def test_a_wait_that_is_no_time(hub: Hub, home: Path, text: str) -> None:
    hub.on(WEIGHTS, status(429, {"retry-after": text}))
    with pytest.raises(PphubError) as caught:
        fetch(REPO)
    assert caught.value.hint
    check_nothing_wrong(home)


@pytest.mark.parametrize(
    "headers",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000,
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/" + b"9" * 5000,
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes " + b"9" * 5000 + b"-9/9",
    ],
    ids=["length", "total", "start"],
)
def test_numbers_that_are_too_large(hub: Hub, home: Path, headers: bytes) -> None:
    with Canned(headers + b"\r\n\r\n") as other:
        hub.on(WEIGHTS, redirect(other.url))
        with pytest.raises(PphubError) as caught:
            fetch(REPO)
    assert caught.value.hint
    check_nothing_wrong(home)


def test_headers_that_cannot_be_read_show_no_secret(
    hub: Hub, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The HTTP library warns of them, with the address."""
    with Canned(b"HTTP/1.1 200 OK\r\nthis is no header\r\nContent-Length: 3145728\r\n\r\n" + WHOLE) as other:
        hub.on(WEIGHTS, redirect(f"{other.url}/?{SIGNED}"))
        with contextlib.suppress(PphubError):
            fetch(REPO)
    assert "SECRET" not in caplog.text + "".join(capfd.readouterr())


def test_retries_are_bounded_and_told(hub: Hub) -> None:
    hub.on(WEIGHTS, status(500))
    notes = Notes()
    with pytest.raises(SourceUnavailable):
        fetch(REPO, progress=notes)
    assert hub.count(WEIGHTS) == 3
    assert sum("trying again in" in text for text in notes.texts) == 2


def test_delays_grow_and_are_not_the_same_for_everybody(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pphub_cache.choice, "_FIRST_DELAY", 10.0)
    waited: list[float] = []
    monkeypatch.setattr(threading.Event, "wait", _noting(waited))
    hub.on(WEIGHTS, status(500))
    for _ in range(3):
        with pytest.raises(SourceUnavailable):
            fetch(REPO)
    first, later = waited[::2], waited[1::2]
    assert all(5 <= delay <= 10 for delay in first)
    assert all(10 <= delay <= 20 for delay in later)
    assert len(set(waited)) == 6


def _noting(waited: list[float]) -> Callable[[threading.Event, float | None], bool]:
    wait = threading.Event.wait

    def noted(self: threading.Event, timeout: float | None = None) -> bool:
        if timeout is None or timeout < 4:
            return wait(self, timeout)
        waited.append(timeout)
        return self.is_set()

    return noted


def test_progress_in_name_only_is_no_reason_to_go_on(hub: Hub) -> None:
    """Each answer has another ETag and is cut, now earlier and now later: none brings it nearer to the end."""
    numbers = itertools.count()

    def fault(asked: Asked, answer: Answer) -> Answer:
        number = next(numbers)
        if number > 60:
            return status(404)(asked, answer)
        return cut(600_000 if number % 2 else 1_200_000)(asked, changed(WHOLE, f'"{number}"')(asked, answer))

    hub.on(WEIGHTS, fault)
    with pytest.raises(PphubError):
        fetch(REPO)
    assert hub.count(WEIGHTS) < 50


def test_drips_are_as_good_as_nothing(hub: Hub, second: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pphub_cache.web, "_LOW_SPEED_SECONDS", 0.5)
    hub.on(WEIGHTS, slow(0.1, piece=10))
    notes = Notes()
    begin = time.monotonic()
    check_whole(fetch(REPO, progress=notes))
    assert time.monotonic() - begin < 20
    assert notes.told("sent only")


def test_drips_everywhere(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pphub_cache.web, "_LOW_SPEED_SECONDS", 0.5)
    hub.on(WEIGHTS, slow(0.1, piece=10))
    begin = time.monotonic()
    with pytest.raises(SourceUnavailable, match="it sent only"):
        fetch(REPO)
    assert time.monotonic() - begin < 20
    check_nothing_wrong(home)


def test_nobody_is_left_at_work_when_it_has_failed(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that still writes would do so into what the next run has taken over."""
    monkeypatch.setattr(pphub_cache.transfer, "PIECE", MiB)
    for name, value in {"_WINDOW": 0.05, "_SETTLE": 0.02, "_WORTH": 0.0, "_GAIN": 0.0}.items():
        monkeypatch.setattr(pphub_cache.lanes, name, value)
    noted = threading.Event()
    note = Partial.add

    def add(self: Partial, start: int, end: int) -> None:
        if threading.current_thread().name == "pphub-piece":
            noted.wait(0.3)  # as long as a busy machine may take
        note(self, start, end)

    monkeypatch.setattr(Partial, "add", add)

    def fault(asked: Asked, answer: Answer) -> Answer:
        if "range" not in asked.headers:
            return cut(1_000_000)(asked, slow(0.05)(asked, answer))
        if asked.headers["range"].startswith(f"bytes={1_000_000}-"):
            return status(404)(asked, answer)
        return slow(0.1)(asked, answer)

    hub.on(WEIGHTS, fault)
    with pytest.raises(PphubError):
        fetch(REPO)
    assert hub.connections(WEIGHTS) > 1
    left = [thread for thread in threading.enumerate() if thread.name.startswith("pphub-piece")]
    for thread in left:
        thread.join(10)  # not into the next test
    assert left == []


class Dripping:
    """A server whose headers never end: a byte now and then, for as long as anybody listens."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._ended = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self._ended.wait(0.1):
                connection.sendall(b"y")

    def __enter__(self) -> Dripping:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def test_drips_in_the_headers(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pphub_cache.web, "_LOW_SPEED_SECONDS", 0.5)
    ends: list[PphubError] = []

    def run() -> None:
        try:
            fetch(REPO)
        except PphubError as error:
            ends.append(error)

    with Dripping() as other:
        hub.on(WEIGHTS, redirect(other.url))
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(4)
        given_up = not thread.is_alive()
    thread.join(20)
    assert given_up
    assert isinstance(ends[0], SourceUnavailable)


# ------------------------------------------------------------------------------------ addresses that expire


class Bare:
    """A source that lists what it is given."""

    name = "bare"

    def __init__(self, *files: RemoteFile) -> None:
        self.files = files
        self.listed = 0

    def endpoint(self) -> str:
        return "somewhere"

    def list_files(self, repo: str, revision: str | None) -> Listing:
        self.listed += 1
        return Listing("bare", repo, revision or "now", "1", self.files)


class Signing(Bare):
    """A source whose URLs work for a while: each listing has others."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def list_files(self, repo: str, revision: str | None) -> Listing:
        url = f"{self._url}?{SIGNED}{self.listed}"
        self.files = (RemoteFile("w.bin", SIZE, Digest("sha256", hashlib.sha256(WHOLE).hexdigest()), url),)
        return super().list_files(repo, revision)


def fetch_bare(notes: Notes | None = None) -> Snapshot:
    return fetch("bare:model", selection=Selection(("*",)), refresh=True, progress=notes)


def test_an_address_that_expires_is_asked_for_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Signing(f"{hub.url}/{REPO}/resolve/main/{WEIGHTS}")
    monkeypatch.setattr(pphub.resolve, "load_source", lambda _scheme: source)
    monkeypatch.setattr("pphub.fetching._FRESH_SECONDS", 0.0)
    hub.on(WEIGHTS, expiring(1))
    hub.on(WEIGHTS, cut(MiB), times=4)
    notes = Notes()
    assert (fetch_bare(notes).folder / "w.bin").read_bytes() == WHOLE
    good = [one for one in hub.gets(WEIGHTS) if one.traffic.bytes > 1000]
    assert sum(one.traffic.bytes for one in good) == SIZE
    assert len({one.path for one in good}) == source.listed == len(good)
    assert notes.told("asking bare for a new address")
    assert not notes.told("SECRET")


def test_an_address_that_never_worked_is_a_refusal(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Signing(f"{hub.url}/{REPO}/resolve/main/{WEIGHTS}")
    monkeypatch.setattr(pphub.resolve, "load_source", lambda _scheme: source)
    hub.on(WEIGHTS, expiring(0))
    with pytest.raises(PphubError) as caught:
        fetch_bare()
    assert caught.value.hint
    assert "SECRET" not in str(caught.value)
    assert hub.count(WEIGHTS) <= 2


@pytest.mark.parametrize(
    "after",
    [10_000, MIDDLE],
)
def test_storage_behind_a_redirect_that_expires(hub: Hub, tmp_path: Path, after: int) -> None:
    """As the public hub does it: the address of the listing stays, the one it leads to is signed anew each time."""
    with Hub.open(tmp_path / "hub", {}) as storage:
        numbers = itertools.count()
        hub.on(
            WEIGHTS,
            lambda asked, answer: redirect(f"{storage.url}{{path}}?{SIGNED}{next(numbers)}")(asked, answer),
        )
        storage.on(WEIGHTS, expiring(1))
        storage.on(WEIGHTS, cut(after), times=1)
        notes = Notes()
        check_whole(fetch(REPO, progress=notes))
        assert storage.sent(WEIGHTS) < SIZE + 1000
        assert not notes.told("SECRET")


# ------------------------------------------------------------------------------------ every fault, and every pair


def in_range(fault: Fault) -> Fault:
    """The fault hits only those who go on in the middle."""
    return lambda asked, answer: fault(asked, answer) if "range" in asked.headers else answer


def at_first(fault: Fault) -> Fault:
    return lambda asked, answer: answer if "range" in asked.headers else fault(asked, answer)


FAULTS: dict[str, Fault] = {
    "cut": cut(MIDDLE),
    "cut early": cut(100_000),
    "flipped": edit(body=flip),
    "truncated": edit(body=lambda body: body[: len(body) * 3 // 4]),
    "truncated without length": edit(body=lambda body: body[: len(body) * 3 // 4], headers={"content-length": None}),
    "ignored range": ignore_range(WHOLE),
    "another etag": in_range(edit(headers={"etag": '"another"', "last-modified": None})),
    "changed": changed(bytes(reversed(WHOLE))),
    "changed meanwhile": in_range(changed(bytes(reversed(WHOLE)))),
    "changed before": at_first(changed(bytes(reversed(WHOLE)))),
    "429": status(429, {"retry-after": "0"}),
    "503": status(503),
    "500": status(500, body=b"<html>"),
    "reset": reset(MIDDLE),
    "stall": stall(MIDDLE, 1.0),
    "drip": slow(0.05, piece=10),
    "redirect loop": redirect("{path}"),
    "web page": edit(body=LOGIN, headers={"content-type": "text/html"}),
    "no such host": redirect(f"http://hub.invalid/{WEIGHTS}?{SIGNED}"),
    "expired": in_range(status(403, body=b"<Error>expired</Error>")),
    "compressed": edit(headers={"content-encoding": "gzip"}),
}
# After these, bytes of another content may be here, or a mark of it: only the hash shows it, and all comes again.
MISLEADING = {"flipped", "web page", "another etag", "changed", "changed meanwhile", "changed before"}

PAIRS = [(one, other) for one in FAULTS for other in FAULTS if one != other]
CHOSEN = PAIRS if FULL else random.Random(20260101).sample(PAIRS, 30)


def seeded(*names: str) -> random.Random:
    return random.Random(" ".join(names))


def check_no_secret(*texts: str) -> None:
    """Neither token nor signature, nor the query of any address."""
    for text in texts:
        assert "SECRET" not in text
        assert not re.search(r"://[^\s?]*\?", text), text


def run_with(
    hub: Hub,
    home: Path,
    caplog: pytest.LogCaptureFixture,
    names: tuple[str, ...],
    times: float,
    *,
    misleading: bool = False,
) -> None:
    """Faults, then none: the right bytes or one clear error, then what was missing."""
    notes = Notes()
    for name in names:
        hub.on(WEIGHTS, FAULTS[name], times=times)
    error = None
    begin = time.monotonic()
    try:
        check_whole(fetch(REPO, progress=notes))
    except PphubError as raised:
        error = raised
    assert error is None or error.hint
    told = str(error or "")
    check_nothing_wrong(home, whole=error is None)
    assert time.monotonic() - begin < 60
    assert hub.count(WEIGHTS) < 120
    check_no_secret(told, *notes.texts, caplog.text)
    missing = SIZE - bytes_here(home) if told else 0
    hub.well()
    check_whole(fetch(REPO))
    check_nothing_wrong(home, whole=True)
    assert list((home / "hub/partial").iterdir()) == []
    again = SIZE if told and (misleading or MISLEADING.intersection(names)) else 0
    assert hub.sent(WEIGHTS) <= missing + again
    hub.well()
    check_whole(fetch(REPO))
    assert hub.asked == []


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(pphub_cache.web, "READ_SECONDS", 0.3)
    monkeypatch.setattr(pphub_cache.web, "_LOW_SPEED_SECONDS", 0.3)
    caplog.set_level(logging.DEBUG, "pphub")
    caplog.set_level(logging.DEBUG, "pphub_cache")
    return caplog


@pytest.mark.parametrize("times", [1, 2, float("inf")] if FULL else [1, float("inf")])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault(hub: Hub, home: Path, watchful: pytest.LogCaptureFixture, name: str, times: float) -> None:
    run_with(hub, home, watchful, (name,), times)


@pytest.mark.parametrize(("one", "other"), CHOSEN)
def test_a_pair_of_faults(hub: Hub, home: Path, watchful: pytest.LogCaptureFixture, one: str, other: str) -> None:
    run_with(hub, home, watchful, (one, other), seeded(one, other).choice([1, 2, 3, float("inf")]))


@pytest.mark.parametrize(("one", "other"), PAIRS if FULL else CHOSEN[:10])
def test_a_pair_of_faults_one_after_the_other(
    hub: Hub, home: Path, watchful: pytest.LogCaptureFixture, one: str, other: str
) -> None:
    """Each answer has one of the two."""
    order = seeded(one, other, "order")
    hub.on(WEIGHTS, lambda asked, answer: FAULTS[order.choice([one, other])](asked, answer), times=8)
    run_with(hub, home, watchful, (), 0, misleading=bool(MISLEADING.intersection({one, other})))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_stays_while_another_hub_is_well(
    hub: Hub, second: Hub, home: Path, watchful: pytest.LogCaptureFixture, name: str
) -> None:
    """Then there is no error; whose bytes were wrong is not known in the middle, so they may come again."""
    hub.on(WEIGHTS, FAULTS[name])
    notes = Notes()
    snapshot = fetch(REPO, progress=notes)
    check_whole(snapshot)
    assert snapshot.source == "hf"
    check_nothing_wrong(home, whole=True)
    check_no_secret(*notes.texts, watchful.text)
    assert second.sent(f"FilePath={WEIGHTS}") <= (2 * SIZE if name in MISLEADING else SIZE)
    assert hub.count(WEIGHTS) + second.count(f"FilePath={WEIGHTS}") < 60


@pytest.mark.parametrize("number", range(100 if FULL else 6))
def test_many_connections_and_hubs_of_which_each_answer_may_fail(
    hub: Hub, second: Hub, home: Path, watchful: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Pieces of one file on several connections, from two hubs, with faults at random."""
    monkeypatch.setattr(pphub_cache.transfer, "PIECE", 256 << 10)
    monkeypatch.setattr(pphub_cache.transfer, "_CHUNK", 64 << 10)
    for name, value in {"_WINDOW": 0.05, "_SETTLE": 0.02, "_WORTH": 0.0, "_AGAIN": 0.2, "_GAIN": 0.5}.items():
        monkeypatch.setattr(pphub_cache.lanes, name, value)
    order = seeded("chaos", str(number))
    kinds = [fault for name, fault in FAULTS.items() if name not in {"stall", "drip", "429", "changed"}]

    def chaos(asked: Asked, answer: Answer) -> Answer:
        throttled = slow(0.03)(asked, answer)
        if order.random() < 0.6:
            return throttled
        if order.random() < 0.6:
            return cut(order.randrange(0, 400_000))(asked, throttled)
        return order.choice(kinds)(asked, throttled)

    hub.on(WEIGHTS, chaos)
    second.on(WEIGHTS, chaos)
    notes = Notes()
    for _ in range(3):
        try:
            check_whole(fetch(REPO, progress=notes))
        except PphubError as error:
            notes.note(str(error))
            check_nothing_wrong(home)
        else:
            check_nothing_wrong(home, whole=True)
            break
    assert hub.connections(WEIGHTS) + second.connections(f"FilePath={WEIGHTS}") > 2
    check_no_secret(*notes.texts, watchful.text)
    hub.well()
    second.well()
    check_whole(fetch(REPO))
    assert hub.sent(WEIGHTS) <= 2 * SIZE
    assert list((home / "hub/partial").iterdir()) == []


# ------------------------------------------------------------------------------------ a ledger that is wrong


def edit_state(home: Path, **changes: Any) -> None:
    path = state_file(home)
    assert path
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


def content_file(home: Path) -> Path:
    (path,) = home.glob("hub/partial/*/content")
    return path


def test_after_a_power_cut_only_what_was_synced_counts(hub: Hub, home: Path) -> None:
    """A power cut may lose what was written last, and leave zeros in its place."""
    leave_a_part(hub, home)
    edit_state(home, boot="another", synced=[[0, MiB]])
    with content_file(home).open("r+b") as stream:
        stream.seek(MiB)
        stream.write(b"\0" * (MIDDLE - MiB))
    check_whole(fetch(REPO))
    (asked,) = hub.gets(WEIGHTS)
    assert asked.headers["range"] == f"bytes={MiB}-"
    assert hub.sent(WEIGHTS) == SIZE - MiB


def test_after_a_power_cut_nothing_counts_that_was_not_synced(hub: Hub, home: Path) -> None:
    leave_a_part(hub, home)
    edit_state(home, boot="another")
    content_file(home).write_bytes(b"\0" * MIDDLE)
    check_whole(fetch(REPO))
    assert ranges(hub.gets(WEIGHTS)) == [None]


def test_what_was_synced_stays_so_in_the_next_run(hub: Hub, home: Path) -> None:
    """A run that goes on must not forget what is safe already, or a power cut would cost all of it."""
    leave_a_part(hub, home, MiB + 500_000)
    edit_state(home, synced=[[0, MiB]])
    hub.on(WEIGHTS, cut(700_000), times=1)
    hub.on(WEIGHTS, lambda asked, answer: status(500)(asked, answer) if hub.count(WEIGHTS) > 1 else answer)
    with pytest.raises(SourceUnavailable):
        fetch(REPO)
    state = read_state(home)
    assert state["done"] == [[0, MiB + 1_200_000]]
    assert state["synced"][0] == [0, MiB]


LIES: dict[str, Any] = {
    "more than there is": {"done": [[0, 3 * MIDDLE]]},
    "beyond the end": {"done": [[0, MIDDLE], [10 * SIZE, 20 * SIZE]]},
    "all of it": {"done": [[0, SIZE]]},
    "gaps": {"done": [[5, 1000], [MiB, MIDDLE]]},
    "overlaps": {"done": [[0, MIDDLE], [100, 200], [-5, 10], [7, 3]]},
    "no numbers": {"done": [["a", "b"]]},
    "no pairs": {"done": [[1, 2, 3]]},
    "no list": {"done": 7},
    "no number": {"done": [[float("nan"), 5]]},
    "another format": {"format": 99},
    "another size": {"size": SIZE - 1},
    "another mark": {"validators": {"http://127.0.0.1": '"else"'}},
    "marks of another kind": {"validators": [1, 2]},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_state_that_lies(hub: Hub, home: Path, lie: dict[str, Any]) -> None:
    leave_a_part(hub, home)
    edit_state(home, **lie)
    check_whole(fetch(REPO))
    check_nothing_wrong(home, whole=True)
    assert hub.sent(WEIGHTS) <= 2 * SIZE


def test_a_state_without_end(hub: Hub, home: Path) -> None:
    test_a_state_that_lies(hub, home, {"done": [[0, float("inf")]]})


def test_a_state_that_says_what_a_short_file_does_not_hold(hub: Hub, home: Path) -> None:
    leave_a_part(hub, home)
    os.truncate(content_file(home), MiB + 7)
    check_whole(fetch(REPO))
    assert ranges(hub.gets(WEIGHTS)) == [f"bytes={MiB + 7}-"]


@pytest.mark.parametrize("end", [0, 1, 40, -1])
def test_a_torn_state(hub: Hub, home: Path, end: int) -> None:
    leave_a_part(hub, home)
    path = state_file(home)
    assert path
    path.write_bytes(path.read_bytes().rstrip()[:end])
    check_whole(fetch(REPO))
    check_nothing_wrong(home, whole=True)


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("extra", [1, 3 * MiB])
def test_a_part_that_is_longer_than_the_whole(hub: Hub, home: Path, torn: bool, extra: int) -> None:
    leave_a_part(hub, home)
    with content_file(home).open("r+b") as stream:
        stream.seek(SIZE)
        stream.write(b"?" * extra)
    if torn:
        path = state_file(home)
        assert path
        path.write_bytes(b"{")
    check_whole(fetch(REPO))
    check_nothing_wrong(home, whole=True)


def test_all_of_a_content_of_unknown_size_is_here(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the last byte and the check: nothing is left to ask for, and the server says so with 416."""
    url = f"{hub.url}/{REPO}/resolve/main/{WEIGHTS}"
    good = Digest("sha256", hashlib.sha256(WHOLE).hexdigest())
    monkeypatch.setattr(pphub.resolve, "load_source", lambda _scheme: Bare(RemoteFile("w.bin", None, good, url)))
    hub.on(WEIGHTS, cut(SIZE, length=False), times=1)
    hub.on(WEIGHTS, lambda asked, answer: status(500)(asked, answer) if "range" in asked.headers else answer)
    with pytest.raises(SourceUnavailable):
        fetch_bare()
    assert bytes_here(home) == SIZE
    hub.well()
    assert (fetch_bare().folder / "w.bin").read_bytes() == WHOLE


def test_more_than_all_of_a_content_of_unknown_size_is_here(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{hub.url}/{REPO}/resolve/main/{WEIGHTS}"
    good = Digest("sha256", hashlib.sha256(WHOLE).hexdigest())
    monkeypatch.setattr(pphub.resolve, "load_source", lambda _scheme: Bare(RemoteFile("w.bin", None, good, url)))
    hub.on(WEIGHTS, changed(WHOLE + WHOLE))
    hub.on(WEIGHTS, cut(SIZE + MiB), times=1)
    hub.on(WEIGHTS, lambda asked, answer: status(500)(asked, answer) if "range" in asked.headers else answer)
    with pytest.raises(SourceUnavailable):
        fetch_bare()
    hub.well()
    assert (fetch_bare().folder / "w.bin").read_bytes() == WHOLE


def test_synced_while_it_is_thrown_away(tmp_path: Path) -> None:
    """What a sync that is under way when all begins again has made safe is no longer there."""
    folder = tmp_path / "partial"
    folder.mkdir()
    (folder / "content").touch()
    partial = Partial(folder, SIZE)
    with partial.open() as stream:
        stream.write(b"\1" * MIDDLE)
    partial.add(0, MIDDLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _file: partial.restart())
        partial.sync()
    partial.close()
    state = json.loads((folder / "state.json").read_bytes())
    assert state["done"] == state["synced"] == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.write_bytes(b"[" * 300_000),
        lambda state: state.write_text(
            state.read_text().replace('"validators": {', '"validators": {"x": "a\\r\\nb", ')
        ),
        lambda state: state.write_text(state.read_text().replace('"validators": {', '"validators": {"x": "模型", ')),
        lambda state: (state.unlink(), state.mkdir()),
        lambda state: (state.with_name("content").unlink(), state.with_name("content").mkdir()),
    ],
    ids=["too deep", "two lines", "Chinese", "a folder", "a folder for the content"],
)
def test_a_damaged_ledger_stops_nobody(hub: Hub, home: Path, damage: Callable[[Path], object]) -> None:
    hub.on(WEIGHTS, lambda asked, answer: (status(500) if "range" in asked.headers else cut(2 * MiB))(asked, answer))
    with pytest.raises(SourceUnavailable):
        fetch(REPO)
    (state,) = home.glob("hub/partial/*/state.json")
    damage(state)
    hub.well()
    assert (fetch(REPO).folder / WEIGHTS).read_bytes() == WHOLE
    assert list(home.glob("hub/partial/*")) == []
