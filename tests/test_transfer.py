"""Faults between the hub and the cache: each has its error, none leaves a wrong byte, and a retry mends it."""

from __future__ import annotations

import gzip
import hashlib
import time
from typing import TYPE_CHECKING

import pytest

import pphub.resolve
import pphub_cache.choice
import pphub_cache.transfer
import pphub_cache.web
from hubs import Canned, Hub, big_model, cut, edit, fill, gated, redirect, small_model, stall, status, tree
from pphub.cached import cached_path
from pphub.errors import AccessDenied, Corrupt, FileNotInModel, PphubError, SourceUnavailable, StorageFailed
from pphub.obtain import download, fetch
from pphub.select import Selection
from pphub.source import Digest, Listing, RemoteFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hubs import Answer, Asked

    Fault = Callable[[Asked, Answer], Answer]

REPO = "org/bert"
WEIGHTS = "model.safetensors"
TOKEN = "hf_secretSECRETsecret"
SIGNED = "?X-Amz-Signature=secretSECRETsecret"
LOGIN = b"\n<!DOCTYPE html><html><body>Please log in</body></html>"
MODEL = big_model()


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pphub_cache.choice, "_FIRST_DELAY", 0.001)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub.open(tmp_path / "hub", {REPO: MODEL, "org/small": small_model()}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        yield running


class Notes:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.bytes = 0

    def expect(self, files: int, size: int) -> None:
        self.texts.append(f"{files} files, {size} bytes")

    def start(self, name: str, size: int | None, done: int = 0) -> Notes:
        self.texts.append(f"{name} {size}")
        return self

    def skip(self, name: str, size: int) -> None:
        self.texts.append(f"{name} is here")

    def advance(self, count: int) -> None:
        self.bytes += count

    def finish(self) -> None:
        self.texts.append("done")

    def stop(self) -> None:
        self.texts.append("stopped")

    def note(self, text: str) -> None:
        self.texts.append(text)


def fail(error: type[PphubError], match: str, repo: str = REPO) -> str:
    """Download, expect the error, and return all that the user was told."""
    notes = Notes()
    with pytest.raises(error, match=match) as caught:
        download(repo, progress=notes)
    assert type(caught.value) is error
    assert caught.value.hint
    told = "\n".join([*notes.texts, str(caught.value)])
    assert "SECRET" not in told
    return told


def check_nothing_wrong(home: Path) -> None:
    """Whatever is among the blobs is what its name says, and nothing half done is left."""
    assert cached_path(REPO) is None
    for blob in (home / "hub" / "blobs").rglob("*"):
        assert blob.is_dir() or hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    assert [path for path in home.rglob("*") if path.suffix == ".tmp"] == []
    assert list((home / "hub").rglob("snapshot.json")) == []


def check_whole(folder: Path, model: dict[str, bytes] = MODEL) -> None:
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "snapshot.json"} == model


def flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


FAULTS: list[tuple[Fault, type[PphubError], str]] = [
    (cut(1000), SourceUnavailable, "cut before the end"),
    (cut(0), SourceUnavailable, "cut before the end"),
    (cut(1000, length=False), SourceUnavailable, "cut before the end"),
    (edit(body=flip), Corrupt, "expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}"),
    (edit(body=lambda body: body + b"x"), Corrupt, "more than the 3145728 bytes"),
    (edit(body=lambda body: body + b"x", headers={"content-length": None}), Corrupt, "more than the 3145728 bytes"),
    (edit(body=lambda body: body[:-1]), Corrupt, "expected 3145728 bytes, got 3145727"),
    (edit(body=b""), Corrupt, "got 0"),
    (edit(body=LOGIN, headers={"content-type": "text/html"}), Corrupt, "web page"),
    (edit(body=lambda body: LOGIN + body[len(LOGIN) :]), Corrupt, "sha256.*web page"),
    (status(500), SourceUnavailable, "HTTP 500"),
    (status(503), SourceUnavailable, "HTTP 503"),
    (status(429), SourceUnavailable, "HTTP 429"),
    (status(204), SourceUnavailable, "HTTP 204"),
    (status(206, {}, MODEL[WEIGHTS]), SourceUnavailable, "HTTP 206"),
    (status(302), SourceUnavailable, "HTTP 302"),
    (status(404), FileNotInModel, "listed but not"),
    (status(410), FileNotInModel, "listed but not"),
    (status(401), AccessDenied, "refused .HTTP 401"),
    (gated("hf_other"), AccessDenied, "gated"),
    (edit(headers={"content-encoding": "gzip"}), SourceUnavailable, "cannot be unpacked"),
    (edit(body=lambda body: gzip.compress(flip(body)), headers={"content-encoding": "gzip"}), Corrupt, "sha256"),
    (redirect("{path}"), SourceUnavailable, "more than 10 redirects"),
    (redirect("file:///etc/passwd"), SourceUnavailable, "leads to file:"),
    (redirect("//["), SourceUnavailable, "failed"),
    (redirect("http://127.0.0.1:99999/"), SourceUnavailable, "failed"),
    (redirect(f"http://127.0.0.1:9/{SIGNED}"), SourceUnavailable, "Connection refused"),
    (redirect(f"http://someone:SECRET@127.0.0.1:9/{SIGNED}"), SourceUnavailable, "Connection refused"),
]


