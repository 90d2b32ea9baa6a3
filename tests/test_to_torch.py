"""Paddle to torch: what transformers loads, and that there and back is the identity."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import berts
import pphub
from conftest import MINILM
from pphub.checkpoint.folder import read_weights
from pphub.checkpoint.pdparams import PdparamsWriter
from pphub.checkpoint.safetensors_writer import SafetensorsWriter
from pphub.checkpoint.tensor import DTYPES
from pphub.conversion.rules import parse_family
from pphub.conversion.torch_config import flatten, translate_back
from pphub.errors import ConversionFailed, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

HEADS = [
    "BertModel",
    "BertForPreTraining",
    "BertForMaskedLM",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
    "BertForMultipleChoice",
]


def read(folder: Path, name: str) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Dtype, shape and bytes of every tensor of a file."""
    return {
        tensor.name: (tensor.dtype, tensor.shape, tensor.read().tobytes())
        for tensor in read_weights(folder / name).values()
    }


def load_in_torch(folder: Path, kind: str, caplog: pytest.LogCaptureFixture, unexpected: Collection[str] = ()) -> Any:
    """The model of a transformers class; anything missing is a failure, and anything else that is unexpected."""
    import transformers

    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        model, report = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert set(report.pop("unexpected_keys")) == set(unexpected)
    assert {key: found for key, found in report.items() if found} == {}
    return model.eval()


def write_paddle(folder: Path, settings: dict[str, Any], values: dict[str, berts.Array]) -> Path:
    """A Paddle folder as BOS has them: weights and a config, and nothing that says where it came from."""
    folder.mkdir(parents=True)
    with (folder / "model_state.pdparams").open("wb") as stream:
        writer = PdparamsWriter(stream)
        for name, value in values.items():
            writer.add((name,), str(value.dtype), value)
        writer.finish()
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


# -- there and back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", HEADS)
def test_a_round_trip_is_exact(tmp_path: Path, kind: str, dtype: str, caplog: pytest.LogCaptureFixture) -> None:
    import torch

    labels = 2 if kind == "BertForQuestionAnswering" else 3
    model = berts.save_transformers(tmp_path / "m", kind, num_labels=labels, layer_norm_eps=1e-7, use_cache=False)
    model.to(getattr(torch, dtype)).save_pretrained(tmp_path / "m")
    paddle = pphub.convert(tmp_path / "m", tmp_path / "paddle")
    again = pphub.convert(paddle, tmp_path / "again", to="torch")
    assert read(again, "model.safetensors") == read(tmp_path / "m", "model.safetensors")
    first, second = (json.loads((each / "config.json").read_bytes()) for each in (tmp_path / "m", again))
    assert first == second
    assert (again / "vocab.txt").read_bytes() == (tmp_path / "m" / "vocab.txt").read_bytes()
    live = load_in_torch(again, kind, caplog)
    assert live.dtype == getattr(torch, dtype)
    state = live.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value), name


def test_a_real_model_there_and_back(tmp_path: Path) -> None:
    import transformers

    again = pphub.convert(pphub.convert(MINILM, tmp_path / "paddle"), tmp_path / "again", to="torch")
    assert read(again, "model.safetensors") == read(MINILM, "model.safetensors")  # also the constant that was dropped
    record = json.loads((again / "conversion.json").read_bytes())
    made = [entry for entry in record["tensors"] if entry["operation"] == "made: arange"]
    assert [entry["name"] for entry in made] == ["embeddings.position_ids"]
    assert json.loads((again / "config.json").read_bytes()) == json.loads((MINILM / "config.json").read_bytes())
    assert type(transformers.AutoModel.from_pretrained(again)).__name__ == "BertModel"
    assert transformers.AutoTokenizer.from_pretrained(again)("paddle")["input_ids"]


