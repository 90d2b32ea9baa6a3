"""The source bos: the table of PaddleNLP's built-in names, what is listed, and what the real PaddleNLP makes of it."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import pickle
import re
import socket
import subprocess
import sys
import time
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import hostile
import pphub.resolve
import pphub_plugins.probe
from conftest import ROOT
from hubs import Canned, Hub, edit, fill, redirect, stall, status
from pphub import api, obtain
from pphub.errors import (
    AccessDenied,
    Corrupt,
    ModelNotFound,
    RevisionNotFound,
    SourceUnavailable,
    UnsafeCheckpoint,
    UsageError,
)
from pphub.loading import import_paddlenlp
from pphub.source import Digest, Source, SourceWithTable
from pphub.testing import Example, SourceContract
from pphub_plugins.bos import BosSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPO = "org/bert"
FILES = {
    "config.json": b'{"architectures": ["BertModel"]}',
    "model_state.pdparams": pickle.dumps({"w": np.arange(6, dtype=np.float32)}, protocol=4),
    "tokenizer_config.json": b'{"init_class": "BertTokenizer"}',
    "vocab.txt": "[PAD]\n[UNK]\n天\n".encode(),
}
TABLE = json.loads((ROOT / "plugins/pphub_plugins/data/builtin_names.json").read_text(encoding="utf-8"))["models"]
WEIGHTS = {"model_state.pdparams"}
QUESTIONS = [
    "bert-base-uncased",
    "bert-base-chinese",
    "bert-wwm-chinese",
    "ernie-1.0",
    "ernie-3.0-medium-zh",
    "ernie-tiny",
]


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the entry point were in the installed metadata, which it is after the next installation."""
    monkeypatch.setattr(pphub.resolve, "load_source", lambda _scheme: BosSource())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub.open(tmp_path / "hub", {REPO: FILES}) as running:
        monkeypatch.setenv("PPNLP_ENDPOINT", running.url)
        yield running


def list_files(repo: str = REPO, revision: str | None = None) -> Any:
    return BosSource().list_files(repo, revision)


def digests(repo: str = REPO) -> dict[str, Digest | None]:
    return {file.path: file.digest for file in list_files(repo).files}


def known(name: str) -> dict[str, Any]:
    return {file.path: file for file in BosSource().known_files(name) or ()}


def stock(hub: Hub, name: str, files: dict[str, bytes]) -> None:
    """Put the files of a built-in name where a mirror of the bucket has them."""
    urls = {path: file.url for path, file in known(name).items()}
    fill(hub.root, {urls[path].removeprefix(f"{hub.url}/"): content for path, content in files.items()})


# ------------------------------------------------------------------------------------------ the contract


class TestContract(SourceContract):
    @pytest.fixture
    def source(self, hub: Hub) -> Source:
        return BosSource()

    @pytest.fixture
    def example(self) -> Example:
        dead = {"PPNLP_ENDPOINT": "http://127.0.0.1:9"}
        return Example(REPO, FILES, missing_repo="org/none", missing_revision="v1", dead_endpoint=dead)


def test_it_has_a_table() -> None:
    assert isinstance(BosSource(), SourceWithTable)


# ------------------------------------------------------------------------------------------ the table