@pytest.mark.parametrize(("fault", "error", "match"), FAULTS)
def test_a_fault_that_stays_has_its_error_and_one_that_passes_is_forgotten(
    hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, error: type[PphubError], match: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.on(WEIGHTS, fault)
    told = fail(error, match)
    assert WEIGHTS in told
    check_nothing_wrong(home)
    assert error.exit_code == {AccessDenied: 3, SourceUnavailable: 3, Corrupt: 4, FileNotInModel: 1}[error]
    hub.well()
    check_whole(download(REPO))
    assert list((home / "hub").glob("partial/*")) == []


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        (status(500), 3),
        (cut(1000), 3),
        (edit(body=flip), 2),
        (edit(body=b""), 2),
        (status(404), 1),
        (status(401), 1),
        (gated("hf_other"), 1),
    ],
)
def test_how_often_it_is_tried(hub: Hub, fault: Fault, asked: int) -> None:
    hub.on(WEIGHTS, fault)
    with pytest.raises(PphubError):
        download(REPO)
    assert hub.count(WEIGHTS) == asked


@pytest.mark.parametrize(
    ("fault", "times"), [(status(503), 2), (cut(70_000), 2), (edit(body=flip), 1), (edit(body=LOGIN), 1)]
)
def test_a_fault_that_passes_is_noted_and_mended(hub: Hub, fault: Fault, times: int) -> None:
    hub.on(WEIGHTS, fault, times=times)
    notes = Notes()
    check_whole(download(REPO, progress=notes))
    assert sum("trying again" in text for text in notes.texts) == times
    assert notes.texts.count("done") == len(MODEL)


def test_a_wrong_byte_in_a_small_file(hub: Hub, home: Path) -> None:
    hub.on("config.json", edit(body=b"[]"))
    fail(Corrupt, "expected git-sha1")
    check_nothing_wrong(home)


def test_a_body_without_length_that_just_ends(hub: Hub, home: Path) -> None:
    """No server of ours can do this: HTTP/1.0 style, where the end of the connection is the end of the body."""
    whole = MODEL[WEIGHTS]
    with Canned(b"HTTP/1.0 200 OK\r\n\r\n" + whole[:1000]) as other:
        hub.on(WEIGHTS, redirect(other.url))
        fail(Corrupt, "expected 3145728 bytes, got 1000")
        check_nothing_wrong(home)
    hub.well()
    with Canned(b"HTTP/1.0 200 OK\r\n\r\n" + whole) as other:
        hub.on(WEIGHTS, redirect(other.url))
        check_whole(download(REPO))


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000])
def test_something_that_does_not_speak_http(hub: Hub, home: Path, answer: bytes) -> None:
    with Canned(answer) as other:
        hub.on(WEIGHTS, redirect(f"{other.url}/{SIGNED}"))
        fail(SourceUnavailable, "failed")
        check_nothing_wrong(home)


