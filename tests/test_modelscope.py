"""What the ModelScope source lists, and what it says when the hub refuses, fails or lies."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

import pphub_plugins.modelscope
from pphub.errors import SourceNotInstalled

try:
    # By the plugin and before anybody else, for the limits of time that the client reads at its import.
    pphub_plugins.modelscope._import_client()
except SourceNotInstalled:
    pytest.skip("modelscope-hub is not installed", allow_module_level=True)

from modelscope_hub import HubConfig
from modelscope_hub.constants import REPO_FILES_TRUNCATION_LIMIT

import pphub.resolve
from hubs import NO_ANSWERS, Answer, Asked, Canned, Hub, cut, edit, fill, gated, redirect, small_model, stall, status
from pphub.errors import (
    AccessDenied,
    Corrupt,
    ModelNotFound,
    PphubError,
    RevisionNotFound,
    SourceUnavailable,
    UnsafeCheckpoint,
)
from pphub.obtain import download
from pphub.source import Source
from pphub.testing import Example, SourceContract
from pphub_plugins.modelscope import ModelScopeSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


REPO = "org/bert"
TOKEN = "ms-secretSECRETsecret"
SHA = hashlib.sha256(b"{}").hexdigest()
CAP = 3000


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    models = {
        REPO: small_model(),
        f"{REPO}@v1.0": {"config.json": b'{"tag": 1}'},
        f"{REPO}@feature%2Fx": {"config.json": b'{"branch": 1}'},
    }
    # Until the metadata of the installed package is written anew, no entry point leads to the source.
    monkeypatch.setattr(pphub.resolve, "load_source", lambda _scheme: ModelScopeSource())
    with Hub.open(tmp_path / "hub", models) as running:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", running.url)
        yield running


def list_files(repo: str = REPO, revision: str | None = None) -> Any:
    return ModelScopeSource().list_files(repo, revision)


def fetch(repo: str = REPO, **options: Any) -> Path:
    return download(f"ms:{repo}", **options)


def sent(hub: Hub, part: str = "") -> set[tuple[str | None, str | None]]:
    asked = [asked for asked in hub.asked if part in asked.path]
    return {(one.headers.get("authorization"), one.headers.get("cookie")) for one in asked}


BOTH = {(f"Bearer {TOKEN}", f"m_session_id={TOKEN}")}
NONE = {(None, None)}


def listing(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Asked, Answer], Answer]:
    """Change the listing inside its envelope, in place or by returning another."""

    def body(old: bytes) -> bytes:
        envelope = json.loads(old)
        changed = change(envelope["Data"]["Files"])
        if changed is not None:
            envelope["Data"]["Files"] = changed
        return json.dumps(envelope).encode()

    return edit(body=body)


def envelope(code: object = 200, data: object = None, *, success: bool = True) -> Callable[[Asked, Answer], Answer]:
    text = json.dumps({"Code": code, "Success": success, "Message": "no", "RequestId": "1", "Data": data})
    return status(200, {"content-type": "application/json"}, text.encode())


# ------------------------------------------------------------------------------------- what is listed


def test_the_source_keeps_the_contract() -> None:
    assert isinstance(ModelScopeSource(), Source)
    assert pphub_plugins.modelscope._CAP == REPO_FILES_TRUNCATION_LIMIT


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "https://www.modelscope.cn"),
        ({"MODELSCOPE_ENDPOINT": "https://mirror.example/ms/"}, "https://mirror.example/ms"),
        ({"MODELSCOPE_ENDPOINT": "www.modelscope.ai"}, "https://www.modelscope.ai"),
        ({"MODELSCOPE_DOMAIN": "www.modelscope.ai"}, "https://www.modelscope.ai"),
        ({"MODELSCOPE_ENDPOINT": "http://one", "MODELSCOPE_DOMAIN": "two"}, "http://one"),
    ],
)
def test_endpoints(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str) -> None:
    monkeypatch.delenv("MODELSCOPE_ENDPOINT")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ModelScopeSource().endpoint() == expected


def test_the_listing_is_the_folder(hub: Hub) -> None:
    listed = list_files()
    assert (listed.source, listed.repo, listed.revision, listed.headers) == ("ms", REPO, "master", {})
    files = {file.path: file for file in listed.files}
    assert files.keys() == small_model().keys()
    for path, content in small_model().items():
        assert files[path].size == len(content)
        assert (files[path].digest.algorithm, files[path].digest.hex) == ("sha256", hashlib.sha256(content).hexdigest())
        url = urlsplit(files[path].url)
        assert url.path == f"/api/v1/models/{REPO}/repo"
        assert parse_qs(url.query) == {"Revision": ["master"], "FilePath": [path]}
    assert hub.count("") == 1


def test_a_snapshot_is_named_by_its_content(hub: Hub) -> None:
    before = list_files()
    assert len(before.commit) == 40
    assert list_files().commit == before.commit
    fill(hub.root / "org/twin", small_model())
    assert list_files("org/twin").commit == before.commit
    fill(hub.root / REPO, {"vocab.txt": b"other"})
    assert list_files().commit != before.commit


def test_a_download_end_to_end(hub: Hub) -> None:
    odd = "sub/deep/名 字 #1%41&+.json"
    fill(hub.root / REPO, {odd: b"odd"})
    folder = fetch()
    assert (folder / odd).read_bytes() == b"odd"
    for path in ("config.json", "vocab.txt", "model.safetensors"):
        assert (folder / path).read_bytes() == small_model()[path]
    assert json.loads((folder / "snapshot.json").read_text())["source"] == "ms"
    hub.well()
    assert fetch() == folder
    assert hub.asked == []
    # What was left out then is asked for by the revision: the hub has never heard of the name of the snapshot.
    assert (fetch(include="*.bin") / "pytorch_model.bin").is_file()


@pytest.mark.parametrize(
    ("revision", "content"), [("master", None), ("v1.0", b'{"tag": 1}'), ("feature/x", b'{"branch": 1}')]
)
def test_revisions(hub: Hub, revision: str, content: bytes | None) -> None:
    listed = list_files(revision=revision)
    assert listed.revision == revision
    folder = fetch(revision=revision, include="config.json")
    assert folder.name == listed.commit
    assert (folder / "config.json").read_bytes() == (content or small_model()["config.json"])


def test_a_commit(hub: Hub) -> None:
    commits = {
        revision: json.loads(entry)["Data"]["Files"][0]["Revision"]
        for revision, entry in ((name, raw_listing(hub, name)) for name in ("master", "v1.0"))
    }
    assert list_files(revision=commits["v1.0"]).commit == list_files(revision="v1.0").commit
    assert (fetch(revision=commits["v1.0"]) / "config.json").read_bytes() == b'{"tag": 1}'
    assert list_files(revision=commits["master"]).files != list_files(revision=commits["v1.0"]).files


def raw_listing(hub: Hub, revision: str) -> bytes:
    import requests

    url = f"{hub.url}/api/v1/models/{REPO}/repo/files?Revision={revision}&Recursive=True"
    return requests.get(url, timeout=10).content


def test_a_file_without_a_hash_is_listed_as_such(hub: Hub) -> None:
    hub.on("/repo/files", listing(lambda entries: [entry.update(Sha256=None) for entry in entries] and None))
    listed = list_files()
    assert {file.digest for file in listed.files} == {None}
    fill(hub.root / REPO, {"vocab.txt": b"[pad]\n[unk]\n"})  # of the same size
    os.utime(hub.root / REPO / "vocab.txt", (2e9, 2e9))  # the client passes on the date of the commit, not its id
    assert list_files().commit != listed.commit


def test_the_user_learns_of_files_without_a_hash(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.on("/repo/files", listing(lambda entries: [entry.update(Sha256=None) for entry in entries[1:]] and None))
    folder = pphub.download(REPO, source="ms")
    count = sum(path.is_file() for path in folder.iterdir()) - 1  # the record is ours
    told = f"ms lists no hash for {count - 1} of {count} files: their sizes alone could be checked"
    assert told in capsys.readouterr().err
    pphub.download(REPO, source="ms")
    assert not capsys.readouterr().err


class TestContract(SourceContract):
    """What every source must do."""

    @pytest.fixture
    def source(self) -> ModelScopeSource:
        return ModelScopeSource()

    @pytest.fixture
    def example(self, hub: Hub) -> Example:
        dead = {"MODELSCOPE_ENDPOINT": "http://127.0.0.1:9"}
        return Example(REPO, small_model(), missing_repo="org/none", missing_revision="none", dead_endpoint=dead)


# ----------------------------------------------------------------------------- more than the hub lists at once


def capped(_asked: Asked, answer: Answer) -> Answer:
    """What the real hub does, and does not say."""
    return listing(lambda entries: entries[:CAP])(_asked, answer)


MANY = {f"part{n % 3}/deep/{n:04}.txt": b"%d" % n for n in range(3500)} | {"config.json": b"{}"}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("many") / "hub" / "org" / "many", MANY).parent.parent


@pytest.mark.parametrize("limited", [True, False])
def test_3500_files_in_nested_folders(many: Path, monkeypatch: pytest.MonkeyPatch, limited: bool) -> None:
    with Hub.open(many, {}) as hub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
        if limited:
            hub.on("/repo/files", capped)
        paths = [file.path for file in list_files("org/many").files]
        assert len(paths) == len(MANY)
        assert set(paths) == set(MANY)
        assert hub.count("") == 5  # all; the uppermost folder alone; each folder in it


def test_a_walk_is_silent(many: Path) -> None:
    """The client says at length that it walks the folders."""
    code = "from pphub_plugins.modelscope import *; print(len(ModelScopeSource().list_files('org/many', None).files))"
    with Hub.open(many, {}) as hub:
        done = run(code, MODELSCOPE_ENDPOINT=hub.url)
    assert (done.stdout, done.stderr) == (f"{len(MANY)}\n", "")


def test_a_folder_that_is_too_large_is_not_listed_in_part(hub: Hub) -> None:
    """Nor is one that is listed whole, by a hub without the cap, taken for a part."""
    fill(hub.root / "org/flat", {"config.json": b"{}"} | {f"sub/{n:04}.txt": b"" for n in range(CAP + 1)})
    assert len(list_files("org/flat").files) == CAP + 2
    hub.on("/repo/files", capped)
    with pytest.raises(SourceUnavailable, match=f"org/flat .* has {CAP} entries or more, and the hub"):
        list_files("org/flat")


def test_a_client_that_may_not_warn_is_not_believed(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logging.disable(logging.CRITICAL)
    try:
        with Hub.open(many, {}) as hub:
            monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
            with pytest.raises(SourceUnavailable, match="with its log off"):
                list_files("org/many")
    finally:
        logging.disable(logging.NOTSET)


def test_folders_without_end(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelscope_hub._legacy_api.REPO_TREE_MAX_REQUESTS", 5)

    def deeper(asked: Asked, answer: Answer) -> Answer:
        root = parse_qs(urlsplit(asked.path).query).get("Root", [""])[0]
        entry = {"Path": f"{root}/x".lstrip("/"), "Type": "tree", "Size": 0}
        return envelope(data={"Files": [entry] * CAP})(asked, answer)

    hub.on("/repo/files", deeper)
    with pytest.raises(SourceUnavailable, match="does not list them all"):
        list_files()
    assert hub.count("") <= 6


# -------------------------------------------------------------------------------------------- the token


def test_the_token_of_the_environment_is_sent_with_every_request(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", f"{TOKEN}\n")
    hub.on("/", gated(TOKEN))
    fetch()
    assert sent(hub) == BOTH
    assert hub.count("/repo?") == 4


@pytest.mark.parametrize("variable", ["MODELSCOPE_HOME", "HOME"])
def test_the_token_of_the_stored_login(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    if variable == "MODELSCOPE_HOME":
        monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    HubConfig(endpoint=hub.url).save_token(TOKEN)
    fetch()
    assert sent(hub) == BOTH


def test_a_stored_login_that_cannot_be_read(hub: Hub, tmp_path: Path) -> None:
    stored = tmp_path / "user" / ".modelscope" / "credentials"
    stored.mkdir(parents=True)
    (stored / "cookies").write_bytes(pickle.dumps(7))
    with pytest.raises(SourceUnavailable, match="stored login"):
        list_files()
    assert hub.asked == []


def test_to_a_download_netrc_adds_no_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    fetch(include="vocab.txt")
    assert sent(hub, "/repo?") == NONE  # the client, which lists, does heed the file
    hub.well()
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
    fetch(include="*.json")
    assert sent(hub, "/repo?") == BOTH


def test_the_token_is_not_sent_to_another_port_by_redirect(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
    with Hub.open(tmp_path / "hub", {}) as other:
        hub.on("/repo", redirect(f"{other.url}{{path}}"))
        fetch()
        assert (other.count("/repo/files"), other.count("/repo?")) == (1, 4)
        assert sent(other, "/repo?") == NONE
        # The client keeps the token as a cookie, and cookies know no ports.
        assert sent(other, "/repo/files") == {(None, f"m_session_id={TOKEN}")}
    assert sent(hub) == BOTH


def test_without_a_token_none_is_sent(hub: Hub) -> None:
    fetch(include="vocab.txt")
    assert sent(hub) == NONE


def test_cookies_of_the_hub_are_not_kept(hub: Hub) -> None:
    hub.on("/repo/files", edit(status=404, headers={"set-cookie": "m_session_id=theirs; Path=/"}))
    with pytest.raises(PphubError):
        list_files()
    assert hub.count("/revisions") == 1
    assert sent(hub) == NONE


def test_a_password_in_the_endpoint_is_used_and_never_shown(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url.replace("://", "://me:pass%40word@"))
    listed = list_files()
    assert sent(hub) == {(f"Basic {base64.b64encode(b'me:pass@word').decode()}", None)}
    assert all("pass" not in file.url for file in listed.files)
    assert "pass" not in repr(listed)
    with pytest.raises(ModelNotFound) as caught:
        list_files("org/none")
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize("character", ["\x01", ";", " ", '"', "中"])
def test_a_token_that_is_no_header_is_refused_without_showing_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, character: str
) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", f"{TOKEN}{character}{TOKEN}")
    with pytest.raises(AccessDenied, match="characters") as caught:
        list_files()
    assert TOKEN not in str(caught.value)
    assert hub.asked == []


def test_nothing_is_written_to_the_users_home(hub: Hub, tmp_path: Path) -> None:
    """In another process, so that the client is imported there; it likes to write down an id of the user."""
    code = f"""