def test_both_tied_tensors_of_a_bin_come_back_as_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = berts.save_transformers(tmp_path / "m", "BertForPreTraining", safe=False)
    paddle = pphub.convert(tmp_path / "m", tmp_path / "paddle")
    again = pphub.convert(paddle, tmp_path / "again", to="torch")
    assert "cls.predictions.decoder.weight" not in read(again, "model.safetensors")
    dropped = {
        entry["name"]: entry["reason"] for entry in json.loads((again / "conversion.json").read_bytes())["dropped"]
    }
    assert "to which torch ties it" in dropped["cls.predictions.decoder_weight"]
    state = load_in_torch(again, "BertForPreTraining", caplog).state_dict()
    for name, value in model.state_dict().items():
        assert (state[name] == value).all(), name


def test_a_decoder_of_its_own_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = berts.config(architectures=["BertForPreTraining"], tie_word_embeddings=False)
    values = berts.state(settings)
    values["cls.predictions.decoder.weight"] = values["cls.predictions.decoder.weight"] + 1
    paddle = pphub.convert(berts.write_bin(tmp_path / "m", settings, values), tmp_path / "paddle")
    again = pphub.convert(paddle, tmp_path / "again", to="torch")
    found = read(again, "model.safetensors")["cls.predictions.decoder.weight"]
    assert found[2] == values["cls.predictions.decoder.weight"].tobytes()
    model = load_in_torch(again, "BertForPreTraining", caplog)
    np.testing.assert_array_equal(
        model.cls.predictions.decoder.weight.detach().numpy(), values["cls.predictions.decoder.weight"]
    )


# -- Paddle models that never were torch's -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "BertForPreTraining"])
def test_tied_parameters_saved_by_paddlenlp_are_one_in_torch(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    from pphub.loading import FreshParameters

    first = berts.save_transformers(tmp_path / "m", kind)
    auto = {"BertForMaskedLM": pphub.AutoModelForMaskedLM, "BertForPreTraining": pphub.AutoModelForPretraining}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FreshParameters)  # the pooler, which torch's masked LM does not have
        auto.from_pretrained(tmp_path / "m").save_pretrained(str(tmp_path / "paddle"))
    folder = pphub.convert(tmp_path / "paddle", to="torch")
    assert not [name for name in read(folder, "model.safetensors") if "decoder" in name]
    allowed = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"} if kind == "BertForMaskedLM" else set()
    again = load_in_torch(folder, kind, caplog, unexpected=allowed)
    ids = torch.arange(1, 13)[None]
    with torch.no_grad():
        assert torch.equal(first(ids)[0], again(ids)[0])


def test_a_model_saved_by_paddlenlp_answers_the_same_in_torch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import paddle
    import torch

    from pphub.loading import import_paddlenlp

    berts.save_transformers(tmp_path / "m", "BertForSequenceClassification", num_labels=3)
    import_paddlenlp()
    model = pphub.AutoModelForSequenceClassification.from_pretrained(tmp_path / "m")
    with paddle.no_grad():
        model.classifier.bias.set_value(model.classifier.bias + 1.0)
    model.save_pretrained(str(tmp_path / "paddle"))
    pphub.AutoTokenizer.from_pretrained(tmp_path / "m").save_pretrained(str(tmp_path / "paddle"))
    folder = pphub.convert(tmp_path / "paddle", to="torch")
    live = load_in_torch(folder, "BertForSequenceClassification", caplog)
    assert live.config.num_labels == 3
    assert live.config.hidden_dropout_prob == 0.0
    ids = np.random.default_rng(0).integers(1, len(berts.VOCAB), (4, 16)).astype(np.int64)
    with torch.no_grad(), paddle.no_grad():
        expected = model(paddle.to_tensor(ids)).numpy()
        actual = live(torch.from_numpy(ids)).logits.numpy()
    assert np.abs(expected - actual).max() <= 1e-5
    assert "paddlenlp_version" in json.loads((folder / "conversion.json").read_bytes())["config"]["left_out"]


