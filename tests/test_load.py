"""A name, a folder or a file becomes a live PaddleNLP model: the right class, every parameter really loaded."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import berts
import pphub
from conftest import MINILM, MINILM_BIN
from matrix import all_rows, build, save
from pphub.errors import ConversionFailed, LoadFailed, UnsafeCheckpoint, UsageError
from pphub.loading import FreshParameters, UnusedTensors, import_paddlenlp

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "Welcome to use paddle paddle and paddlenlp!"


@pytest.fixture(scope="module", autouse=True)
def paddlenlp() -> Any:
    module = import_paddlenlp()
    from paddlenlp.utils.log import logger

    logger.disable()
    return module


def ids(vocab: int, shape: tuple[int, int] = (4, 16)) -> berts.Array:
    return np.random.default_rng(0).integers(1, vocab, shape).astype(np.int64)


def outputs(result: Any) -> list[berts.Array]:
    """The arrays of a model's answer, of either framework, in order."""
    if hasattr(result, "to_tuple"):
        result = result.to_tuple()
    values = result if isinstance(result, (tuple, list)) else (result,)
    return [value.detach().numpy() for value in values if hasattr(value, "numpy")]


def compare(torch_model: Any, paddle_model: Any, vocab: int) -> list[float]:
    """Largest absolute differences of all outputs for random ids; shapes must be equal."""
    import paddle
    import torch

    data = ids(vocab)
    with torch.no_grad(), paddle.no_grad():
        left = outputs(torch_model(torch.from_numpy(data)))
        right = outputs(paddle_model(paddle.to_tensor(data)))
    assert len(left) == len(right) > 0
    for first, second in zip(left, right, strict=True):
        assert first.shape == second.shape
        assert np.isfinite(first).all()
    return [float(np.abs(first - second).max()) for first, second in zip(left, right, strict=True)]


# -- right ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("torch_class", "auto_class"),
    [
        ("BertModel", "AutoModel"),
        ("BertForPreTraining", "AutoModelForPretraining"),
        ("BertForMaskedLM", "AutoModelForMaskedLM"),
        ("BertForSequenceClassification", "AutoModelForSequenceClassification"),
        ("BertForTokenClassification", "AutoModelForTokenClassification"),
        ("BertForQuestionAnswering", "AutoModelForQuestionAnswering"),
    ],
)
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_every_head_answers_as_in_torch(tmp_path: Path, torch_class: str, auto_class: str, safe: bool) -> None:
    """Also the ones PaddleNLP's own converter gets silently wrong (masked LM) or cannot load (pretraining)."""
    labels = 2 if torch_class == "BertForQuestionAnswering" else 3  # a span has a start and an end
    model = berts.save_transformers(tmp_path / "m", torch_class, safe=safe, num_labels=labels)
    with warnings.catch_warnings():
        # transformers builds these without the pooler that Paddle's base model always has
        pooler = torch_class in {"BertForMaskedLM", "BertForTokenClassification", "BertForQuestionAnswering"}
        warnings.simplefilter("ignore" if pooler else "error", FreshParameters)
        live = getattr(pphub, auto_class).from_pretrained(tmp_path / "m")
    assert type(live).__name__.lower() == torch_class.lower()
    assert not live.training
    assert max(compare(model, live, len(berts.VOCAB))) <= 1e-5


def test_a_wrong_conversion_shows_in_the_answer(tmp_path: Path) -> None:
    """Swapped q and k, and a matrix that was not transposed, keep every shape; only values show them."""
    torch_model = berts.save_transformers(tmp_path / "m", "BertModel")
    for wrong in ("swap", "transpose"):
        live = pphub.AutoModel.from_pretrained(tmp_path / "m")
        assert max(compare(torch_model, live, len(berts.VOCAB))) <= 1e-5
        attention = live.encoder.layers[0].self_attn
        q, k = attention.q_proj.weight.numpy(), attention.k_proj.weight.numpy()
        if wrong == "swap":
            attention.q_proj.weight.set_value(k)
            attention.k_proj.weight.set_value(q)
        else:
            attention.q_proj.weight.set_value(np.ascontiguousarray(q.T))
        assert max(compare(torch_model, live, len(berts.VOCAB))) > 1e-3


