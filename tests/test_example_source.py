"""The example of docs/write-a-source.md: installed as a stranger would, it changes no file of ours."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING

import pytest

from conftest import ROOT
from pphub.testing import Example, SourceContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pphub.source import Source

PACKAGE = ROOT / "docs" / "example-source"
FILES = {"config.json": b"{}", "model.safetensors": b"\x02\0\0\0\0\0\0\0{}", "词表/vocab.txt": "天气\n".encode()}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        pass


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A plain web server with one model and its index."""
    root = tmp_path_factory.mktemp("web")
    entries = []
    for path, content in FILES.items():
        target = root / "org" / "model" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        entries.append({"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    (root / "org" / "model" / "index.json").write_text(json.dumps({"commit": "v7", "files": entries}), encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, installed by pip into a folder of its own."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(PACKAGE)], check=True, capture_output=True)
    return site


def hub(installed: Path, web: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed), "STATIC_ENDPOINT": web}
    command = [sys.executable, "-m", "pphub", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_it_is_found_listed_downloaded_and_cached(installed: Path, web: str) -> None:
    rows = json.loads(hub(installed, web, "sources", "--json").stdout)
    (row,) = (row for row in rows if row["scheme"] == "static")
    assert (row["package"], row["state"], row["endpoint"]) == ("pphub-static 0.1.0", "ready", web)
    result = hub(installed, web, "download", "static:org/model", "--include", "*")
    assert result.returncode == 0, result.stderr
    folder = result.stdout.splitlines()[-1]
    for path, content in FILES.items():
        with open(f"{folder}/{path}", "rb") as stream:  # noqa: PTH123
            assert stream.read() == content
    # In the configured order, without its scheme, and offline from then on.
    again = hub(installed, "http://127.0.0.1:9", "path", "org/model", "--source", "static")
    assert again.stdout.splitlines()[-1] == folder
    missing = hub(installed, web, "download", "static:org/none")
    assert missing.returncode == 1
    assert "there is no org/none" in missing.stderr


def test_the_document_shows_the_code_as_it_is() -> None:
    text = (ROOT / "docs" / "write-a-source.md").read_text(encoding="utf-8")
    code = (PACKAGE / "src" / "pphub_static.py").read_text(encoding="utf-8")
    shown = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert any("def list_files" in block for block in shown)
    for block in shown:
        if "class StaticSource" in block or "def list_files" in block:
            assert block.strip() in code
    for block in re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S):
        assert block.strip() in (PACKAGE / "pyproject.toml").read_text(encoding="utf-8")


class TestStaticSource(SourceContract):
    """The contract, on the example."""

    @pytest.fixture
    def source(self, web: str, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
        monkeypatch.setenv("STATIC_ENDPOINT", web)
        monkeypatch.setenv("PYTHONPATH", str(installed))
        spec = spec_from_file_location("pphub_static", installed / "pphub_static.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        source: Source = module.StaticSource()
        return source

    @pytest.fixture
    def example(self) -> Example:
        dead = {"STATIC_ENDPOINT": "http://127.0.0.1:9"}
        return Example("org/model", FILES, missing_repo="org/none", missing_revision="v8", dead_endpoint=dead)
