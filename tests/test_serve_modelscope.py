"""The hub on loopback in ModelScope's protocol: byte by byte, and with the clients that nobody has changed."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

pytest.importorskip("modelscope_hub")

from modelscope_hub import HubApi, set_default_config
from modelscope_hub.compat import model_file_download, snapshot_download
from modelscope_hub.errors import FileIntegrityError, NotExistError

from hubs import Hub, cut, edit, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPO = "org/bert"
BASE = f"/api/v1/models/{REPO}"
ODD = "sub/名 字 #1?%41&+.txt"
WEIGHTS = os.urandom(3 << 20)
FILES = {
    "config.json": b"{}",
    "empty.txt": b"",
    "model.safetensors": WEIGHTS,
    "sub/deep/er.txt": b"deeper",
    ODD: b"odd",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    models = {
        REPO: FILES,
        f"{REPO}@v1.0": {"config.json": b"tag"},
        f"{REPO}@dev": {"config.json": b"dev"},
        f"{REPO}@feature%2Fx": {"config.json": b"feature"},
        "gpt2": {"config.json": b"{}"},
    }
    with Hub.open(tmp_path / "hub", models) as running:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", running.url)
        set_default_config(None)  # the client reads the environment once
        yield running
        set_default_config(None)


def get(hub: Hub, path: str, **options: Any) -> requests.Response:
    return requests.get(hub.url + path, timeout=10, **options)


def files(hub: Hub, query: str = "Recursive=True", repo: str = REPO) -> dict[str, dict[str, Any]]:
    answer = get(hub, f"/api/v1/models/{repo}/repo/files?{query}").json()
    return {entry["Path"]: entry for entry in answer["Data"]["Files"]}


def content(folder: Path | str) -> dict[str, bytes]:
    found = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


# -------------------------------------------------------------------------------------------- the protocol


def test_the_envelope(hub: Hub) -> None:
    for path in (BASE, f"{BASE}/revisions", f"{BASE}/repo/files", "/api/v1/repos/internalAccelerationInfo"):
        answer = get(hub, path).json()
        assert (answer["Code"], answer["Success"], answer["Message"]) == (200, True, "")
        assert answer["RequestId"]
        assert isinstance(answer["Data"], dict)


def test_files_and_folders(hub: Hub) -> None:
    listed = files(hub)
    assert listed.keys() == {*FILES, "sub", "sub/deep"}
    for path, body in FILES.items():
        entry = listed[path]
        assert (entry["Type"], entry["Size"]) == ("blob", len(body))
        assert entry["Sha256"] == hashlib.sha256(body).hexdigest()
        assert entry["Name"] == path.rpartition("/")[2]
    assert (listed["sub"]["Type"], listed["sub"]["Sha256"]) == ("tree", "")
    assert files(hub, "").keys() == {"config.json", "empty.txt", "model.safetensors", "sub"}
    assert files(hub, "Root=sub").keys() == {"sub/deep", ODD}
    assert files(hub, "Root=sub/&Recursive=true").keys() == {"sub/deep", "sub/deep/er.txt", ODD}


def test_revisions(hub: Hub) -> None:
    known = get(hub, f"{BASE}/revisions").json()["Data"]["RevisionMap"]
    assert [entry["Revision"] for entry in known["Tags"]] == ["v1.0"]
    assert [entry["Revision"] for entry in known["Branches"]] == ["master", "dev", "feature/x"]
    assert all(entry["CreatedAt"] > 1_600_000_000 for kind in known.values() for entry in kind)
    commit = files(hub, "Revision=dev")["config.json"]["Revision"]
    for revision, body in (("v1.0", b"tag"), ("feature%2Fx", b"feature"), (commit, b"dev"), ("main", b"{}")):
        assert get(hub, f"{BASE}/repo?Revision={revision}&FilePath=config.json").content == body


def test_a_folder_may_have_a_master_of_its_own(hub: Hub) -> None:
    fill(hub.root, {f"{REPO}@master/config.json": b"master"})
    assert get(hub, f"{BASE}/repo?Revision=master&FilePath=config.json").content == b"master"
    known = get(hub, f"{BASE}/revisions").json()["Data"]["RevisionMap"]
    assert {"main", "master"} <= {entry["Revision"] for entry in known["Branches"]}


def test_parts_of_a_file(hub: Hub) -> None:
    path = f"{BASE}/repo?Revision=master&FilePath=model.safetensors"
    part = get(hub, path, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, WEIGHTS[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(WEIGHTS)}"
    assert part.headers["X-Linked-Etag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert get(hub, path, headers={"Range": f"bytes={len(WEIGHTS)}-"}).status_code == 416
    head = requests.head(hub.url + path, timeout=10)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(WEIGHTS)), b"")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/models/org/none",
        "/api/v1/models/org/none/revisions",
        "/api/v1/models/org/none/repo/files",
        "/api/v1/models/org/bert@dev/repo/files",
        "/api/v1/models/%2e%2e/bert/repo/files",
        f"{BASE}/repo/files?Revision=nope",
        f"{BASE}/repo/files?Revision={'0' * 40}",
        f"{BASE}/repo/files?Root=nope",
        f"{BASE}/repo/files?Root=..",
        f"{BASE}/repo",
        f"{BASE}/repo?FilePath=nope",
        f"{BASE}/repo?FilePath=sub",
        f"{BASE}/repo?FilePath=../bert@dev/config.json",
        f"{BASE}/repo?FilePath=%00",
        f"{BASE}/repo?FilePath=%ff",
        f"{BASE}/repo?Revision=nope&FilePath=config.json",
    ],
)
def test_what_is_not_there(hub: Hub, path: str) -> None:
    answer = get(hub, path)
    assert answer.status_code == 404
    known = answer.json()
    assert (known["Code"], known["Success"], known["Data"]) == (404, False, None)
    assert known["Message"]
    assert str(hub.root) not in answer.text


def test_some_clients_quote_the_slash(hub: Hub) -> None:
    assert files(hub, repo="org%2Fbert") == files(hub)


def test_nothing_can_be_written(hub: Hub) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert requests.request(method, hub.url + BASE, timeout=10).status_code == 405
    assert content(hub.root / REPO) == FILES


def test_the_other_protocol_is_still_there(hub: Hub) -> None:
    assert get(hub, f"/api/models/{REPO}").json()["id"] == REPO
    assert get(hub, f"/{REPO}/resolve/main/config.json").content == b"{}"


# --------------------------------------------------------------------------------------------- the client


def test_the_client_asks_and_is_answered(hub: Hub) -> None:
    api = HubApi()
    listed = {entry.path: entry for entry in api.list_repo_files(REPO, "model")}
    assert {path for path, entry in listed.items() if entry.type != "tree"} == set(FILES)
    assert listed["model.safetensors"].sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    names = [entry["Revision"] for entry in api.list_repo_revisions(REPO, "model")]
    assert sorted(names) == ["dev", "feature/x", "master", "v1.0"]
    assert (api.repo_exists(REPO, "model"), api.repo_exists("org/none", "model")) == (True, False)
    info = api.get_repo(REPO, "model")
    assert (info.owner, info.name) == ("org", "bert")


def test_the_client_downloads_a_snapshot(hub: Hub, tmp_path: Path) -> None:
    assert content(snapshot_download(REPO, cache_dir=str(tmp_path / "cache"))) == FILES
    assert content(snapshot_download(REPO, local_dir=str(tmp_path / "local"))) == FILES
    assert content(HubApi().download_repo(REPO, "model", cache_dir=str(tmp_path / "third"))) == FILES
    some = snapshot_download(REPO, cache_dir=str(tmp_path / "some"), allow_patterns=["*.json"])
    assert content(some) == {"config.json": b"{}"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_client_downloads_with_a_report(hub: Hub, tmp_path: Path) -> None:
    report = HubApi().download_repo_report(REPO, "model", cache_dir=str(tmp_path / "cache"))
    assert (report.status, report.succeeded, report.listing_complete) == ("COMPLETE", len(FILES), True)
    gc.collect()  # the client leaves a file open, which must be told here and not in another test


def test_the_client_finds_revisions(hub: Hub, tmp_path: Path) -> None:
    commit = files(hub, "Revision=dev")["config.json"]["Revision"]
    for number, (revision, body) in enumerate(
        {None: b"{}", "master": b"{}", "v1.0": b"tag", "dev": b"dev", "feature/x": b"feature", commit: b"dev"}.items()
    ):
        folder = snapshot_download(REPO, revision=revision, local_dir=str(tmp_path / str(number)))
        assert (Path(folder) / "config.json").read_bytes() == body
        one = model_file_download(REPO, "config.json", revision=revision, cache_dir=str(tmp_path / "cache"))
        assert Path(one).read_bytes() == body


def test_the_client_downloads_single_files(hub: Hub, tmp_path: Path) -> None:
    for path, body in FILES.items():
        assert Path(model_file_download(REPO, path, cache_dir=str(tmp_path / "one"))).read_bytes() == body
        assert HubApi().download_file(REPO, "model", path, cache_dir=str(tmp_path / "two")).read_bytes() == body


def test_the_client_knows_what_is_missing(hub: Hub, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    calls: tuple[Callable[[], object], ...] = (
        lambda: snapshot_download("org/none", cache_dir=cache),
        lambda: snapshot_download(REPO, revision="nope", cache_dir=cache),
        lambda: model_file_download(REPO, "nope", cache_dir=cache),
        lambda: model_file_download(REPO, "config.json", revision="nope", cache_dir=cache),
    )
    for call in calls:
        with pytest.raises(requests.HTTPError, match="404"):
            call()
    with pytest.raises(NotExistError, match="no revision nope"):
        HubApi().list_repo_files(REPO, "model", revision="nope")


def test_the_client_resumes_a_broken_download(hub: Hub, tmp_path: Path) -> None:
    hub.on("FilePath=model.safetensors", cut(2 << 20), times=1)
    assert content(snapshot_download(REPO, cache_dir=str(tmp_path / "cache"))) == FILES
    asked = [asked.headers.get("range") for asked in hub.asked if "FilePath=model.safetensors" in asked.path]
    assert asked == [None, f"bytes={2 << 20}-"]
    hub.well()
    hub.on("FilePath=model.safetensors", cut(1 << 20), times=1)
    one = model_file_download(REPO, "model.safetensors", cache_dir=str(tmp_path / "one"))
    assert Path(one).read_bytes() == WEIGHTS
    assert hub.asked[-1].headers["range"] == f"bytes={1 << 20}-"


def test_the_client_verifies_a_single_file_by_our_header(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelscope_hub._download.DOWNLOAD_INTEGRITY_RETRY_BACKOFF", 0.01)
    hub.on("FilePath=model.safetensors", edit(body=lambda old: old[:-1] + bytes([old[-1] ^ 1])))
    with pytest.raises(FileIntegrityError):
        model_file_download(REPO, "model.safetensors", cache_dir=str(tmp_path / "cache"))


def test_more_files_than_the_real_hub_lists(hub: Hub, tmp_path: Path) -> None:
    many = {f"part{n % 2}/{n:04}.txt": b"" for n in range(3500)} | {"config.json": b"{}"}
    fill(hub.root / "org/many", many)
    listed = HubApi().list_repo_files("org/many", "model")
    assert {entry.path for entry in listed if entry.type != "tree"} == set(many)


FULL = """
import sys
from modelscope import snapshot_download
from modelscope.hub.api import HubApi
from modelscope.hub.file_download import model_file_download
print(snapshot_download("org/bert"))
print(snapshot_download("org/bert", revision="v1.0"))
print(model_file_download("org/bert", "config.json", revision="dev"))
api = HubApi()
print(api.get_valid_revision("org/bert", revision="v1.0"), api.repo_exists("org/none"))
"""


def test_the_full_modelscope_package(hub: Hub, tmp_path: Path) -> None:
    """By the interpreter in TEST_MODELSCOPE_PYTHON, which `make test-clients` sets."""
    python = os.environ.get("TEST_MODELSCOPE_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import modelscope"], check=False, capture_output=True).returncode:
        pytest.skip("the full modelscope package is large; `make test-clients` has it and runs this")
    ran = subprocess.run([python, "-c", FULL], check=True, capture_output=True, text=True, timeout=120)
    main, tag, dev, rest = ran.stdout.strip().splitlines()[-4:]
    assert content(main) == FILES
    assert content(tag) == {"config.json": b"tag"}
    assert Path(dev).read_bytes() == b"dev"
    assert rest == "v1.0 False"
