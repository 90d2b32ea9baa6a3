"""What the sources list, and what they say when a hub refuses, fails or lies.

Run against huggingface_hub 0.36, 1.x and 2.x: only the folder of the virtual environment differs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pphub_plugins.huggingface
from hubs import (
    NO_ANSWERS,
    Answer,
    Asked,
    Canned,
    Hub,
    cut,
    edit,
    fill,
    gated,
    git_sha1,
    redirect,
    small_model,
    stall,
    status,
    tree,
)
from pphub.errors import (
    AccessDenied,
    Corrupt,
    FileNotInModel,
    ModelNotFound,
    PphubError,
    RevisionNotFound,
    SourceUnavailable,
    StorageFailed,
    UnsafeCheckpoint,
)
from pphub.obtain import download
from pphub.source import Source
from pphub_plugins.deadline import within
from pphub_plugins.huggingface import HuggingFaceSource
from pphub_plugins.local import LocalSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPO = "org/bert"
TOKEN = "hf_secretSECRETsecret"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    models = {
        REPO: small_model(),
        f"{REPO}@v1.0": {"config.json": b'{"tag": 1}'},
        f"{REPO}@refs%2Fpr%2F1": {"config.json": b'{"pr": 1}'},
        "gpt2": {"config.json": b"{}"},
    }
    with Hub.open(tmp_path / "hub", models) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf")
        yield running
        # A client that was left behind may be about to ask again; it must not ask the next test's hub.
        running.well()
        for thread in threading.enumerate():
            if thread.name == "pphub-within":
                thread.join(30)


def list_files(repo: str = REPO, revision: str | None = None) -> Any:
    return HuggingFaceSource().list_files(repo, revision)


def sent_tokens(hub: Hub) -> set[str | None]:
    return {asked.headers.get("authorization") for asked in hub.asked}


# ------------------------------------------------------------------------------------- what is listed


def test_our_sources_keep_the_contract() -> None:
    assert isinstance(HuggingFaceSource(), Source)
    assert isinstance(LocalSource(), Source)


def test_the_listing_is_the_folder(hub: Hub) -> None:
    listing = list_files()
    assert (listing.source, listing.repo, listing.revision) == ("hf", REPO, "main")
    assert len(listing.commit) == 40
    assert listing.headers == {}
    files = {file.path: file for file in listing.files}
    assert files.keys() == small_model().keys()
    for path, content in small_model().items():
        assert files[path].size == len(content)
        assert files[path].url == f"{hub.url}/{REPO}/resolve/{listing.commit}/{path}"
        digest = files[path].digest
        if digest.algorithm == "sha256":
            assert digest.hex == hashlib.sha256(content).hexdigest()
        else:
            assert digest.hex == git_sha1(content)
    assert files["model.safetensors"].digest.algorithm == "sha256"
    assert files["config.json"].digest.algorithm == "git-sha1"
    assert hub.count("") == 2  # one request for the commit, one for the files


def test_names_with_all_kinds_of_characters(hub: Hub) -> None:
    odd = "sub/名 字 #1%41&+.json"
    fill(hub.root / REPO, {odd: b"odd"})
    folder = download(REPO)
    assert (folder / odd).read_bytes() == b"odd"


def test_more_files_than_fit_on_a_page(hub: Hub) -> None:
    fill(hub.root / "org/many", {"config.json": b"{}"} | {f"part{n % 7}/{n:04}.txt": b"%d" % n for n in range(2100)})
    listing = list_files("org/many")
    assert len({file.path for file in listing.files}) == len(listing.files) == 2101
    assert hub.count("/tree/") == 3


def test_a_repository_without_an_organisation(hub: Hub) -> None:
    assert [file.path for file in list_files("gpt2").files] == ["config.json"]


@pytest.mark.parametrize(
    ("revision", "content"), [("main", None), ("v1.0", b'{"tag": 1}'), ("refs/pr/1", b'{"pr": 1}')]
)
def test_revisions(hub: Hub, revision: str, content: bytes | None) -> None:
    listing = list_files(revision=revision)
    assert listing.revision == revision
    by_commit = list_files(revision=listing.commit)
    assert by_commit.commit == listing.commit
    assert by_commit.files == listing.files
    folder = download(REPO, revision=revision, include="config.json")
    assert folder.name == listing.commit
    assert (folder / "config.json").read_bytes() == (content or small_model()["config.json"])


# -------------------------------------------------------------------------------------------- the token


def test_the_token_of_the_environment_is_sent_with_every_request(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n")
    hub.on("/", gated(TOKEN))
    download(REPO)
    assert sent_tokens(hub) == {f"Bearer {TOKEN}"}
    assert hub.count("/resolve/") == 4


def test_without_a_token_none_is_sent(hub: Hub) -> None:
    download(REPO)
    assert sent_tokens(hub) == {None}


def test_netrc_neither_replaces_nor_adds_a_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    download("gpt2")
    assert sent_tokens(hub) == {None}
    hub.well()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    download(REPO)
    assert sent_tokens(hub) == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("where", ["HF_TOKEN_PATH", "HF_HOME"])
def test_the_token_of_a_file(hub: Hub, tmp_path: Path, where: str) -> None:
    """In another process, because the client reads these names once."""
    (tmp_path / "token").write_text(TOKEN)
    value = tmp_path / "token" if where == "HF_TOKEN_PATH" else tmp_path
    code = f"import pphub; pphub.download({REPO!r})"
    env = {**os.environ, where: str(value), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)
    assert sent_tokens(hub) == {f"Bearer {TOKEN}"}


def test_the_token_is_not_sent_to_another_port_by_redirect(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Hub.open(tmp_path / "hub", {}) as other:
        hub.on("/api/", redirect(f"{other.url}{{path}}"))
        hub.on("/resolve/", redirect(f"{other.url}{{path}}"))
        download(REPO)
        assert other.count("/api/") == 2
        assert other.count("/resolve/") == 4
        assert sent_tokens(other) == {None}


def test_the_next_page_is_where_the_client_finds_it(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mirrors pass on the links of the hub they mirror. The client follows them; only 0.36 lets us keep the token."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fill(hub.root / "org/many", {f"{n:04}.txt": b"" for n in range(1200)})
    with Hub.open(tmp_path / "hub", {}) as other:

        def elsewhere(_asked: Asked, answer: Answer) -> Answer:
            link = answer.headers.get("link", "").replace(hub.url, other.url)
            return edit(headers={"link": link or None})(_asked, answer)

        hub.on("/tree/", elsewhere)
        assert len(list_files("org/many").files) == 1200
        assert other.count("/tree/") == other.count("") == 1
        if version("huggingface_hub").startswith("0."):
            assert sent_tokens(other) == {None}


def test_a_password_in_the_endpoint_is_used_and_never_shown(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("://", "://me:pass%40word@"))
    listing = list_files()
    assert sent_tokens(hub) == {f"Basic {base64.b64encode(b'me:pass@word').decode()}"}
    assert all("pass" not in file.url for file in listing.files)
    assert "pass" not in repr(listing)
    with pytest.raises(ModelNotFound) as caught:
        list_files("org/none")
    assert "pass" not in str(caught.value)


def test_a_token_that_is_no_header_is_refused_without_showing_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\x01{TOKEN}")
    with pytest.raises(AccessDenied, match="characters") as caught:
        list_files()
    assert TOKEN not in str(caught.value)
    assert hub.asked == []


# ---------------------------------------------------------------------------------------- the hub says no


def test_unknown_repository(hub: Hub) -> None:
    with pytest.raises(ModelNotFound, match="org/none") as caught:
        download("org/none")
    assert caught.value.exit_code == 1
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("revision", ["nothere", "refs/pr/9", "0" * 40])
def test_unknown_revision(hub: Hub, revision: str) -> None:
    with pytest.raises(RevisionNotFound, match=revision) as caught:
        download(REPO, revision=revision)
    assert caught.value.exit_code == 1


def test_404_without_its_code_says_both(hub: Hub) -> None:
    hub.on("/api/", status(404))
    with pytest.raises(ModelNotFound, match="or it has no revision 'v1'"):
        list_files(revision="v1")


@pytest.mark.parametrize("repo", ["模型/名字", "org/name.git", "a" * 97, "org/a--b"])
def test_a_name_that_the_hub_cannot_have(hub: Hub, repo: str) -> None:
    # Version 0.36 of the client takes letters of all alphabets for good, and asks the hub.
    with pytest.raises(ModelNotFound, match=r"cannot be a name|there is no model"):
        download(f"hf:{repo}")
    assert hub.count("/tree/") == 0


def test_gated(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.on("/", gated("hf_another"))
    with pytest.raises(AccessDenied, match="gated") as caught:
        list_files()
    assert caught.value.exit_code == 3
    assert "HF_TOKEN" in str(caught.value.hint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(AccessDenied, match="gated") as caught:
        list_files()
    assert "conditions" in str(caught.value.hint)
    assert TOKEN not in str(caught.value)


def test_bad_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.on("/api/", status(401, {"x-error-message": "Invalid credentials in Authorization header"}))
    with pytest.raises(AccessDenied, match="refused the token") as caught:
        list_files()
    assert TOKEN not in str(caught.value)


def test_401_without_a_code_and_without_a_token(hub: Hub) -> None:
    hub.on("/api/", status(401))
    with pytest.raises(AccessDenied, match="wants a token"):
        list_files()


# ---------------------------------------------------------------------------------------- the hub fails


def test_no_hub_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    begin = time.monotonic()
    with pytest.raises(SourceUnavailable, match="refused") as caught:
        list_files()
    assert time.monotonic() - begin < 20
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "endpoint", ["hf-mirror.com", "ftp://127.0.0.1", "http://", "http://127.0.0.1:99999", "http://["]
)
def test_an_endpoint_that_is_no_url(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(PphubError) as caught:
        download(f"hf:{REPO}")
    assert isinstance(caught.value, SourceUnavailable)


@pytest.mark.parametrize(
    "fault",
    [
        *NO_ANSWERS,
        status(200, {}, b"null"),
        status(200, {}, b'{"sha": 5, "0": []}'),
        status(200, {}, b'["sha"]'),
        status(200, {}, b"[" * 100_000),
        status(200, {"content-encoding": "gzip"}, b"not gzip at all"),
        status(302, {"location": "file:///etc/passwd"}),
        status(302, {"location": "http://["}),
        redirect("{path}"),
        cut(3),
        cut(3, length=False),
    ],
)
@pytest.mark.parametrize("request_for", ["/revision/", "/tree/"])
def test_an_answer_that_is_none(
    hub: Hub, request_for: str, fault: Callable[[Asked, Answer], Answer], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From version 2 on the client asks again for minutes where a listing fails; that is cut off by our own limit.
    monkeypatch.setattr(pphub_plugins.huggingface, "CONNECT_SECONDS", 1.0)
    hub.on(request_for, fault)
    begin = time.monotonic()
    with pytest.raises(SourceUnavailable) as caught:
        download(REPO)
    assert time.monotonic() - begin < 20
    assert caught.value.hint
    assert not (home / "hub" / "snapshots").exists()
    hub.well()
    assert download(REPO).is_dir()


def test_something_that_does_not_speak_http(monkeypatch: pytest.MonkeyPatch) -> None:
    with Canned(b"SSH-2.0-OpenSSH_9.6\r\n") as other:
        monkeypatch.setenv("HF_ENDPOINT", other.url)
        with pytest.raises(SourceUnavailable):
            list_files()


@pytest.mark.parametrize("request_for", ["/revision/", "/tree/"])
def test_a_hub_that_stalls_is_given_up(hub: Hub, monkeypatch: pytest.MonkeyPatch, request_for: str) -> None:
    monkeypatch.setattr(pphub_plugins.huggingface, "CONNECT_SECONDS", 0.2)
    hub.on(request_for, stall(2, 3))
    begin = time.monotonic()
    with pytest.raises(SourceUnavailable, match="no answer within"):
        list_files()
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("fault", [stall(0, 6), stall(50, 6), status(503), status(429, {"retry-after": "6"}), cut(3)])
def test_a_hub_that_fails_at_the_second_page(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fault: Any
) -> None:
    fill(hub.root / "org/many", {f"{n:04}.txt": b"" for n in range(1200)})
    list_files("org/many")  # the hub hashes its files now, and not while a short limit runs
    hub.well()
    monkeypatch.setattr(pphub_plugins.huggingface, "CONNECT_SECONDS", 1.0)
    hub.on("cursor=", fault)
    begin = time.monotonic()
    with pytest.raises(SourceUnavailable) as caught:
        list_files("org/many")
    assert time.monotonic() - begin < 20
    assert caught.value.hint
    time.sleep(1.2)  # in which the client tries again
    assert hub.count("cursor=") >= 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("fault", [stall(20, 40), status(503)])
def test_a_client_that_is_left_behind_neither_prints_nor_keeps_python_from_ending(hub: Hub, fault: Any) -> None:
    code = """