def test_a_download_with_a_config_of_the_old_kind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = berts.config(architectures=["BertForSequenceClassification"])
    values = {}
    random = np.random.default_rng(0)
    for _, name, _ in berts.table(2):
        if not name.startswith("cls."):
            torch_name = next(row[0] for row in berts.table(2) if row[1] == name)
            shape = berts.shape(torch_name, settings)
            flip = next(row[2] for row in berts.table(2) if row[1] == name)
            values[name] = random.normal(size=shape[::-1] if flip else shape).astype(np.float32)
    values["classifier.weight"] = random.normal(size=(16, 5)).astype(np.float32)
    values["classifier.bias"] = random.normal(size=5).astype(np.float32)
    inner = {key: value for key, value in settings.items() if key not in {"architectures", "model_type"}}
    inner["init_class"] = "BertModel"
    legacy = {"init_args": [inner], "init_class": "BertForSequenceClassification", "num_classes": 5}
    folder = write_paddle(tmp_path / "old", legacy, values)
    (folder / "config.json").rename(folder / "model_config.json")
    out = pphub.convert(folder, tmp_path / "out", to="torch")
    model = load_in_torch(out, "BertForSequenceClassification", caplog)
    assert model.config.num_labels == 5
    query = "bert.encoder.layer.1.attention.self.query.weight"
    expected = values["bert.encoder.layers.1.self_attn.q_proj.weight"].T
    np.testing.assert_array_equal(model.state_dict()[query].numpy(), expected)


def test_a_config_that_was_edited_in_paddle_stays_edited(tmp_path: Path) -> None:
    settings = berts.config(use_cache=True, custom={"deep": [0, None]}, torch_dtype="float32", id2label={"0": "no"})
    paddle = pphub.convert(berts.write_bin(tmp_path / "m", settings, berts.state(settings)), tmp_path / "paddle")
    config = json.loads((paddle / "config.json").read_bytes())
    assert config["use_cache"] is False
    config |= {"hidden_dropout_prob": 0, "id2label": {"0": "yes"}}
    (paddle / "config.json").write_text(json.dumps(config), encoding="utf-8")
    again = json.loads((pphub.convert(paddle, to="torch") / "config.json").read_bytes())
    assert again == {**settings, "hidden_dropout_prob": 0, "id2label": {"0": "yes"}}
    half = json.loads((pphub.convert(paddle, to="torch", dtype="float16") / "config.json").read_bytes())
    assert half == {**again, "torch_dtype": "float16"}


# -- the folder ----------------------------------------------------------------------------------------------


