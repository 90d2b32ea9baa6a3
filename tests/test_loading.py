"""Loading is fast without being wrong: files are mapped where that is safe, random numbers drawn where they count."""

from __future__ import annotations

import copy
import gc
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import berts
import pphub
from conftest import MINILM
from matrix import Row, all_rows, build, differences, save
from parity import differences_to_own
from pphub.errors import LoadFailed, UsageError
from pphub.loading import FreshParameters, import_paddlenlp, load_model
from pphub.loading.draws import without_draws
from pphub.loading.fill import Files, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAPS = Path("/proc/self/maps")
needs_maps = pytest.mark.skipif(not MAPS.exists(), reason="only Linux tells what is mapped")
WEIGHTS = "model_state.pdparams"


@pytest.fixture(scope="module", autouse=True)
def paddlenlp() -> Any:
    module = import_paddlenlp()
    from paddlenlp.utils.log import logger

    logger.disable()
    return module


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG, logger="pphub"):
        yield caplog


def bits(model: Any) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def is_mapped(path: Path) -> bool:
    return str(path.resolve()) in MAPS.read_text(encoding="utf-8")


def private_kib(process: str = "self") -> int:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


def ask(model: Any, vocab: int = len(berts.VOCAB)) -> bytes:
    import paddle

    with paddle.no_grad():
        answer = model(paddle.to_tensor(np.arange(1, 9).reshape(2, 4) % vocab))
    return bytes((answer[0] if isinstance(answer, tuple) else answer).numpy().tobytes())


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A conversion in the cache."""
    berts.save_transformers(tmp_path / "m", "BertModel")
    return pphub.prepare(tmp_path / "m")


# -- mapped --------------------------------------------------------------------------------------------------


@needs_maps
def test_a_prepared_model_is_the_pages_of_its_file(tmp_path: Path) -> None:
    weights = pphub.prepare(MINILM) / WEIGHTS
    pphub.AutoModel.from_pretrained(MINILM)  # what Paddle makes once in a process
    gc.collect()
    before = private_kib()
    model = pphub.AutoModel.from_pretrained(MINILM)
    added = private_kib() - before
    assert is_mapped(weights)
    assert added < weights.stat().st_size / 1024 / 8
    assert bits(model) == bits(type(model).from_pretrained(str(weights.parent)))


def test_training_touches_neither_the_file_nor_another_model(prepared: Path) -> None:
    import paddle

    before = hashlib.sha256((prepared / WEIGHTS).read_bytes()).digest()
    model, other = (pphub.AutoModel.from_pretrained(prepared) for _ in range(2))
    expected = bits(other)
    model.train()
    optimizer = paddle.optimizer.AdamW(learning_rate=0.1, parameters=model.parameters())
    for _ in range(2):
        model(paddle.to_tensor([[1, 2, 3]]))[1].sum().backward()
        optimizer.step()
        optimizer.clear_grad()
    assert sum(model.state_dict()[name].numpy().tobytes() != value for name, value in expected.items()) > 20
    assert bits(other) == expected
    assert hashlib.sha256((prepared / WEIGHTS).read_bytes()).digest() == before


def test_setting_values_and_casting_a_mapped_model(prepared: Path) -> None:
    model = pphub.AutoModel.from_pretrained(prepared)
    expected = bits(model)
    copied = copy.deepcopy(model)
    model.pooler.dense.bias.set_value(np.ones(16, np.float32))
    model.set_state_dict({"pooler.dense.weight": np.ones((16, 16), np.float32)})
    assert (model.pooler.dense.bias.numpy() == 1).all()
    assert (model.pooler.dense.weight.numpy() == 1).all()
    model.to(dtype="bfloat16")
    assert {str(parameter.dtype) for parameter in model.parameters()} == {"paddle.bfloat16"}
    assert bits(copied) == expected == bits(pphub.AutoModel.from_pretrained(prepared))


def test_what_is_saved_is_what_was_loaded(tmp_path: Path, prepared: Path) -> None:
    import paddle

    model = pphub.AutoModel.from_pretrained(prepared)
    paddle.save(model.state_dict(), str(tmp_path / "state.pdparams"))
    state = paddle.load(str(tmp_path / "state.pdparams"))
    assert {name: value.numpy().tobytes() for name, value in state.items()} == bits(model)


def test_tensors_outlive_the_model_and_the_file(prepared: Path) -> None:
    model = pphub.AutoModel.from_pretrained(prepared)
    expected, answer = bits(model), ask(model)
    shutil.rmtree(prepared)
    assert ask(model) == answer
    state = {name: value.detach() for name, value in model.state_dict().items()}
    rows = {name: value[:1] for name, value in state.items() if value.ndim == 2}
    del model
    gc.collect()
    assert {name: value.numpy().tobytes() for name, value in state.items()} == expected
    del state
    gc.collect()
    assert all(expected[name].startswith(value.numpy().tobytes()) for name, value in rows.items())


def test_a_cache_entry_that_is_replaced_while_it_is_loaded(tmp_path: Path, prepared: Path) -> None:
    model = pphub.AutoModel.from_pretrained(prepared)
    expected = bits(model)
    new = tmp_path / "new"
    new.write_bytes(b"\0" * (prepared / WEIGHTS).stat().st_size)
    new.replace(prepared / WEIGHTS)
    assert bits(model) == expected


def test_a_folder_whose_weights_are_replaced_while_they_are_copied(
    tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values of two files would make a model that nobody saved."""
    folder = shutil.copytree(prepared, tmp_path / "folder", symlinks=False)
    (folder / WEIGHTS).chmod(0o644)
    pphub.AutoModel.from_pretrained(folder)

    def late(*arguments: Any) -> None:
        (folder / "new").write_bytes((folder / WEIGHTS).read_bytes()[::-1])
        (folder / "new").replace(folder / WEIGHTS)
        fill(*arguments)

    monkeypatch.setattr("pphub.loading.model.fill", late)
    with pytest.raises(LoadFailed, match="was replaced while it was being read"):
        pphub.AutoModel.from_pretrained(folder)