@pytest.mark.parametrize("folder", [MINILM, MINILM_BIN], ids=["safetensors", "bin"])
def test_a_real_model_agrees_with_torch_and_makes_sense(folder: Path) -> None:
    import paddle
    import torch
    import transformers

    torch_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    torch_model = transformers.AutoModel.from_pretrained(folder).eval()
    model = pphub.AutoModel.from_pretrained(folder)
    tokenizer = pphub.AutoTokenizer.from_pretrained(folder)
    assert tokenizer(TEXT)["input_ids"] == torch_tokenizer(TEXT)["input_ids"]
    with torch.no_grad(), paddle.no_grad():
        expected = torch_model(**torch_tokenizer(TEXT, return_tensors="pt"))
        states, pooled = model(**tokenizer(TEXT, return_tensors="pd"))
    assert states.shape == [1, 12, 384]
    assert pooled.shape == [1, 384]
    assert np.abs(states.numpy() - expected.last_hidden_state.numpy()).max() <= 1e-5
    assert np.abs(pooled.numpy() - expected.pooler_output.numpy()).max() <= 1e-5

    def embed(text: str) -> berts.Array:
        mean = model(**tokenizer(text, return_tensors="pd"))[0].numpy()[0].mean(0)
        return np.asarray(mean / np.linalg.norm(mean))

    pasta, noodles = embed("A man is eating pasta."), embed("Someone is having noodles for lunch.")
    stocks = embed("The stock market fell sharply today.")
    assert pasta @ noodles > 0.5
    assert abs(pasta @ stocks) < 0.2


def test_half_precision_on_request(tmp_path: Path) -> None:
    berts.save_transformers(tmp_path / "m", "BertModel")
    model = pphub.AutoModel.from_pretrained(tmp_path / "m", dtype="bfloat16")
    exact = pphub.AutoModel.from_pretrained(tmp_path / "m")
    assert {str(parameter.dtype) for parameter in model.parameters()} == {"paddle.bfloat16"}
    weight = exact.pooler.dense.weight.numpy()
    assert np.abs(model.pooler.dense.weight.astype("float32").numpy() - weight).max() <= 0.01
    assert {str(parameter.dtype) for parameter in exact.parameters()} == {"paddle.float32"}


# -- whole: fresh heads are loud, a missing base is an error --------------------------------------------------


def test_a_fresh_head_is_one_warning_that_names_it(tmp_path: Path) -> None:
    berts.save_transformers(tmp_path / "m", "BertModel")
    with pytest.warns(FreshParameters) as caught:
        model = pphub.AutoModelForSequenceClassification.from_pretrained(tmp_path / "m", num_classes=5)
    assert len([warning for warning in caught if warning.category is FreshParameters]) == 1
    text = str(caught[0].message)
    assert "classifier.weight" in text
    assert "classifier.bias" in text
    assert "bert." not in text
    assert model.classifier.weight.shape == [16, 5]
    assert caught[0].filename == __file__


def test_a_base_parameter_that_is_missing_is_an_error(tmp_path: Path) -> None:
    settings = berts.config(architectures=["BertModel"])
    for gone in ("bert.encoder.layer.1.output.dense.bias", "bert.pooler.dense.weight"):
        values = {name: value for name, value in berts.state(settings).items() if name != gone}
        values = {name: value for name, value in values.items() if name.startswith("bert.")}
        model = berts.write_bin(tmp_path / gone, settings, values)
        for auto in (pphub.AutoModel, pphub.AutoModelForSequenceClassification):
            with pytest.raises(ConversionFailed, match="has 1 more parameters") as caught:
                auto.from_pretrained(model)
            assert ("linear2.bias" in caught.value.message) or ("pooler.dense.weight" in caught.value.message)


def test_a_paddle_checkpoint_that_lacks_a_base_parameter_is_an_error(tmp_path: Path) -> None:
    import paddle

    berts.save_transformers(tmp_path / "m", "BertModel")
    folder = tmp_path / "part"
    shutil.copytree(pphub.prepare(tmp_path / "m"), folder)
    weights = paddle.load(str(folder / "model_state.pdparams"))
    del weights["encoder.layers.1.linear2.bias"]
    paddle.save(weights, str(folder / "model_state.pdparams"))
    for auto in (pphub.AutoModel, pphub.AutoModelForSequenceClassification):
        with pytest.raises(LoadFailed, match="lacks 1 parameters of the base model") as caught:
            auto.from_pretrained(folder)
        assert "encoder.layers.1.linear2.bias" in caught.value.message


def test_base_tensors_without_a_place_are_named(tmp_path: Path) -> None:
    berts.save_transformers(tmp_path / "m", "BertModel")
    with pytest.warns(UnusedTensors, match=r"encoder\.layers\.1\.self_attn"):
        pphub.AutoModel.from_pretrained(tmp_path / "m", num_hidden_layers=1)


