"""What the checkpoints of well-known public models have or lack, where a model that is saved today does not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import pphub
from matrix import Row, all_rows, build, differences, load, save
from pphub.alignment.manner import Manner
from pphub.errors import ConversionFailed
from pphub.loading import import_paddlenlp

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    State = dict[str, NDArray[Any]]


def row_of(torch_class: str, label: str = "") -> Row:
    import_paddlenlp()
    return next(row for row in all_rows() if (row.torch_class, row.label) == (torch_class, label))


def edit_config(folder: Path, **changes: object) -> None:
    """Change keys of config.json; those that become None are taken out."""
    path = folder / "config.json"
    config = {**json.loads(path.read_bytes()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


LEFT_BEHIND: dict[str, tuple[str, str, dict[str, tuple[int, ...]]]] = {
    "TinyBERT": (
        "BertModel",
        "",
        {"fit_denses.0.weight": (12, 16), "fit_denses.2.bias": (12,), "fit_dense.bias": (4,)},
    ),
    "mdeberta-v3-base": (
        "DebertaV2ForSequenceClassification",
        "",
        {"deberta.embeddings.word_embeddings._weight": (60, 16)},
    ),
    "deberta-v3-xsmall": ("DebertaV2Model", "", {"embeddings.position_embeddings._weight": (32, 16)}),
    "mobilebert-uncased": (
        "MobileBertForPreTraining",
        "plain pooler",
        {"mobilebert.pooler.dense.weight": (16, 16), "mobilebert.pooler.dense.bias": (16,)},
    ),
}


@pytest.mark.parametrize("name", LEFT_BEHIND)
def test_what_training_left_behind_is_left_out(tmp_path: Path, name: str) -> None:
    """Torch does not read it either."""
    torch_class, label, shapes = LEFT_BEHIND[name]
    row = row_of(torch_class, label)
    model = build(row)
    folder = save(model, tmp_path / "torch")
    state = load_file(folder / "model.safetensors")
    more = {key: np.ones(shape, np.float32) for key, shape in shapes.items()}
    save_file({**state, **more}, folder / "model.safetensors", {"format": "pt"})
    paddle = pphub.convert(folder, tmp_path / "paddle")
    assert max(differences(row, model, load(row, paddle))) <= row.tolerance
    record = json.loads((paddle / "conversion.json").read_bytes())
    assert {entry["name"] for entry in record["dropped"]} >= more.keys()
    again = load_file(pphub.convert(paddle, tmp_path / "again", to="torch") / "model.safetensors")
    assert again.keys() == state.keys()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("torch_class", ["PegasusModel", "PegasusForConditionalGeneration"])
def test_positions_that_torch_calculates(tmp_path: Path, torch_class: str, dtype: type) -> None:
    """Google's checkpoints of Pegasus have none; PaddleNLP would start with others."""
    row = row_of(torch_class)
    model = build(row)
    folder = save(model, tmp_path / "torch")
    state = load_file(folder / "model.safetensors")
    lacking = {name: value.astype(dtype) for name, value in state.items() if "embed_positions" not in name}
    assert len(lacking) == len(state) - 2
    save_file(lacking, folder / "model.safetensors", {"format": "pt"})
    calculated = type(model).from_pretrained(folder, dtype="float32").eval()
    for option in (None, "float32"):
        paddle = pphub.convert(folder, tmp_path / f"paddle-{option}", dtype=option)
        live = load(replace(row, manner=Manner(load={"dtype": "float32"})), paddle)
        assert max(differences(row, calculated, live)) <= row.tolerance
    again = load_file(pphub.convert(tmp_path / "paddle-None", tmp_path / "again", to="torch") / "model.safetensors")
    assert {name: value.tobytes() for name, value in again.items()} == {
        name: value.tobytes() for name, value in lacking.items()
    }
    # A table of its own, such as that of a model that was trained with it, is kept.
    name = next(name for name in state if "decoder.embed_positions" in name)
    save_file(
        {**lacking, name: np.ones_like(state[name]).astype(dtype)}, folder / "model.safetensors", {"format": "pt"}
    )
    again = pphub.convert(pphub.convert(folder, tmp_path / "own"), tmp_path / "own-again", to="torch")
    kept = load_file(again / "model.safetensors")
    assert kept.keys() == {*lacking, name}
    assert (kept[name] == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("torch_class", ["MobileBertModel", "ConvBertModel", "NystromformerModel", "BertModel"])
def test_a_row_of_padding_that_is_not_zeros(tmp_path: Path, torch_class: str, dtype: str) -> None:
    """As in models that came from TensorFlow: torch looks it up, and convolutions mix it into real tokens."""
    import torch

    row = row_of(torch_class)
    model = build(row)
    table = model.get_input_embeddings()
    with torch.no_grad():
        table.weight[table.padding_idx] = torch.linspace(-1, 1, table.weight.shape[1])
    paddle = pphub.convert(
        save(model, tmp_path / "torch"), tmp_path / "paddle", dtype=None if dtype == "float32" else dtype
    )
    live = load(replace(row, manner=Manner(load={"dtype": "float32"})), paddle)
    tolerance = row.tolerance if dtype == "float32" else 2e-2
    assert max(differences(row, model, live)) <= tolerance
    if dtype == "float32":
        return
    half = load(replace(row, manner=Manner(load={"dtype": dtype})), paddle)
    assert half.get_input_embeddings()._padding_idx is None


@pytest.mark.parametrize(
    ("torch_class", "former"),
    [("T5ForConditionalGeneration", "T5WithLMHeadModel"), ("LlamaForCausalLM", "LLaMAForCausalLM")],
)
def test_classes_that_had_another_name(tmp_path: Path, torch_class: str, former: str) -> None:
    row = row_of(torch_class)
    model = build(row)
    folder = save(model, tmp_path / "torch")
    edit_config(folder, architectures=[former])
    paddle = pphub.convert(folder, tmp_path / "paddle")
    assert max(differences(row, model, load(row, paddle))) <= row.tolerance
    again = pphub.convert(paddle, tmp_path / "again", to="torch")
    assert json.loads((again / "config.json").read_bytes())["architectures"] == [torch_class]


REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "neither": (
        "BertModel",
        {"architectures": None, "model_type": None},
        "config.json has neither architectures nor model_type",
        'such as "model_type": "bert"',
    ),
    "another head": (
        "SqueezeBertModel",
        {"architectures": ["SqueezeBertForMaskedLM"]},
        "names 'SqueezeBertForMaskedLM'; of squeezebert there are rules for SqueezeBertModel, Squeeze",
        "correct architectures in config.json",
    ),
    "another family": (
        "BertModel",
        {"architectures": ["ViTModel"], "model_type": "vit"},
        "names 'ViTModel'; there are rules for albert, ",
        "how a family is added",
    ),
    "a name of several lines": (
        "BertModel",
        {"architectures": ["evil\n\nhub: all is well"]},
        r"names 'evil\n\nhub: all is well'; of bert there are rules for BertModel, ",
        "correct architectures",
    ),
    "opt-350m": (
        "OPTForCausalLM",
        {"word_embed_proj_dim": 12},
        "word_embed_proj_dim is 12 and hidden_size is 16; PaddleNLP's OPTForCausalLM can only express",
        "silently wrong",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_says_what_to_do(tmp_path: Path, case: str) -> None:
    torch_class, changes, message, hint = REFUSED[case]
    folder = save(build(row_of(torch_class)), tmp_path / "torch")
    edit_config(folder, **changes)
    with pytest.raises(ConversionFailed) as caught:
        pphub.convert(folder, tmp_path / "paddle")
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert not (tmp_path / "paddle").exists()