import pphub, pphub_plugins.huggingface
pphub_plugins.huggingface.CONNECT_SECONDS = 0.25
try:
    pphub.download("org/many", source="hf")
except pphub.errors.SourceUnavailable:
    print("given up")
"""
    fill(hub.root / "org/many", {f"{n:04}.txt": b"" for n in range(1200)})
    list_files("org/many")
    hub.on("cursor=", fault)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60, capture_output=True, text=True)
    assert time.monotonic() - begin < 20
    assert (done.stdout, done.stderr) == ("given up\n", "")


def test_a_listing_without_end(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pphub_plugins.huggingface, "_MAX_FILES", 20)
    hub.on("/tree/", edit(headers={"link": f'<{hub.url}/api/models/{REPO}/tree/main?recursive=true>; rel="next"'}))
    with pytest.raises(SourceUnavailable, match="more than 20 files"):
        list_files()


def test_what_is_not_ready_within_its_time() -> None:
    left = threading.Event()
    passed: list[str] = []

    def slow_items() -> Iterator[str]:
        yield "one"
        yield "two"
        left.wait(10)
        yield "three"
        passed.append("four")

    items = within(0.2, slow_items)
    assert [next(items), next(items)] == ["one", "two"]
    with pytest.raises(TimeoutError):
        next(items)
    left.set()
    for thread in threading.enumerate():
        if thread.name == "pphub-within":
            thread.join(10)
    assert passed == []

    def broken_items() -> Iterator[str]:
        yield "one"
        raise KeyError("two")

    items = within(5, broken_items)
    assert next(items) == "one"
    with pytest.raises(KeyError, match="two"):
        next(items)
    assert list(within(5, lambda: iter([1, 2]))) == [1, 2]


def test_the_clients_own_offline_switch(hub: Hub) -> None:
    """The client reads it once; asked to go online all the same, pphub says what is in the way."""
    code = f"""
