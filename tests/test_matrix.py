"""Every class that there are rules for: the same answer as in torch, and the same bytes on the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import pphub
from matrix import Row, all_rows, build, differences, load, paddle_error, save, save_bin, tensors
from parity import differences_to_own
from pphub.conversion.rules import load_families
from pphub.errors import ConversionFailed, LoadFailed
from pphub.loading import import_paddlenlp

if TYPE_CHECKING:
    from pathlib import Path

ROWS = all_rows()


@pytest.fixture(scope="module", autouse=True)
def _paddlenlp() -> None:
    import_paddlenlp()
    from paddlenlp.utils.log import logger

    logger.disable()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_answer_is_torchs_and_the_way_back_is_exact(tmp_path: Path, row: Row) -> None:
    model = build(row)
    torch = save(model, tmp_path / "torch")
    paddle = pphub.convert(torch, tmp_path / "paddle")
    (paddle / "model_state.pdparams").chmod(0o444)  # as in the cache: this one is mapped, the other below is copied
    if row.broken is None:
        live = load(row, paddle)
        assert differences_to_own(row, model.config, live, paddle) == []
        found = differences(row, model, live)
        assert max(found) <= row.tolerance, found
    else:
        assert row.broken.error in paddle_error(row, model, paddle)
    expected = tensors(torch / "model.safetensors")
    assert tensors(pphub.convert(paddle, tmp_path / "again", to="torch") / "model.safetensors") == expected
    # The other format, in which tied parameters are there under every name, and a config that leaves much out.
    tied = save_bin(model, torch, tmp_path / "bin")
    paddle_of_bin = pphub.convert(tmp_path / "bin", tmp_path / "paddle-of-bin")
    assert tensors(paddle_of_bin / "model_state.pdparams") == tensors(paddle / "model_state.pdparams")
    if row.broken is None:
        found = differences(row, model, load(row, paddle_of_bin))
        assert max(found) <= row.tolerance, found
    again = tensors(pphub.convert(paddle_of_bin, tmp_path / "again-of-bin", to="torch") / "model.safetensors")
    assert {name: value for name, value in again.items() if name not in tied} == expected


def test_every_class_with_rules_has_a_row() -> None:
    there = {(row.family, row.torch_class) for row in ROWS}
    assert [(f.name, name) for f in load_families() for name in f.architectures if (f.name, name) not in there] == []


def test_two_parameters_are_not_taken_for_one(tmp_path: Path) -> None:
    """Torch's LUKE may have a decoder of its own; in Paddle it is the word embeddings, which must not be lost."""
    row = next(row for row in ROWS if row.torch_class == "LukeForMaskedLM")
    folder = pphub.convert(save(build(replace(row, same=())), tmp_path / "torch"), tmp_path / "paddle")
    with pytest.raises(LoadFailed, match=r"lm_head.decoder_weight .* one parameter in LukeForMaskedLM, but .* differ"):
        pphub.AutoModelForMaskedLM.from_pretrained(folder)
    assert type(pphub.AutoModel.from_pretrained(folder)).__name__ == "LukeModel"


UNTIED = {
    "AlbertForMaskedLM": "predictions",
    "BertForMaskedLM": "cls.predictions",
    "BertForPreTraining": "cls.predictions",
    "CamembertForMaskedLM": "lm_head",
    "ErnieForMaskedLM": "cls.predictions",
    "LayoutLMForMaskedLM": "cls.predictions",
    "NystromformerForMaskedLM": "cls.predictions",
    "RobertaForMaskedLM": "lm_head",
    "XLMRobertaForMaskedLM": "lm_head",
}


@pytest.mark.parametrize("torch_class", UNTIED)
def test_a_decoder_of_its_own_has_its_own_bias(tmp_path: Path, torch_class: str) -> None:
    """Torch then keeps the other bias, which it does not use: as it was made, or as it was before."""
    row = next(row for row in ROWS if row.torch_class == torch_class)
    row = replace(row, settings={**row.settings, "tie_word_embeddings": False})
    model = build(row)
    unused = model.get_parameter(f"{UNTIED[torch_class]}.bias")
    unused.data.zero_()
    for name in ("zeros", "other"):
        torch = save(model, tmp_path / name / "torch")
        paddle = pphub.convert(torch, tmp_path / name / "paddle")
        found = differences(row, model, load(row, paddle))
        assert max(found) <= row.tolerance, found
        again = tensors(pphub.convert(paddle, tmp_path / name / "again", to="torch") / "model.safetensors")
        expected = tensors(torch / "model.safetensors")
        if name == "other":  # nothing can be asked of it, so it comes back as what is used
            expected[f"{UNTIED[torch_class]}.bias"] = expected[f"{UNTIED[torch_class]}.decoder.bias"]
        assert again == expected
        unused.data += model.get_parameter(f"{UNTIED[torch_class]}.decoder.bias").data * 2 + 1


