"""What an alignment makes of the two configs: keys that one of them lacks, the dtype, the class and the type."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pphub
from matrix import Row, all_rows, build, save
from test_alignment import QUIET, SMALL, align_small, change_weights, edit_json, small, stage_of
from test_alignment_proof import copies

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["small"]  # the fixture

BART: dict[str, Any] = {"vocab_size": 60, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
BART |= {"max_position_embeddings": 64, "pad_token_id": 5, "bos_token_id": 6, "eos_token_id": 7}
BART |= {"decoder_start_token_id": 7, "forced_eos_token_id": 7, "encoder_layerdrop": 0.5}
GPT2: dict[str, Any] = {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
GPT2 |= {"bos_token_id": 3, "eos_token_id": 7, "pad_token_id": 5}
BERT = SMALL | {"vocab_size": 60, "num_labels": 3, "problem_type": "multi_label_classification", "pad_token_id": 5}


def made(row: Row, folder: Path) -> tuple[Path, Path]:
    """Torch's folder and its conversion."""
    torch = save(build(row), folder / "torch")
    return torch, pphub.convert(torch, folder / "paddle", progress=QUIET)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small BERT that classifies texts, to be copied."""
    row = Row("bert", "BertForSequenceClassification", "BertConfig", BERT)
    return made(row, tmp_path_factory.mktemp("classifier"))


def take(folder: Path, *keys: str) -> None:
    """Take keys out of a config."""
    path = folder / "config.json"
    config = json.loads(path.read_bytes())
    for key in keys:
        *inner, last = key.split(".")
        table = config
        for part in inner:
            table = table[part]
        del table[last]
    path.write_text(json.dumps(config), encoding="utf-8")


def forward(pair: tuple[Path, Path]) -> Any:
    return stage_of(align_small(pair[1], pair[0]), "forward")


def said(pair: tuple[Path, Path]) -> tuple[list[str], list[str]]:
    """What is said of the configs: failures and notes."""
    found = forward(pair)
    assert all(each.passed for each in found.differences), found.reason
    notes = [note for note in found.notes if "config" in note and "Config" not in note]
    assert found.status == ("failed" if found.reason else "passed")
    return (found.reason.split("; ") if found.reason else []), notes


# -- keys that one file lacks


@pytest.mark.parametrize(
    ("row", "keys"),
    [
        (
            Row("bert", "BertForSequenceClassification", "BertConfig", BERT),
            {"pad_token_id": "5 in torch and 0", "problem_type": "'multi_label_classification' in torch and None"},
        ),
        (
            Row("bart", "BartForConditionalGeneration", "BartConfig", BART),
            {
                "bos_token_id": "6 in torch and 0",
                "eos_token_id": "7 in torch and 2",
                "forced_eos_token_id": "7 in torch and 2",
                "pad_token_id": "5 in torch and 1",
            },
        ),
        (
            Row("gpt2", "GPT2LMHeadModel", "GPT2Config", GPT2),
            {"bos_token_id": "3 in torch and 0", "pad_token_id": "5 in torch and 0"},
        ),
    ],
    ids=str,
)
def test_a_key_that_paddles_file_lacks_is_what_its_model_takes(tmp_path: Path, row: Row, keys: dict[str, str]) -> None:
    torch, paddle = made(row, tmp_path)
    assert said((torch, paddle)) == ([], [])
    take(paddle, *keys)
    failures = [f"{key} of the config is {what} in Paddle" for key, what in keys.items()]
    found = forward((torch, paddle)).reason
    assert [each for each in failures if each not in found] == []


def test_nothing_is_said_of_a_key_that_paddles_class_does_not_know(tmp_path: Path) -> None:
    """Its BART has no layerdrop."""
    torch, paddle = made(Row("bart", "BartForConditionalGeneration", "BartConfig", BART), tmp_path)
    take(paddle, "encoder_layerdrop")
    assert said((torch, paddle)) == ([], [])


def test_a_key_that_torchs_file_lacks_is_what_its_model_takes_in_paddles_words(tmp_path: Path) -> None:
    torch, paddle = made(Row("gpt2", "GPT2LMHeadModel", "GPT2Config", GPT2), tmp_path)
    take(
        torch,
        "activation_function",
        "layer_norm_epsilon",
        "bos_token_id",
        "resid_pdrop",
        "n_inner",
        "scale_attn_weights",
    )
    assert said((torch, paddle)) == (["bos_token_id of the config is 50256 in torch and 3 in Paddle"], [])


def test_keys_that_say_the_default_or_nothing_that_counts_may_be_left_out(
    tmp_path: Path, classifier: tuple[Path, Path]
) -> None:
    torch, paddle = copies(classifier, tmp_path)
    edit_json(torch / "config.json", hidden_dropout_prob=0, tokenizer_class="BertTokenizer", use_cache=True)
    edit_json(torch / "config.json", id2label={"0": "a", "1": "b", "2": "c"}, initializer_range=0.5, a_key_of_nobody=1)
    edit_json(torch / "config.json", pad_token_id=0, eos_token_id=None)
    edit_json(paddle / "config.json", hidden_dropout_prob=0.0, pad_token_id=0, return_dict=False, eos_token_id=None)
    take(paddle, "use_cache", "layer_norm_eps", "bos_token_id", "eos_token_id", "initializer_range", "hidden_act")
    failures, notes = said((torch, paddle))
    assert failures == []
    assert [note.split()[0] for note in notes] == ["id2label", "initializer_range"]


def test_a_null_against_a_default_is_only_noted(tmp_path: Path) -> None:
    torch, paddle = made(Row("gpt2", "GPT2LMHeadModel", "GPT2Config", GPT2 | {"pad_token_id": None}), tmp_path)
    take(paddle, "pad_token_id")
    assert said((torch, paddle)) == ([], ["pad_token_id of the config is None in torch and 0 in Paddle"])


def test_the_number_of_labels_counts_where_one_file_says_nothing(tmp_path: Path, classifier: tuple[Path, Path]) -> None:
    torch, paddle = copies(classifier, tmp_path)
    take(torch, "id2label", "label2id")
    edit_json(torch / "config.json", num_labels=3)
    assert said((torch, paddle)) == ([], [])


def test_a_config_within_the_config_is_compared_by_its_keys(tmp_path: Path) -> None:
    row = next(row for row in all_rows() if str(row) == "clip-CLIPModel")
    torch, paddle = made(row, tmp_path)
    take(paddle, "text_config.attention_dropout", "text_config.layer_norm_eps", "vision_config.num_channels")
    config = json.loads((paddle / "config.json").read_bytes())
    config["text_config"] |= {"dtype": "float32", "transformers_version": "4.0"}  # of torch's the dtype is null
    (paddle / "config.json").write_text(json.dumps(config))
    assert said((torch, paddle)) == ([], [])
    config = json.loads((torch / "config.json").read_bytes())
    config["text_config"] |= {"attention_dropout": 0.25}
    (torch / "config.json").write_text(json.dumps(config))
    assert said((torch, paddle))[0] == [
        "text_config.attention_dropout of the config is 0.25 in torch and 0.0 in Paddle"
    ]


# -- the dtype


def cast_to(dtype: str) -> Any:
    """Weights of another dtype."""
    return change_weights(lambda values: values.update({name: each.astype(dtype) for name, each in values.items()}))


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_a_dtype_that_the_weights_do_not_have_fails(tmp_path: Path, small: tuple[Path, Path], key: str) -> None:
    torch, paddle = copies(small, tmp_path)
    take(paddle, "dtype")
    assert said((torch, paddle)) == ([], [])
    edit_json(paddle / "config.json", **{key: "float16"})
    failures = ["the dtype of Paddle's config is float16, in which it is loaded, and its weights are float32"]
    assert said((torch, paddle)) == (failures, [])
    edit_json(torch / "config.json", dtype="float16")  # both libraries then load it so
    assert said((torch, paddle)) == ([], [f"{failures[0]}; so it is in torch"])


@pytest.mark.parametrize("said_dtype", ["float16", "float32"])
def test_weights_of_half_precision_may_say_so(tmp_path: Path, small: tuple[Path, Path], said_dtype: str) -> None:
    from safetensors.numpy import load_file, save_file

    torch, paddle = copies(small, tmp_path)
    values = {name: each.astype(np.float16) for name, each in load_file(torch / "model.safetensors").items()}
    save_file(values, torch / "model.safetensors", metadata={"format": "pt"})
    cast_to("float16")(paddle)
    edit_json(paddle / "config.json", dtype=said_dtype)  # of torch's it is float32
    assert said((torch, paddle)) == ([], [])
    edit_json(paddle / "config.json", dtype="bfloat16")
    assert said((torch, paddle))[0] == [
        "the dtype of Paddle's config is bfloat16, in which it is loaded, and its weights are float16"
    ]


# -- the class and the type


@pytest.mark.parametrize("named", ["BertForTokenClassification", "Nonsense", "ErnieForSequenceClassification", 3])
def test_another_class_fails(tmp_path: Path, classifier: tuple[Path, Path], named: object) -> None:
    torch, paddle = copies(classifier, tmp_path)
    edit_json(paddle / "config.json", architectures=[named])
    text = f"architectures of Paddle's config names {named!r}; torch's BertForSequenceClassification is "
    assert text + "BertForSequenceClassification there" in forward((torch, paddle)).reason


def test_the_base_model_is_right_and_a_head_on_a_base_model_is_not(
    tmp_path: Path, small: tuple[Path, Path], classifier: tuple[Path, Path]
) -> None:
    torch, paddle = copies(classifier, tmp_path)
    edit_json(paddle / "config.json", architectures=["BertModel"])
    assert said((torch, paddle)) == ([], [])
    torch, paddle = copies(small, tmp_path / "small")
    edit_json(paddle / "config.json", architectures=["BertForMaskedLM"])
    assert "names 'BertForMaskedLM'; torch's BertModel is BertModel there" in forward((torch, paddle)).reason


def test_another_name_of_the_class_is_right(tmp_path: Path) -> None:
    torch, paddle = made(Row("gpt2", "GPT2LMHeadModel", "GPT2Config", GPT2), tmp_path)
    assert json.loads((paddle / "config.json").read_bytes())["architectures"] == ["GPTForCausalLM"]
    edit_json(paddle / "config.json", architectures=["GPTLMHeadModel"], model_type="gpt2")
    assert said((torch, paddle)) == ([], [])


def test_a_missing_class_and_type_are_noted(tmp_path: Path, small: tuple[Path, Path]) -> None:
    torch, paddle = copies(small, tmp_path)
    take(paddle, "architectures", "model_type")
    failures, notes = said((torch, paddle))
    assert failures == []
    assert notes == [
        "Paddle's config has no architectures; by the rules it is BertModel",
        "Paddle's config has no model_type; by the rules it is 'bert'",
    ]


def test_another_type_fails(tmp_path: Path, small: tuple[Path, Path]) -> None:
    torch, paddle = copies(small, tmp_path)
    edit_json(paddle / "config.json", model_type="roberta")
    assert said((torch, paddle))[0] == ["model_type of the config is 'bert' in torch and 'roberta' in Paddle"]