import pphub
try:
    pphub.download({REPO!r}, offline=False)
except pphub.errors.PphubError as error:
    print(repr(error))
"""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60, capture_output=True, text=True)
    assert "SourceUnavailable" in done.stdout
    assert "HF_HUB_OFFLINE" in done.stdout


# ----------------------------------------------------------------------------------------- the hub lies


@pytest.mark.parametrize("commit", ["../../x", "snapshot.json", "..", "", "x" * 40, "A" * 40, "b", "0" * 64])
def test_a_commit_that_is_none(hub: Hub, commit: str, home: Path) -> None:
    hub.on("/revision/", edit(body=json.dumps({"id": REPO, "sha": commit}).encode()))
    with pytest.raises((Corrupt, SourceUnavailable), match="commit") as caught:
        download(REPO)
    assert caught.value.exit_code in {3, 4}
    assert [path.name for path in home.rglob("*") if path.is_file() and "locks" not in path.parts] == []


def test_another_commit_than_the_one_asked_for(hub: Hub) -> None:
    old = list_files().commit
    hub.on("/revision/", edit(body=json.dumps({"id": REPO, "sha": "1" * 40}).encode()))
    with pytest.raises(Corrupt, match="asked for the commit"):
        download(REPO, revision=old)


HOSTILE = [
    "/etc/x.json",
    "C:/x.json",
    "C:\\x.json",
    "a\\..\\x.json",
    "a//x.json",
    "./x.json",
    "x\0.json",
    "x\x1b[31m.json",
    "CON.json",
    "sub/nul.txt",
    "x./y.json",
    "x" * 300 + ".json",
    "/".join(["d" * 100] * 12) + ".json",
    "CONFIG.JSON/x.json",
    "config.json/x.json",
    "Config.json",
    "snapshot.json",
    "snapshot.json/x.json",
    "\ud800.json",
    "*.json",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name(hub: Hub, name: str, home: Path, tmp_path: Path) -> None:
    oid = git_sha1(b"{}")
    hub.on("/tree/", tree(lambda entries: entries.append({"type": "file", "path": name, "size": 2, "oid": oid})))
    before = {path for path in tmp_path.rglob("*") if home not in path.parents and path != home}
    with pytest.raises(UnsafeCheckpoint) as caught:
        download(REPO)
    assert caught.value.exit_code == 4
    assert "\0" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert hub.count("/resolve/") == 0
    assert not (home / "hub" / "snapshots").exists()
    assert {path for path in tmp_path.rglob("*") if home not in path.parents and path != home} == before
    # The same name, where it is not wanted, is no reason to refuse the model.
    assert download(REPO, include="vocab.txt").is_dir()


@pytest.mark.parametrize("name", ["../x.json", "a/../../x.json", "x .json ", "x\0.so", "CON"])
def test_a_hostile_name_that_nobody_wants(hub: Hub, name: str) -> None:
    """It is not fetched, but it shows what the hub is; who chooses the files is not held up by the others."""
    oid = git_sha1(b"{}")
    hub.on("/tree/", tree(lambda entries: entries.append({"type": "file", "path": name, "size": 2, "oid": oid})))
    choices: list[dict[str, Any]] = [{}, {"include": name}]
    for choice in choices:
        with pytest.raises(UnsafeCheckpoint):
            download(REPO, **choice)
    assert hub.count("/resolve/") == 0
    download(REPO, exclude=name)
    download(REPO, include="vocab.txt")


def test_names_of_the_hub_do_not_steer_the_terminal(hub: Hub) -> None:
    oid = git_sha1(b"{}")
    entry = {"type": "file", "path": "\x1b[31mred.so", "size": 2, "oid": oid}
    hub.on("/tree/", tree(lambda _entries: [entry]))
    with pytest.raises(FileNotInModel) as caught:
        download(REPO)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": "12"},
        {"size": 1.5},
        {"size": float("nan")},
        {"size": None},
        {"size": True},
        {"path": None},
        {"path": 7},
        {"oid": "../../../etc/passwd"},
        {"oid": "g" * 40},
        {"oid": ""},
        {"oid": None},
        {"oid": "A" * 40},
        {"lfs": {"oid": "../../x", "size": 1, "pointerSize": 1}},
        {"lfs": {"oid": "a" * 64, "size": -5, "pointerSize": 1}},
        {"lfs": {"oid": "a" * 64}},
        {"lfs": []},
        {"lfs": "yes"},
    ],
)
def test_a_hostile_entry(hub: Hub, change: dict[str, Any], home: Path) -> None:
    hub.on("/tree/", tree(lambda entries: entries[-1].update(change)))
    with pytest.raises((Corrupt, SourceUnavailable)) as caught:
        download(REPO)
    assert caught.value.exit_code in {3, 4}
    assert len(str(caught.value)) < 600
    assert not (home / "hub" / "snapshots").exists()


@pytest.mark.parametrize("entries", [[None], ["file"], {"error": "no"}, [{"type": "file"}]])
def test_a_listing_that_is_none(hub: Hub, entries: Any) -> None:
    hub.on("/tree/", tree(lambda _entries: entries))
    with pytest.raises(SourceUnavailable, match="no list of files"):
        list_files()


def test_an_empty_listing(hub: Hub) -> None:
    hub.on("/tree/", tree(lambda _entries: []))
    with pytest.raises(FileNotInModel, match="no files at all"):
        download(REPO)


def test_what_goes_wrong_inside_a_plugin_is_told_as_its_failure(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(HuggingFaceSource, "list_files", broken)
    with pytest.raises(SourceUnavailable, match="'hf' failed to list org/bert: KeyError"):
        download(REPO)


# --------------------------------------------------------------------------------------- folders on this disk


def test_a_folder_is_listed_and_used_where_it_is(tmp_path: Path, home: Path) -> None:
    folder = fill(tmp_path / "本地 model", {**small_model(), ".git/config": b"", "sub/.hidden": b""})
    listing = LocalSource().list_files(str(folder), None)
    assert {file.path: file.size for file in listing.files} == {
        path: len(content) for path, content in small_model().items()
    }
    assert all(file.digest is None and file.url.startswith("file:///") for file in listing.files)
    assert listing.folder == str(folder)
    assert LocalSource().list_files(str(folder), None) == listing
    (folder / "vocab.txt").write_bytes(b"changed")
    assert LocalSource().list_files(str(folder), None).commit != listing.commit
    assert download(folder) == folder
    assert download(f"file:{folder}") == folder
    assert not home.exists()


def test_a_folder_that_is_not_there_and_one_with_a_revision(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no folder"):
        LocalSource().list_files(str(tmp_path / "none"), None)
    with pytest.raises(RevisionNotFound, match="no revisions"):
        LocalSource().list_files(str(tmp_path), "main")


def test_a_folder_with_links(tmp_path: Path) -> None:
    folder = fill(tmp_path / "model", {"config.json": b"{}"})
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "nowhere.json").symlink_to(tmp_path / "nowhere")
    (folder / "self.json").symlink_to("self.json")
    (folder / "vocab.txt").symlink_to(fill(tmp_path, {"elsewhere": b"words"}) / "elsewhere")
    assert [file.path for file in LocalSource().list_files(str(folder), None).files] == ["config.json", "vocab.txt"]


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(StorageFailed, match="Permission denied"):
        LocalSource().list_files(str(tmp_path), None)