def test_a_repository_cannot_name_a_model_as_its_tokenizer(tmp_path: Path) -> None:
    """PaddleNLP's model classes would unpickle the weights beside the tokenizer."""
    mark = tmp_path / "mark"
    berts.write_config(tmp_path / "m", berts.config())
    (tmp_path / "m" / "model_state.pdparams").write_bytes(f"cos\nsystem\n(Vtouch '{mark}'\ntR.".encode())
    for named in ("BertModel", "AutoModel", "AutoTokenizer", "os", "BertPretrainedModel", "no.such.Thing"):
        text = json.dumps({"tokenizer_class": named})
        (tmp_path / "m" / "tokenizer_config.json").write_text(text, encoding="utf-8")
        with pytest.raises(LoadFailed, match="is no tokenizer of PaddleNLP"):
            pphub.AutoTokenizer.from_pretrained(tmp_path / "m")
    assert not mark.exists()


def test_prepare_hides_what_paddlenlp_would_rather_load(tmp_path: Path, paddlenlp: Any) -> None:
    torch_model = berts.save_transformers(tmp_path / "m", "BertModel")
    folder = tmp_path / "mixed"
    shutil.copytree(pphub.prepare(tmp_path / "m"), folder)
    mark = tmp_path / "mark"
    (folder / "evil.pdparams").write_bytes(f"cos\nsystem\n(Vtouch '{mark}'\ntR.".encode())
    index = {"metadata": {}, "weight_map": {"pooler.dense.weight": "evil.pdparams"}}
    (folder / "model_state.pdparams.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"not even that")
    prepared = pphub.prepare(folder)
    assert {path.name for path in prepared.iterdir() if "pdparams" in path.name or "safe" in path.name} == {
        "model_state.pdparams"
    }
    model = paddlenlp.AutoModel.from_pretrained(str(prepared))
    model.eval()
    assert max(compare(torch_model, model, len(berts.VOCAB))) <= 1e-5
    assert not mark.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"num_attention_heads": 3},
        {"num_attention_heads": 0},
        {"hidden_size": -16},
        {"vocab_size": 10**10},
        {"init_args": [1, 2, 3]},
        {"hidden_act": "no_such"},
    ],
    ids=str,
)
def test_an_edited_config_that_makes_no_sense_is_one_clear_error(tmp_path: Path, change: dict[str, Any]) -> None:
    berts.save_transformers(tmp_path / "m", "BertModel")
    shutil.copytree(pphub.prepare(tmp_path / "m"), tmp_path / "p")
    config = json.loads((tmp_path / "p" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "p" / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    with pytest.raises(LoadFailed):
        pphub.AutoModel.from_pretrained(tmp_path / "p")


def test_keywords_of_paddlenlps_own_loader_are_refused(tmp_path: Path) -> None:
    berts.save_transformers(tmp_path / "m", "BertModel")
    with pytest.raises(UsageError, match="does not take convert_from_torch"):
        pphub.AutoModel.from_pretrained(tmp_path / "m", convert_from_torch=True)


def test_a_shape_that_does_not_fit_is_an_error_unless_allowed(tmp_path: Path) -> None:
    berts.save_transformers(tmp_path / "m", "BertForSequenceClassification", num_labels=3)
    with pytest.raises(LoadFailed, match=r"classifier.weight: \(16, 3\), not \(16, 7\)"):
        pphub.AutoModelForSequenceClassification.from_pretrained(tmp_path / "m", num_labels=7)
    with pytest.warns(FreshParameters, match=r"classifier\.weight"):
        model = pphub.AutoModelForSequenceClassification.from_pretrained(
            tmp_path / "m", num_labels=7, ignore_mismatched_sizes=True
        )
    assert model.classifier.weight.shape == [16, 7]


def test_a_masked_lm_checkpoint_as_base_model_says_that_the_pooler_is_fresh(tmp_path: Path) -> None:
    berts.save_transformers(tmp_path / "m", "BertForMaskedLM")
    with pytest.warns(FreshParameters, match=r"pooler\.dense\.weight"):
        pphub.AutoModel.from_pretrained(tmp_path / "m")


def test_a_base_model_built_without_a_pooler_says_that_it_is_fresh(tmp_path: Path) -> None:
    import transformers

    settings = {key: value for key, value in berts.config().items() if key not in {"architectures", "model_type"}}
    transformers.BertModel(transformers.BertConfig(**settings), add_pooling_layer=False).save_pretrained(tmp_path)
    with pytest.warns(FreshParameters, match=r"pooler\.dense\.weight, pooler\.dense\.bias$"):
        pphub.AutoModel.from_pretrained(tmp_path)


def test_a_class_paddle_does_not_have(tmp_path: Path) -> None:
    berts.save_transformers(tmp_path / "m", "BertModel")
    with pytest.raises(LoadFailed, match="no AutoModelForConditionalGeneration for this model"):
        pphub.AutoModelForConditionalGeneration.from_pretrained(tmp_path / "m")


# -- folders and files ---------------------------------------------------------------------------------------


def test_save_pretrained_and_from_pretrained_are_the_identity(tmp_path: Path) -> None:
    torch_model = berts.save_transformers(tmp_path / "m", "BertForSequenceClassification", num_labels=3)
    model = pphub.AutoModelForSequenceClassification.from_pretrained(tmp_path / "m")
    model.save_pretrained(str(tmp_path / "checkpoint"))
    pphub.AutoTokenizer.from_pretrained(tmp_path / "m").save_pretrained(str(tmp_path / "checkpoint"))
    assert (tmp_path / "checkpoint" / "model_state.pdparams").is_file()
    again = pphub.AutoModelForSequenceClassification.from_pretrained(tmp_path / "checkpoint")
    for (name, first), (_, second) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy(), err_msg=name)
    assert max(compare(torch_model, again, len(berts.VOCAB))) <= 1e-5
    tokenizer = pphub.AutoTokenizer.from_pretrained(tmp_path / "checkpoint")
    assert tokenizer(TEXT)["input_ids"] == pphub.AutoTokenizer.from_pretrained(tmp_path / "m")(TEXT)["input_ids"]
    config = json.loads((tmp_path / "checkpoint" / "config.json").read_text(encoding="utf-8"))
    config["hidden_act"] = "relu"
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    edited = pphub.AutoModelForSequenceClassification.from_pretrained(tmp_path / "checkpoint")
    assert max(compare(torch_model, edited, len(berts.VOCAB))) > 1e-3


def test_unmodified_paddlenlp_loads_what_prepare_makes(tmp_path: Path, paddlenlp: Any) -> None:
    torch_model = berts.save_transformers(tmp_path / "m", "BertForPreTraining")
    folder = pphub.prepare(tmp_path / "m")
    model = paddlenlp.BertForPretraining.from_pretrained(str(folder))
    model.eval()
    assert max(compare(torch_model, model, len(berts.VOCAB))) <= 1e-5
    model = paddlenlp.AutoModelForMaskedLM.from_pretrained(str(folder))
    assert type(model).__name__ == "BertForMaskedLM"


def test_a_file_is_loaded_directly(tmp_path: Path) -> None:
    torch_model = berts.save_transformers(tmp_path / "m", "BertModel")
    live = pphub.AutoModel.from_pretrained(tmp_path / "m" / "model.safetensors")
    assert max(compare(torch_model, live, len(berts.VOCAB))) <= 1e-5
    live.save_pretrained(str(tmp_path / "p"))
    live = pphub.AutoModel.from_pretrained(tmp_path / "p" / "model_state.pdparams")
    assert max(compare(torch_model, live, len(berts.VOCAB))) <= 1e-5


def test_config_and_tokenizer_alone_need_no_weights(tmp_path: Path) -> None:
    berts.write_config(tmp_path / "m", berts.config())
    config = pphub.AutoConfig.from_pretrained(tmp_path / "m", num_labels=7)
    assert (type(config).__name__, config.hidden_size, config.num_labels) == ("BertConfig", 16, 7)
    assert config.hidden_dropout_prob == 0.0
    tokenizer = pphub.AutoTokenizer.from_pretrained(tmp_path / "m")
    assert tokenizer("welcome to paddle")["input_ids"] == [2, 5, 6, 8, 3]


@pytest.mark.parametrize("named", ["BertTokenizerFast", "TokenizersBackend", None])
def test_tokenizer_classes_of_transformers(tmp_path: Path, named: str | None) -> None:
    berts.write_config(tmp_path / "m", berts.config())
    (tmp_path / "m" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": named}), encoding="utf-8")
    tokenizer = pphub.AutoTokenizer.from_pretrained(tmp_path / "m")
    assert type(tokenizer).__name__ == "BertTokenizer"
    assert tokenizer("welcome to paddle")["input_ids"] == [2, 5, 6, 8, 3]


def test_known_tokenizations_of_the_users_document(tmp_path: Path) -> None:
    berts.write_config(tmp_path / "m", berts.config())
    known = {101: "[CLS]", 102: "[SEP]", 100: "[UNK]", 0: "[PAD]", 103: "[MASK]"}
    known |= {1921: "天", 3698: "气", 679: "不", 7231: "错"}
    vocab = [known.get(index, f"[unused{index}]") for index in range(7300)]
    (tmp_path / "m" / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    tokenizer = pphub.AutoTokenizer.from_pretrained(tmp_path / "m")
    assert tokenizer("天气不错")["input_ids"] == [101, 1921, 3698, 679, 7231, 102]
    pair = tokenizer("天气", "不错")
    assert pair["input_ids"] == [101, 1921, 3698, 102, 679, 7231, 102]
    assert pair["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]


# -- safe and offline ----------------------------------------------------------------------------------------


def test_a_hostile_paddle_checkpoint_runs_nothing(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch '{tmp_path / 'mark'}'",)

    berts.save_transformers(tmp_path / "m", "BertModel")
    folder = tmp_path / "evil"
    shutil.copytree(pphub.prepare(tmp_path / "m"), folder)
    (folder / "model_state.pdparams").write_bytes(pickle.dumps({"a": Payload()}))
    for call in (pphub.AutoModel.from_pretrained, pphub.prepare):
        with pytest.raises(UnsafeCheckpoint, match=r"posix\.system"):
            call(folder)
    assert not (tmp_path / "mark").exists()


def test_auto_classes_are_those_of_paddlenlp(paddlenlp: Any) -> None:
    from paddlenlp.transformers.auto import modeling

    ours = {name for name in pphub.__all__ if name.startswith("Auto")}
    assert ours == {*modeling.__all__, "AutoConfig", "AutoTokenizer"}
    with pytest.raises(UsageError, match="not made by calling it"):
        pphub.AutoModel()


OFFLINE = """
import socket, sys
def forbidden(*args, **kwargs):
    raise AssertionError("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = forbidden
import pphub
model = pphub.AutoModel.from_pretrained(sys.argv[1])
tokenizer = pphub.AutoTokenizer.from_pretrained(sys.argv[1])
states, pooled = model(**tokenizer("welcome to paddle", return_tensors="pd"))
assert states.shape == [1, 5, 384], states.shape
assert "pphub_plugins.huggingface" not in sys.modules
print("fine")
"""


def run_offline(name: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", OFFLINE, name]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[-1:] == ["fine"], result.stderr


def test_offline_by_name_and_by_folder_also_in_a_chinese_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pphub.serve import Server

    monkeypatch.setenv("PPNLP_HOME", str(tmp_path / "模型 缓存"))
    shutil.copytree(MINILM, tmp_path / "hub" / "sentence-transformers" / "all-MiniLM-L6-v2")
    with Server(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        pphub.prepare("sentence-transformers/all-MiniLM-L6-v2")
    run_offline("sentence-transformers/all-MiniLM-L6-v2")
    run_offline(str(tmp_path / "hub" / "sentence-transformers" / "all-MiniLM-L6-v2"))


def test_an_architecture_without_rules_is_one_clear_error(tmp_path: Path) -> None:
    berts.write_bin(tmp_path / "m", {"architectures": ["MambaModel"], "model_type": "mamba"}, {})
    with pytest.raises(ConversionFailed, match=r"MambaModel'; there are rules for .*bert, "):
        pphub.AutoModel.from_pretrained(tmp_path / "m")


@pytest.mark.parametrize(
    ("torch_class", "auto", "expected"),
    [
        ("GPTJForCausalLM", "AutoModelForCausalLM", "GPTJForCausalLM"),  # PaddleNLP takes it for GPT
        ("GPTJForCausalLM", "AutoModel", "GPTJModel"),
        ("FalconForCausalLM", "AutoModel", "RWModel"),  # and does not look for RW
        ("T5EncoderModel", "AutoEncoder", "T5EncoderModel"),
        ("T5EncoderModel", "AutoModel", "T5EncoderModel"),  # and takes it for the pair, with a decoder of its own
        ("MT5EncoderModel", "AutoModel", "MT5EncoderModel"),
        ("XLMForQuestionAnsweringSimple", "AutoModelForQuestionAnswering", "XLMForQuestionAnsweringSimple"),
    ],
)
def test_classes_that_paddlenlp_looks_for_under_other_names(
    tmp_path: Path, torch_class: str, auto: str, expected: str
) -> None:
    row = next(row for row in all_rows() if row.torch_class == torch_class)
    folder = save(build(row), tmp_path / "torch")
    assert type(getattr(pphub, auto).from_pretrained(folder)).__name__ == expected
