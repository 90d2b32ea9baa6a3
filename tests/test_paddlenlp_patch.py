"""``import pphub.paddlenlp``: programs written for PaddleNLP find their models through pphub; without it, by name."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import berts
import pphub
from pphub.errors import ModelNotFound, UsageError
from pphub.loading import FreshParameters, import_paddlenlp
from pphub.serve import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "some/bert"


@pytest.fixture(scope="module", autouse=True)
def paddlenlp() -> Any:
    module = import_paddlenlp()
    from paddlenlp.utils.log import logger

    logger.disable()
    return module


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hub with one torch model; its weights as torch has them."""
    model = berts.save_transformers(tmp_path / "hub" / NAME, "BertForSequenceClassification", num_labels=3)
    berts.write_config(tmp_path / "config", berts.config())  # a tokenizer
    shutil.copy(tmp_path / "config" / "tokenizer_config.json", tmp_path / "hub" / NAME)
    monkeypatch.setenv("PPHUB_SOURCES", "hf")
    with Server(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield model


@pytest.fixture
def patched(hub: Any) -> Iterator[Any]:
    import pphub.paddlenlp as patch

    patch.enable()
    yield hub
    patch.disable()


def logits(model: Any) -> Any:
    import paddle

    with paddle.no_grad():
        return model(paddle.to_tensor([[2, 5, 6, 3]])).numpy()


def expected(torch_model: Any) -> Any:
    import torch

    with torch.no_grad():
        return torch_model(torch.tensor([[2, 5, 6, 3]])).logits.numpy()


def test_names_become_what_they_are_in_torch(patched: Any, paddlenlp: Any) -> None:
    for load in (
        paddlenlp.BertForSequenceClassification.from_pretrained,
        paddlenlp.AutoModelForSequenceClassification.from_pretrained,
    ):
        model = load(NAME)
        assert type(model) is paddlenlp.BertForSequenceClassification
        assert model.training
        assert np.abs(logits(model.eval()) - expected(patched)).max() <= 1e-5
    base = paddlenlp.AutoModel.from_pretrained(NAME, from_hf_hub=True, convert_from_torch=True)
    assert type(base) is paddlenlp.BertModel
    with pytest.warns(FreshParameters, match=r"classifier\.weight"):
        assert (
            paddlenlp.BertForTokenClassification.from_pretrained(
                NAME, num_classes=7, ignore_mismatched_sizes=True
            ).num_labels
            == 7
        )


def test_tokenizers_and_configurations(patched: Any, paddlenlp: Any) -> None:
    for kind in (paddlenlp.BertTokenizer, paddlenlp.AutoTokenizer):
        tokenizer = kind.from_pretrained(NAME)
        assert type(tokenizer) is paddlenlp.BertTokenizer
        assert tokenizer("welcome to paddle")["input_ids"] == [2, 5, 6, 8, 3]
    for kind in (paddlenlp.BertConfig, paddlenlp.AutoConfig):
        config = kind.from_pretrained(NAME, num_labels=9)
        assert type(config) is paddlenlp.BertConfig
        assert (config.hidden_size, config.num_labels, config.hidden_dropout_prob) == (16, 9, 0.0)
    config, unused = paddlenlp.BertConfig.from_pretrained(NAME, return_unused_kwargs=True, no_such_value=1)
    assert unused == {"no_such_value": 1}


def test_other_ways_of_loading_are_paddlenlps_from_the_prepared_folder(patched: Any, paddlenlp: Any) -> None:
    config = paddlenlp.BertConfig.from_pretrained(NAME)
    config.hidden_act = "relu"
    model = paddlenlp.BertForSequenceClassification.from_pretrained(NAME, config=config)
    assert model.config is config
    plain = paddlenlp.BertForSequenceClassification.from_pretrained(NAME)
    assert np.abs(logits(model.eval()) - logits(plain.eval())).max() > 1e-3
    model = paddlenlp.AutoModel.from_pretrained(NAME, low_cpu_mem_usage=False)
    assert type(model) is paddlenlp.BertModel


def test_folders_stay_paddlenlps(patched: Any, paddlenlp: Any, tmp_path: Path) -> None:
    folder = str(pphub.prepare(NAME))
    before = (tmp_path / "cache").stat()
    model = paddlenlp.BertForSequenceClassification.from_pretrained(folder)
    assert np.abs(logits(model.eval()) - expected(patched)).max() <= 1e-5
    model.save_pretrained(str(tmp_path / "saved"))
    again = paddlenlp.AutoModelForSequenceClassification.from_pretrained(str(tmp_path / "saved"))
    assert (logits(again.eval()) == logits(model)).all()
    assert paddlenlp.AutoTokenizer.from_pretrained(folder)("welcome")["input_ids"] == [2, 5, 3]
    assert (tmp_path / "cache").stat().st_mtime_ns == before.st_mtime_ns


def test_a_name_that_nobody_knows_is_one_clear_error(patched: Any, paddlenlp: Any) -> None:
    for kind in (paddlenlp.BertModel, paddlenlp.AutoModel, paddlenlp.AutoTokenizer, paddlenlp.BertConfig):
        with pytest.raises(ModelNotFound):
            kind.from_pretrained("some/other")


def test_signatures_stay_and_the_effect_can_be_taken_back(hub: Any, paddlenlp: Any) -> None:
    import pphub.paddlenlp as patch

    patch.disable()
    kinds = [paddlenlp.PretrainedModel, paddlenlp.AutoModel, paddlenlp.AutoModelForMaskedLM, paddlenlp.AutoTokenizer]
    kinds += [paddlenlp.PretrainedTokenizer, paddlenlp.PretrainedConfig, paddlenlp.CLIPTextConfig, paddlenlp.AutoConfig]
    names = ["from_pretrained", "_from_pretrained"]
    before = [getattr(kind, name).__func__ for kind in kinds for name in names if hasattr(kind, name)]
    signatures = [inspect.signature(function) for function in before]
    patch.enable()
    patch.enable()
    after = [getattr(kind, name).__func__ for kind in kinds for name in names if hasattr(kind, name)]
    assert [inspect.signature(function) for function in after] == signatures
    assert sum(left is not right for left, right in zip(before, after, strict=True)) == 8
    patch.disable()
    patch.disable()
    assert [getattr(kind, name).__func__ for kind in kinds for name in names if hasattr(kind, name)] == before


def test_concrete_classes_by_name(hub: Any, paddlenlp: Any) -> None:
    model = pphub.from_pretrained(paddlenlp.BertForSequenceClassification, NAME)
    assert type(model) is paddlenlp.BertForSequenceClassification
    assert not model.training
    assert np.abs(logits(model) - expected(hub)).max() <= 1e-5
    assert type(pphub.from_pretrained(paddlenlp.AutoModel, NAME)) is paddlenlp.BertModel
    for kind in (paddlenlp.BertTokenizer, paddlenlp.AutoTokenizer):
        assert pphub.from_pretrained(kind, NAME)("welcome to paddle")["input_ids"] == [2, 5, 6, 8, 3]
    for kind in (paddlenlp.BertConfig, paddlenlp.AutoConfig):
        assert pphub.from_pretrained(kind, NAME, num_labels=5).num_labels == 5
    for wrong in (paddlenlp.AutoProcessor, dict, "BertModel"):
        with pytest.raises(UsageError, match="no class of PaddleNLP's"):
            pphub.from_pretrained(wrong, NAME)  # type: ignore[arg-type]


ONE_LINE = """
import pphub.paddlenlp
from paddlenlp.transformers import AutoModelForSequenceClassification, AutoTokenizer
import sys
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
print(model.eval()(**tokenizer("welcome to paddle", return_tensors="pd")).numpy().tolist())
"""
NO_LINE = ONE_LINE.replace("import pphub.paddlenlp\n", "")


def test_one_line_or_none_offline(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepared once, an unmodified program loads the name without a hub, and with one line more does the same."""
    pphub.prepare(NAME)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    answers = []
    for code in (ONE_LINE, NO_LINE):
        command = [sys.executable, "-W", "ignore", "-c", code, NAME]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        answers.append(done.stdout.splitlines()[-1])
    assert answers[0] == answers[1]