from pphub_plugins.modelscope import ModelScopeSource
assert len(ModelScopeSource().list_files({REPO!r}, None).files) == {len(small_model())}
"""
    assert run(code, MODELSCOPE_DOMAIN="also.set").stderr == ""
    assert list((tmp_path / "user").rglob("*")) == []
    assert all("session_id/none;" in asked.headers["user-agent"] for asked in hub.asked)


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=env, check=True, timeout=60, capture_output=True, text=True)


def test_without_the_client(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modelscope_hub", None)
    with pytest.raises(SourceNotInstalled) as caught:
        list_files()
    assert caught.value.hint == "pip install 'pphub[modelscope]'"


# ---------------------------------------------------------------------------------------- the hub says no


def test_unknown_repository(hub: Hub) -> None:
    for revision in (None, "v1.0", "0" * 40):
        with pytest.raises(ModelNotFound, match="no model org/none") as caught:
            fetch("org/none", revision=revision)
        assert "MODELSCOPE_API_TOKEN" in str(caught.value.hint)


@pytest.mark.parametrize("revision", ["nothere", "v1", "0" * 40, "a&b=c/../d"])
def test_unknown_revision(hub: Hub, revision: str) -> None:
    with pytest.raises(RevisionNotFound) as caught:
        list_files(revision=revision)
    assert repr(revision) in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_hub_that_lists_nothing_for_an_unknown_revision(hub: Hub) -> None:
    hub.on("Revision=nope", envelope(data={"Files": None}))
    hub.on("Revision=master", envelope(data={"Files": []}))
    with pytest.raises(RevisionNotFound):
        list_files(revision="nope")
    # An empty repository, or a failure of the hub: the client says the same of both.
    with pytest.raises(SourceUnavailable, match="lists no files"):
        list_files()


def test_a_hub_that_has_the_revision_and_not_its_files(hub: Hub) -> None:
    hub.on("/repo/files", status(404))
    with pytest.raises(SourceUnavailable, match="has the revision"):
        list_files()


@pytest.mark.parametrize("code", [401, 403])
def test_a_refusal_inside_a_200_is_no_empty_repository(hub: Hub, code: int) -> None:
    """The client reads no more than the status of HTTP."""
    hub.on("/repo/files", envelope(code, success=False))
    with pytest.raises(SourceUnavailable, match="lists no files"):
        list_files()
    hub.on("/revisions", envelope(code, success=False))
    with pytest.raises(SourceUnavailable, match="no list of files"):
        list_files()


@pytest.mark.parametrize(
    "repo", ["bert", "a/b/c", "../x", "x/..", "org/", "/bert", "org/a b", "org/a?b", "org/a%2Fb", "org\\x/y", "org/\0"]
)
def test_a_name_that_the_hub_cannot_have(hub: Hub, repo: str) -> None:
    with pytest.raises(ModelNotFound, match="cannot be a name"):
        list_files(repo)
    assert hub.asked == []


@pytest.mark.parametrize("code", [401, 403])
def test_access_denied(hub: Hub, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    hub.on("/repo/files", status(code))
    with pytest.raises(AccessDenied) as caught:
        fetch()
    assert caught.value.exit_code == 3
    assert "MODELSCOPE_API_TOKEN" in str(caught.value.hint)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
    with pytest.raises(AccessDenied, match=r"refused|gated") as caught:
        fetch()
    assert TOKEN not in str(caught.value)


# ---------------------------------------------------------------------------------------- the hub fails


def test_no_hub_there(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = time.monotonic()
    with pytest.raises(SourceUnavailable, match="refused") as caught:
        list_files()
    assert time.monotonic() - begin < 20
    assert caught.value.hint


@pytest.mark.parametrize(
    "endpoint", ["no.such.host.invalid", "ftp://127.0.0.1", "http://", "http://127.0.0.1:99999", "http://["]
)
def test_an_endpoint_that_is_no_url(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", endpoint)
    with pytest.raises(SourceUnavailable):
        list_files()


@pytest.mark.parametrize(
    "fault",
    [
        *NO_ANSWERS,
        status(200, {}, b" " * (2 << 20)),
        status(200, {}, b"null"),
        status(200, {}, b"[]"),
        status(200, {}, b'{"Code": 200}'),
        status(200, {}, b"[" * 100_000),
        status(200, {"content-encoding": "gzip"}, b"not gzip at all"),
        status(302, {"location": "file:///etc/passwd"}),
        status(302, {"location": "http://["}),
        redirect("{path}"),
        cut(3),
        cut(3, length=False),
        envelope(500, success=False),
        envelope("500"),
        envelope(10010205001, success=False),
        envelope([]),
        envelope(None),
        envelope(data="x"),
        envelope(data={"Files": {}, "RevisionMap": []}),
        envelope(data={"Files": [None], "RevisionMap": 5}),
        envelope(data={"Files": [{"Path": ["x"]}]}),
        envelope(data={"Files": [{}]}),
    ],
)
@pytest.mark.parametrize("request_for", ["/repo/files", "/revisions"])
def test_an_answer_that_is_none(
    hub: Hub, request_for: str, fault: Callable[[Asked, Answer], Answer], home: Path
) -> None:
    hub.on(request_for, fault)
    if request_for == "/revisions":
        hub.on("/repo/files", status(404))
    begin = time.monotonic()
    with pytest.raises(SourceUnavailable) as caught:
        fetch()
    assert time.monotonic() - begin < 20
    assert caught.value.hint
    assert not (home / "hub" / "snapshots").exists()


def test_something_that_does_not_speak_http(monkeypatch: pytest.MonkeyPatch) -> None:
    with Canned(b"SSH-2.0-OpenSSH_9.6\r\n") as other:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", other.url)
        with pytest.raises(SourceUnavailable):
            list_files()


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A short deadline; the client, whose limits are whole seconds, is left behind, and waited for in the end."""
    monkeypatch.setattr(pphub_plugins.modelscope, "_SECONDS", 0.4)
    yield
    for thread in threading.enumerate():
        if thread.name == "pphub-modelscope":
            thread.join(10)