def test_the_table_is_what_paddlenlp_says() -> None:
    command = [sys.executable, str(ROOT / "docs" / "builtin_names.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_table_has_every_name_with_weights() -> None:
    assert len(TABLE) == 284
    assert set(QUESTIONS) <= TABLE.keys()
    assert (ROOT / "plugins/pphub_plugins/data/builtin_names.json").stat().st_size < 300_000


@pytest.mark.parametrize("endpoint", [None, "http://mirror.test/bucket/", "http://me:secret@mirror.test"])
def test_every_built_in_name_is_known_offline(endpoint: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if endpoint is None:
        monkeypatch.delenv("PPNLP_ENDPOINT")
    else:
        monkeypatch.setenv("PPNLP_ENDPOINT", endpoint)
    monkeypatch.setattr(socket, "socket", None)  # nobody is asked
    for name in TABLE:
        files = known(name)
        assert files.keys() >= WEIGHTS, name
        assert files.keys() & {"config.json", "model_config.json"}, name
        for file in files.values():
            if file.url.startswith("data:"):
                assert len(base64.b64decode(file.url.partition(",")[2])) == file.size
                assert file.digest.algorithm == "sha256"
                continue
            assert (file.size, file.digest) == (None, None)
            where = ("https://bj.bcebos.com/", "https://paddlenlp.bj.bcebos.com/")
            assert file.url.startswith(where if endpoint is None else "http://mirror.test/"), file.url
            assert "secret" not in file.url


@pytest.mark.parametrize(
    ("name", "path", "url", "mirrored"),
    [
        (
            "bert-base-chinese",
            "vocab.txt",
            "https://bj.bcebos.com/paddle-hapi/models/bert/bert-base-chinese-vocab.txt",
            "https://m.test/b/paddle-hapi/models/bert/bert-base-chinese-vocab.txt",
        ),
        (
            "bert-base-chinese",
            "model_state.pdparams",  # plain http in the table
            "https://bj.bcebos.com/paddlenlp/models/transformers/bert/bert-base-chinese.pdparams",
            "https://m.test/b/models/transformers/bert/bert-base-chinese.pdparams",
        ),
        (
            "utc-base",
            "vocab.txt",
            "https://paddlenlp.bj.bcebos.com/models/transformers/utc/utc_base_vocab.txt",
            "https://m.test/b/models/transformers/utc/utc_base_vocab.txt",
        ),
        (
            "reformer-enwik8",
            "model_state.pdparams",  # plain http as well
            "https://paddlenlp.bj.bcebos.com/models/transformers/reformer/reformer-enwik8/model_state.pdparams",
            "https://m.test/b/models/transformers/reformer/reformer-enwik8/model_state.pdparams",
        ),
    ],
)
def test_urls_of_all_roots(name: str, path: str, url: str, mirrored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for endpoint in ("", "https://bj.bcebos.com/paddlenlp", "https://paddlenlp.bj.bcebos.com/"):
        monkeypatch.setenv("PPNLP_ENDPOINT", endpoint)
        assert known(name)[path].url == url
    monkeypatch.setenv("PPNLP_ENDPOINT", "https://m.test/b")
    assert known(name)[path].url == mirrored


def test_other_names_are_not_known() -> None:
    assert BosSource().known_files("org/bert") is None


# ------------------------------------------------------------------------------------------ what is listed


def test_a_community_model(hub: Hub) -> None:
    listing = list_files()
    assert (listing.source, listing.repo, listing.revision) == ("bos", REPO, "latest")
    assert re.fullmatch(r"[0-9a-f]{40}", listing.commit)
    assert [file.path for file in listing.files] == sorted(FILES)
    for file in listing.files:
        content = FILES[file.path]
        assert file.size == len(content)
        assert file.digest == Digest("md5", hashlib.md5(content).hexdigest())
        assert file.url == f"{hub.url}/models/community/{REPO}/{file.path}"
    assert {asked.method for asked in hub.asked} == {"HEAD"}


def test_the_best_hash_there_is(hub: Hub) -> None:
    content = FILES["vocab.txt"]
    md5, crc32 = Digest("md5", hashlib.md5(content).hexdigest()), Digest("crc32", f"{zlib.crc32(content):08x}")
    hub.on("/vocab.txt", edit(headers={"content-md5": None}))
    assert digests()["vocab.txt"] == crc32
    hub.on("/vocab.txt", edit(headers={"x-bce-content-crc32": None}))
    assert digests()["vocab.txt"] == md5  # the ETag of an object in one piece
    hub.on("/vocab.txt", edit(headers={"etag": f'"-{md5.hex}"'}))
    assert digests()["vocab.txt"] is None  # in several pieces
    hub.on("/vocab.txt", edit(headers={"etag": f'"{md5.hex}-3"'}))
    assert digests()["vocab.txt"] is None
    hub.on("/vocab.txt", edit(headers={"etag": None, "last-modified": None}))
    assert digests()["vocab.txt"] is None


@pytest.mark.parametrize("wrong", ["%%%", "YWJj", "é"])
@pytest.mark.parametrize("crc32", ["-1", "0x12", "99999999999", "4294967296"])
def test_malformed_hashes_are_passed_over(hub: Hub, wrong: str, crc32: str) -> None:
    hub.on("/vocab.txt", edit(headers={"content-md5": wrong, "x-bce-content-crc32": crc32, "etag": None}))
    assert digests()["vocab.txt"] is None


def test_a_small_crc32_has_eight_digits(hub: Hub) -> None:
    hub.on("/vocab.txt", edit(headers={"content-md5": None, "x-bce-content-crc32": "0000000255"}))
    assert digests()["vocab.txt"] == Digest("crc32", "000000ff")


def test_what_could_not_be_verified_is_recorded(hub: Hub) -> None:
    hub.on("/vocab.txt", edit(headers={"content-md5": None, "x-bce-content-crc32": None, "etag": None}))
    hub.on("/config.json", edit(headers={"content-md5": None}))
    snapshot = obtain.fetch(f"bos:{REPO}")
    verified = {path: file.verified for path, file in snapshot.files.items()}
    assert verified["vocab.txt"] is None
    assert verified["config.json"] == f"crc32:{zlib.crc32(FILES['config.json']):08x}"
    assert verified["model_state.pdparams"].startswith("md5:")  # type: ignore[union-attr]


def test_the_size_may_be_missing(hub: Hub) -> None:
    hub.on("/vocab.txt", edit(headers={"content-encoding": "gzip"}), times=1)
    assert {file.path: file.size for file in list_files().files}["vocab.txt"] is None


def test_the_commit_names_the_content(hub: Hub) -> None:
    before = list_files().commit
    assert list_files(revision=before).commit == before
    assert list_files(revision="latest").commit == before
    fill(hub.root / REPO, {"vocab.txt": b"[PAD]\n"})
    assert list_files().commit != before
    with pytest.raises(RevisionNotFound, match=before):
        list_files(revision=before)


def test_there_are_no_revisions(hub: Hub) -> None:
    with pytest.raises(RevisionNotFound, match="no revision 'v1'"):
        list_files(revision="v1")
    assert not hub.asked


def test_a_model_cached_in_part_is_completed(hub: Hub) -> None:
    folder = obtain.download(f"bos:{REPO}", include="config.json")
    assert not (folder / "vocab.txt").exists()
    assert obtain.download(f"bos:{REPO}") == folder
    assert (folder / "vocab.txt").read_bytes() == FILES["vocab.txt"]
    fill(hub.root / REPO, {"vocab.txt": b"[PAD]\n"})
    assert obtain.download(f"bos:{REPO}") == folder  # from the cache
    assert obtain.download(f"bos:{REPO}", refresh=True) != folder


@pytest.mark.parametrize("index", ["model_state.pdparams.index.json", "model.safetensors.index.json"])
def test_a_checkpoint_in_several_files(hub: Hub, index: str) -> None:
    stem, suffix = index.removesuffix(".index.json").rsplit(".", 1)
    shards = [f"{stem}-{n:05}-of-00002.{suffix}" for n in (1, 2)]
    weight_map = json.dumps({"weight_map": {"a": shards[0], "b": shards[1], "c": shards[0]}}).encode()
    fill(hub.root / "org/big", {index: weight_map, "config.json": b"{}"} | dict.fromkeys(shards, b"bytes"))
    assert [file.path for file in list_files("org/big").files] == sorted(["config.json", index, *shards])
    (hub.root / "org/big" / shards[1]).unlink()
    assert shards[1] not in digests("org/big")


@pytest.mark.parametrize(
    "text", [b"<html>", b"[]", b'{"weight_map": 3}', b'{"weight_map": {"a": 3}}', b'{"weight_map": {"a": {}}}']
)
def test_an_index_that_is_none(hub: Hub, text: bytes) -> None:
    fill(hub.root / "org/big", {"model.safetensors.index.json": text})
    with pytest.raises(Corrupt):
        list_files("org/big")


@pytest.mark.parametrize("name", ["../x.safetensors", "//evil.test/x", "/etc/passwd", "a/b", "..", "", "a?b", "a\\b"])
def test_an_index_that_leads_elsewhere(hub: Hub, name: str) -> None:
    text = json.dumps({"weight_map": {"a": name}}).encode()
    fill(hub.root / "org/big", {"model.safetensors.index.json": text})
    with pytest.raises(Corrupt, match="names files that cannot be"):
        list_files("org/big")


def test_a_name_with_odd_characters(hub: Hub) -> None:
    fill(hub.root / "组织/模型 +#1", FILES)
    listing = list_files("组织/模型 +#1")
    assert [file.path for file in listing.files] == sorted(FILES)
    for bad in ("..", "a/../b", "/a", "a//b", ""):
        with pytest.raises(ModelNotFound):
            list_files(bad)


# ------------------------------------------------------------------------------------------ built-in names


def test_a_built_in_name(hub: Hub) -> None:
    """Weights, vocabulary, and the config and the class of the tokenizer, which BOS does not store."""
    stock(
        hub,
        "bert-base-chinese",
        {"model_state.pdparams": FILES["model_state.pdparams"], "vocab.txt": FILES["vocab.txt"]},
    )
    folder = obtain.download("bos:bert-base-chinese")
    assert {path.name for path in folder.iterdir()} == {*FILES, "snapshot.json"}
    assert (folder / "model_state.pdparams").read_bytes() == FILES["model_state.pdparams"]
    config = json.loads((folder / "config.json").read_text())
    assert config == {**TABLE["bert-base-chinese"]["config"], "architectures": ["BertModel"]}
    assert config["vocab_size"] == 21128
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings == {"do_lower_case": False, "init_class": "BertTokenizer", "model_max_length": 512}
    assert {asked.path for asked in hub.asked} == {
        "/models/transformers/bert/bert-base-chinese.pdparams",
        "/paddle-hapi/models/bert/bert-base-chinese-vocab.txt",
    }
    assert api.prepare("bos:bert-base-chinese") == folder
    record = obtain.fetch("bos:bert-base-chinese")
    assert record.source == "bos"
    assert all(file.verified for file in record.files.values())


def test_a_built_in_name_without_its_weights(hub: Hub) -> None:
    stock(hub, "bert-base-chinese", {"vocab.txt": b"[PAD]"})
    with pytest.raises(ModelNotFound, match=r"its weights are not at .*/bert-base-chinese\.pdparams"):
        list_files("bert-base-chinese")


def test_a_mirror_may_have_a_built_in_name_as_a_repository(hub: Hub) -> None:
    """Such as `hub serve` of a folder that `hub download` filled."""
    fill(hub.root / "bert-base-chinese", {path: FILES[path] for path in ("model_state.pdparams", "vocab.txt")})
    assert digests("bert-base-chinese").keys() == FILES.keys()
    fill(hub.root / "bert-base-chinese", {"config.json": b'{"its": "own"}'})
    urls = {file.path: file.url for file in list_files("bert-base-chinese").files}
    assert urls["config.json"].startswith(hub.url)


def test_a_built_in_name_that_paddlenlp_lost_the_config_of(hub: Hub) -> None:
    """PaddleNLP takes it for a name of the community, and so do we; the table's weights are the last resort."""
    stock(hub, "gpt2-en", {"model_state.pdparams": b"of the table", "vocab.json": b"{}"})
    urls = {file.path: urlsplit(file.url).path for file in list_files("gpt2-en").files}
    assert urls["model_state.pdparams"] == "/models/transformers/gpt/gpt2-en.pdparams"
    fill(hub.root / "gpt2-en", {"config.json": b"{}", "model_state.pdparams": b"of the community"})
    urls = {file.path: urlsplit(file.url).path for file in list_files("gpt2-en").files}
    assert urls["model_state.pdparams"] == "/models/community/gpt2-en/model_state.pdparams"
    assert urls.keys() == {"config.json", "model_state.pdparams", "tokenizer_config.json", "vocab.json"}


def test_a_built_in_name_without_a_tokenizer(hub: Hub) -> None:
    stock(hub, "facebook/opt-1.3b", {"model_state.pdparams": b"weights"})
    fill(hub.root / "facebook/opt-1.3b", {"merges.txt": b"#version", "config.json": b'{"not": "asked for"}'})
    listing = list_files("facebook/opt-1.3b")
    assert [file.path for file in listing.files] == ["config.json", "merges.txt", "model_state.pdparams"]
    assert listing.files[0].url.startswith("data:")


# ------------------------------------------------------------------------------------------ refusals and failures


def test_wrong_bytes_are_not_kept(hub: Hub, home: Path) -> None:
    hub.on("/model_state.pdparams", edit(headers={"content-md5": base64.b64encode(bytes(16)).decode()}))
    with pytest.raises(Corrupt, match=f"expected md5 {'0' * 32}"):
        obtain.download(f"bos:{REPO}")
    assert not list(home.rglob("model_state.pdparams"))


def test_a_checkpoint_that_would_run_code(hub: Hub, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    stock(hub, "bert-base-chinese", {"model_state.pdparams": pickle.dumps({"w": hostile._Evil(mark)})})
    with pytest.raises(UnsafeCheckpoint, match=r"system.*nothing was run"):
        api.prepare("bos:bert-base-chinese")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (401, AccessDenied),
        (403, AccessDenied),
        (404, ModelNotFound),
        (410, ModelNotFound),
        (429, SourceUnavailable),
        (500, SourceUnavailable),
        (503, SourceUnavailable),
    ],
)
@pytest.mark.parametrize("repo", [REPO, "bert-base-chinese"])
def test_refusals(hub: Hub, repo: str, code: int, error: type[Exception]) -> None:
    hub.on("/", status(code))
    with pytest.raises(error) as caught:
        list_files(repo)
    assert caught.value.hint  # type: ignore[attr-defined]


def test_one_refusal_among_many_answers_counts(hub: Hub) -> None:
    hub.on("/model_state.pdparams", status(403))
    with pytest.raises(AccessDenied, match=r"model_state\.pdparams"):
        list_files()


def test_a_login_page_is_no_model(hub: Hub) -> None:
    hub.on("/", status(200, {"content-type": "text/html; charset=utf-8"}, b"<!DOCTYPE html>"))
    with pytest.raises(SourceUnavailable, match="login page"):
        list_files()


@pytest.mark.parametrize("repo", [REPO, "bert-base-chinese"])
def test_a_silent_hub_does_not_hold_us_up(repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:  # connects, and never says a word
        monkeypatch.setenv("PPNLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(SourceUnavailable, match="no answer within") as caught:
            list_files(repo)
        assert time.monotonic() - start < 10
    assert "PPNLP_ENDPOINT" in (caught.value.hint or "")


def test_answers_that_drip_do_not_hold_us_up(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time; the whole never does."""
    monkeypatch.setattr(pphub_plugins.probe, "_LIMIT", 1.0)
    hub.on("/", stall(0, 3))
    hub.on("/", edit(headers={"content-length": None}))
    start = time.monotonic()
    fill(hub.root / "org/big", {"model.safetensors.index.json": b"{}"})
    with pytest.raises(SourceUnavailable):
        list_files("org/big")
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9", "http://no-such-host.invalid", "nonsense", "http://[", "ftp://x"]
)
def test_a_dead_endpoint(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPNLP_ENDPOINT", endpoint)
    start = time.monotonic()
    with pytest.raises((SourceUnavailable, UsageError)) as caught:
        list_files()
    assert time.monotonic() - start < 10
    assert caught.value.hint


def test_an_answer_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with Canned(b"SSH-2.0-OpenSSH\r\n") as server:
        monkeypatch.setenv("PPNLP_ENDPOINT", server.url)
        with pytest.raises(SourceUnavailable, match="could not be reached"):
            list_files()


def test_redirects_without_end(hub: Hub) -> None:
    hub.on("/", redirect("{path}"))
    with pytest.raises(SourceUnavailable, match="without end"):
        list_files()


def test_a_login_goes_to_the_mirror_and_nowhere_else(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "user/.netrc").write_text("machine 127.0.0.1 login netrc password netrc\n")
    fill(hub.root / "org/private", FILES)
    with Hub.open(tmp_path / "storage", {"org/private": FILES}) as storage:
        hub.on("/vocab.txt", redirect(storage.url + "{path}"))
        monkeypatch.setenv("PPNLP_ENDPOINT", hub.url.replace("://", "://me:se%40cret@"))
        folder = obtain.download("bos:org/private")
        listing = list_files("org/private")
        login = f"Basic {base64.b64encode(b'me:se@cret').decode()}"
        for asked in (*hub.asked, *storage.asked):
            if "/private/" in asked.path:  # those that an earlier test gave up on may still be under way
                assert asked.headers.get("authorization") == (login if asked in hub.asked else None)
        assert any("/private/" in asked.path for asked in storage.asked)
    assert (folder / "vocab.txt").read_bytes() == FILES["vocab.txt"]
    assert "cret" not in repr(listing)
    assert login not in repr(listing)


# ------------------------------------------------------------------------------------------ the real PaddleNLP


@pytest.fixture(scope="module")
def paddlenlp() -> Any:
    module = import_paddlenlp()
    from paddlenlp.utils.log import logger

    logger.disable()
    return module


def made(name: str, path: str, folder: Path) -> Path:
    """A file that is made from the table, on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(base64.b64decode(known(name)[path].url.partition(",")[2]))
    return folder


def with_config() -> list[str]:
    return [name for name, facts in TABLE.items() if "config" in facts]


# PaddleNLP's own AutoModel knows no Deberta, by name or from a folder.
UNKNOWN_TO_AUTO = {name for name in TABLE if "deberta-v" in name}


def test_paddlenlp_chooses_the_same_class_as_for_the_name(paddlenlp: Any, tmp_path: Path) -> None:
    auto = paddlenlp.AutoModel
    by_name = {name: model for names, model in auto._pretrained_model_dict.items() for name in names}
    assert len(with_config()) == 264
    for name in with_config():
        folder = made(name, "config.json", tmp_path / name)
        if name in UNKNOWN_TO_AUTO:
            continue
        chosen = auto._get_model_class_from_config(str(folder), str(folder / "config.json"))
        expected = by_name[name]
        assert chosen.__name__ == ("ErnieForGeneration" if expected == "ErnieGenModel" else expected), name


def test_paddlenlp_reads_the_same_config_as_for_the_name(paddlenlp: Any, tmp_path: Path) -> None:
    compared = 0
    for name in with_config():
        folder = made(name, "config.json", tmp_path / name)
        kind = getattr(paddlenlp, TABLE[name]["model"], None)
        if kind is None or kind.config_class is None:
            continue  # ErnieGen, which PaddleNLP 2.8 cannot load any more
        expected = kind.config_class.from_dict(copy.deepcopy(TABLE[name]["config"])).to_dict()
        for read in (kind.config_class, paddlenlp.AutoConfig):
            config = read.from_pretrained(str(folder)).to_dict()
            assert {**config, "architectures": 0} == {**expected, "architectures": 0}, name
        compared += 1
    assert compared == len(with_config()) - 3


# Small enough to build in a moment; each family has its own words for some of them.
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "embedding_size": 8,
    "vocab_size": 50,
}
FAMILIES = [
    "bert-base-chinese",
    "bert-wwm-chinese",
    "ernie-1.0",
    "ernie-3.0-medium-zh",
    "ernie-tiny",
    "hfl/roberta-wwm-ext",
    "albert-base-v2",
    "gpt-cpm-small-cn-distill",
    "nezha-base-chinese",
    "distilbert-base-uncased",
    "fnet-base",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_paddlenlp_loads_the_folder(name: str, paddlenlp: Any, hub: Hub, tmp_path: Path) -> None:
    """AutoModel of the folder, with the weights that are there."""
    import paddle

    kind = getattr(paddlenlp, TABLE[name]["model"])
    small = {key: value for key, value in SMALL.items() if key in TABLE[name]["config"]}
    first = kind(kind.config_class.from_dict(copy.deepcopy(TABLE[name]["config"]), **small))
    paddle.save(first.state_dict(), str(tmp_path / "weights"))
    stock(hub, name, {"model_state.pdparams": (tmp_path / "weights").read_bytes()})
    folder = api.prepare(f"bos:{name}")
    second = paddlenlp.AutoModel.from_pretrained(str(folder), **small)
    assert type(second) is kind
    state = second.state_dict()
    for key, value in first.state_dict().items():
        assert (value.numpy() == state[key].numpy()).all(), key
    assert len(state) > 10


def vocab(length: int, **words: int) -> bytes:
    lines = [f"[unused{n}]" for n in range(length)]
    for word, number in words.items():
        lines[number] = word
    return "\n".join(lines).encode()


BERT = {
    "[PAD]": 0,
    "[UNK]": 100,
    "[CLS]": 101,
    "[SEP]": 102,
    "[MASK]": 103,
    "天": 1921,
    "气": 3698,
    "不": 679,
    "错": 7231,
}
ERNIE = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[MASK]": 3, "[UNK]": 17963} | dict(
    zip("请输入测试样例", [647, 789, 109, 558, 525, 314, 656], strict=True)
)


@pytest.mark.parametrize(
    ("name", "words", "text", "ids"),
    [
        ("bert-base-chinese", BERT, "天气不错", [101, 1921, 3698, 679, 7231, 102]),
        ("bert-wwm-chinese", BERT, "天气不错", [101, 1921, 3698, 679, 7231, 102]),
        ("hfl/roberta-wwm-ext", BERT, "天气不错", [101, 1921, 3698, 679, 7231, 102]),
        ("ernie-1.0", ERNIE, "请输入测试样例", [1, 647, 789, 109, 558, 525, 314, 656, 2]),
        ("ernie-3.0-medium-zh", ERNIE, "请输入测试样例", [1, 647, 789, 109, 558, 525, 314, 656, 2]),
    ],
)
def test_paddlenlp_tokenizes_with_a_vocabulary(
    name: str, words: dict[str, int], text: str, ids: list[int], paddlenlp: Any, hub: Hub
) -> None:
    stock(hub, name, {"model_state.pdparams": FILES["model_state.pdparams"], "vocab.txt": vocab(21128, **words)})
    tokenizer = paddlenlp.AutoTokenizer.from_pretrained(str(obtain.download(f"bos:{name}")))
    assert type(tokenizer).__name__ == TABLE[name]["tokenizer"]
    assert tokenizer(text)["input_ids"] == ids
    assert tokenizer.model_max_length == TABLE[name]["tokenizer_config"]["model_max_length"]


def test_paddlenlp_tokenizes_with_merges(paddlenlp: Any, hub: Hub) -> None:
    words = {"<|endoftext|>": 0, "h": 1, "i": 2, "hi": 3, "Ġ": 4, "Ġhi": 5}
    merges = b"#version: 0.2\nh i\n\xc4\xa0 hi\n"
    stock(
        hub,
        "gpt2-en",
        {
            "model_state.pdparams": FILES["model_state.pdparams"],
            "vocab.json": json.dumps(words).encode(),
            "merges.txt": merges,
        },
    )
    tokenizer = paddlenlp.AutoTokenizer.from_pretrained(str(obtain.download("bos:gpt2-en")))
    assert type(tokenizer).__name__ == "GPTTokenizer"
    assert tokenizer("hi hi")["input_ids"] == [3, 5]


@pytest.mark.parametrize("name", ["albert-base-v2", "ernie-m-base", "t5-small", "xlnet-base-cased"])
def test_paddlenlp_tokenizes_with_sentencepiece(name: str, paddlenlp: Any, hub: Hub, tmp_path: Path) -> None:
    import sentencepiece

    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"the weather is nice today number {n}" for n in range(200)))
    trained = str(tmp_path / "spm")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=trained, vocab_size=60, minloglevel=2, hard_vocab_limit=False
    )
    paths = [path for path in TABLE[name]["files"] if path.endswith(".model")]
    contents = {path: (tmp_path / "spm.model").read_bytes() for path in paths}
    if "vocab.txt" in TABLE[name]["files"]:
        contents["vocab.txt"] = (
            b"[PAD]\n[CLS]\n[SEP]\n[UNK]\n[MASK]\n"
            + "\n".join(line.split("\t")[0] for line in (tmp_path / "spm.vocab").read_text().splitlines()).encode()
        )
    stock(hub, name, {"model_state.pdparams": FILES["model_state.pdparams"], **contents})
    tokenizer = paddlenlp.AutoTokenizer.from_pretrained(str(obtain.download(f"bos:{name}")))
    assert type(tokenizer).__name__ == TABLE[name]["tokenizer"]
    assert len(tokenizer("the weather is nice")["input_ids"]) > 4


def test_paddlenlp_chooses_the_same_tokenizer_as_for_the_name(paddlenlp: Any, tmp_path: Path) -> None:
    auto = paddlenlp.AutoTokenizer
    by_name = {name: kinds for names, kinds in auto._tokenizer_mapping.items() for name in names}
    chosen = 0
    for name, file in [(name, known(name).get("tokenizer_config.json")) for name in TABLE]:
        if file is None or not file.url.startswith("data:"):
            continue
        folder = made(name, "tokenizer_config.json", tmp_path / name)
        kind = auto._get_tokenizer_class_from_config(str(folder), str(folder / "tokenizer_config.json"), False)
        assert name not in by_name or kind in {python for python, is_fast in by_name[name] if not is_fast}, name
        chosen += 1
    assert chosen == 273
