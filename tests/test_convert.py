"""Conversion of the BERT family: the acceptance table by value, the record, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import berts
import pphub
import pphub.cli
from conftest import MINILM, MINILM_BIN, MINILM_TUNED
from hubs import fill, safetensors, tiny_bert
from pphub.checkpoint.pdparams import read_pdparams
from pphub.checkpoint.tensor import Tensor
from pphub.conversion.family import Table
from pphub.conversion.plan import make_plan
from pphub.conversion.rules import load_families
from pphub.conversion.weights import write_weights
from pphub.errors import ConversionFailed, Corrupt, FileNotInModel, UnsafeCheckpoint, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def loaded(folder: Path) -> dict[str, Any]:
    """The weights as any program would unpickle them."""
    with (folder / "model_state.pdparams").open("rb") as stream:
        return dict(pickle.load(stream))


def check_table(result: dict[str, Any], values: dict[str, berts.Array], layers: int) -> None:
    for torch_name, paddle_name, transposed in berts.table(layers):
        expected = values[torch_name]
        actual = result[paddle_name]
        np.testing.assert_array_equal(actual, expected.T if transposed else expected, err_msg=paddle_name)
        assert actual.dtype == np.float32


# -- the acceptance table ------------------------------------------------------------------------------------


def test_a_full_size_bert_equals_the_table_by_value_and_paddle_reads_it(tmp_path: Path) -> None:
    """207 keys, with gamma and beta, as the original bert-base-uncased has them."""
    import paddle

    settings = berts.config(layers=12, hidden=768, vocab=30522, max_position_embeddings=512)
    settings["num_attention_heads"] = 12
    values = berts.state(settings)
    assert len(values) == 207
    out = pphub.convert(berts.write_bin(tmp_path / "bert", settings, values), tmp_path / "out")
    result = paddle.load(str(out / "model_state.pdparams"), return_numpy=True)
    check_table(result, values, 12)
    extra = result.keys() - {paddle_name for _, paddle_name, _ in berts.table(12)}
    # The names PaddleNLP 2.8 has for the same two parameters.
    assert extra == {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    np.testing.assert_array_equal(result["cls.predictions.decoder.weight"], values["cls.predictions.decoder.weight"])


@pytest.mark.parametrize("rename", [lambda name: name, berts.modern], ids=["gamma-beta", "weight-bias"])
@pytest.mark.parametrize("prefix", [True, False], ids=["with-prefix", "without-prefix"])
def test_both_norm_names_with_and_without_prefix(tmp_path: Path, rename: Any, prefix: bool) -> None:
    settings = berts.config(architectures=["BertForPreTraining" if prefix else "BertModel"])
    values = berts.state(settings)
    if not prefix:
        values = {name: value for name, value in values.items() if name.startswith("bert.")}
    named = {rename(name) if prefix else rename(name).removeprefix("bert."): value for name, value in values.items()}
    result = loaded(pphub.convert(berts.write_bin(tmp_path / "m", settings, named), tmp_path / "out"))
    for torch_name, paddle_name, transposed in berts.table(2):
        if torch_name in values:
            key = paddle_name if prefix else paddle_name.removeprefix("bert.")
            expected = values[torch_name].T if transposed else values[torch_name]
            np.testing.assert_array_equal(result.pop(key), expected, err_msg=key)
    assert set(result) <= {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}


def test_the_table_check_itself_catches_swapped_and_untransposed_tensors(tmp_path: Path) -> None:
    settings = berts.config()
    values = berts.state(settings)
    result = loaded(pphub.convert(berts.write_bin(tmp_path / "m", settings, values), tmp_path / "out"))
    check_table(result, values, 2)
    q, k = (f"bert.encoder.layers.1.self_attn.{name}_proj.weight" for name in "qk")
    with pytest.raises(AssertionError, match="q_proj"):
        check_table({**result, q: result[k], k: result[q]}, values, 2)
    with pytest.raises(AssertionError, match="q_proj"):
        check_table({**result, q: result[q].T}, values, 2)


def test_tied_tensors_are_written_once(tmp_path: Path) -> None:
    settings = berts.config(vocab=5000)
    out = pphub.convert(berts.write_bin(tmp_path / "m", settings, berts.state(settings)), tmp_path / "out")
    result = loaded(out)
    tied = result["bert.embeddings.word_embeddings.weight"]
    assert result["cls.predictions.decoder_weight"] is tied
    assert result["cls.predictions.decoder.weight"] is tied
    assert (out / "model_state.pdparams").stat().st_size < tied.nbytes + 200_000


def test_safetensors_and_bin_of_the_same_real_weights_agree(tmp_path: Path) -> None:
    first, second = (loaded(pphub.convert(folder)) for folder in (MINILM, MINILM_BIN))
    assert first.keys() == second.keys()
    assert len(first) == 103
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
    assert loaded(pphub.convert(MINILM_TUNED)).keys() == first.keys()


# -- the folder and its record -------------------------------------------------------------------------------


def test_the_record_proves_every_tensor(tmp_path: Path) -> None:
    out = pphub.convert(MINILM, tmp_path / "out")
    record = json.loads((out / "conversion.json").read_text(encoding="utf-8"))
    data = (out / "model_state.pdparams").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert record["output"] == {"file": "model_state.pdparams", "size": len(data), "sha256": digest}
    assert record["pphub"] == pphub.__version__
    assert record["rules"]["family"] == "bert"
    weights = {entry["file"]: entry for entry in record["inputs"]}["model.safetensors"]
    assert weights["sha256"] == hashlib.sha256((MINILM / "model.safetensors").read_bytes()).hexdigest()
    assert {"source", "repo", "commit"} <= weights.keys()
    result = loaded(out)
    assert [entry["name"] for entry in record["tensors"]] == list(result)
    for entry in record["tensors"]:
        array = result[entry["name"]]
        payload = data[entry["offset"] : entry["offset"] + entry["length"]]
        assert payload == array.tobytes()
        assert entry["offset"] % 64 == 0
        assert hashlib.sha256(payload).hexdigest() == entry["sha256"]
        assert (entry["shape"], entry["dtype"]) == (list(array.shape), "float32")
        assert entry["operation"] in {"same", "transpose"}
        assert entry["sources"]
    (dropped,) = record["dropped"]
    assert dropped["name"] == "embeddings.position_ids"
    assert dropped["reason"]


def test_vocab_and_config_stand_beside_the_weights(tmp_path: Path) -> None:
    out = pphub.convert(MINILM, tmp_path / "out")
    for name in ("vocab.txt", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"):
        assert (out / name).read_bytes() == (MINILM / name).read_bytes()
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertModel"]
    assert config["layer_norm_eps"] == 1e-12
    assert "transformers_version" not in config


def test_falsy_config_values_are_kept(tmp_path: Path) -> None:
    settings = berts.config(classifier_dropout=None, use_cache=False, pad_token_id=0, id2label={})
    out = pphub.convert(berts.write_bin(tmp_path / "m", settings, berts.state(settings)), tmp_path / "out")
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["hidden_dropout_prob"] == 0.0
    assert config["classifier_dropout"] is None
    assert config["use_cache"] is False
    assert config["id2label"] == {}
    assert config["architectures"] == ["BertForPretraining"]


def test_use_cache_means_nothing_to_an_encoder(tmp_path: Path) -> None:
    """In torch it is ignored; in Paddle it would add an output to the two that users unpack."""
    settings = berts.config(use_cache=True)
    out = pphub.convert(berts.write_bin(tmp_path / "m", settings, berts.state(settings)), tmp_path / "out")
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["use_cache"] is False
    record = json.loads((out / "conversion.json").read_text(encoding="utf-8"))
    assert record["config"]["replaced"] == {"use_cache": True}


def test_converting_again_is_a_no_op_until_something_changes(tmp_path: Path) -> None:
    settings = berts.config()
    model = berts.write_bin(tmp_path / "m", settings, berts.state(settings))
    out = pphub.convert(model, tmp_path / "out")
    first = (out / "conversion.json").stat().st_mtime_ns
    assert pphub.convert(model, tmp_path / "out") == out
    assert (out / "conversion.json").stat().st_mtime_ns == first
    cached = pphub.convert(model)
    assert pphub.convert(model) == cached
    berts.write_bin(model, settings, berts.state(settings, seed=1))
    assert pphub.convert(model) != cached
    pphub.convert(model, tmp_path / "out")
    assert (out / "conversion.json").stat().st_mtime_ns != first
    check_table(loaded(out), berts.state(settings, seed=1), 2)


def test_a_damaged_conversion_is_made_again(tmp_path: Path) -> None:
    settings = berts.config()
    model = berts.write_bin(tmp_path / "m", settings, berts.state(settings))
    cached = pphub.convert(model)
    with (cached / "model_state.pdparams").open("r+b") as stream:
        stream.truncate(100)
    assert pphub.convert(model) == cached
    check_table(loaded(cached), berts.state(settings), 2)
    (cached / "vocab.txt").unlink()
    pphub.convert(model)
    assert (cached / "vocab.txt").is_file()


def test_the_source_folder_is_never_written_to(tmp_path: Path) -> None:
    settings = berts.config()
    model = berts.write_bin(tmp_path / "m", settings, berts.state(settings))
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    pphub.convert(model)
    with pytest.raises(UsageError, match="never written to"):
        pphub.convert(model, model)
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_nor_is_anything_put_into_it(tmp_path: Path) -> None:
    model = berts.write_bin(tmp_path / "m", berts.config(), berts.state(berts.config()))
    (tmp_path / "link").symlink_to(model)
    for out in (model / "out", model / "a" / "b", tmp_path / "link" / "out"):
        with pytest.raises(UsageError, match="is within the folder of the checkpoint, which is never written to"):
            pphub.convert(model, out)
    assert not (model / "out").exists()
    assert not (model / "a").exists()


def test_a_cache_that_is_kept_in_the_folder_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = berts.write_bin(tmp_path / "m", berts.config(), berts.state(berts.config()))
    monkeypatch.setenv("PPNLP_HOME", str(model / ".cache"))
    assert pphub.convert(model).is_relative_to(model / ".cache")


def test_out_is_not_overwritten_when_it_holds_something_else(tmp_path: Path) -> None:
    out = tmp_path / "precious"
    out.mkdir()
    (out / "thesis.tex").write_text("ten years of work", encoding="utf-8")
    with pytest.raises(UsageError, match="no conversion of pphub's"):
        pphub.convert(MINILM, out)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="is a file"):
        pphub.convert(MINILM, out / "thesis.tex")
    (tmp_path / "empty").mkdir()
    assert (pphub.convert(MINILM, tmp_path / "empty") / "vocab.txt").is_file()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_cast(tmp_path: Path, dtype: str) -> None:
    import torch

    settings = berts.config()
    values = berts.state(settings)
    out = pphub.convert(berts.write_bin(tmp_path / "m", settings, values), tmp_path / "out", dtype=dtype)
    name = "bert.encoder.layers.0.linear1.weight"
    expected = torch.from_numpy(values["bert.encoder.layer.0.intermediate.dense.weight"]).t()
    expected = expected.to(getattr(torch, dtype)).contiguous()
    actual = read_pdparams(out / "model_state.pdparams")[name]
    assert actual.dtype == dtype
    bits = expected.view(torch.uint16).numpy() if dtype == "bfloat16" else expected.numpy()
    np.testing.assert_array_equal(actual.read(), bits)
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["dtype"] == dtype


@pytest.mark.parametrize("to", ["paddle", "torch"])
@pytest.mark.parametrize("dtype", [None, "bfloat16", "float64"])
@pytest.mark.parametrize("turned", [1, 700, 4096])
def test_in_blocks_as_in_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, dtype: str | None, turned: int
) -> None:
    """Large tensors are read, turned and cast a part at a time; the files are the same to the last byte."""
    source = fill(tmp_path / "model", tiny_bert(words=67))
    if to == "torch":
        source = pphub.convert(source, out=tmp_path / "paddle")
    whole = pphub.convert(source, out=tmp_path / "whole", to=to, dtype=dtype)
    monkeypatch.setattr("pphub.conversion.streamed._LARGE", 0)
    monkeypatch.setattr("pphub.conversion.streamed._BLOCK", 600)
    monkeypatch.setattr("pphub.conversion.streamed._TURNED", turned)
    monkeypatch.setattr("pphub.checkpoint.hashed_file._BLOCK", 1000)
    monkeypatch.setattr("pphub.checkpoint.hashed_file._STRIP", 5)
    parts = pphub.convert(source, out=tmp_path / "parts", to=to, dtype=dtype)
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == {
        path.name: path.read_bytes() for path in parts.iterdir()
    }


def test_a_checkpoint_that_shrinks_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = fill(tmp_path / "model", tiny_bert())
    weights = source / "model.safetensors"
    monkeypatch.setattr("pphub.conversion.streamed._LARGE", 0)
    read = Tensor.read_into

    def shrink(self: Tensor, result: Any) -> None:
        os.truncate(weights, 5000)
        read(self, result)

    monkeypatch.setattr(Tensor, "read_into", shrink)
    with pytest.raises(Corrupt, match="ends in the middle"):
        pphub.convert(source, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["convert", "prepare"])
def test_what_is_no_checkpoint_is_refused_before_it_is_hashed(tmp_path: Path, command: str) -> None:
    """And nobody goes on hashing it."""
    folder = fill(tmp_path / "model", {"config.json": tiny_bert()["config.json"], "pytorch_model.bin": b""})
    os.truncate(folder / "pytorch_model.bin", 1 << 40)
    with pytest.raises(Corrupt, match="no checkpoint of torch"):
        getattr(pphub, command)(folder)
    for thread in threading.enumerate():
        if thread.name == "pphub-inputs":
            thread.join(5)
            assert not thread.is_alive()


def _replace(path: Path, content: bytes) -> None:
    (path.parent / "new").write_bytes(content)
    (path.parent / "new").replace(path)


def _overwrite(path: Path, content: bytes) -> None:
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [_replace, _overwrite])
def test_weights_that_are_changed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """The record would say of the new values that the old file was their source."""
    fill(tmp_path / "model", tiny_bert())
    weights = tmp_path / "model" / "model.safetensors"
    other = tiny_bert(seed=1)[weights.name]

    def late(change: Callable[[Path, bytes], None]) -> Callable[..., Any]:
        def write(*arguments: Any) -> Any:
            change(weights, other)
            return write_weights(*arguments)

        return write

    monkeypatch.setattr("pphub.conversion.job.write_weights", late(change))
    for out in (tmp_path / "out", None):
        fill(tmp_path / "model", tiny_bert())
        with pytest.raises(Corrupt, match=r"model\.safetensors changed while it was converted"):
            pphub.convert(tmp_path / "model", out)
    assert not (tmp_path / "out").exists()
    # A further name for the same file is no change.
    monkeypatch.setattr(
        "pphub.conversion.job.write_weights", late(lambda path, _: (path.parent / "l").hardlink_to(path))
    )
    pphub.convert(tmp_path / "model", tmp_path / "out")


def test_bfloat16_and_float16_checkpoints_keep_their_dtype(tmp_path: Path) -> None:
    import torch

    settings = berts.config()
    for dtype in (torch.bfloat16, torch.float16):
        folder = tmp_path / str(dtype)
        berts.write_config(folder, settings)
        values = {name: torch.from_numpy(value).to(dtype) for name, value in berts.state(settings).items()}
        torch.save(values, folder / "pytorch_model.bin")
        tensors = read_pdparams(pphub.convert(folder) / "model_state.pdparams")
        assert {tensor.dtype for tensor in tensors.values()} == {str(dtype).removeprefix("torch.")}


# -- what programs put around a model ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net.", "network."),
        *("model.module.", "base_model.model.", "model._orig_mod.", "model.net.module."),
    ],
)
def test_a_prefix_of_all_names_is_left_out_and_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prefix: str
) -> None:
    settings = berts.config()
    values = berts.state(settings)
    plain = loaded(pphub.convert(berts.write_bin(tmp_path / "plain", settings, values), tmp_path / "plain-out"))
    wrapped = {prefix + name: value for name, value in values.items()}
    out = pphub.convert(berts.write_bin(tmp_path / "m", settings, wrapped), tmp_path / "out")
    record = json.loads((out / "conversion.json").read_bytes())
    assert record["prefix"] == prefix
    result = loaded(out)
    assert result.keys() == plain.keys()
    check_table(result, values, 2)
    assert pphub.cli.main(["verify", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["conversions"][0]["verdict"] == "proved"
    assert "prefix" not in json.loads((tmp_path / "plain-out" / "conversion.json").read_bytes())


@pytest.mark.parametrize("prefix", ["model.", "net."])
def test_a_prefix_of_some_names_stays(tmp_path: Path, prefix: str) -> None:
    settings = berts.config()
    wrapped = {prefix + name: value for name, value in berts.state(settings).items()}
    wrapped["loss.weight"] = np.zeros(3, np.float32)
    with pytest.raises(ConversionFailed, match="do not know") as caught:
        pphub.convert(berts.write_bin(tmp_path / "m", settings, wrapped))
    assert f"{prefix}bert.embeddings" in caught.value.message


def test_a_prefix_that_is_the_models_own_stays(tmp_path: Path) -> None:
    """All names of a Llama with a tied head begin with ``model.``, and all of its own are known."""
    import transformers

    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.LlamaConfig(**size, vocab_size=50, tie_word_embeddings=True)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "m")
    out = pphub.convert(tmp_path / "m", tmp_path / "out")
    assert "prefix" not in json.loads((out / "conversion.json").read_bytes())
    assert "llama.embed_tokens.weight" in loaded(out)


def test_a_base_model_without_its_pooler(tmp_path: Path) -> None:
    """``BertModel(config, add_pooling_layer=False)``; only as a whole may the pooler be missing."""
    settings = berts.config(architectures=["BertModel"])
    values = {name: value for name, value in berts.state(settings).items() if not name.startswith("cls.")}
    pooler = [name for name in values if ".pooler." in name]
    bias = values.pop(pooler.pop())
    with pytest.raises(ConversionFailed, match=r"the checkpoint is not whole.*\n  pooler\.dense\.bias"):
        pphub.convert(berts.write_bin(tmp_path / "half", settings, values))
    values.pop(pooler.pop())
    assert bias.size
    out = pphub.convert(berts.write_bin(tmp_path / "m", settings, values), tmp_path / "out")
    assert json.loads((out / "conversion.json").read_bytes())["absent"] == ["pooler.dense"]
    settings["architectures"] = ["BertForSequenceClassification"]
    with pytest.raises(ConversionFailed, match=r"not whole.*\n  pooler\.dense\.bias\n  pooler\.dense\.weight"):
        pphub.convert(berts.write_bin(tmp_path / "classifier", settings, values))


# -- what the config says -------------------------------------------------------------------------------------


def test_the_number_of_labels_wins_over_their_table(tmp_path: Path) -> None:
    import transformers

    settings = berts.config(architectures=["BertForSequenceClassification"], num_labels=5)
    settings |= {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}
    values = {name: value for name, value in berts.state(settings).items() if not name.startswith("cls.")}
    values |= {"classifier.weight": np.ones((5, 16), np.float32), "classifier.bias": np.ones(5, np.float32)}
    model = berts.write_bin(tmp_path / "m", settings, values)
    assert transformers.AutoConfig.from_pretrained(model).num_labels == 5
    out = pphub.convert(model, tmp_path / "out")
    config = json.loads((out / "config.json").read_bytes())
    assert config["id2label"] == {str(number): f"LABEL_{number}" for number in range(5)}
    assert config["label2id"] == {f"LABEL_{number}": number for number in range(5)}
    record = json.loads((out / "conversion.json").read_bytes())
    assert record["config"]["replaced"]["id2label"] == settings["id2label"]
    assert loaded(out)["classifier.weight"].shape == (16, 5)
    settings |= {"num_labels": 2, "id2label": {"0": "no", "1": "yes"}}
    out = pphub.convert(berts.write_bin(tmp_path / "two", settings, values), tmp_path / "out2")
    assert json.loads((out / "config.json").read_bytes())["id2label"] == {"0": "no", "1": "yes"}


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("vocab_size", 10**9, r"vocab_size is 1000000000 in config\.json, but .*word_embeddings\.weight has the shape"),
        ("hidden_size", 8, r"hidden_size is 8 in config\.json, but .*, whose size 1 is 16"),
        ("intermediate_size", 65, r"intermediate_size is 65 in config\.json, but .*linear1\.weight"),
    ],
)
def test_sizes_are_those_of_the_config(tmp_path: Path, key: str, value: int, says: str) -> None:
    settings = berts.config()
    values = berts.state(settings)
    model = berts.write_bin(tmp_path / "m", settings | {key: value}, values)
    with pytest.raises(ConversionFailed, match=says):
        pphub.convert(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    right = pphub.convert(berts.write_bin(tmp_path / "right", settings, values), tmp_path / "paddle")
    config = json.loads((right / "config.json").read_bytes())
    (right / "config.json").write_text(json.dumps(config | {key: value}))
    (right / "conversion.json").unlink()
    with pytest.raises(ConversionFailed, match=rf"{key} is {value} in config\.json"):
        pphub.convert(right, tmp_path / "back", to="torch")


def test_a_head_that_paddle_cannot_have_as_wide_as_torch(tmp_path: Path) -> None:
    """Torch projects the hidden state back to the width of the embeddings; Paddle's head does not."""
    import transformers

    size = {"hidden_size": 16, "word_embed_proj_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.OPTConfig(**size, ffn_dim=24, vocab_size=50, max_position_embeddings=32)
    transformers.OPTForCausalLM(config).save_pretrained(tmp_path / "head")
    with pytest.raises(ConversionFailed, match=r"word_embed_proj_dim|hidden_size is 16"):
        pphub.convert(tmp_path / "head", tmp_path / "out")
    transformers.OPTModel(config).save_pretrained(tmp_path / "base")
    assert pphub.convert(tmp_path / "base", tmp_path / "out")


# -- what is refused -----------------------------------------------------------------------------------------


def test_unknown_tensors_are_listed_and_nothing_is_written(tmp_path: Path) -> None:
    settings = berts.config()
    values = berts.state(settings)
    values["bert.encoder.layer.0.adapter.down.weight"] = np.zeros((2, 3), np.float32)
    values["xbert.embeddings.word_embeddings.weight"] = np.zeros((1,), np.float32)
    model = berts.write_bin(tmp_path / "m", settings, values)
    with pytest.raises(ConversionFailed, match="do not know 2 of") as caught:
        pphub.convert(model, tmp_path / "out")
    assert "bert.encoder.layer.0.adapter.down.weight [2, 3]" in caught.value.message
    assert "xbert.embeddings.word_embeddings.weight" in caught.value.message
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []


def test_two_values_for_one_parameter_are_a_contradiction(tmp_path: Path) -> None:
    settings = berts.config()
    values = berts.state(settings)
    values["cls.predictions.decoder.bias"] = values["cls.predictions.bias"].copy()
    out = pphub.convert(berts.write_bin(tmp_path / "a", settings, values))
    dropped = json.loads((out / "conversion.json").read_text(encoding="utf-8"))["dropped"]
    assert [(entry["name"], "equal to cls.predictions.bias" in entry["reason"]) for entry in dropped] == [
        ("cls.predictions.decoder.bias", True)
    ]
    values["cls.predictions.decoder.bias"] = values["cls.predictions.bias"] + 1
    with pytest.raises(ConversionFailed, match="values differ"):
        pphub.convert(berts.write_bin(tmp_path / "b", settings, values))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new'"),
        ({"architectures": ["MambaForCausalLM"], "model_type": "mamba"}, "MambaForCausalLM"),
        ({"architectures": ["BertLMHeadModel"]}, "BertLMHeadModel"),
        ({"architectures": None, "model_type": "mamba"}, "model_type 'mamba'"),
        ({"architectures": [], "model_type": None}, "neither architectures nor model_type"),
    ],
)
def test_configs_without_rules_or_that_paddle_cannot_express(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    settings = {**berts.config(), **change}
    model = berts.write_bin(tmp_path / "m", settings, {})
    with pytest.raises(ConversionFailed, match=why):
        pphub.convert(model)


def test_a_config_without_architectures_goes_by_model_type(tmp_path: Path) -> None:
    settings = berts.config(architectures=None)
    out = pphub.convert(berts.write_bin(tmp_path / "m", settings, berts.state(settings)))
    check_table(loaded(out), berts.state(settings), 2)


def test_a_square_matrix_where_a_vector_belongs_fails(tmp_path: Path) -> None:
    settings = berts.config()
    values = berts.state(settings)
    values["bert.encoder.layer.0.attention.self.query.weight"] = np.zeros(16, np.float32)
    with pytest.raises(ConversionFailed, match=r"has the shape \(16,\)"):
        pphub.convert(berts.write_bin(tmp_path / "m", settings, values))


def test_missing_and_broken_files(tmp_path: Path) -> None:
    settings = berts.config()
    model = berts.write_bin(tmp_path / "m", settings, berts.state(settings))
    (model / "config.json").write_text("<html>log in</html>", encoding="utf-8")
    with pytest.raises(Corrupt, match="is not JSON"):
        pphub.convert(model)
    (model / "config.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(Corrupt, match="a JSON list"):
        pphub.convert(model)
    (model / "config.json").unlink()
    with pytest.raises(FileNotInModel, match=r"no config\.json"):
        pphub.convert(model)
    berts.write_config(model, settings)
    whole = (model / "pytorch_model.bin").read_bytes()
    (model / "pytorch_model.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Corrupt):
        pphub.convert(model)
    (model / "pytorch_model.bin").unlink()
    with pytest.raises(FileNotInModel, match="holds no weights"):
        pphub.convert(model)


def test_a_paddle_folder_is_not_converted_again(tmp_path: Path) -> None:
    out = pphub.convert(MINILM, tmp_path / "out")
    with pytest.raises(ConversionFailed, match="a Paddle checkpoint already"):
        pphub.convert(out)
    assert pphub.prepare(out) == out


def test_options_that_cannot_be_meant(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'int8'"):
        pphub.convert(MINILM, dtype="int8")
    with pytest.raises(UsageError, match="'tensorflow'"):
        pphub.convert(MINILM, to="tensorflow")


def test_one_file_of_several_can_be_named(tmp_path: Path) -> None:
    settings = berts.config()
    model = berts.write_bin(tmp_path / "m", settings, berts.state(settings))
    shutil.copy(model / "pytorch_model.bin", model / "epoch3.bin")
    berts.write_bin(model, settings, berts.state(settings, seed=5))
    check_table(loaded(pphub.convert(model / "epoch3.bin")), berts.state(settings), 2)
    check_table(loaded(pphub.convert(model)), berts.state(settings, seed=5), 2)
    with pytest.raises(UsageError, match="not named like a checkpoint"):
        pphub.convert(model / "vocab.txt")


def test_an_incomplete_checkpoint_is_refused(tmp_path: Path) -> None:
    settings = berts.config()
    values = berts.state(settings)
    del values["bert.encoder.layer.1.output.dense.weight"]
    with pytest.raises(ConversionFailed, match=r"has 1 more parameters:\n  encoder\.layers\.1\.linear2\.weight"):
        pphub.convert(berts.write_bin(tmp_path / "a", settings, values))
    settings = berts.config(num_hidden_layers=1)
    with pytest.raises(ConversionFailed, match="num_hidden_layers is 1, but the checkpoint goes on"):
        pphub.convert(berts.write_bin(tmp_path / "b", settings, berts.state(berts.config())))
    for wrong in (None, "2", 2.0, True, -1):
        settings = berts.config(num_hidden_layers=wrong)
        with pytest.raises(ConversionFailed, match="does not say how many layers"):
            pphub.convert(berts.write_bin(tmp_path / "c", settings, berts.state(berts.config())))


def test_a_checkpoint_with_and_without_prefix_contradicts_itself(tmp_path: Path) -> None:
    settings = berts.config()
    values = berts.state(settings)
    values["pooler.dense.bias"] = values["bert.pooler.dense.bias"] + 1
    with pytest.raises(ConversionFailed, match=r"both become bert\.pooler\.dense\.bias, but their values differ"):
        pphub.convert(berts.write_bin(tmp_path / "m", settings, values))


def test_an_out_folder_keeps_what_the_user_put_or_changed_there(tmp_path: Path) -> None:
    settings = berts.config()
    model, out = berts.write_bin(tmp_path / "m", settings, berts.state(settings)), tmp_path / "out"
    pphub.convert(model, out)
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    (out / "runs").mkdir()
    pphub.convert(model, out, dtype="float16")
    assert (out / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert (out / "runs").is_dir()
    assert {tensor.dtype for tensor in read_pdparams(out / "model_state.pdparams").values()} == {"float16"}
    config = (out / "config.json").read_text(encoding="utf-8") + " "
    (out / "config.json").write_text(config, encoding="utf-8")
    pphub.convert(model, out, dtype="float16")
    assert (out / "config.json").read_text(encoding="utf-8") == config
    with pytest.raises(UsageError, match=r"config\.json was changed since"):
        pphub.convert(model, out)
    assert (out / "config.json").read_text(encoding="utf-8") == config
    with pytest.raises(UsageError, match="no name"):
        pphub.convert(model, "")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert pphub.convert(model, tmp_path / "link") == tmp_path / "elsewhere"
    assert (tmp_path / "link").is_symlink()


def test_a_kill_between_two_renames_is_mended_by_the_next_run(tmp_path: Path) -> None:
    settings = berts.config()
    model, out = berts.write_bin(tmp_path / "m", settings, berts.state(settings)), tmp_path / "out"
    pphub.convert(model, out, dtype="float16")
    script = (
        "import os, sys, pathlib, pphub; real = pathlib.Path.replace\n"
        "def replace(self, target):\n"
        "    real(self, target)\n"
        "    if str(target).endswith('out/model_state.pdparams'): os.kill(os.getpid(), 9)\n"
        "pathlib.Path.replace = replace; pphub.convert(sys.argv[1], sys.argv[2])"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(model), str(out)], capture_output=True, check=False)
    assert killed.returncode == -9
    check_table(loaded(pphub.convert(model, out)), berts.state(settings), 2)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_bare_pickle_named_like_a_checkpoint_is_refused_as_unsafe(tmp_path: Path, protocol: int) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return eval, (f"open({str(tmp_path / 'mark')!r}, 'w')",)

    model = berts.write_bin(tmp_path / "m", berts.config(), berts.state(berts.config()))
    for name in ("pytorch_model.bin", "model_state.pdparams"):
        (model / name).write_bytes(pickle.dumps({"x": Payload()}, protocol=protocol))
        with pytest.raises(UnsafeCheckpoint, match="eval"):
            pphub.convert(model)
    assert not (tmp_path / "mark").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: os.mkfifo(path), "is no file but a pipe"),
        (lambda path: path.mkdir(), "is no file but a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "is no file but a device"),
        (lambda path: path.symlink_to(path.name), "cannot be looked up: Too many levels of symbolic links"),
    ],
    ids=["pipe", "folder", "device", "loop"],
)
def test_what_stands_in_the_place_of_the_weights_is_named(tmp_path: Path, make: Any, says: str) -> None:
    berts.write_config(tmp_path / "m", berts.config())
    make(tmp_path / "m" / "model.safetensors")
    with pytest.raises(Corrupt, match=f"model.safetensors.? {says}") as caught:
        pphub.convert(tmp_path / "m", tmp_path / "out")
    assert caught.value.exit_code == 4


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.parametrize("name", ["model.jit", "model.ptl", "model"])
def test_a_program_is_refused_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    import torch

    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / name)
    with pytest.raises(UnsafeCheckpoint, match=f"{name} is a TorchScript archive, which is a program"):
        pphub.convert(tmp_path / name)
    (tmp_path / name).write_bytes(b"PK" + bytes(100))
    with pytest.raises(UsageError, match="is not named like a checkpoint"):
        pphub.convert(tmp_path / name)


def test_a_vocabulary_that_changes_meanwhile_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = berts.write_bin(tmp_path / "m", berts.config(), berts.state(berts.config()))
    plan = make_plan

    def change(*arguments: Any) -> Any:
        (model / "vocab.txt").write_text("another")
        return plan(*arguments)

    monkeypatch.setattr("pphub.conversion.job.make_plan", change)
    with pytest.raises(Corrupt, match=r"vocab\.txt has the sha256 \w{64}, and had \w{64} before"):
        pphub.convert(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rules_match_whole_names_only() -> None:
    (bert,) = (family for family in load_families() if family.name == "bert")
    table = Table(bert, "BertForPreTraining", "torch")
    assert table.find("bert.encoder.layer.10.output.dense.weight") is not None
    for name in (
        "xbert.encoder.layer.0.output.dense.weight",
        "bert.encoder.layer.0.output.dense.weight.x",
        "bert.encoder.layer.00.output.dense.weight",
        "bert.encoder.layer.-1.output.dense.weight",
        "bert.encoder.layer.x.output.dense.weight",
        "bert.encoder.layer.\u0663.output.dense.weight",
        "bert.bert.pooler.dense.weight",
        "bert.cls.predictions.bias",
        "encoderXlayer.0.output.dense.weight",
        "cls.predictions.bias\n",
    ):
        assert table.find(name) is None, name


# -- left behind, and not overwritten ------------------------------------------------------------------------


def test_what_a_killed_conversion_left_is_removed_by_the_next(tmp_path: Path, home: Path) -> None:
    settings = berts.config()
    model = berts.write_bin(tmp_path / "m", settings, berts.state(settings))
    script = (
        "import os, sys, pphub; from pphub.checkpoint.pdparams import PdparamsWriter\n"
        "PdparamsWriter.finish = lambda self: os.kill(os.getpid(), 9)\n"
        "pphub.convert(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)"
    )
    for place in ([], [str(tmp_path / "out")]):
        killed = subprocess.run([sys.executable, "-c", script, str(model), *place], capture_output=True, check=False)
        assert killed.returncode == -9
    folders = (home / "hub" / "converted", tmp_path)
    assert [len(list(folder.glob(".*.tmp"))) for folder in folders] == [1, 1]
    check_table(loaded(pphub.convert(model)), berts.state(settings), 2)
    check_table(loaded(pphub.convert(model, tmp_path / "out")), berts.state(settings), 2)
    assert [len(list(folder.glob(".*.tmp"))) for folder in folders] == [0, 0]


def test_weights_of_the_users_own_are_not_replaced(tmp_path: Path) -> None:
    settings = berts.config()
    model, out = berts.write_bin(tmp_path / "m", settings, berts.state(settings)), tmp_path / "out"
    pphub.convert(model, out)
    (out / "model_state.pdparams").write_bytes(b"weeks of training")
    for dtype in (None, "float16"):
        with pytest.raises(UsageError, match=r"model_state\.pdparams was changed since"):
            pphub.convert(model, out, dtype=dtype)
    assert (out / "model_state.pdparams").read_bytes() == b"weeks of training"
    other = tmp_path / "other"
    other.mkdir()
    (other / "conversion.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="no conversion of pphub's"):
        pphub.convert(model, other)


def test_paddlenlps_own_safetensors_are_told_from_torchs(tmp_path: Path) -> None:
    """Nothing says whose they are but the names."""
    fill(tmp_path, tiny_bert())
    names = ("embeddings.layer_norm.bias", "encoder.layers.0.self_attn.q_proj.bias")
    fill(tmp_path, {"model.safetensors": safetensors({name: np.ones(2, np.float32) for name in names})})
    with pytest.raises(ConversionFailed) as caught:
        pphub.convert(tmp_path)
    assert "PaddleNLP's own names" in str(caught.value)
