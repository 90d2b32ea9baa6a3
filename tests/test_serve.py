"""The hub on loopback: the protocol byte by byte, and the clients that nobody has changed."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

import pphub.serve
from pphub.errors import FileNotInModel, ModelNotFound, RevisionNotFound, UsageError
from pphub.serve import Server, build_app, serve_forever
from pphub.serve.body import FileBody, Unsatisfiable, parse_range
from pphub.serve.hashes import HashMemo, is_lfs
from pphub.serve.huggingface import PAGE
from pphub.serve.repos import Library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REPO = "org/bert"
ODD = "sub/名 字 #1?%41&+.txt"
WEIGHTS = bytes(range(256)) * 12
HELLO_OID = "ce013625030ba8dba906f756967f9e9ca394464a"  # what `git hash-object` says of "hello\n"


def fill(root: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def make_library(root: Path) -> Path:
    return fill(
        root / "模型 库",
        {
            "gpt2/config.json": b"{}",
            "org/bert/.gitattributes": b"",
            "org/bert/config.json": b"hello\n",
            "org/bert/model.safetensors": WEIGHTS,
            f"org/bert/{ODD}": b"odd",
            "org/bert/sub/deep/er.txt": b"deeper",
            "org/bert/.git/config": b"hidden",
            "org/bert@v1.0/config.json": b"tag",
            "org/bert@dev/config.json": b"dev",
            "org/bert@refs%2Fpr%2F1/config.json": b"pull",
            "org/.secret": b"hidden",
            "../secret.txt": b"secret",
        },
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A library that the test may change."""
    return make_library(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that ``server`` serves; for all tests, so none may change it."""
    return make_library(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def server(shared: Path) -> Iterator[Server]:
    with Server(shared) as running:
        yield running


def get(server: Server, path: str, **options: Any) -> requests.Response:
    return requests.get(server.url + path, timeout=10, **options)


def raw(server: Server, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Send a path exactly as it is; every better client would tidy it first."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


# ---------------------------------------------------------------------------------------- the folder


def test_a_folder_with_files_is_a_repository_and_one_with_folders_an_organisation(folder: Path) -> None:
    repositories = {found.id: list(found.revisions) for found in Library(folder).repositories()}
    assert repositories.pop("org/bert")[0] == "main"
    assert repositories == {"gpt2": ["main"]}
    assert set(Library(folder).repository(REPO).revisions) == {"main", "dev", "v1.0", "refs/pr/1"}


@pytest.mark.parametrize(
    "repo",
    ["", "/", "org", "org/", "/gpt2", "org/bert@v1.0", "gpt2/config.json", "org/bert/sub", "ORG/bert", ".."],
)
def test_what_is_not_a_repository(folder: Path, repo: str) -> None:
    with pytest.raises(ModelNotFound, match="no repository"):
        Library(folder).repository(repo)


def test_the_commit_follows_from_the_content_alone(folder: Path, tmp_path: Path) -> None:
    library = Library(folder)
    before = library.revision(REPO, "dev").commit
    assert re.fullmatch(r"[0-9a-f]{40}", before)
    other = Library(fill(tmp_path / "other", {"name/config.json": b"dev"}))
    assert other.revision("name", "main").commit == before

    (folder / "org/bert@dev/config.json").write_bytes(b"changed")
    assert library.revision(REPO, "dev").commit != before
    (folder / "org/bert@dev/config.json").write_bytes(b"dev")
    (folder / "org/bert@dev/config.json").rename(folder / "org/bert@dev/renamed.json")
    assert library.revision(REPO, "dev").commit != before


def test_an_old_commit_is_served_as_far_as_its_files_are_still_there(folder: Path) -> None:
    library = Library(folder)
    old = library.revision(REPO, "main").commit
    (folder / "org/bert/config.json").write_bytes(b"new content")
    file, revision = library.file(REPO, old, "model.safetensors")
    assert (file.size, revision.commit) == (len(WEIGHTS), old)
    with pytest.raises(RevisionNotFound):
        library.file(REPO, old, "config.json")
    with pytest.raises(FileNotInModel):
        library.file(REPO, old, "never-there")


def test_a_file_that_changes_between_hashing_and_sending_is_not_sent(folder: Path) -> None:
    file, _ = Library(folder).file(REPO, "main", "config.json")
    with file.open() as opened:
        assert opened.read() == b"hello\n"
    (folder / "org/bert/config.json").write_bytes(b"other content")
    with pytest.raises(FileNotInModel, match="changed"):
        file.open()


@pytest.mark.skipif(os.name == "nt", reason="counts by a subclass of PosixPath")
def test_a_file_is_hashed_once_for_all_who_ask(tmp_path: Path) -> None:
    opened = []

    class Counted(PosixPath):
        def open(self, *args: Any, **options: Any) -> Any:
            opened.append(self)
            time.sleep(0.05)  # long enough for the others to arrive
            return super().open(*args, **options)

    path = Counted(tmp_path / "file")
    path.write_bytes(b"hello\n")
    opened.clear()
    memo = HashMemo()
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(memo.of, path, size=6, mtime_ns=1, lfs=False) for _ in range(8)]
    assert {job.result().oid for job in jobs} == {HELLO_OID}
    assert len(opened) == 1
    memo.of(path, size=6, mtime_ns=2, lfs=False)
    assert len(opened) == 2


def test_a_file_that_could_not_be_hashed_is_tried_again(tmp_path: Path) -> None:
    memo = HashMemo()
    with pytest.raises(FileNotFoundError):
        memo.of(tmp_path / "late", size=6, mtime_ns=1, lfs=False)
    (tmp_path / "late").write_bytes(b"hello\n")
    assert memo.of(tmp_path / "late", size=6, mtime_ns=1, lfs=False).oid == HELLO_OID


@pytest.mark.parametrize(
    ("path", "size", "expected"),
    [
        ("config.json", 10, False),
        ("config.json", 10 << 20, True),
        ("config.json", (10 << 20) - 1, False),
        ("a/model.SafeTensors", 0, True),
        ("weights.tar.gz", 1, True),
        ("model_state.pdparams", 1, True),
        ("bin", 1, False),
    ],
)
def test_what_is_kept_in_lfs(path: str, size: int, expected: bool) -> None:
    assert is_lfs(path, size) is expected


@pytest.mark.skipif(os.name == "nt", reason="making links needs a privilege there")
def test_links_are_followed_inside_the_folder_only(folder: Path, tmp_path: Path) -> None:
    fill(tmp_path / "outside", {"secret.txt": b"secret", "repo/config.json": b"secret"})
    fill(folder, {".blobs/abc": b"blob", "org/bert/sub/ok.txt": b"ok"})
    bert = folder / "org/bert"
    (bert / "escape.txt").symlink_to(tmp_path / "outside/secret.txt")
    (bert / "relative.txt").symlink_to("../../../outside/secret.txt")
    (bert / "escape").symlink_to(tmp_path / "outside")
    (bert / "chain.txt").symlink_to(bert / "escape.txt")
    (folder / "outer").symlink_to(tmp_path / "outside/repo")
    (folder / "org/bert@outer").symlink_to(tmp_path / "outside/repo")
    (bert / "dangling").symlink_to("nowhere")
    (bert / "itself").symlink_to("itself")
    (bert / "sub/up").symlink_to(bert)
    (bert / "top").symlink_to(folder)
    (bert / "inside.txt").symlink_to("../../.blobs/abc")
    (bert / "other").symlink_to("../../gpt2")
    (folder / "alias").symlink_to("org/bert")

    with Server(folder) as server:
        names = [found["path"] for found in get(server, f"/api/models/{REPO}/tree/main?recursive=1").json()]
        assert "inside.txt" in names
        assert "other/config.json" in names
        assert not [n for n in names if re.match("escape|relative|chain|dangling|itself|sub/up|top|.*secret", n)]
        assert get(server, f"/{REPO}/resolve/main/inside.txt").content == b"blob"
        assert get(server, "/alias/resolve/main/config.json").content == b"hello\n"
        for path in (
            f"/{REPO}/resolve/main/escape.txt",
            f"/{REPO}/resolve/main/relative.txt",
            f"/{REPO}/resolve/main/chain.txt",
            f"/{REPO}/resolve/main/escape/secret.txt",
            f"/{REPO}/resolve/outer/config.json",
            "/outer/resolve/main/config.json",
        ):
            answer = get(server, path)
            assert (path, answer.status_code, b"secret" in answer.content[:6]) == (path, 404, False)


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be made there")
def test_names_that_no_client_can_say_are_left_out(folder: Path) -> None:
    fill(folder, {"org/bert/back\\slash": b"x", "org/bert/new\nline": b"x"})
    (folder / "org/bert" / os.fsdecode(b"latin-\xe9")).write_bytes(b"x")
    os.mkfifo(folder / "org/bert/pipe")
    paths = [file.path for file in Library(folder).revision(REPO, "main").files]
    assert paths == [".gitattributes", "config.json", "model.safetensors", "sub/deep/er.txt", ODD]


# -------------------------------------------------------------------------------------- the protocol


def test_model_info(server: Server) -> None:
    info = get(server, f"/api/models/{REPO}").json()
    assert (info["id"], info["modelId"], info["author"]) == (REPO, REPO, "org")
    assert [info[key] for key in ("private", "gated", "disabled", "tags")] == [False, False, False, []]
    assert {"rfilename": "config.json"} in info["siblings"]
    assert not [s for s in info["siblings"] if s["rfilename"].startswith(".git/")]
    assert get(server, f"/api/models/{REPO}/revision/main").json() == info
    assert get(server, f"/api/models/{REPO}/revision/{info['sha']}").json() == info
    assert get(server, "/api/models/gpt2").json()["author"] is None


def test_tree(server: Server) -> None:
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(WEIGHTS)}\n".encode()
    pointer_oid = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
    entries = {entry["path"]: entry for entry in get(server, f"/api/models/{REPO}/tree/main").json()}
    assert list(entries) == [".gitattributes", "config.json", "model.safetensors", "sub"]
    assert entries["config.json"] == {"type": "file", "oid": HELLO_OID, "size": 6, "path": "config.json"}
    assert entries["model.safetensors"] == {
        "type": "file",
        "oid": pointer_oid,
        "size": len(WEIGHTS),
        "path": "model.safetensors",
        "lfs": {"oid": sha256, "size": len(WEIGHTS), "pointerSize": len(pointer)},
    }
    assert entries["sub"]["type"] == "directory"
    for path in ("sub/deep", "sub%2Fdeep", "sub/deep/"):
        (below,) = get(server, f"/api/models/{REPO}/tree/main/{path}?expand=true").json()
        assert (below["path"], set(below["lastCommit"])) == ("sub/deep/er.txt", {"id", "title", "date"})
    assert get(server, f"/api/models/{REPO}/tree/main/config.json").status_code == 404


@pytest.mark.parametrize("form", ["form", "json"])
def test_paths_info(server: Server, form: str) -> None:
    asked = {"paths": ["config.json", "sub", "nope", ODD], "expand": form == "form"}
    url = f"{server.url}/api/models/{REPO}/paths-info/main"
    options: dict[str, Any] = {"data": asked} if form == "form" else {"json": asked}
    found = requests.post(url, timeout=10, **options).json()
    assert [entry["path"] for entry in found] == ["config.json", "sub", ODD]
    assert ["lastCommit" in entry for entry in found] == [form == "form"] * 3


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"paths": 3}', b'{"paths": [1]}', b"[" * 100_000, b"\xff"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_a_question_that_cannot_be_read(server: Server, body: bytes, kind: str) -> None:
    url = f"{server.url}/api/models/{REPO}/paths-info/main"
    answer = requests.post(url, data=body, headers={"Content-Type": kind}, timeout=10)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_refs(server: Server) -> None:
    refs = get(server, f"/api/models/{REPO}/refs?include_prs=1").json()
    names = {kind: [(ref["name"], ref["ref"]) for ref in found] for kind, found in refs.items()}
    assert names == {
        "branches": [("main", "refs/heads/main"), ("dev", "refs/heads/dev")],
        "tags": [("v1.0", "refs/tags/v1.0")],
        "converts": [],
        "pullRequests": [("refs/pr/1", "refs/pr/1")],
    }
    assert "pullRequests" not in get(server, f"/api/models/{REPO}/refs").json()
    assert refs["branches"][0]["targetCommit"] == get(server, f"/api/models/{REPO}").json()["sha"]


def test_list_of_models(server: Server) -> None:
    assert [found["id"] for found in get(server, "/api/models").json()] == ["gpt2", REPO]
    assert [found["id"] for found in get(server, "/api/models?search=BER").json()] == [REPO]
    assert [found["id"] for found in get(server, "/api/models?author=org").json()] == [REPO]
    first = get(server, "/api/models?limit=1")
    assert [found["id"] for found in first.json()] == ["gpt2"]
    assert [found["id"] for found in requests.get(first.links["next"]["url"], timeout=10).json()] == [REPO]


def test_a_small_file_and_a_large_one(server: Server) -> None:
    commit = get(server, f"/api/models/{REPO}").json()["sha"]
    small = get(server, f"/{REPO}/resolve/main/config.json")
    assert small.content == b"hello\n"
    assert small.headers["X-Repo-Commit"] == commit
    assert small.headers["ETag"] == f'"{HELLO_OID}"'
    assert small.headers["Accept-Ranges"] == "bytes"
    assert "X-Linked-Etag" not in small.headers

    large = get(server, f"/{REPO}/resolve/{commit}/model.safetensors")
    etag = f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert large.content == WEIGHTS
    assert [large.headers[name] for name in ("ETag", "X-Linked-Etag")] == [etag, etag]
    assert [large.headers[name] for name in ("X-Linked-Size", "Content-Length")] == [str(len(WEIGHTS))] * 2

    head = requests.head(large.url, headers={"Range": "bytes=1-2"}, timeout=10)
    assert (head.status_code, head.content) == (200, b"")
    assert {**head.headers, "date": ""} == {**large.headers, "date": ""}


def test_an_empty_file(server: Server) -> None:
    answer = get(server, f"/{REPO}/resolve/main/.gitattributes")
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "0")
    assert answer.headers["ETag"] == '"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"'
    ranged = get(server, f"/{REPO}/resolve/main/.gitattributes", headers={"Range": "bytes=0-"})
    assert (ranged.status_code, ranged.headers["Content-Range"]) == (416, "bytes */0")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-", (0, 100)),
        ("bytes=0-0", (0, 1)),
        ("Bytes = 10-19", (10, 20)),
        ("bytes=99-", (99, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
        ("", None),
    ],
)
def test_parse_range(header: str | None, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize("text", ["100-", "100-101", "5-4", "-0", "-", "", "a-b", "1", "--1", "+1-2", "9" * 5000 + "-"])
def test_a_range_without_bytes(text: str) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(f"bytes={text}", 100)


def test_ranges_on_the_wire(server: Server) -> None:
    path = f"/{REPO}/resolve/main/model.safetensors"
    size = len(WEIGHTS)
    part = get(server, path, headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, WEIGHTS[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{size}"
    assert part.headers["Content-Length"] == "1000"
    etag, changed = part.headers["ETag"], part.headers["Last-Modified"]

    outside = get(server, path, headers={"Range": f"bytes={size}-"})
    assert (outside.status_code, outside.headers["Content-Range"]) == (416, f"bytes */{size}")
    for validator, status in {etag: 206, changed: 206, f"W/{etag}": 200, '"other"': 200}.items():
        answer = get(server, path, headers={"Range": "bytes=1000-", "If-Range": validator})
        assert (validator, answer.status_code) == (validator, status)
        assert answer.content == (WEIGHTS[1000:] if status == 206 else WEIGHTS)
    for held, status in {etag: 304, f'"x", W/{etag}': 304, "*": 304, '"x"': 200}.items():
        answer = get(server, path, headers={"If-None-Match": held})
        assert (held, answer.status_code, answer.headers["ETag"]) == (held, status, etag)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/models/no/such", "RepoNotFound"),
        ("/api/models/nope/tree/main", "RepoNotFound"),
        ("/no/such/resolve/main/config.json", "RepoNotFound"),
        (f"/api/models/{REPO}/revision/nope", "RevisionNotFound"),
        (f"/api/models/{REPO}/revision/{'0' * 40}", "RevisionNotFound"),
        (f"/api/models/{REPO}/tree/nope", "RevisionNotFound"),
        (f"/{REPO}/resolve/nope/config.json", "RevisionNotFound"),
        (f"/api/models/{REPO}/tree/main/nope", "EntryNotFound"),
        (f"/{REPO}/resolve/main/nope", "EntryNotFound"),
        (f"/{REPO}/resolve/main/sub", "EntryNotFound"),
        (f"/{REPO}/resolve/main/{quote('无 %0d%0aX: y')}", "EntryNotFound"),
        (f"/{REPO}/resolve/main/%0d%0aSet-Cookie:x", None),
        (f"/api/models/{REPO}/discussions?p=0", None),
        ("/api/telemetry/x", None),
        ("/api/whoami-v2", None),
        ("/", None),
    ],
)
def test_what_is_not_there(server: Server, path: str, code: str | None) -> None:
    for method in ("GET", "HEAD"):
        answer = requests.request(method, server.url + path, timeout=10)
        assert (method, answer.status_code) == (method, 404)
        assert answer.headers.get("X-Error-Code") == code
        assert ("X-Error-Message" in answer.headers) == (code is not None)
        assert method == "HEAD" or list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/api/models/{REPO}/commit/main"),
        ("POST", f"/api/models/{REPO}/preupload/main"),
        ("POST", "/api/repos/create"),
        ("PUT", f"/{REPO}/resolve/main/config.json"),
        ("DELETE", f"/api/models/{REPO}"),
        ("POST", f"/{REPO}.git/info/lfs/objects/batch"),
    ],
)
def test_nothing_can_be_written(server: Server, shared: Path, method: str, path: str) -> None:
    before = sorted(shared.rglob("*"))
    answer = requests.request(method, server.url + path, data=b"{}", timeout=10)
    assert answer.status_code in (404, 405)
    assert list(answer.json()) == ["error"]
    assert sorted(shared.rglob("*")) == before


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "../../gpt2/config.json",
        "../.secret",
        "%2e%2e/.secret",
        "%2e%2e%2f.secret",
        "..%2f..%2f..%2fsecret.txt",
        "..%252f.secret",
        "sub/../config.json",
        "./config.json",
        "sub//deep/er.txt",
        "..%5c.secret",
        "..\\.secret",
        "config.json%00.txt",
        "%00",
        "config.json/",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        ".git/config",
        "C:%5cWindows%5cwin.ini",
        "%ff%fe",
        "%c0%ae%c0%ae%c0%af.secret",
        "..%c0%af.secret",
    ],
)
def test_no_path_leads_out(server: Server, path: str, method: str) -> None:
    for before in (f"/{REPO}/resolve/main/", f"/api/models/{REPO}/tree/main/"):
        status, _ = raw(server, before + path, method)
        assert status in (400, 404)


@pytest.mark.parametrize("segment", ["%ff", "%00", "a%00b", "%c0%ae"])
def test_a_path_that_is_no_text(server: Server, segment: str) -> None:
    for path in (f"/{REPO}/resolve/main/{segment}", f"/api/models/{segment}/tree/main"):
        status, body = raw(server, path)
        assert (path, status, list(json.loads(body))) == (path, 400, ["error"])


@pytest.mark.parametrize(
    "path",
    [
        "/../resolve/main/secret.txt",
        "/%2e%2e/resolve/main/secret.txt",
        "/%2e/resolve/main/org/.secret",
        "/org/../resolve/main/secret.txt",
        "/org/%2e%2e/resolve/main/secret.txt",
        "/org%2f..%2f../resolve/main/secret.txt",
        "/org/resolve/main/.secret",
        "/org/bert/resolve/../.secret",
        "/org/bert/resolve/..%2f..%2f/secret.txt",
        "/org/bert@v1.0/resolve/main/config.json",
        "/org/.git/resolve/main/config",
        "/org/bert/resolve/%2e%2e%2fbert/config.json",
        "//etc/resolve/main/passwd",
        "/%2fetc/resolve/main/passwd",
    ],
)
def test_no_repository_or_revision_leads_out(server: Server, path: str) -> None:
    status, body = raw(server, path)
    assert (status, list(json.loads(body))) == (404, ["error"])


def test_a_long_list_comes_in_pages(tmp_path: Path) -> None:
    count = 2 * PAGE + 5
    many = {f"many/中 {index:05d}.txt": b"" for index in range(count)}
    with Server(fill(tmp_path, many)) as server:
        first = get(server, "/api/models/many/tree/main?recursive=true")
        assert len(first.json()) == PAGE
        # Nothing is lost or repeated when a file goes and one comes while a client turns the page.
        (tmp_path / "many/中 00000.txt").unlink()
        second = requests.get(first.links["next"]["url"], timeout=10)
        assert [second.json()[index]["path"] for index in (0, -1)] == ["中 01000.txt", "中 01999.txt"]
        third = requests.get(second.links["next"]["url"], timeout=10)
        assert (len(third.json()), third.links) == (5, {})

        api = HfApi(endpoint=server.url)
        names = sorted(path.removeprefix("many/") for path in many)[1:]
        assert [entry.path for entry in api.list_repo_tree("many")] == names
        assert api.list_repo_files("many") == names

        pages = get(server, "/api/models/many/tree/main?limit=7")
        assert len(pages.json()) == 7
        assert "limit=7&" in pages.links["next"]["url"]
        for limit in ("0", "-1", "x", "", "9" * 5000):
            assert get(server, f"/api/models/many/tree/main?limit={limit}").status_code == 400


# --------------------------------------------------------------------------------------- the clients


def test_the_hub_client_asks_and_is_answered(server: Server) -> None:
    api = HfApi(endpoint=server.url, token=False)
    info = api.model_info(REPO, files_metadata=True)
    weights = {sibling.rfilename: sibling for sibling in info.siblings or ()}["model.safetensors"]
    assert weights.lfs is not None
    assert (weights.size, weights.lfs.sha256) == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())
    assert api.repo_info(REPO, revision="refs/pr/1").sha != info.sha
    assert api.repo_info(REPO, revision=info.sha).sha == info.sha
    assert ODD in api.list_repo_files(REPO)
    assert [entry.path for entry in api.list_repo_tree(REPO, "sub/deep", expand=True)] == ["sub/deep/er.txt"]
    refs = api.list_repo_refs(REPO, include_pull_requests=True)
    assert [ref.name for ref in refs.tags + (refs.pull_requests or [])] == ["v1.0", "refs/pr/1"]
    assert [entry.path for entry in api.get_paths_info(REPO, ["sub", ODD, "nope"])] == ["sub", ODD]
    assert (api.file_exists(REPO, "config.json"), api.file_exists(REPO, "nope")) == (True, False)
    assert (api.revision_exists(REPO, "v1.0"), api.revision_exists(REPO, "v2")) == (True, False)
    assert (api.repo_exists(REPO), api.repo_exists("no/such")) == (True, False)
    assert [model.id for model in api.list_models(search="bert")] == [REPO]


def test_the_hub_client_downloads_a_snapshot(server: Server, tmp_path: Path) -> None:
    snapshot = Path(snapshot_download(REPO, endpoint=server.url, cache_dir=tmp_path / "cache", token=False))
    assert snapshot.name == get(server, f"/api/models/{REPO}").json()["sha"]
    found = {str(path.relative_to(snapshot)): path.read_bytes() for path in snapshot.rglob("*") if path.is_file()}
    assert found == {
        ".gitattributes": b"",
        "config.json": b"hello\n",
        "model.safetensors": WEIGHTS,
        "sub/deep/er.txt": b"deeper",
        ODD: b"odd",
    }


def test_the_hub_client_finds_revisions(server: Server, tmp_path: Path) -> None:
    commit = HfApi(endpoint=server.url).model_info(REPO, revision="dev").sha
    assert commit is not None

    def load(revision: str | None) -> bytes:
        options: dict[str, Any] = {"endpoint": server.url, "cache_dir": tmp_path / "cache", "token": False}
        return Path(hf_hub_download(REPO, "config.json", revision=revision, **options)).read_bytes()

    revisions = [None, "v1.0", "dev", "refs/pr/1", commit]
    assert [load(revision) for revision in revisions] == [b"hello\n", b"tag", b"dev", b"pull", b"dev"]
    assert get(server, f"/{REPO}/resolve/refs/pr/1/config.json").content == b"pull"


def test_the_hub_client_knows_what_is_missing(server: Server, tmp_path: Path) -> None:
    options: dict[str, Any] = {"endpoint": server.url, "cache_dir": tmp_path / "cache", "token": False}
    with pytest.raises(RepositoryNotFoundError):
        snapshot_download("no/such", **options)
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("nope", "config.json", **options)
    with pytest.raises(RevisionNotFoundError):
        snapshot_download(REPO, revision="nope", **options)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "config.json", revision="nope", **options)
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(REPO, "nope", **options)
    with pytest.raises(EntryNotFoundError):
        list(HfApi(endpoint=server.url).list_repo_tree(REPO, "nope"))


class CutOnce:
    """Ends the first long answer after so many bytes; what ranges were asked for is kept."""

    def __init__(self, app: ASGIApp, after: int) -> None:
        self.app = app
        self.left = after
        self.ranges: list[bytes | None] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET" and "resolve" in scope["path"]:
            self.ranges.append(dict(scope["headers"]).get(b"range"))
        cut = False

        async def some(message: Message) -> None:
            nonlocal cut
            if len(self.ranges) == 1 and message["type"] == "http.response.body":
                self.left -= len(message["body"])
                cut = cut or self.left < 0
            if not cut:
                await send(message)

        await self.app(scope, receive, some)


def test_the_hub_client_resumes_a_broken_download(tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 24
    fill(tmp_path, {"models/big/model.bin": content})
    app = CutOnce(build_app(tmp_path / "models"), after=15 << 20)
    with Server(app=app) as server:
        options: dict[str, Any] = {"endpoint": server.url, "cache_dir": tmp_path / "cache", "token": False}
        try:
            path = hf_hub_download("big", "model.bin", **options)
        except requests.exceptions.ChunkedEncodingError:  # the 0.x client resumes when it is called again
            path = hf_hub_download("big", "model.bin", **options)
    assert Path(path).read_bytes() == content
    assert app.ranges[0] is None
    assert re.fullmatch(rb"bytes=[1-9][0-9]*-", app.ranges[1] or b"")


TRANSFORMERS = """
import sys, torch
from pathlib import Path
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel
folder = Path(sys.argv[1])
torch.manual_seed(0)
config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
saved = BertModel(config).eval()
saved.save_pretrained(folder)
(folder / "vocab.txt").write_text("\\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]))
(folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
tokens = AutoTokenizer.from_pretrained("org/tiny")("a c b", return_tensors="pt")
loaded = AutoModel.from_pretrained("org/tiny").eval()
with torch.no_grad():
    same = torch.equal(saved(**tokens).pooler_output, loaded(**tokens).pooler_output)
print(tokens["input_ids"].tolist(), same)
try:
    AutoModel.from_pretrained("org/no-such")
except OSError as error:
    print("is not a local folder and is not a valid model identifier" in str(error))
"""


def test_transformers_loads_by_name(folder: Path, tmp_path: Path) -> None:
    # In a process of its own, because HF_ENDPOINT is read when huggingface_hub is imported.
    env = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    env["HF_HOME"] = str(tmp_path / "home")
    with Server(folder) as server:
        env["HF_ENDPOINT"] = server.url
        ran = subprocess.run(
            [sys.executable, "-c", TRANSFORMERS, str(folder / "org/tiny")],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ran.stdout.splitlines() == ["[[2, 5, 7, 6, 3]] True", "True"], ran.stderr


# ---------------------------------------------------------------------------------------- the server


def test_exports() -> None:
    assert pphub.serve.__all__ == ["Server", "build_app", "serve_forever"]


def test_a_server_starts_stops_and_starts_again(folder: Path) -> None:
    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "pphub-serve"]

    before = threads()
    server = Server(folder)
    alive = [server.alive]
    for _ in range(2):
        server.start()
        server.start()
        with socket.create_connection(("127.0.0.1", server.port), timeout=1):
            alive.append(server.alive)
        assert get(server, "/api/models").status_code == 200
        port = server.port
        server.stop()
        server.stop()
        alive.append(server.alive)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
    assert alive == [False, True, False, True, False]
    assert threads() == before


def test_a_server_stops_in_spite_of_idle_and_busy_clients(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "big").mkdir()
    with (tmp_path / "big/weights.bin").open("wb") as file:
        file.truncate(64 << 20)
    with requests.Session() as idle, Server(tmp_path) as server:
        assert idle.get(f"{server.url}/api/models", timeout=10).status_code == 200
        busy = idle.get(f"{server.url}/big/resolve/main/weights.bin", stream=True, timeout=10)
        assert len(busy.raw.read(1000)) == 1000
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 2
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            _ = busy.content
    assert capfd.readouterr() == ("", "")
    assert not caplog.records or {record.name for record in caplog.records} <= {
        "urllib3.connectionpool",
        "asyncio",
    }


def test_a_client_that_leaves_frees_the_file(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    with (tmp_path / "big/weights.bin").open("wb") as file:
        file.truncate(64 << 20)
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("asks /proc for the open files")

    def is_open() -> bool:
        links = [path.readlink() for path in descriptors.iterdir() if path.is_symlink()]
        return any(link.name == "weights.bin" for link in links)

    with Server(tmp_path) as server:
        with get(server, "/big/resolve/main/weights.bin", stream=True) as answer:
            answer.raw.read(1000)
            assert is_open()
        deadline = time.monotonic() + 5
        while is_open() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not is_open()


def test_nothing_is_read_for_a_client_that_is_gone(tmp_path: Path) -> None:
    # Uvicorn drops what is sent into a closed connection without a word, so only the application can stop.
    (tmp_path / "weights.bin").write_bytes(b"\0" * (32 << 20))
    sent = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    file = (tmp_path / "weights.bin").open("rb", buffering=0)
    asyncio.run(FileBody(file, (0, 32 << 20), 200, {})({"type": "http"}, receive, send))
    assert sent[0] == "http.response.start"
    assert len(sent) < 5
    assert file.closed


def test_many_clients_at_once(server: Server) -> None:
    def one(index: int) -> bytes:
        start = index % 1000
        headers = {"Range": f"bytes={start}-"}
        return get(server, f"/{REPO}/resolve/main/model.safetensors", headers=headers).content

    with ThreadPoolExecutor(16) as pool:
        for index, content in enumerate(pool.map(one, range(100))):
            assert content == WEIGHTS[index:]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelNotFound, match="does not exist"):
        Server(tmp_path / "missing")
    with pytest.raises(ModelNotFound, match="is not a folder"):
        build_app(tmp_path / "file")
    with pytest.raises(ModelNotFound):
        serve_forever(tmp_path / "missing", "127.0.0.1", 0, print)


def test_an_address_that_cannot_be_had(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        second = Server(tmp_path, port=server.port)
        with pytest.raises(UsageError, match="Cannot listen") as caught:
            second.start()
        assert "another program has the port" in (caught.value.hint or "")
        assert not second.alive
    for port in (-1, 65536):
        with pytest.raises(UsageError, match="is not a port"):
            Server(tmp_path, port=port).start()
    with pytest.raises(UsageError, match="no address of this machine"):
        Server(tmp_path, host="no.such.host.invalid").start()
    with pytest.raises(UsageError):
        Server()
    with pytest.raises(UsageError):
        Server(tmp_path, app=build_app(tmp_path))


FOREVER = """
import re, sys
from pathlib import Path
from pphub.serve import serve_forever
serve_forever(Path(sys.argv[1]), "127.0.0.1", 0, lambda url: print(url, flush=True))
status = Path("/proc/self/status")  # not getrusage: its peak counts the process that started this one
print(re.search(r"VmHWM:\\s*([0-9]+) kB", status.read_text())[1] if status.exists() else 0)
"""


@contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FOREVER, str(folder)]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_for_ever_ends_at_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "big").mkdir()
    with (tmp_path / "big/weights.bin").open("wb") as file:
        file.truncate(400 << 20)
    with running(tmp_path) as (process, url):
        received = 0
        with requests.get(f"{url}/big/resolve/main/weights.bin", stream=True, timeout=30) as answer:
            for chunk in answer.iter_content(1 << 20):
                received += len(chunk)
        assert received == 400 << 20
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    assert int(output) < 150_000  # kilobytes; a good part of them is the interpreter