def test_the_record_proves_every_tensor_and_the_file_is_aligned(tmp_path: Path) -> None:
    from safetensors import safe_open

    paddle = pphub.convert(MINILM, tmp_path / "paddle")
    out = pphub.convert(paddle, tmp_path / "out", to="torch")
    record = json.loads((out / "conversion.json").read_bytes())
    data = (out / "model.safetensors").read_bytes()
    assert record["options"] == {"to": "torch", "dtype": None}
    assert record["architecture"] == {"torch": "BertModel", "paddle": "BertModel"}
    assert record["output"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert "conversion.json" in {entry["file"] for entry in record["inputs"]}
    for entry in record["tensors"]:
        payload = data[entry["offset"] : entry["offset"] + entry["length"]]
        assert hashlib.sha256(payload).hexdigest() == entry["sha256"]
        assert entry["offset"] % DTYPES[entry["dtype"]].itemsize == 0
    assert int.from_bytes(data[:8], "little") % 8 == 0
    with safe_open(out / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert set(file.keys()) == {entry["name"] for entry in record["tensors"]}


def test_converting_again_is_a_no_op_and_each_direction_has_its_place(tmp_path: Path) -> None:
    paddle = pphub.convert(MINILM)
    torch = pphub.convert(paddle, to="torch")
    assert torch != paddle
    stamp = (torch / "conversion.json").stat().st_mtime_ns
    assert pphub.convert(paddle, to="torch") == torch
    assert (torch / "conversion.json").stat().st_mtime_ns == stamp
    assert pphub.convert(paddle, to="torch", dtype="float16") != torch
    (torch / "model.safetensors").unlink()
    assert (pphub.convert(paddle, to="torch") / "model.safetensors").is_file()


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pphub.cli import main

    paddle = pphub.convert(MINILM, tmp_path / "paddle")
    out = tmp_path / "out"
    assert main(["convert", str(paddle), "--to", "torch", "--dtype", "float16", "--out", str(out), "-q"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert {entry[0] for entry in read(out, "model.safetensors").values()} == {"float16", "int64"}
    assert main(["convert", str(out), "--to", "torch", "-q"]) == 1
    assert "a torch checkpoint already" in capsys.readouterr().err


def test_what_paddle_alone_can_express_is_refused(tmp_path: Path) -> None:
    settings = berts.config(architectures=["BertModel"])
    values = {name: value for name, value in berts.state(settings).items() if name.startswith("bert.")}
    paddle = pphub.convert(berts.write_bin(tmp_path / "m", settings, values), tmp_path / "paddle")
    config = json.loads((paddle / "config.json").read_bytes())
    for change, why in (({"pool_act": "relu"}, "pool_act is 'relu'"), ({"fuse": True}, "fuse is True")):
        (paddle / "config.json").write_text(json.dumps({**config, **change}), encoding="utf-8")
        with pytest.raises(ConversionFailed, match=why):
            pphub.convert(paddle, to="torch")


def test_what_cannot_be_meant(tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="a torch checkpoint already"):
        pphub.convert(MINILM, to="torch")
    paddle = shutil.copytree(pphub.convert(MINILM), tmp_path / "paddle")
    config = json.loads((paddle / "config.json").read_bytes())
    (paddle / "config.json").write_text(json.dumps({**config, "architectures": ["MambaModel"]}), encoding="utf-8")
    with pytest.raises(ConversionFailed, match="no conversion rules"):
        pphub.convert(paddle, to="torch")
    (paddle / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 7}), encoding="utf-8")
    with pytest.raises(ConversionFailed, match="has 16 more parameters"):
        pphub.convert(paddle, to="torch")
    (paddle / "model_state.pdparams").unlink()
    (paddle / "model_state.pdparams").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UnsafeCheckpoint):
        pphub.convert(paddle, to="torch")


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "embeddings.position_ids", "value": "zeros", "dtype": "int64", "shape": [1 << 40]},
        {"name": "embeddings.position_ids", "value": "zeros", "dtype": "evil", "shape": [1]},
        {"name": "embeddings.position_ids", "value": "pi", "dtype": "int64", "shape": [1]},
        {"name": "pooler.dense.weight", "value": "zeros", "dtype": "int64", "shape": [1]},
        {"name": 3, "value": [], "dtype": {}, "shape": "x"},
        {},
        None,
    ],
)
def test_a_record_that_says_nonsense_makes_nothing(tmp_path: Path, entry: Any) -> None:
    paddle = shutil.copytree(pphub.convert(MINILM), tmp_path / "paddle")
    record = json.loads((paddle / "conversion.json").read_bytes())
    record["dropped"], record["config"], record["architecture"] = [entry], {"original": 3}, []
    (paddle / "conversion.json").write_text(json.dumps(record), encoding="utf-8")
    out = pphub.convert(paddle, to="torch")
    assert len(read(out, "model.safetensors")) == 103


def test_the_writer_writes_what_its_header_says(tmp_path: Path) -> None:
    with (tmp_path / "a.safetensors").open("wb") as stream:
        writer = SafetensorsWriter(stream, [("a", "float32", (2, 3)), ("b", "int8", ())])
        with pytest.raises(ValueError, match="is not what the header says"):
            writer.add("a", "float32", np.zeros((3, 2), np.float32))
        writer = SafetensorsWriter(stream, [("a", "float32", (2, 3))])
        with pytest.raises(ValueError, match="has not been written"):
            writer.finish()


# -- a family with everything --------------------------------------------------------------------------------