def test_a_file_that_is_replaced_while_it_is_read_is_noticed(prepared: Path) -> None:
    from pphub.checkpoint.folder import read_weights

    path = prepared / WEIGHTS
    model = pphub.AutoModel.from_pretrained(prepared)
    files, tensors = Files([path]), read_weights(path)
    shutil.copy2(path, path.with_name("new"))
    path.with_name("new").replace(path)
    with pytest.raises(LoadFailed, match="was replaced while it was being read"):
        fill(model.state_dict(), {name: tensors[name] for name in model.state_dict()}, files)


@needs_maps
def test_a_folder_of_the_users_is_copied_so_that_it_can_be_saved_to(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    """Paddle writes to the file that is there: mapped pages would change, or be gone, under the model."""
    berts.save_transformers(tmp_path / "m", "BertModel")
    folder = pphub.convert(tmp_path / "m", tmp_path / "mine")
    model = pphub.AutoModel.from_pretrained(folder)
    assert "others may write to it" in said.text
    assert not is_mapped(folder / WEIGHTS)
    expected = bits(model)
    model.save_pretrained(str(folder))
    assert bits(model) == expected == bits(pphub.AutoModel.from_pretrained(folder))


def test_a_foreign_pdparams_is_copied(tmp_path: Path, prepared: Path, said: pytest.LogCaptureFixture) -> None:
    import paddle

    model = pphub.AutoModel.from_pretrained(prepared)
    shutil.copytree(prepared, tmp_path / "foreign")
    weights = tmp_path / "foreign" / WEIGHTS
    weights.unlink()
    paddle.save(model.state_dict(), str(weights))
    weights.chmod(0o444)
    said.clear()
    assert bits(pphub.AutoModel.from_pretrained(tmp_path / "foreign")) == bits(model)
    assert "tensors are copied into memory" in said.text


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_another_dtype_is_copied_and_the_files_own_is_not(
    tmp_path: Path, dtype: str, said: pytest.LogCaptureFixture
) -> None:
    berts.save_transformers(tmp_path / "m", "BertForMaskedLM")
    with pytest.warns(FreshParameters, match=r"bert\.pooler\.dense\.weight"):
        cast = pphub.AutoModelForMaskedLM.from_pretrained(tmp_path / "m", dtype=dtype)
    assert "tensors are copied into memory" in said.text
    assert {str(value.dtype) for value in cast.parameters()} == {f"paddle.{dtype}"}
    assert cast.bert.pooler.dense.weight.astype("float32").numpy().std() > 0.01  # drawn, in that dtype
    said.clear()
    folder = pphub.convert(tmp_path / "m", dtype=dtype)
    with pytest.warns(FreshParameters):
        model = pphub.AutoModelForMaskedLM.from_pretrained(folder)
    assert "copied into memory" not in said.text
    fresh = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    values = bits(cast)
    assert {name: value for name, value in bits(model).items() if name not in fresh} == {
        name: value for name, value in values.items() if name not in fresh
    }


def test_a_dtype_that_there_is_not(prepared: Path) -> None:
    with pytest.raises(UsageError, match="dtype 'float31'"):
        pphub.AutoModel.from_pretrained(prepared, dtype="float31")


CHILD = """
import sys
import pphub
model = pphub.AutoModel.from_pretrained(sys.argv[1])
print(float(sum(value.astype("float64").sum() for value in model.parameters())), flush=True)  # every page is touched
sys.stdin.read()
"""


@needs_maps
def test_processes_share_the_pages(tmp_path: Path) -> None:
    weights = (pphub.prepare(MINILM) / WEIGHTS).resolve()
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(MINILM)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    children = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    try:
        sums = [next(line for line in child.stdout if line[0] in "-0123456789") for child in children]
        shared = [proportional_kib(child.pid, weights) for child in children]
    finally:
        for child in children:
            child.communicate()
    assert sums[0] == sums[1]
    assert sum(shared) <= 1.1 * weights.stat().st_size / 1024
    assert [child.returncode for child in children] == [0, 0]


def proportional_kib(process: int, path: Path) -> int:
    """The share of a process in the memory that a file takes, where two that share a page count half of it each."""
    found, inside = 0, False
    for line in Path(f"/proc/{process}/smaps").read_text(encoding="utf-8").splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Pss:"):
            found += int(line.split()[1])
    return found


# -- random numbers ------------------------------------------------------------------------------------------


def test_an_initialisation_that_is_left_out_would_show(tmp_path: Path) -> None:
    """PaddleNLP's classes set the epsilon of layer norms while they draw random numbers."""
    row = next(row for row in all_rows() if row.torch_class == "BertModel")
    model = build(row)
    folder = pphub.convert(save(model, tmp_path / "torch"), tmp_path / "paddle")
    live = pphub.AutoModel.from_pretrained(folder)
    assert differences_to_own(row, model.config, live, folder) == []
    live = pphub.AutoModel.from_pretrained(folder)  # one that was not asked yet: the answers leave traces
    live.encoder.layers[0].norm1._epsilon = 1e-3
    assert len(differences_to_own(row, model.config, live, folder)) == 1 + 2  # and the answers to two questions


def test_a_fresh_head_is_drawn_as_paddlenlp_would(tmp_path: Path, paddlenlp: Any) -> None:
    import paddle

    berts.save_transformers(tmp_path / "m", "BertModel", initializer_range=0.5)

    def head(seed: int) -> dict[str, bytes]:
        paddle.seed(seed)
        with pytest.warns(FreshParameters):
            return bits(
                pphub.AutoModelForSequenceClassification.from_pretrained(tmp_path / "m", num_classes=300).classifier
            )

    assert head(1) == head(1) != head(2)
    weight = np.frombuffer(head(1)["weight"], np.float32)
    assert abs(weight.std() - 0.5) < 0.05
    assert abs(weight.mean()) < 0.05
    assert not any(head(1)["bias"])


@pytest.mark.parametrize(
    ("torch_class", "name"),
    [
        ("RobertaForMaskedLM", "RobertaForSequenceClassification"),
        ("BartModel", "BartForSequenceClassification"),
        ("T5Model", "T5Model"),
    ],
)
def test_all_that_is_fresh_has_the_distribution_of_paddlenlps_own(
    tmp_path: Path, torch_class: str, name: str, paddlenlp: Any
) -> None:
    """Of T5, the layer around two parameters draws them; of the others, heads of two layers are fresh."""
    row = next(row for row in all_rows() if row.torch_class == torch_class)
    folder = pphub.convert(save(build(row), tmp_path / "torch"), tmp_path / "paddle")
    more = {"d_ff": 48, "ignore_mismatched_sizes": True} if name == "T5Model" else {"num_labels": 40}
    with pytest.warns(FreshParameters) as caught:
        model = load_model(name, folder, (WEIGHTS,), more)
    fresh = str(caught[0].message).rpartition(": ")[2].split(", ")
    own = type(model)(type(model).config_class.from_pretrained(str(folder), **more))
    assert len(fresh) >= 4
    for key in fresh:
        ours, theirs = (each.state_dict()[key].numpy() for each in (model, own))
        assert ours.std() == pytest.approx(theirs.std(), rel=0.3), key
        assert ours.mean() == pytest.approx(theirs.mean(), abs=0.2 * theirs.std() + 1e-6), key


def test_embeddings_of_another_size_keep_what_the_class_does_to_its_padding(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    """Of these more was done than drawing; then the whole model is built with random numbers."""
    row = next(row for row in all_rows() if row.torch_class == "AlbertModel")
    folder = pphub.convert(save(build(row), tmp_path / "torch"), tmp_path / "paddle")
    with pytest.warns(FreshParameters, match=r"word_embeddings\.weight"):
        model = pphub.AutoModel.from_pretrained(folder, vocab_size=50, ignore_mismatched_sizes=True)
    assert "AlbertModel is built with random numbers" in said.text
    weight = model.embeddings.word_embeddings.weight.numpy()
    assert weight.shape[0] == 50
    assert (weight[1:].std(axis=1) > 0.001).all()


def test_other_threads_and_later_models_draw_as_ever() -> None:
    import paddle

    names = [(paddle._C_ops, "gaussian"), (paddle.nn.Layer, "apply"), (paddle.Tensor, "set_value")]
    originals = [getattr(*name) for name in names]
    deviations = []

    def work() -> None:
        deviations.append(float(paddle.nn.Linear(50, 50).weight.std()))

    with without_draws() as draws:
        assert float(paddle.nn.Linear(50, 50).weight.std()) == 0
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        with without_draws():
            pass
        layer = paddle.nn.Linear(50, 50)
        assert float(layer.weight.std()) == 0
    work()
    assert min(deviations) > 0.01
    assert draws.make_up([], [])
    assert float(layer.weight.std()) > 0.01
    with pytest.raises(ZeroDivisionError), without_draws():
        _ = 1 / 0
    assert [getattr(*name) for name in names] == originals


@needs_maps
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_is_not_drawn_takes_no_memory(dtype: str) -> None:
    """Of half precision, Paddle draws float32 and casts it."""
    import paddle
    from paddlenlp.transformers.model_utils import dtype_guard

    before = private_kib()
    with dtype_guard(dtype), without_draws():
        layer = paddle.nn.Linear(4096, 4096)
    assert private_kib() - before < 4096
    assert str(layer.weight.dtype) == f"paddle.{dtype}"


def test_models_are_loaded_in_several_threads_at_once(prepared: Path) -> None:
    expected = bits(pphub.AutoModel.from_pretrained(prepared))
    found: list[dict[str, bytes]] = []
    threads = [
        threading.Thread(target=lambda: found.append(bits(pphub.AutoModel.from_pretrained(prepared)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


# -- tied ----------------------------------------------------------------------------------------------------

# Base class, class with a head, what is tied in the latter, and changes of the config.
TIED: list[tuple[str, str, str, dict[str, Any]]] = [
    ("BartModel", "BartForConditionalGeneration", "lm_head_weight", {}),
    ("MBartModel", "MBartForConditionalGeneration", "lm_head_weight", {}),
    ("PegasusModel", "PegasusForConditionalGeneration", "lm_head_weight", {}),
    ("BlenderbotModel", "BlenderbotForConditionalGeneration", "lm_head_weight", {}),
    ("BlenderbotSmallModel", "BlenderbotSmallForConditionalGeneration", "lm_head_weight", {}),
    ("OPTModel", "OPTForCausalLM", "lm_head.decoder_weight", {}),
    ("LlamaModel", "LlamaForCausalLM", "lm_head.weight", {"tie_word_embeddings": True}),
    ("MT5Model", "MT5ForConditionalGeneration", "lm_head.weight", {"tie_word_embeddings": True}),
]


def row_of(torch_class: str, **changes: object) -> Row:
    row = next(row for row in all_rows() if row.torch_class == torch_class)
    return replace(row, settings={**row.settings, **changes})


def fresh_of(caught: pytest.WarningsRecorder) -> list[str]:
    (text,) = [str(warning.message) for warning in caught if warning.category is FreshParameters]
    return text.rpartition(": ")[2].split(", ")


@pytest.mark.parametrize("is_mapped_there", [True, False], ids=["mapped", "copied"])
@pytest.mark.parametrize(("base", "head", "name", "changes"), TIED, ids=[head for _, head, _, _ in TIED])
@pytest.mark.filterwarnings("error::pphub.loading.FreshParameters")
def test_a_head_that_torch_ties_to_a_base_model_is_tied(
    tmp_path: Path,
    paddlenlp: Any,
    said: pytest.LogCaptureFixture,
    base: str,
    head: str,
    name: str,
    changes: dict[str, Any],
    is_mapped_there: bool,
) -> None:
    """As facebook/bart-base is on the hub: transformers misses nothing there."""
    import transformers

    torch_folder = save(build(row_of(base, **changes)), tmp_path / "torch")
    torch_class = getattr(transformers, head)
    torch_model, about = torch_class.from_pretrained(torch_folder, output_loading_info=True)
    assert not about["missing_keys"]
    folder = pphub.prepare(torch_folder) if is_mapped_there else pphub.convert(torch_folder, tmp_path / "paddle")
    said.clear()
    model = pphub.from_pretrained(getattr(paddlenlp, head), folder)
    assert max(differences(row_of(head, **changes), torch_model.eval(), model)) <= 1e-5
    assert f"{name} of {head} is not in the checkpoint" in said.text
    assert "is built with random numbers" not in said.text
    state = model.state_dict()
    assert "final_logits_bias" not in state or not state["final_logits_bias"].numpy().any()
    value, same = state[name].numpy(), torch_model.get_output_embeddings().weight.detach().numpy()
    assert (value if value.shape == same.shape else value.T).tobytes() == same.tobytes()


@needs_maps
def test_what_is_tied_is_the_same_pages(tmp_path: Path, paddlenlp: Any, said: pytest.LogCaptureFixture) -> None:
    folder = pphub.prepare(save(build(row_of("BartModel")), tmp_path / "torch"))
    model = pphub.from_pretrained(paddlenlp.BartForConditionalGeneration, folder)
    assert is_mapped(folder / WEIGHTS)
    assert "copied into memory" not in said.text
    assert model.lm_head_weight.data_ptr() == model.bart.shared.weight.data_ptr()


@pytest.mark.parametrize(
    ("base", "head", "name", "changes", "given"),
    [
        ("OPTModel", "OPTForCausalLM", "lm_head.decoder_weight", {"tie_word_embeddings": False}, {}),
        ("OPTModel", "OPTForCausalLM", "lm_head.decoder_weight", {}, {"tie_word_embeddings": False}),
        ("LlamaModel", "LlamaForCausalLM", "lm_head.weight", {}, {}),
        ("LlamaModel", "LlamaForCausalLM", "lm_head.weight", TIED[6][3], {"tie_word_embeddings": False}),
        # As opt-350m: PaddleNLP's head is not as wide as the embeddings.
        ("OPTModel", "OPTForCausalLM", "lm_head.decoder_weight", {"word_embed_proj_dim": 12}, {}),
    ],
)
def test_what_a_config_unties_or_cannot_be_tied_is_fresh(
    tmp_path: Path,
    paddlenlp: Any,
    base: str,
    head: str,
    name: str,
    changes: dict[str, Any],
    given: dict[str, Any],
) -> None:
    folder = pphub.convert(save(build(row_of(base, **changes)), tmp_path / "torch"), tmp_path / "paddle")
    with pytest.warns(FreshParameters) as caught:
        model = pphub.from_pretrained(getattr(paddlenlp, head), folder, **given)
    assert fresh_of(caught) == [name]
    assert model.state_dict()[name].numpy().std() > 0.001  # drawn


@pytest.mark.parametrize(
    ("base", "head", "tied", "fresh"),
    [
        ("DistilBertModel", "DistilBertForMaskedLM", "vocab_projector", "vocab_transform"),
        (
            "NystromformerModel",
            "NystromformerForMaskedLM",
            "cls.predictions.decoder",
            "cls.predictions.transform.dense",
        ),
    ],
)
def test_of_a_head_that_is_tied_in_part_the_rest_is_fresh(
    tmp_path: Path, paddlenlp: Any, base: str, head: str, tied: str, fresh: str
) -> None:
    folder = pphub.convert(save(build(row_of(base)), tmp_path / "torch"), tmp_path / "paddle")
    with pytest.warns(FreshParameters) as caught:
        model = pphub.from_pretrained(getattr(paddlenlp, head), folder)
    assert {f"{fresh}.weight", f"{fresh}.bias", f"{tied}.bias"} < set(fresh_of(caught))
    assert f"{tied}.weight" not in fresh_of(caught)
    state = model.state_dict()
    (words,) = [value for name, value in state.items() if name.endswith("word_embeddings.weight")]
    assert state[f"{tied}.weight"].numpy().T.tobytes() == words.numpy().tobytes()


def test_what_is_tied_in_a_folder_of_paddles_own(tmp_path: Path, paddlenlp: Any) -> None:
    """Without a record its config tells, where Paddle's says what torch's would."""
    opt = pphub.convert(save(build(row_of("OPTModel")), tmp_path / "opt"), tmp_path / "opt-paddle")
    llama = save(build(row_of("LlamaModel", tie_word_embeddings=True)), tmp_path / "llama")
    llama = pphub.convert(llama, tmp_path / "llama-paddle")
    for folder in (opt, llama):
        pphub.AutoModel.from_pretrained(folder).save_pretrained(str(folder.parent / f"{folder.name}-saved"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FreshParameters)
        state = bits(pphub.from_pretrained(paddlenlp.OPTForCausalLM, tmp_path / "opt-paddle-saved"))
    assert state["lm_head.decoder_weight"] == state["opt.embeddings.word_embeddings.weight"]
    with pytest.warns(FreshParameters, match=r"lm_head\.weight$"):  # Paddle's cannot say that it is tied
        pphub.from_pretrained(paddlenlp.LlamaForCausalLM, tmp_path / "llama-paddle-saved")
    edited(opt, tmp_path / "untied", tie_word_embeddings=False)
    with pytest.warns(FreshParameters, match=r"lm_head\.decoder_weight$"):
        pphub.from_pretrained(paddlenlp.OPTForCausalLM, tmp_path / "untied")


@pytest.mark.parametrize("architecture", [None, [], {"torch": []}, {"torch": "NoSuchModel"}, {"torch": 7}], ids=str)
@pytest.mark.filterwarnings("ignore::pphub.loading.FreshParameters")
def test_a_record_that_tells_nothing_of_ties(tmp_path: Path, paddlenlp: Any, architecture: object) -> None:
    """What the config tells counts, unless the record speaks of rules that there are not."""
    folder = pphub.convert(save(build(row_of("OPTModel")), tmp_path / "torch"), tmp_path / "paddle")
    record = json.loads((folder / "conversion.json").read_bytes())
    record |= {"architecture": architecture, "config": 7}
    (folder / "conversion.json").write_text(json.dumps(record), encoding="utf-8")
    state = bits(pphub.from_pretrained(paddlenlp.OPTForCausalLM, folder))
    is_tied = state["lm_head.decoder_weight"] == state["opt.embeddings.word_embeddings.weight"]
    assert is_tied == (architecture != {"torch": "NoSuchModel"})


@pytest.mark.parametrize("saved", ["BartModel", "BartForConditionalGeneration"])
def test_embeddings_of_another_size_leave_what_is_tied_to_them_fresh(
    tmp_path: Path, paddlenlp: Any, saved: str
) -> None:
    """Zeros that take the place of what the checkpoint has are told of; other zeros are not."""
    folder = pphub.convert(save(build(row_of(saved)), tmp_path / "torch"), tmp_path / "paddle")
    more: dict[str, Any] = {"vocab_size": 70, "ignore_mismatched_sizes": True}
    with pytest.warns(FreshParameters) as caught:
        pphub.from_pretrained(paddlenlp.BartForConditionalGeneration, folder, **more)
    assert "lm_head_weight" in fresh_of(caught)
    assert ("final_logits_bias" in fresh_of(caught)) == (saved != "BartModel")


def test_a_head_of_another_size_is_not_taken_for_one_that_is_not_there(tmp_path: Path, paddlenlp: Any) -> None:
    folder = pphub.prepare(save(build(row_of("OPTForCausalLM")), tmp_path / "torch"))

    def cut(state: dict[str, Any]) -> None:
        state["lm_head.decoder_weight"] = state["lm_head.decoder_weight"][1:]

    changed = change_state(folder, tmp_path / "changed", cut)
    with pytest.warns(FreshParameters, match=r": lm_head\.decoder_weight$"):
        pphub.from_pretrained(paddlenlp.OPTForCausalLM, changed, ignore_mismatched_sizes=True)


def test_a_class_of_the_users_own_is_tied_and_its_buffers_are_told_of(tmp_path: Path, paddlenlp: Any) -> None:
    import paddle

    class Own(paddlenlp.BartForConditionalGeneration):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.register_buffer("noise", paddle.randn([8]))
            self.zeros = self.create_parameter([8], is_bias=True)

    folder = pphub.convert(save(build(row_of("BartModel")), tmp_path / "torch"), tmp_path / "paddle")
    with pytest.warns(FreshParameters) as caught:
        state = bits(pphub.from_pretrained(Own, folder))
    assert sorted(fresh_of(caught)) == ["noise", "zeros"]
    assert state["lm_head_weight"] == state["bart.shared.weight"]


# -- the class, and what is beside the weights ---------------------------------------------------------------


def edited(folder: Path, target: Path, **changes: object) -> Path:
    """A copy of a conversion with another config."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_bytes()) | changes
    kept = {key: value for key, value in config.items() if value is not None}
    (target / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    return target


def test_without_architectures_the_model_type_decides(tmp_path: Path, prepared: Path) -> None:
    folder = edited(prepared, tmp_path / "p", architectures=None)
    assert type(pphub.AutoModel.from_pretrained(folder)).__name__ == "BertModel"
    with pytest.warns(FreshParameters):
        model = pphub.AutoModelForTokenClassification.from_pretrained(folder)
    assert type(model).__name__ == "BertForTokenClassification"
    assert type(pphub.AutoConfig.from_pretrained(folder)).__name__ == "BertConfig"
    with pytest.raises(LoadFailed, match="no AutoModelForConditionalGeneration for models of the type 'bert'"):
        pphub.AutoModelForConditionalGeneration.from_pretrained(folder)
    for model_type in (None, "no-such", ["bert"]):
        folder = edited(prepared, tmp_path / str(model_type), architectures=None, model_type=model_type)
        with pytest.raises(LoadFailed, match="names no class"):
            pphub.AutoModel.from_pretrained(folder)


def test_a_legacy_config_with_init_args(tmp_path: Path) -> None:
    berts.save_transformers(tmp_path / "m", "BertForSequenceClassification", num_labels=3)
    prepared = pphub.prepare(tmp_path / "m")
    model = pphub.AutoModelForSequenceClassification.from_pretrained(prepared)
    folder = tmp_path / "legacy"
    folder.mkdir()
    shutil.copy(prepared / WEIGHTS, folder)
    keys = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"]
    keys += ["max_position_embeddings", "type_vocab_size", "hidden_dropout_prob", "layer_norm_eps"]
    base = {key: getattr(model.config, key) for key in keys} | {"init_class": "BertModel"}
    legacy = {"init_args": [base], "init_class": "BertForSequenceClassification", "num_classes": 3}
    (folder / "model_config.json").write_text(json.dumps(legacy), encoding="utf-8")
    old = pphub.AutoModelForSequenceClassification.from_pretrained(folder)
    assert bits(old) == bits(model)
    assert ask(old) == ask(model)


def test_how_text_is_written_comes_with_the_model(tmp_path: Path) -> None:
    row = next(row for row in all_rows() if row.torch_class == "GPT2LMHeadModel")
    folder = pphub.convert(save(build(row), tmp_path / "torch"), tmp_path / "paddle")
    settings = json.dumps({"max_length": 17, "num_beams": 3})
    (folder / "generation_config.json").write_text(settings, encoding="utf-8")
    model = pphub.AutoModelForCausalLM.from_pretrained(folder)
    assert (model.generation_config.max_length, model.generation_config.num_beams) == (17, 3)
    (folder / "generation_config.json").write_text("[", encoding="utf-8")
    assert pphub.AutoModelForCausalLM.from_pretrained(folder).generation_config.num_beams == 1


def test_a_single_number_with_or_without_a_dimension(tmp_path: Path) -> None:
    """Paddle's scalars had a dimension once; CLIP has one."""
    import paddle

    row = next(row for row in all_rows() if row.torch_class == "CLIPModel")
    folder = pphub.convert(save(build(row), tmp_path / "torch"), tmp_path / "paddle")
    model = pphub.AutoModel.from_pretrained(folder)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    scalar = next(name for name, value in state.items() if value.size == 1)
    turned = state[scalar].reshape(() if state[scalar].shape else (1,))
    paddle.save(state | {scalar: turned}, str(folder / WEIGHTS))
    assert bits(pphub.AutoModel.from_pretrained(folder)) == bits(model)


def test_static_mode_is_told(prepared: Path) -> None:
    import paddle

    paddle.enable_static()
    try:
        with pytest.raises(UsageError, match="static mode"):
            pphub.AutoModel.from_pretrained(prepared)
    finally:
        paddle.disable_static()


def test_heads_that_the_model_has_no_place_for_are_named_at_debug_level(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    berts.save_transformers(tmp_path / "m", "BertForPreTraining")
    pphub.AutoModel.from_pretrained(tmp_path / "m")
    assert "BertModel has no place for these tensors of the checkpoint: cls.predictions" in said.text


@pytest.mark.skipif(os.name == "nt", reason="Windows holds what is mapped")
def test_the_file_is_let_go_with_the_last_tensor(prepared: Path) -> None:
    model = pphub.AutoModel.from_pretrained(prepared)
    if MAPS.exists():
        assert is_mapped(prepared / WEIGHTS)
    del model
    gc.collect()
    if MAPS.exists():
        assert not is_mapped(prepared / WEIGHTS)


def test_threads_that_load_different_dtypes_get_what_they_asked_for(prepared: Path) -> None:
    """Paddle has one default dtype for all threads."""
    wanted = ["float16" if number % 2 else "float32" for number in range(24)]
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda dtype: pphub.AutoModel.from_pretrained(prepared, dtype=dtype), wanted))
    for model, dtype in zip(models, wanted, strict=True):
        assert {str(parameter.dtype) for parameter in model.parameters()} == {f"paddle.{dtype}"}
    assert sys.modules["paddle"].get_default_dtype() == "float32"


def change_state(prepared: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a conversion whose weights were changed and saved again by Paddle."""
    import paddle

    shutil.copytree(prepared, target)
    state = {name: value.numpy() for name, value in paddle.load(str(prepared / WEIGHTS)).items()}
    change(state)
    (target / WEIGHTS).unlink()
    paddle.save(state, str(target / WEIGHTS), protocol=4)
    return target


@pytest.mark.parametrize("is_last", [True, False])
def test_two_tensors_for_one_parameter_that_differ_are_refused(tmp_path: Path, prepared: Path, is_last: bool) -> None:
    def add(state: dict[str, Any]) -> None:
        (name,) = [name for name in state if name.endswith("pooler.dense.weight")]
        other = {name.removeprefix("bert.") if name.startswith("bert.") else f"bert.{name}": state[name] + 1}
        both = {**state, **other} if is_last else {**other, **state}
        state.clear()
        state.update(both)

    with pytest.raises(LoadFailed, match="which are one parameter, and differ"):
        pphub.AutoModel.from_pretrained(change_state(prepared, tmp_path / "changed", add))


@pytest.mark.parametrize("kind", ["int8", "int64", "bool"])
def test_whole_numbers_are_no_weights(tmp_path: Path, prepared: Path, kind: str) -> None:
    def quantize(state: dict[str, Any]) -> None:
        name = next(name for name in state if name.endswith("linear1.weight"))
        state[name] = state[name].astype(kind)

    with pytest.raises(LoadFailed, match=rf"linear1\.weight: {kind}, not float32"):
        pphub.AutoModel.from_pretrained(change_state(prepared, tmp_path / "changed", quantize))


def test_a_class_of_the_users_own_keeps_what_it_computes_from_random_numbers(prepared: Path, paddlenlp: Any) -> None:
    import paddle

    class Own(paddlenlp.BertForSequenceClassification):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.direction = self.create_parameter([8], default_initializer=paddle.nn.initializer.Normal())
            self.unit = self.direction / self.direction.norm()

    with pytest.warns(FreshParameters, match="direction"):
        model = pphub.from_pretrained(Own, prepared)
    assert abs(float(model.unit.norm()) - 1) < 1e-5


@pytest.mark.filterwarnings("ignore::pphub.loading.FreshParameters")
def test_an_epsilon_that_only_our_loader_sets_is_saved_with_the_model(tmp_path: Path) -> None:
    (row,) = [row for row in all_rows() if row.torch_class == "AlbertForMaskedLM" and not row.label]
    folder = save(build(row), tmp_path / "torch")
    model = pphub.AutoModelForMaskedLM.from_pretrained(folder)
    model.save_pretrained(str(tmp_path / "saved"))
    again = pphub.AutoModelForMaskedLM.from_pretrained(tmp_path / "saved")
    assert ask(again, 20) == ask(model, 20)
    assert again.predictions.layer_norm._epsilon == model.predictions.layer_norm._epsilon != 1e-5