@pytest.mark.parametrize(
    "torch_class", ["BartModel", "MBartForConditionalGeneration", "PegasusModel", "BlenderbotModel"]
)
def test_tables_that_paddle_has_one_of_are_refused_where_torch_has_two(tmp_path: Path, torch_class: str) -> None:
    row = next(row for row in ROWS if row.torch_class == torch_class)
    model = build(replace(row, settings={**row.settings, "tie_word_embeddings": False}))
    with pytest.raises(ConversionFailed, match=r"are two parameters, since config.json unties them; in PaddleNLP's"):
        pphub.convert(save(model, tmp_path / "torch"), tmp_path / "paddle")


def test_a_table_of_positions_that_was_trained_is_not_lost(tmp_path: Path) -> None:
    """Torch reads RoFormer's from the file, and Paddle calculates it."""
    model = build(next(row for row in ROWS if row.torch_class == "RoFormerModel"))
    model.encoder.embed_positions.weight.data[3, 2] += 0.1
    with pytest.raises(ConversionFailed, match=r"embed_positions\.weight is not 'sinusoidal'"):
        pphub.convert(save(model, tmp_path / "torch"), tmp_path / "paddle")


EPSILON = 1e-3  # no class has it fixed


@pytest.mark.parametrize("row", [row for row in ROWS if not (row.broken or row.label)], ids=str)
def test_the_rules_say_which_classes_have_an_epsilon_of_their_own(tmp_path: Path, row: Row) -> None:
    """What unmodified PaddleNLP computes with, which a user who loads with it must know."""
    from paddle.nn import LayerNorm

    family = next(family for family in load_families() if family.name == row.family)
    key = family.epsilon or "layer_norm_eps"
    model = build(replace(row, settings={**row.settings, key: EPSILON}))
    try:
        paddle = pphub.convert(save(model, tmp_path / "torch"), tmp_path / "paddle")
    except ConversionFailed as error:
        assert f"{key} is" in str(error)  # noqa: PT017  then nobody computes with another
        return
    own = type(load(row, paddle)).from_pretrained(str(paddle), **row.load)
    wanted = {getattr(module, "eps", None) for module in model.modules() if type(module).__name__ == "LayerNorm"}
    found = {layer._epsilon for layer in own.sublayers() if isinstance(layer, LayerNorm)}
    fixed = family.fixed_epsilon.get(row.torch_class)
    assert found - wanted == ({fixed} if fixed is not None else set())


def test_a_mistake_in_a_rule_shows(tmp_path: Path) -> None:
    """The matrix is worth what it notices: two matrices of one shape that are exchanged, a wrong epsilon."""
    row = next(row for row in ROWS if str(row) == "ernie-ErnieModel-3.0")
    model = build(row)
    live = load(row, pphub.convert(save(model, tmp_path / "torch"), tmp_path / "paddle"))
    assert max(differences(row, model, live)) <= row.tolerance
    live.embeddings.layer_norm._epsilon = 1e-12
    assert max(differences(row, model, live)) > row.tolerance
    live.embeddings.layer_norm._epsilon = model.config.layer_norm_eps
    attention = live.encoder.layers[1].self_attn
    weight = attention.q_proj.weight.numpy()
    attention.q_proj.weight.set_value(attention.k_proj.weight.numpy())
    attention.k_proj.weight.set_value(weight)
    assert max(differences(row, model, live)) > row.tolerance


def test_the_base_of_a_model_that_paddlenlp_cannot_build(tmp_path: Path) -> None:
    """A DeBERTa with a head that PaddleNLP's class does not get to is still a DeBERTa."""
    row = next(row for row in ROWS if row.torch_class == "DebertaForMaskedLM")
    model = build(row)
    live = pphub.AutoModel.from_pretrained(pphub.convert(save(model, tmp_path / "torch"), tmp_path / "paddle"))
    assert type(live).__name__ == "DebertaModel"
    assert max(differences(row, model.deberta, live)) <= row.tolerance
    with pytest.raises(AssertionError):  # what PaddleNLP's class makes of a mask as its tokenizer gives it
        differences(replace(row, manner=replace(row.how, mask_axes=2)), model.deberta, live)