EVERYTHING = """
family = "everything"
version = 1
model_type = "everything"
tokenizer = "T"
[prefix]
torch = "transformer"
paddle = "every"
[indices]
n = "layers"
[architectures]
EveryModel = "PaddleEvery"
EveryHead = "PaddleEveryHead"
[[base]]
torch = "h.{n}.c_attn"
paddle = ["l.{n}.q", "l.{n}.k", "l.{n}.v"]
as = "conv1d"
split = true
[[base]]
torch = ["h.{n}.gate", "h.{n}.up"]
paddle = "l.{n}.gate_up"
as = "linear"
merge = true
bias = "optional"
[[base]]
torch = "h.{n}.bn"
paddle = "l.{n}.bn"
as = "batch_norm"
[[base]]
torch = "h.{n}.rel"
paddle = "l.{n}.rel"
as = "tensor"
shape = ["d", "heads", "d // heads"]
[[base]]
torch = "embed.weight"
paddle = "embed.weight"
as = "tensor"
[[base]]
paddle = "scale"
drop = "a constant of Paddle's"
value = "ones"
shape = ["d"]
dtype = "float32"
[[head]]
torch = "logit"
paddle = "logit"
as = "tensor"
shape = []
paddle_shape = [1]
[[head]]
torch = "lm_head"
paddle = "lm_head"
as = "linear"
bias = false
optional = true
[[tie]]
paddle = "lm_head.weight"
torch = "embed.weight"
as = "matrix"
[config.only]
rope = []
[config.default]
eps = 1e-6
[config.derive]
inner = "4 * d"
[config.values.act]
gelu_new = "gelu"
[config.rename]
d = "hidden"
inner = "ffn"
"sub.a" = "sub.b"
[config.set]
fuse = false
"""


@pytest.fixture
def everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A torch folder of a family that uses the whole language, and rules for it."""
    from pphub.conversion import rules

    monkeypatch.setattr(rules, "_their_files", lambda: (("everything.toml", EVERYTHING),))
    random = np.random.default_rng(0)

    def values(*shape: int) -> berts.Array:
        return random.normal(size=shape).astype(np.float32)

    tensors = {"transformer.embed.weight": values(7, 6), "logit": values()}
    for n in range(2):
        layer = f"transformer.h.{n}."
        tensors |= {f"{layer}c_attn.weight": values(6, 18), f"{layer}c_attn.bias": values(18)}
        tensors |= {f"{layer}gate.weight": values(8, 6), f"{layer}up.weight": values(8, 6)}
        tensors |= {f"{layer}bn.{name}": values(6) for name in ("weight", "bias", "running_mean", "running_var")}
        tensors |= {f"{layer}bn.num_batches_tracked": np.array(41 + n), f"{layer}rel": values(6, 2, 3)}
    folder = tmp_path / "everything"
    folder.mkdir()
    ordered = sorted(tensors.items(), key=lambda item: -item[1].itemsize)
    with (folder / "model.safetensors").open("wb") as stream:
        writer = SafetensorsWriter(stream, [(name, str(value.dtype), value.shape) for name, value in ordered])
        for name, value in ordered:
            writer.add(name, str(value.dtype), value)
        writer.finish()
    config = {"architectures": ["EveryHead"], "model_type": "everything", "layers": 2, "d": 6, "heads": 2}
    config |= {"act": "gelu_new", "inner": None, "sub": {"a": 0, "c": 1}, "rope": None, "transformers_version": "5"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_the_whole_language_there_and_back(everything: Path, tmp_path: Path) -> None:
    paddle = pphub.convert(everything, tmp_path / "paddle")
    first, made = (
        {tensor.name: tensor.read() for tensor in read_weights(path).values()}
        for path in (everything / "model.safetensors", paddle / "model_state.pdparams")
    )
    np.testing.assert_array_equal(made["every.l.1.k.weight"], first["transformer.h.1.c_attn.weight"][:, 6:12])
    np.testing.assert_array_equal(made["every.l.1.v.bias"], first["transformer.h.1.c_attn.bias"][12:])
    both = np.concatenate([first["transformer.h.0.gate.weight"], first["transformer.h.0.up.weight"]])
    np.testing.assert_array_equal(made["every.l.0.gate_up.weight"], both.T)
    np.testing.assert_array_equal(made["every.l.0.bn._variance"], first["transformer.h.0.bn.running_var"])
    np.testing.assert_array_equal(made["lm_head.weight"], first["transformer.embed.weight"].T)
    np.testing.assert_array_equal(made["every.scale"], np.ones(6))
    assert made["every.l.0.rel"].shape == (6, 6)
    assert made["logit"].shape == (1,)
    record = json.loads((paddle / "conversion.json").read_bytes())
    entries = {entry["name"]: entry for entry in record["tensors"]}
    assert entries["every.l.0.k.weight"]["operation"] == "split 2/3 of axis 1"
    assert entries["every.l.0.gate_up.weight"]["operation"] == "merge 2 along axis 0, transpose"
    assert len(entries["every.l.0.gate_up.weight"]["sources"]) == 2
    config = json.loads((paddle / "config.json").read_bytes())
    assert config == {
        "architectures": ["PaddleEveryHead"],
        "model_type": "everything",
        "layers": 2,
        "hidden": 6,
        "heads": 2,
        "act": "gelu",
        "ffn": 24,
        "eps": 1e-6,
        "sub": {"b": 0, "c": 1},
        "rope": None,
        "fuse": False,
    }
    again = pphub.convert(paddle, tmp_path / "again", to="torch")
    assert read(again, "model.safetensors") == read(everything, "model.safetensors")
    assert json.loads((again / "config.json").read_bytes()) == json.loads((everything / "config.json").read_bytes())
    (paddle / "conversion.json").unlink()  # as after a save in Paddle: the counters are made anew
    bare = pphub.convert(paddle, tmp_path / "bare", to="torch")
    counter = "transformer.h.0.bn.num_batches_tracked"
    assert read(bare, "model.safetensors").keys() == first.keys()
    assert read(bare, "model.safetensors")[counter] == ("int64", (), bytes(8))
    assert json.loads((bare / "config.json").read_bytes())["act"] == "gelu_new"


def test_a_tie_may_be_turned_otherwise_than_a_tensor_of_its_own(
    everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the heads of some decoders: [vocab, hidden] where it is the embedding, [hidden, vocab] where it is not."""
    from pphub.conversion import rules

    text = EVERYTHING.replace('torch = "embed.weight"\nas = "matrix"', 'torch = "embed.weight"\nas = "tensor"')
    monkeypatch.setattr(rules, "_their_files", lambda: (("tied.toml", text),))
    paddle = pphub.convert(everything, tmp_path / "paddle")
    tensors = {tensor.name: tensor for tensor in read_weights(paddle / "model_state.pdparams").values()}
    assert tensors["lm_head.weight"].start == tensors["every.embed.weight"].start
    again = pphub.convert(paddle, tmp_path / "again", to="torch")
    assert read(again, "model.safetensors") == read(everything, "model.safetensors")