@pytest.mark.parametrize("after", [0, 5000])
def test_a_stall_is_given_up(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    monkeypatch.setattr(pphub_cache.web, "READ_SECONDS", 0.2)
    hub.on(WEIGHTS, stall(after, 1.5))
    begin = time.monotonic()
    fail(SourceUnavailable, "no data for 0.2 s")
    assert time.monotonic() - begin < 20
    check_nothing_wrong(home)


def test_headers_that_a_mirror_drops_are_not_missed(hub: Hub) -> None:
    none = dict.fromkeys(["x-repo-commit", "etag", "x-linked-etag", "x-linked-size", "content-length", "accept-ranges"])
    hub.on("/resolve/", edit(headers=none))
    check_whole(download(REPO))


def test_a_compressed_body_that_nobody_asked_for_is_unpacked(hub: Hub) -> None:
    hub.on("/resolve/", edit(body=gzip.compress, headers={"content-encoding": "gzip"}))
    check_whole(download(REPO))
    assert {asked.headers["accept-encoding"] for asked in hub.asked if "/resolve/" in asked.path} == {"identity"}


def test_a_small_body_that_unpacks_to_a_huge_one_is_stopped(hub: Hub, home: Path) -> None:
    bomb = gzip.compress(b"\0" * (200 << 20), 1)
    hub.on(WEIGHTS, edit(body=bomb, headers={"content-encoding": "gzip"}))
    notes = Notes()
    with pytest.raises(Corrupt, match="more than"):
        download(REPO, progress=notes)
    assert notes.bytes < 10 << 20
    check_nothing_wrong(home)


@pytest.mark.parametrize("delta", [-1, 1, 10**18])
def test_a_listing_with_the_wrong_size(hub: Hub, home: Path, delta: int) -> None:
    def lie(entries: list[dict[str, object]]) -> None:
        for entry in entries:
            lfs = entry.get("lfs")
            if isinstance(lfs, dict):
                lfs["size"] += delta

    hub.on("/tree/", tree(lie))
    if delta > 1:
        fail(StorageFailed, "needs 909494.7 TiB, and .* free")
    else:
        fail(Corrupt, "not what the source listed")
    check_nothing_wrong(home)


# ---------------------------------------------------------------------------------------- other origins


def test_storage_on_another_port_sees_neither_token_nor_cookie_nor_netrc(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Hub.open(tmp_path / "hub", {}) as storage:
        hub.on("/resolve/", edit(headers={"set-cookie": "session=SECRET; Path=/"}))
        hub.on(WEIGHTS, redirect(f"{storage.url}{{path}}{SIGNED}"))
        hub.on(WEIGHTS, edit(headers={"set-cookie": "session=SECRET; Path=/"}))
        check_whole(download(REPO))
        (asked,) = storage.asked
    assert asked.path.endswith(SIGNED)
    assert {"authorization", "cookie", "proxy-authorization"}.isdisjoint(asked.headers)
    sent = [asked.headers for asked in hub.asked if "/resolve/" in asked.path]
    assert {headers["authorization"] for headers in sent} == {f"Bearer {TOKEN}"}
    assert not any("cookie" in headers for headers in sent)


def test_a_redirect_within_the_hub_keeps_the_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.on("/", gated(TOKEN))
    again = redirect("{path}?again")
    hub.on("/resolve/", lambda asked, answer: answer if "?again" in asked.path else again(asked, answer))
    check_whole(download(REPO))
    assert hub.count("?again") == 2


def test_a_redirect_that_is_not_ascii(hub: Hub, tmp_path: Path) -> None:
    fill(tmp_path / "hub/org/中文", {"重.bin": MODEL[WEIGHTS]})
    hub.on(
        f"bert/resolve/{hub_commit()}/{WEIGHTS}", redirect("/org/中文/resolve/main/重.bin".encode().decode("latin-1"))
    )
    check_whole(download(REPO))
    assert hub.count("/org/%E4%B8%AD") == 1


def hub_commit() -> str:
    return download(REPO, include="config.json").name


def test_faults_of_signed_storage_are_told_without_the_signature(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Hub.open(tmp_path / "hub", {}) as storage:
        hub.on(WEIGHTS, redirect(f"{storage.url}{{path}}{SIGNED}"))
        for fault, error, match in FAULTS:
            storage.well()
            storage.on(WEIGHTS, fault)
            if "redirects" not in match:
                fail(error, match)


# ---------------------------------------------------------------------------------------- other sources


class Bare:
    """A source that knows next to nothing of its files."""

    name = "bare"

    def __init__(self, *files: RemoteFile) -> None:
        self._files = files

    def endpoint(self) -> str:
        return "somewhere"

    def list_files(self, repo: str, revision: str | None) -> Listing:
        return Listing("bare", repo, revision or "now", "1", self._files)


def download_bare(monkeypatch: pytest.MonkeyPatch, *files: RemoteFile) -> Path:
    monkeypatch.setattr(pphub.resolve, "load_source", lambda _scheme: Bare(*files))
    return fetch("bare:model", selection=Selection(("*",)), refresh=True).folder


def test_a_source_that_knows_neither_sizes_nor_hashes(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{hub.url}/{REPO}/resolve/main/{WEIGHTS}"
    hub.on(WEIGHTS, cut(1000), times=1)  # the length that the server gives is enough to notice
    folder = download_bare(monkeypatch, RemoteFile("w.bin", None, None, url))
    assert (folder / "w.bin").read_bytes() == MODEL[WEIGHTS]
    assert download_bare(monkeypatch, RemoteFile("w.bin", None, None, url)) == folder
    assert hub.count(WEIGHTS) == 2


def test_a_hash_without_a_size(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{hub.url}/{REPO}/resolve/main/{WEIGHTS}"
    sha256 = Digest("sha256", hashlib.sha256(MODEL[WEIGHTS]).hexdigest())
    assert (download_bare(monkeypatch, RemoteFile("w.bin", None, sha256, url)) / "w.bin").is_file()
    with pytest.raises(Corrupt, match="without a size"):
        download_bare(monkeypatch, RemoteFile("v.bin", None, Digest("git-sha1", "0" * 40), url))


def test_a_file_url_is_copied_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights 权重.bin"
    path.write_bytes(b"weights")
    good = Digest("sha256", hashlib.sha256(b"weights").hexdigest())
    folder = download_bare(monkeypatch, RemoteFile("w.bin", 7, good, path.as_uri()))
    assert (folder / "w.bin").read_bytes() == b"weights"
    path.unlink()
    with pytest.raises(PphubError, match="No such file"):
        download_bare(monkeypatch, RemoteFile("v.bin", 7, None, path.as_uri()))
