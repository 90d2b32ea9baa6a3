"""Every class that there are rules for: the same answer as in torch, and the same bytes on the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import pphub
from matrix import Row, all_rows, build, differences, load, paddle_error, save, save_bin, tensors
from parity import differences_to_own
from pphub.conversion.rules import load_families
from pphub.errors import LoadFailed
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