@pytest.mark.usefixtures("hurry")
def test_a_hub_that_stalls_is_given_up(hub: Hub) -> None:
    hub.on("/repo/files", stall(2, 3))
    begin = time.monotonic()
    with pytest.raises(SourceUnavailable, match="no answer within"):
        list_files()
    assert time.monotonic() - begin < 20


@pytest.mark.usefixtures("hurry")
def test_a_hub_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        begin = time.monotonic()
        with pytest.raises(SourceUnavailable, match="no answer within"):
            list_files()
        assert time.monotonic() - begin < 20


def test_the_client_gets_our_limits_where_the_user_has_none() -> None:
    """In another process, so that the client is imported there; and it gives up by itself."""
    code = f"""
import os, time
from pphub.errors import SourceUnavailable
from pphub_plugins.modelscope import ModelScopeSource
before, begin = dict(os.environ), time.monotonic()
try:
    ModelScopeSource().list_files({REPO!r}, None)
except SourceUnavailable as error:
    assert "no answer within" in error.message, error
assert time.monotonic() - begin < 20
assert os.environ == before
from modelscope_hub.constants import *
from modelscope_hub.constants import REPO_TREE_PAGE_MAX_ATTEMPTS, REPO_TREE_PAGE_TIMEOUT_SECONDS
print(API_CONNECT_TIMEOUT, API_TIMEOUT, API_MAX_RETRIES, REPO_TREE_PAGE_MAX_ATTEMPTS, REPO_TREE_PAGE_TIMEOUT_SECONDS)
"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        done = run(code, MODELSCOPE_ENDPOINT=url, MODELSCOPE_REPO_TREE_PAGE_TIMEOUT_SECONDS="2")
    assert (done.stdout, done.stderr) == ("5 5 1 1 2\n", "")


# ----------------------------------------------------------------------------------------- the hub lies


def added(**changes: Any) -> Callable[[Asked, Answer], Answer]:
    entry = {"Path": "x.json", "Type": "blob", "Size": 2, "Sha256": SHA, **changes}
    return listing(lambda entries: entries.append(entry))


@pytest.mark.parametrize(
    "name",
    [
        "../x.json",
        "/etc/x.json",
        "C:\\x.json",
        "a//x.json",
        "x\0.json",
        "x\x1b[31m.json",
        "CON.json",
        "x" * 300 + ".json",
        "config.json/x.json",
        "Config.json",
        "snapshot.json",
        "\ud800.json",
    ],
)
def test_a_hostile_name(hub: Hub, name: str, home: Path, tmp_path: Path) -> None:
    hub.on("/repo/files", added(Path=name))
    before = {path for path in tmp_path.rglob("*") if home not in path.parents and path != home}
    with pytest.raises(UnsafeCheckpoint) as caught:
        fetch(include=["*.json", name])
    assert "\x1b" not in str(caught.value)
    assert hub.count("/repo?") == 0
    assert {path for path in tmp_path.rglob("*") if home not in path.parents and path != home} == before
    assert fetch(include="vocab.txt").is_dir()


@pytest.mark.parametrize(
    "change",
    [
        {"Size": -1},
        {"Size": None},
        {"Path": None},
        {"Path": 7},
        {"Path": ""},
        {"Type": "blob", "Sha256": "../../../etc/passwd"},
        {"Sha256": "a" * 63},
        {"Sha256": 7},
        {"Type": [], "Size": []},
    ],
)
def test_a_hostile_entry(hub: Hub, change: dict[str, Any], home: Path) -> None:
    hub.on("/repo/files", added(**change))
    with pytest.raises((Corrupt, SourceUnavailable)) as caught:
        fetch()
    assert caught.value.exit_code in {3, 4}
    assert "fault of the plugin" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not (home / "hub" / "snapshots").exists()


@pytest.mark.parametrize(("size", "whole"), [("12", 12), (1.5, 1), (True, 1)])
def test_a_size_that_is_no_size(hub: Hub, size: object, whole: int) -> None:
    """The client makes a number of it; whether it is the right one, the download tells."""
    hub.on("/repo/files", added(Size=size))
    assert {file.path: file.size for file in list_files().files}["x.json"] == whole


@pytest.mark.parametrize("kind", ["tree", "commit"])
def test_folders_and_submodules_are_no_files(hub: Hub, kind: str) -> None:
    hub.on("/repo/files", added(Type=kind))
    assert "x.json" not in {file.path for file in list_files().files}


def test_other_bytes_than_were_listed(hub: Hub, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """What happens when a branch moves between listing and download."""
    monkeypatch.setattr("pphub_cache.choice._FIRST_DELAY", 0.01)
    hub.on("FilePath=vocab.txt", edit(body=b"[pad]\n[unk]\n"))
    with pytest.raises(Corrupt, match=r"vocab\.txt"):
        fetch()
    assert not list(home.rglob("snapshot.json"))
    hub.well()
    assert (fetch() / "vocab.txt").read_bytes() == small_model()["vocab.txt"]