def test_a_tied_matrix_with_values_of_its_own_stays(everything: Path, tmp_path: Path) -> None:
    paddle = pphub.convert(everything, tmp_path / "paddle")
    tensors: dict[str, berts.Array] = {
        tensor.name: tensor.read() for tensor in read_weights(paddle / "model_state.pdparams").values()
    }
    tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1
    config = json.loads((paddle / "config.json").read_bytes())
    edited = write_paddle(tmp_path / "edited", config, tensors)
    out = read(pphub.convert(edited, to="torch"), "model.safetensors")
    assert out["lm_head.weight"][2] == np.ascontiguousarray(tensors["lm_head.weight"].T).tobytes()
    config["tie_word_embeddings"] = False
    tensors["lm_head.weight"] = np.ascontiguousarray(tensors["every.embed.weight"].T)
    untied = write_paddle(tmp_path / "untied", config, tensors)
    assert "lm_head.weight" in read(pphub.convert(untied, to="torch"), "model.safetensors")


# -- configs -------------------------------------------------------------------------------------------------


def test_old_configs_of_paddle_are_flattened() -> None:
    old = {"init_args": [{"hidden_size": 4, "init_class": "Inner"}, 3], "init_class": "Outer", "num_classes": 0}
    assert flatten(old) == {"num_classes": 0, "hidden_size": 4, "architectures": ["Outer"]}
    family = parse_family(EVERYTHING + '[config.legacy]\nwidth = "d"\n')
    back = translate_back(family, "EveryHead", {"width": 4, "num_classes": 0, "fuse": False, "eps": None})
    assert back.values == {
        "architectures": ["EveryHead"],
        "model_type": "everything",
        "d": 4,
        "num_labels": 0,
        "eps": None,
    }
