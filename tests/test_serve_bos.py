"""The protocol of BOS on loopback, and PaddleNLP as it is."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pickle
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import requests

import pphub.serve.bos
from hubs import Hub, fill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 300
PATH = "/models/community/org/bert/model_state.pdparams"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    models = {
        "org/bert": {
            "config.json": b"{}",
            "model_state.pdparams": CONTENT,
            "sub/名 字 #1.txt": b"odd",
            ".hidden": b"no",
        },
        "alone": {"config.json": b'{"alone": 1}'},
        "org/bert@v1.0": {"config.json": b'{"tag": 1}'},
    }
    with Hub.open(tmp_path / "hub", models) as running:
        yield running


def get(hub: Hub, path: str, **headers: str) -> requests.Response:
    return requests.get(hub.url + path, headers=headers, timeout=10)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_file_and_its_hashes(hub: Hub, method: str) -> None:
    answer = requests.request(method, hub.url + PATH, headers={"Accept-Encoding": "identity"}, timeout=10)
    assert answer.status_code == 200
    md5 = hashlib.md5(CONTENT)
    assert answer.headers["ETag"] == f'"{md5.hexdigest()}"'
    assert answer.headers["Content-MD5"] == base64.b64encode(md5.digest()).decode()
    assert answer.headers["x-bce-content-crc32"] == str(zlib.crc32(CONTENT))
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Last-Modified"].endswith("GMT")
    assert answer.content == (b"" if method == "HEAD" else CONTENT)


def test_a_part(hub: Hub) -> None:
    answer = get(hub, PATH, Range="bytes=100-199")
    assert answer.status_code == 206
    assert answer.content == CONTENT[100:200]
    assert answer.headers["Content-Range"] == f"bytes 100-199/{len(CONTENT)}"
    assert get(hub, PATH, Range="bytes=999999-").status_code == 416


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/models/community/alone/config.json", b'{"alone": 1}'),
        ("/models/community/org/bert@v1.0/config.json", b'{"tag": 1}'),
        ("/models/community/org/bert/sub/%E5%90%8D%20%E5%AD%97%20%231.txt", b"odd"),
    ],
)
def test_names_of_all_kinds(hub: Hub, path: str, content: bytes) -> None:
    assert get(hub, path).content == content


def test_a_copy_of_the_bucket(hub: Hub) -> None:
    """It is asked before the repositories."""
    copy = {
        "models/transformers/bert.pdparams": b"weights",
        "paddle-hapi/models/bert/vocab.txt": b"vocab",
        "models/community/alone/config.json": b"copied",
    }
    fill(hub.root, copy)
    for path, content in copy.items():
        assert get(hub, f"/{path}").content == content


@pytest.mark.parametrize(
    "path",
    [
        "/models/community/org/bert/none.json",
        "/models/community/org/none/config.json",
        "/models/community/org/bert",
        "/models/community/org/bert/.hidden",
        "/models/community/org/bert/",
        "/models/community/org//bert/config.json",
        "/models/community/secret.txt",
        "/models/community/%2e%2e/%2e%2e/secret.txt",
        "/models/community/org/..%2f..%2f..%2fsecret.txt",
        "/models/community/org/bert/link.txt",
        "/models/community/org/bert/a%00b",
        "/models/community/org/bert/a%5C..%5Cb",
        "/models/community/org/bert/" + "x" * 5000,
        "/models/",
        "/paddle-hapi/x",
    ],
)
def test_what_is_not_there(hub: Hub, path: str) -> None:
    fill(hub.root.parent, {"secret.txt": b"secret"})
    fill(hub.root, {"secret.txt": b"beside the repositories"})
    (hub.root / "org/bert/link.txt").symlink_to(hub.root.parent / "secret.txt")
    connection = requests.Session()
    request = requests.Request("GET", hub.url + path).prepare()
    request.url = hub.url + path  # as it stands, dots and all
    answer = connection.send(request, timeout=10)
    assert answer.status_code == 404
    assert answer.json()["code"] == "NoSuchKey"
    assert answer.headers["x-bce-request-id"] == answer.json()["requestId"]
    connection.close()


def test_a_link_inside_the_folder_is_followed(hub: Hub) -> None:
    fill(hub.root, {".blobs/abc": b"blob"})
    (hub.root / "alone/vocab.txt").symlink_to(hub.root / ".blobs/abc")
    assert get(hub, "/models/community/alone/vocab.txt").content == b"blob"


def test_hugging_face_keeps_its_repositories(hub: Hub) -> None:
    """Also one that is called like a folder of BOS."""
    fill(hub.root, {"models/config.json": b"repository", "paddle-hapi/a/config.json": b"organisation"})
    assert get(hub, "/models/resolve/main/config.json").content == b"repository"
    assert get(hub, "/paddle-hapi/a/resolve/main/config.json").content == b"organisation"
    assert get(hub, "/alone/resolve/main/config.json").headers["X-Repo-Commit"]
    assert get(hub, "/api/models/alone").json()["id"] == "alone"


def test_hashes_are_computed_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    read = pphub.serve.bos._read
    locations = []

    def count(location: Path) -> tuple[str, int]:
        locations.append(location)
        return read(location)

    monkeypatch.setattr(pphub.serve.bos, "_read", count)
    for _ in range(3):
        get(hub, PATH)
    assert len(locations) == 1
    fill(hub.root, {"org/bert/model_state.pdparams": b"something else"})
    assert get(hub, PATH).headers["x-bce-content-crc32"] == str(zlib.crc32(b"something else"))
    assert len(locations) == 2


CODE = """
import sys, warnings
warnings.simplefilter("ignore")
from paddlenlp.transformers import AutoModel, AutoTokenizer
model = AutoModel.from_pretrained("org/tiny")
tokenizer = AutoTokenizer.from_pretrained("org/tiny")
print(type(model).__name__, type(tokenizer).__name__, model.config.hidden_size)
print(tokenizer("welcome to paddle")["input_ids"], float(model.embeddings.word_embeddings.weight[3, 5]))
"""


def test_paddlenlp_downloads_by_name(hub: Hub, tmp_path: Path) -> None:
    """Unchanged: only ``PPNLP_ENDPOINT`` says where the hub is."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "welcome", "to", "paddle"]
    config = {
        "architectures": ["BertModel"],
        "hidden_size": 16,
        "num_hidden_layers": 0,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": len(words),
        "max_position_embeddings": 16,
        "type_vocab_size": 2,
    }
    table = np.arange(len(words) * 16, dtype=np.float32).reshape(len(words), 16)
    state = {"bert.embeddings.word_embeddings.weight": table}
    files = {
        "config.json": json.dumps(config).encode(),
        "model_state.pdparams": pickle.dumps(state, protocol=4),
        "tokenizer_config.json": b'{"init_class": "BertTokenizer", "do_lower_case": true}',
        "vocab.txt": "\n".join(words).encode(),
    }
    fill(hub.root / "org/tiny", files)
    home = tmp_path / "home"
    env = {**os.environ, "PPNLP_ENDPOINT": hub.url, "PPNLP_HOME": str(home)}
    result = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == ["BertModel BertTokenizer 16", "[2, 5, 6, 7, 3] 53.0"]
    for path, content in files.items():
        assert (home / "models/org/tiny" / path).read_bytes() == content
    assert {asked.path for asked in hub.asked if asked.method == "GET"} >= {
        f"/models/community/org/tiny/{path}" for path in files
    }
