"""The contract of a source, on the two that test_modelscope.py and test_bos.py do not cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hubs import Hub, fill, small_model
from pphub.testing import Example, SourceContract
from pphub_plugins.huggingface import HuggingFaceSource
from pphub_plugins.local import LocalSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pphub.source import Source


class TestHuggingFace(SourceContract):
    @pytest.fixture
    def hub(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
        with Hub.open(tmp_path / "hub", {"org/model": small_model()}) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            monkeypatch.setenv("HF_TOKEN", "hf_contract")
            yield hub

    @pytest.fixture
    def source(self, hub: Hub) -> Source:
        return HuggingFaceSource()

    @pytest.fixture
    def example(self) -> Example:
        dead = {"HF_ENDPOINT": "http://127.0.0.1:9"}
        return Example("org/model", small_model(), "org/none", missing_revision="v9", dead_endpoint=dead)


class TestLocal(SourceContract):
    @pytest.fixture
    def source(self) -> Source:
        return LocalSource()

    @pytest.fixture
    def example(self, tmp_path: Path) -> Example:
        folder = fill(tmp_path / "一个 模型", small_model())
        return Example(str(folder), small_model(), missing_repo=str(tmp_path / "none"))
