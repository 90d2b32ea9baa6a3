"""`hub align`: right models pass with figures like the guide's, and everything else is caught, where it is."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pphub
from conftest import MINILM, WEIGHTS
from matrix import Row, all_rows, build, save
from pphub.alignment import schedules
from pphub.alignment.asking import Sizes, make_questions, plain_ids
from pphub.alignment.compare import compare
from pphub.alignment.manner import Manner
from pphub.alignment.paddle_side import PaddleModel, paddle_rates
from pphub.alignment.record import PROOF_FILE, describe_proof, proof_problems, read_proof
from pphub.alignment.report import report_document
from pphub.alignment.run import align, check_sides, run_stages
from pphub.alignment.session import Options, Session
from pphub.alignment.sides import Batch, Objective, Recipe
from pphub.alignment.stages import rounding
from pphub.alignment.stages.forward import _compare_layers, _judge
from pphub.alignment.stages.result import Found
from pphub.alignment.stages.schedule import run_schedule
from pphub.alignment.stages.train import TASKS
from pphub.alignment.subject import find_subject
from pphub.alignment.torch_side import TorchModel
from pphub.alignment.values import EXACT, Report, StageResult, Tolerance
from pphub.checkpoint.folder import read_weights
from pphub.cli import main
from pphub.errors import Corrupt, UsageError
from pphub.serve import Server
from pphub_cache.progress import SilentProgress

if TYPE_CHECKING:
    from collections.abc import Callable

GPT2 = WEIGHTS / "mgm" / "resources" / "general_model"
QUIET = SilentProgress()
STRICT = Tolerance(1e-6, 1e-5)
SMALL: dict[str, Any] = {"vocab_size": 30522, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
SMALL |= {"intermediate_size": 48, "max_position_embeddings": 160}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small BERT with a real vocabulary: torch's folder and its conversion, which tests copy before they touch it."""
    folder = tmp_path_factory.mktemp("small")
    torch = save(build(Row("bert", "BertModel", "BertConfig", SMALL)), folder / "torch")
    for name in ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(MINILM / name, torch / name)
    return torch, pphub.convert(torch, folder / "paddle", progress=QUIET)


def stage_of(report: Report, name: str) -> StageResult:
    return next(stage for stage in report.stages if stage.name == name)


def align_small(paddle: Path, torch: Path, *stages: str, **options: Any) -> Report:
    subject = find_subject(paddle, torch, QUIET)
    return run_stages(subject, stages or ("forward",), Options(sizes=Sizes(2, 12), **options), QUIET)


# -- real models


def test_minilm_passes_all_stages_that_apply(tmp_path: Path) -> None:
    paddle = pphub.convert(MINILM, tmp_path / "paddle", progress=QUIET)
    report = align(paddle, stages="all", task="sst2", steps=3, report=tmp_path / "report", progress=QUIET)
    assert report.passed
    assert {stage.name: stage.status for stage in report.stages} == dict.fromkeys(
        ("forward", "data", "metric", "loss", "schedule", "backward", "train sst2"), "passed"
    )
    forward = stage_of(report, "forward")
    assert forward.mean is not None
    assert 0 < forward.mean <= 1e-6  # two frameworks never agree to the last bit: 0 would be one framework twice
    assert forward.parameters is not None
    assert (forward.parameters.compared, forward.parameters.unequal) == (103, ())
    layers = [each for each in forward.layers if each.kind == "layer" and each.question == "made-up inputs"]
    assert [each.torch for each in layers] == [f"encoder.layer.{number}" for number in range(6)]
    assert stage_of(report, "train sst2").notes[-1] == "accuracy after training: torch 1.0000, Paddle 1.0000"
    assert (report.torch.framework, report.torch.kind, report.paddle.framework) == ("torch", "BertModel", "paddle")
    assert report.torch.files["model.safetensors"].startswith("53aa51172d14")
    # The proof lies beside the conversion, and belongs to these files only.
    assert report.recorded == str(paddle / PROOF_FILE)
    assert "aligned: forward, data" in (describe_proof(paddle) or "")
    assert proof_problems(paddle) == []
    written = json.loads((tmp_path / "report" / "report.json").read_bytes())
    assert written["passed"] is True
    assert written["sides"]["paddle"]["files"] == dict(report.paddle.files)
    with (paddle / "model_state.pdparams").open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"\0\1\2\3")
    assert proof_problems(paddle) == ["model_state.pdparams is not the file that was aligned"]


def test_gpt2_passes_all_stages_that_apply() -> None:
    report = align(GPT2, stages="all", task="qnli", steps=2, progress=QUIET)
    assert report.passed, [stage.reason for stage in report.stages]
    assert {stage.name for stage in report.stages if stage.status == "skipped"} == {"data"}
    forward = stage_of(report, "forward")
    assert forward.scaled is not None
    assert forward.scaled[0] <= 1e-6
    assert forward.parameters is not None
    assert forward.parameters.unread == ()
    assert stage_of(report, "train qnli").rows == "A8"


# -- what is wrong is caught


def change_weights(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    import paddle

    def mutate(folder: Path) -> None:
        values = {name: np.array(tensor.read()) for name, tensor in read_weights(folder / WEIGHTS_NAME).items()}
        change(values)
        paddle.save(values, str(folder / WEIGHTS_NAME))

    return mutate


def edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **values}), encoding="utf-8")


WEIGHTS_NAME = "model_state.pdparams"
Q, K = "encoder.layers.1.self_attn.q_proj.weight", "encoder.layers.1.self_attn.k_proj.weight"
V = "encoder.layers.2.self_attn.v_proj.weight"


def swap_query_and_key(values: dict[str, Any]) -> None:
    values[Q], values[K] = values[K], values[Q]


def skip_a_transpose(values: dict[str, Any]) -> None:
    values[V] = np.ascontiguousarray(values[V].T)


def zero_a_bias(values: dict[str, Any]) -> None:
    values["encoder.layers.0.linear1.bias"][:] = 0


def perturb_one_weight(values: dict[str, Any]) -> None:
    values["encoder.layers.2.linear2.weight"][3, 7] += 1e-3


def put_a_nan(values: dict[str, Any]) -> None:
    values["encoder.layers.1.norm1.weight"][5] = np.nan


@pytest.mark.parametrize(
    ("change", "layer", "module", "count"),
    [
        (swap_query_and_key, "encoder.layer.1", "attention.self.query", 2),
        (skip_a_transpose, "encoder.layer.2", "attention.self.value", 1),
        (zero_a_bias, "encoder.layer.0", "intermediate.dense", 1),
        (perturb_one_weight, "encoder.layer.2", "output.dense", 1),
        (put_a_nan, "encoder.layer.1", "attention.output.LayerNorm", 1),
    ],
)
def test_wrong_weights_are_caught_and_named(
    tmp_path: Path, small: tuple[Path, Path], change: Any, layer: str, module: str, count: int
) -> None:
    paddle = Path(shutil.copytree(small[1], tmp_path / "paddle"))
    change_weights(change)(paddle)
    forward = stage_of(align_small(paddle, small[0]), "forward")
    assert forward.status == "failed"
    assert forward.parameters is not None
    assert len(forward.parameters.unequal) == count
    assert layer in forward.parameters.unequal[0].name
    assert forward.first is not None
    assert forward.first.startswith(f"{layer} ")
    assert f"{layer}.{module} " in forward.first


def test_what_is_too_small_for_the_outputs_is_caught_in_the_parameters(
    tmp_path: Path, small: tuple[Path, Path]
) -> None:
    paddle = Path(shutil.copytree(small[1], tmp_path / "paddle"))

    def change(values: dict[str, Any]) -> None:
        values["embeddings.word_embeddings.weight"][30000, 3] += 1e-3  # a word that nobody asks

    change_weights(change)(paddle)
    forward = stage_of(align_small(paddle, small[0]), "forward")
    assert forward.status == "failed"
    assert all(each.passed for each in forward.differences)
    assert forward.reason.startswith("1 of 55 parameters differ: embeddings.word_embeddings.weight")
    assert forward.parameters is not None
    (found,) = forward.parameters.unequal
    assert found.worst is not None
    assert found.worst.index == (30000, 3)
    assert found.max == pytest.approx(1e-3, rel=1e-3)


def test_a_wrong_epsilon_is_caught(tmp_path: Path, small: tuple[Path, Path]) -> None:
    paddle = Path(shutil.copytree(small[1], tmp_path / "paddle"))
    edit_json(paddle / "config.json", layer_norm_eps=1e-5)
    edit_json(paddle / "conversion.json", epsilon=1e-5)
    forward = stage_of(align_small(paddle, small[0]), "forward")
    assert forward.status == "failed"
    assert forward.parameters is not None
    assert forward.parameters.unequal == ()
    assert forward.first == "embeddings.LayerNorm (Paddle: embeddings.layer_norm)"
    assert "is 1e-12 in torch and 1e-05 in Paddle" in forward.reason


def test_a_wrong_gelu_is_caught(tmp_path: Path) -> None:
    settings = SMALL | {"vocab_size": 60, "embedding_size": 16, "hidden_act": "gelu_new"}
    torch = save(build(Row("albert", "AlbertModel", "AlbertConfig", settings)), tmp_path / "torch")
    paddle = pphub.convert(torch, tmp_path / "paddle", progress=QUIET)
    assert align_small(paddle, torch).passed
    edit_json(paddle / "config.json", hidden_act="gelu")
    forward = stage_of(align_small(paddle, torch), "forward")
    assert forward.status == "failed"
    assert forward.parameters is not None
    assert forward.parameters.unequal == ()
    assert forward.first is not None
    assert forward.first.startswith(
        "encoder.albert_layer_groups.0 (Paddle: encoder.albert_layer_groups.0) at call 1 of 3,"
    )
    assert "the first module that diverges is encoder.albert_layer_groups.0 " in forward.reason
    (note,) = (note for note in forward.notes if "float64" in note)
    assert note.startswith("Paddle computes something else than torch, or less exactly: ")


def test_one_token_off_is_caught_by_the_stage_of_data(tmp_path: Path, small: tuple[Path, Path]) -> None:
    paddle = Path(shutil.copytree(small[1], tmp_path / "paddle"))
    words = (paddle / "vocab.txt").read_text(encoding="utf-8").split("\n")
    first, second = words.index("novel"), words.index("concert")
    words[first], words[second] = words[second], words[first]
    (paddle / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    report = align_small(paddle, small[0], "forward", "data")
    assert stage_of(report, "forward").status == "passed"
    data = stage_of(report, "data")
    assert data.status == "failed"
    assert "2 of 30522 tokens have other ids: 'novel' is 3117 in torch and 4164 in Paddle" in data.reason
    wrong = [each.name for each in data.differences if not each.passed]
    assert wrong[0] == "ids of all tokens"
    assert len(wrong) == 8  # and texts with either word, and their batches
    assert stage_of(align_small(small[1], small[0], "data"), "data").status == "passed"


def test_one_step_off_is_caught_by_the_stage_of_schedules(small: tuple[Path, Path]) -> None:
    def late(kind: str, rate: float, warmup: int, total: int) -> list[float]:
        return [0.0, *paddle_rates(kind, rate, warmup, total)[:-1]]

    with Session(find_subject(small[1], small[0], QUIET), Options(), QUIET) as session:
        right, wrong = run_schedule(session), run_schedule(session, paddle_rates=late)
    assert all(each.passed for each in right.differences)
    assert [each.name for each in wrong.differences if each.passed] == [
        f"{kind}: the formula and torch" for kind in schedules.KINDS
    ]
    # The seeds' tolerance, an absolute 1e-6, sees nothing of it.
    assert all(each.mean < 1e-6 for each in wrong.differences)


def test_the_cosine_of_the_guide_is_settled() -> None:
    """Torch's is the formula's; PaddleNLP's default is another curve; the guide's three figures are their distance."""
    default = paddle_rates("cosine", schedules.RATE, schedules.WARMUP, schedules.TOTAL, default=True)
    formula, wave = schedules.rates("cosine"), schedules.whole_wave()
    assert default == pytest.approx(wave, rel=1e-12, abs=1e-20)
    gaps = [abs(formula[step + 1] - default[step + 1]) for step in (500, 700, 900)]
    assert gaps == pytest.approx([9.35605818719964e-06, 1.3681476625617212e-05, 1.8924391285779562e-05], rel=1e-9)


def test_training_from_other_parameters_is_no_proof(tmp_path: Path, small: tuple[Path, Path]) -> None:
    paddle = Path(shutil.copytree(small[1], tmp_path / "paddle"))
    change_weights(swap_query_and_key)(paddle)
    backward = stage_of(align_small(paddle, small[0], "backward", steps=2), "backward")
    assert backward.status == "failed"
    assert "do not begin with the same parameters: bert.encoder.layers.1.self_attn.q_proj.weight" in backward.reason


def test_a_nan_on_both_sides_fails(tmp_path: Path, small: tuple[Path, Path]) -> None:
    from safetensors.numpy import load_file, save_file

    torch = Path(shutil.copytree(small[0], tmp_path / "torch"))
    values = load_file(torch / "model.safetensors")
    values["encoder.layer.0.output.dense.bias"][2] = np.nan
    save_file(values, torch / "model.safetensors", metadata={"format": "pt"})
    forward = stage_of(align_small(torch, torch), "forward")
    assert forward.status == "failed"
    assert "torch has nan at " in forward.reason


def test_a_class_that_does_not_answer_fails_in_a_sentence(tmp_path: Path) -> None:
    row = next(row for row in all_rows() if str(row) == "gptj-GPTJModel")
    torch = save(build(row), tmp_path / "torch")
    forward = stage_of(align_small(torch, torch), "forward")
    assert forward.status == "failed"
    assert forward.reason.startswith("PaddleNLP's GPTJModel does not answer: ")


def test_two_parameters_where_torch_has_one_train_differently(tmp_path: Path) -> None:
    row = next(row for row in all_rows() if str(row) == "opt-OPTForCausalLM")
    torch = save(build(row), tmp_path / "torch")
    report = align_small(torch, torch, "forward", "backward", steps=2)
    assert stage_of(report, "forward").status == "passed"
    backward = stage_of(report, "backward")
    assert backward.status == "failed"
    assert "is one parameter in torch and 2 in Paddle: lm_head.decoder_weight, opt.embeddings.word" in backward.reason


def strip(folder: Path, *parts: str) -> None:
    """Take tensors out of a torch checkpoint."""
    from safetensors.numpy import load_file, save_file

    values = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in values.items() if not any(part in name for part in parts)}
    assert len(kept) < len(values)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_random_paddle_model_is_not_proved_by_a_torch_folder_without_weights(
    tmp_path: Path, small: tuple[Path, Path]
) -> None:
    torch, paddle = (Path(shutil.copytree(each, tmp_path / each.name)) for each in small)
    strip(torch, "encoder.", "LayerNorm")

    def randomize(values: dict[str, Any]) -> None:
        draw = np.random.default_rng(0)
        for name in values:
            if name.startswith("encoder.") or "norm" in name:
                values[name] = draw.normal(size=values[name].shape).astype(np.float32)

    change_weights(randomize)(paddle)
    report = align_small(paddle, torch, "forward", "backward", steps=2)
    forward = stage_of(report, "forward")
    assert forward.status == "failed"
    assert "Paddle's checkpoint holds what torch's lacks: " in forward.reason
    assert forward.parameters is not None
    assert Q in forward.parameters.paddle_only
    assert forward.parameters.compared == 5  # three tables, and the pooler
    backward = stage_of(report, "backward")
    assert backward.status == "failed"
    assert "do not begin with the same parameters" in backward.reason


def test_a_head_that_only_torch_or_only_paddle_holds_fails(tmp_path: Path) -> None:
    settings = SMALL | {"vocab_size": 60, "num_labels": 3}
    torch = save(build(Row("bert", "BertForSequenceClassification", "BertConfig", settings)), tmp_path / "torch")
    paddle = pphub.convert(torch, tmp_path / "paddle", progress=QUIET)
    assert align_small(paddle, torch).passed
    without = Path(shutil.copytree(torch, tmp_path / "without"))
    strip(without, "classifier.")
    forward = stage_of(align_small(paddle, without), "forward")
    assert forward.reason.startswith(
        "Paddle's checkpoint holds what torch's lacks: classifier.weight, classifier.bias;"
    )
    change_weights(lambda values: [values.pop(name) for name in list(values) if "classifier" in name])(paddle)
    forward = stage_of(align_small(paddle, torch), "forward")
    assert forward.status == "failed"
    assert "torch's checkpoint holds what Paddle's lacks: classifier.weight, classifier.bias" in forward.reason
    # In neither, as when a head is new: the same numbers on both sides, named as not proved, and not counted.
    both = stage_of(align_small(paddle, without), "forward")
    assert both.status == "passed", both.reason
    assert both.parameters is not None
    assert both.parameters.unproved == ("classifier.weight", "classifier.bias")
    assert both.parameters.compared == forward.parameters.compared  # type: ignore[union-attr]
    note = "not proved, since torch's checkpoint holds nothing for them: classifier.weight, classifier.bias"
    assert note in both.notes


def test_what_no_class_reads_has_to_be_in_both_checkpoints(tmp_path: Path, small: tuple[Path, Path]) -> None:
    paddle = Path(shutil.copytree(small[1], tmp_path / "paddle"))
    change_weights(lambda values: values.update({"other.weight": np.ones((32, 2), np.float32)}))(paddle)
    forward = stage_of(align_small(paddle, small[0]), "forward")
    assert forward.reason == "Paddle's checkpoint holds what torch's lacks: other.weight"


def test_a_head_that_neither_class_reads_is_compared_too(tmp_path: Path) -> None:
    settings = SMALL | {"vocab_size": 60, "num_labels": 3}
    torch = save(build(Row("bert", "BertForSequenceClassification", "BertConfig", settings)), tmp_path / "torch")
    paddle = pphub.convert(torch, tmp_path / "paddle", progress=QUIET)
    edit_json(paddle / "config.json", architectures=["BertModel"])
    right = stage_of(align_small(paddle, torch), "forward")
    assert right.status == "passed", right.reason
    change_weights(lambda values: values["classifier.bias"].__setitem__(1, 9))(paddle)
    wrong = stage_of(align_small(paddle, torch), "forward")
    assert right.parameters is not None
    count = right.parameters.compared
    assert wrong.reason == f"1 of {count} parameters differ: classifier.bias (read by neither class)"


def test_a_pooler_that_both_lack_is_named_and_part_of_the_base_is_not_let_off(
    tmp_path: Path, small: tuple[Path, Path]
) -> None:
    torch = Path(shutil.copytree(small[0], tmp_path / "torch"))
    strip(torch, "pooler")
    paddle = pphub.convert(torch, tmp_path / "paddle", progress=QUIET)
    forward = stage_of(align_small(paddle, torch), "forward")
    assert forward.status == "passed", forward.reason
    assert forward.parameters is not None
    assert forward.parameters.unproved == ("pooler.dense.weight", "pooler.dense.bias")
    strip(torch, "layer.1.output.dense.bias")
    edit_json(paddle / "conversion.json", absent=["pooler.dense", "linear2"])  # which lets Paddle's loader go on
    change_weights(lambda values: [values.pop("encoder.layers.1.linear2.bias")])(paddle)
    forward = stage_of(align_small(paddle, torch), "forward")
    assert "both checkpoints lack parts of the base model: encoder.layers.1.linear2.bias" in forward.reason


def test_what_only_paddles_class_reads_is_held_against_torchs_checkpoint(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    settings = SMALL | {"vocab_size": 60, "embedding_size": 16}
    torch = save(build(Row("albert", "AlbertForMaskedLM", "AlbertConfig", settings)), tmp_path / "torch")
    pooler = ("transformer.pooler.weight", "transformer.pooler.bias")
    # Torch's class is built without a pooler; its checkpoint has none, or one of the pretraining.
    lone = pphub.convert(torch, tmp_path / "lone", progress=QUIET)
    without = stage_of(align_small(lone, torch), "forward")
    assert without.status == "passed", without.reason
    assert without.parameters is not None
    assert without.parameters.unproved == pooler
    assert f"not proved, since torch's checkpoint holds nothing for them: {', '.join(pooler)}" in without.notes
    values = load_file(torch / "model.safetensors")
    values |= {"albert.pooler.weight": np.eye(32, dtype=np.float32), "albert.pooler.bias": np.ones(32, np.float32)}
    save_file(values, torch / "model.safetensors", metadata={"format": "pt"})
    paddle = pphub.convert(torch, tmp_path / "paddle", progress=QUIET)
    both = stage_of(align_small(paddle, torch), "forward")
    assert both.status == "passed", both.reason
    assert both.parameters is not None
    assert (both.parameters.unproved, both.parameters.compared) == ((), without.parameters.compared + 2)
    assert not any(note.startswith("not proved") for note in both.notes)
    lacking = stage_of(align_small(lone, torch), "forward")
    assert "torch's checkpoint holds what Paddle's lacks: " in lacking.reason
    assert not any(note.startswith("not proved") for note in lacking.notes)
    save_file({**values, "albert.pooler.bias": np.ones(32, np.float16)}, torch / "model.safetensors", {"format": "pt"})
    recast = stage_of(align_small(paddle, torch), "forward")
    assert recast.status == "passed", recast.reason
    (note,) = (note for note in recast.notes if note.startswith("not proved"))
    assert note.endswith(f"torch's class does not read them and the checkpoints hold them in two dtypes: {pooler[1]}")
    save_file(values, torch / "model.safetensors", {"format": "pt"})
    change_weights(lambda held: held[pooler[1]].__setitem__(3, 9))(paddle)
    wrong = stage_of(align_small(paddle, torch), "forward")
    count = both.parameters.compared
    assert wrong.reason.startswith(f"1 of {count} parameters differ: {pooler[1]} (read by Paddle's class alone)")


def test_rounding_is_told_from_another_computation(
    tmp_path: Path, small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = Tolerance(1e-9, 1e-8)
    rounded = stage_of(align_small(small[1], small[0], tolerance=tight), "forward")
    assert rounded.status == "failed"
    (note,) = (note for note in rounded.notes if "float64" in note)
    assert note.startswith("what is out of tolerance is rounding, as far as can be told, and not weights ")
    paddle = Path(shutil.copytree(small[1], tmp_path / "paddle"))
    edit_json(paddle / "config.json", hidden_act="relu")
    edit_json(paddle / "conversion.json", hidden_act="relu")
    other = stage_of(align_small(paddle, small[0], low_memory=True), "forward")
    (note,) = (note for note in other.notes if "float64" in note)
    assert note.startswith("Paddle computes something else than torch, or less exactly: ")
    change_weights(zero_a_bias)(paddle)
    assert not any("float64" in note for note in stage_of(align_small(paddle, small[0]), "forward").notes)
    assert not any("float64" in note for note in stage_of(align_small(small[1], small[0]), "forward").notes)
    # What cannot be told is said, and takes nothing else away.
    monkeypatch.setattr(rounding, "_LARGEST", 1000)
    large = stage_of(align_small(small[1], small[0], tolerance=tight), "forward")
    assert (large.reason, large.differences) == (rounded.reason, rounded.differences)
    assert any("in float64, BertModel would take 0.0 GB" in note for note in large.notes)
    monkeypatch.undo()
    monkeypatch.setattr(TorchModel, "double", lambda _model: None)
    single = stage_of(align_small(small[1], small[0], tolerance=tight), "forward")
    assert (single.reason, single.differences) == (rounded.reason, rounded.differences)
    assert any("BertModel of transformers does not answer in float64" in note for note in single.notes)


def test_a_module_that_agreed_before_is_not_called_the_first_to_diverge(tmp_path: Path) -> None:
    settings = SMALL | {"vocab_size": 60, "embedding_size": 16, "num_hidden_layers": 12}
    torch = save(build(Row("albert", "AlbertModel", "AlbertConfig", settings)), tmp_path / "torch")
    paddle = pphub.convert(torch, tmp_path / "paddle", progress=QUIET)
    group = "encoder.albert_layer_groups.0 (Paddle: encoder.albert_layer_groups.0)"
    with Session(find_subject(paddle, torch, QUIET), Options(sizes=Sizes(2, 12)), QUIET) as session:
        layers = [each.torch for each in session.known(session.own).modules if each.layer]
        assert layers == ["encoder.albert_layer_groups.0"]
        (question, *_) = make_questions(session.own.manner, session.facts(session.own).config, Sizes(2, 12))
        with session.torch(session.own) as model:
            right = model.answer(question.inputs, session.own.manner, layers, session.keep)
    calls = right.taps[layers[0]]
    assert len(calls) == 12
    wrong = replace(right, taps={layers[0]: (*calls[:4], *(call + 1 for call in calls[4:]))})
    with Session(find_subject(paddle, torch, QUIET), Options(sizes=Sizes(2, 12)), QUIET) as session:
        found = _compare_layers(session, session.own, question, right, wrong, 0)
    assert found.first is not None
    assert found.first.name() == f"{group} at call 5 of 12 (those before agree)"
    assert [doubt.call for doubt in found.doubts] == list(range(4, 12))
    judged = Found(layers=found.compared, first=found.first.name())
    _judge(judged, repeated=True)
    assert judged.failures == [f"the first output out of tolerance is that of {found.first.name()}"]


def test_the_norm_of_a_large_gradient_is_exact() -> None:
    import paddle as their_paddle
    import torch as their_torch

    # Most rows of the gradient are zero, as of a table of words: Paddle's own norm of it is off.
    values = np.random.default_rng(0).normal(size=(21128, 512)).astype(np.float32)
    words = np.arange(0, 21128, 97, dtype=np.int64).reshape(2, -1)
    exact = float(np.sqrt(np.square(values[words].astype(np.float64)).sum())) * 2 / (words.size * 512)

    class TorchTable(their_torch.nn.Module):  # type: ignore[misc]
        dtype = their_torch.float32

        def __init__(self) -> None:
            super().__init__()
            self.table = their_torch.nn.Embedding.from_pretrained(their_torch.from_numpy(values), freeze=False)

        def forward(self, input_ids: Any) -> Any:
            return self.table(input_ids)

    class PaddleTable(their_paddle.nn.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.table = their_paddle.nn.Embedding(21128, 512)
            self.table.weight.set_value(values)

        def forward(self, input_ids: Any) -> Any:
            return self.table(input_ids)

    torch_model, paddle_model = TorchModel.__new__(TorchModel), PaddleModel.__new__(PaddleModel)
    torch_model._model, torch_model._device = TorchTable(), "cpu"
    paddle_model._model, paddle_model._keywords = PaddleTable(), {"input_ids"}
    for model in (torch_model, paddle_model):
        trace = model.train(
            [Batch({"input_ids": words}, np.empty(0, np.int64))],
            Manner(),
            Objective("squares", "", 0),
            Recipe(),
            gradients=False,
            on_step=lambda: None,
        )
        assert trace.norms[0] == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_fails_on_both_sides_where_nobody_reads_it(
    tmp_path: Path, small: tuple[Path, Path], bad: float
) -> None:
    from safetensors.numpy import load_file, save_file

    torch, paddle = (Path(shutil.copytree(each, tmp_path / each.name)) for each in small)
    values = load_file(torch / "model.safetensors")
    values["embeddings.word_embeddings.weight"][30000, 3] = bad
    save_file(values, torch / "model.safetensors", metadata={"format": "pt"})
    change_weights(lambda held: held["embeddings.word_embeddings.weight"].__setitem__((30000, 3), bad))(paddle)
    forward = stage_of(align_small(paddle, torch), "forward")
    assert all(each.passed for each in forward.differences)
    assert forward.status == "failed"
    assert f"torch has {bad} at [30000, 3]" in forward.reason


def test_weights_of_several_formats(tmp_path: Path, small: tuple[Path, Path]) -> None:
    import torch as library
    from safetensors.torch import load_file

    torch, paddle = (Path(shutil.copytree(each, tmp_path / each.name)) for each in small)
    values = load_file(torch / "model.safetensors")
    values["pooler.dense.bias"] += 5
    library.save(values, torch / "pytorch_model.bin")
    library.save(values, torch / "training_args.bin")  # is no model's
    forward = stage_of(align_small(paddle, torch), "forward")
    assert forward.status == "passed", forward.reason
    note = "torch's side is model.safetensors, which transformers loads; nothing is said of pytorch_model.bin beside it"
    assert note in forward.notes
    shutil.copy(torch / "model.safetensors", paddle / "model.safetensors")
    with pytest.raises(UsageError, match=r"several formats, .*: PaddleNLP by itself would load model\.safetensors\n"):
        find_subject(paddle, torch, QUIET)
    (paddle / "model.safetensors").unlink()
    shutil.copy(torch / "pytorch_model.bin", paddle / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"PaddleNLP by itself would load model_state\.pdparams"):
        find_subject(paddle, torch, QUIET)


def test_a_classifier_of_one_label_is_a_regression(tmp_path: Path) -> None:
    settings = SMALL | {"vocab_size": 60, "num_labels": 1}
    torch = save(build(Row("bert", "BertForSequenceClassification", "BertConfig", settings)), tmp_path / "torch")
    report = align_small(torch, torch, "forward", "loss", "backward", "train", steps=2, tasks=("sst2",))
    status = {stage.name: stage.status for stage in report.stages}
    assert status == {"forward": "passed", "loss": "passed", "backward": "passed", "train sst2": "skipped"}
    loss = stage_of(report, "loss").differences[0]
    assert loss.name == "mean square of the regression"
    assert loss.rms > 0
    assert "loss: squares" in stage_of(report, "backward").inputs


def test_a_model_of_one_word_can_be_asked() -> None:
    from types import SimpleNamespace

    assert plain_ids(SimpleNamespace(vocab_size=1, pad_token_id=0), Sizes()).tolist() == [0]
    assert plain_ids(SimpleNamespace(vocab_size=3, pad_token_id=0), Sizes()).tolist() == [1, 2]


def test_what_breaks_one_stage_is_its_failure_and_the_others_are_told(
    small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_session: Session) -> None:
        msg = "Target 1\nis out of bounds"
        raise IndexError(msg)

    monkeypatch.setattr("pphub.alignment.run.run_loss", broken)
    report = align_small(small[1], small[0], "forward", "loss", "metric")
    assert [stage.status for stage in report.stages] == ["passed", "failed", "passed"]
    assert stage_of(report, "loss").reason == "it broke off with IndexError: is out of bounds"
    assert not report.passed


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("hidden_dropout_prob", 0.9, "0.1 in torch and 0.9 in Paddle"),
        ("attention_probs_dropout_prob", 0.9, "0.1 in torch and 0.9 in Paddle"),
        ("classifier_dropout", 0.9, "None in torch and 0.9 in Paddle"),
        ("pad_token_id", 5000, "0 in torch and 5000 in Paddle"),
    ],
)
def test_what_only_the_configs_tell_is_compared(
    tmp_path: Path, small: tuple[Path, Path], key: str, value: object, shown: str
) -> None:
    paddle = Path(shutil.copytree(small[1], tmp_path / "paddle"))
    edit_json(paddle / "config.json", **{key: value})
    forward = stage_of(align_small(paddle, small[0]), "forward")
    assert all(each.passed for each in forward.differences)
    assert forward.reason == f"{key} of the config is {shown}"


def test_dropout_that_a_config_leaves_to_the_defaults_is_compared(tmp_path: Path, small: tuple[Path, Path]) -> None:
    torch, paddle = (Path(shutil.copytree(each, tmp_path / each.name)) for each in small)
    edit_json(torch / "config.json", hidden_dropout_prob=0.3)
    config = json.loads((paddle / "config.json").read_bytes())
    del config["hidden_dropout_prob"]
    (paddle / "config.json").write_text(json.dumps(config), encoding="utf-8")
    forward = stage_of(align_small(paddle, torch), "forward")
    assert forward.reason == "hidden_dropout_prob of the config is 0.3 in torch and 0.1 in Paddle"


def test_other_names_of_the_labels_are_told_and_not_judged(tmp_path: Path, small: tuple[Path, Path]) -> None:
    paddle = Path(shutil.copytree(small[1], tmp_path / "paddle"))
    torch = Path(shutil.copytree(small[0], tmp_path / "torch"))
    for folder, names in ((torch, ("no", "yes")), (paddle, ("good", "bad"))):
        edit_json(folder / "config.json", id2label={str(number): name for number, name in enumerate(names)})
    forward = stage_of(align_small(paddle, torch), "forward")
    assert forward.status == "passed", forward.reason
    assert any(note.startswith("id2label of the config is ") for note in forward.notes)


def test_gradients_that_are_zero_but_for_rounding_are_no_difference(tmp_path: Path) -> None:
    """Those of the keys' bias, which a softmax takes away again, in a model with large weights."""
    import torch as library

    settings = SMALL | {"vocab_size": 500, "num_labels": 5, "num_hidden_layers": 2, "intermediate_size": 64}
    model = build(Row("bert", "BertForSequenceClassification", "BertConfig", settings))
    library.manual_seed(1)
    with library.no_grad():
        for parameter in model.parameters():
            parameter.add_(library.randn_like(parameter) * 0.3)
    torch = save(model, tmp_path / "torch")
    backward = stage_of(align_small(torch, torch, "backward", steps=1), "backward")
    keys = [each for each in backward.differences if "gradient" in each.name and "k_proj.bias" in each.name]
    assert len(keys) == 2
    assert all(each.passed for each in keys)
    assert all(each.rms < 1e-6 * each.tolerance.floor for each in keys)  # the floor is the norm of all gradients
    others = [each for each in backward.differences if "gradient" in each.name and "q_proj.weight" in each.name]
    assert all(each.tolerance.floor < 1e-4 * keys[0].tolerance.floor for each in others)  # which no other gets


def test_a_head_that_is_made_up_is_no_part_of_the_proof(tmp_path: Path) -> None:
    """Torch's MPNet has a pooler that its classifier is built without, and Paddle's classifier takes it for its own."""
    row = next(row for row in all_rows() if str(row) == "mpnet-MPNetModel")
    torch = save(build(row), tmp_path / "torch")
    forward = stage_of(align_small(torch, torch, "forward"), "forward")
    assert forward.status == "passed", forward.reason
    assert any(each.name == "logits: MPNetForSequenceClassification" for each in forward.differences)


def test_a_step_of_a_large_parameter_is_rounded_to_its_last_digit(tmp_path: Path) -> None:
    """CLIP's logit_scale is one number above 2, of which a step is 120 times the last digit."""
    row = next(row for row in all_rows() if str(row) == "clip-CLIPModel")
    model = build(row)
    model.logit_scale.data.fill_(2.6592)
    torch = save(model, tmp_path / "torch")
    backward = stage_of(align_small(torch, torch, "backward", steps=2), "backward")
    (update,) = [each for each in backward.differences if each.name.startswith("update of logit_scale")]
    assert update.passed
    assert update.tolerance.mean == pytest.approx(2e-3 + 2**-22 / 6e-5)


def test_made_up_texts_end_where_the_class_answers_at_their_end(tmp_path: Path) -> None:
    row = next(row for row in all_rows() if row.torch_class == "BartForSequenceClassification")
    torch = save(build(row), tmp_path / "torch")
    train = stage_of(align_small(torch, torch, "train", tasks=("sst2",)), "train sst2")
    assert train.status == "passed", train.reason


# -- the comparison itself


@pytest.mark.parametrize(
    ("torch", "paddle", "problem"),
    [
        (
            np.zeros((2, 3), np.float32),
            np.zeros((3, 2), np.float32),
            "shapes differ: torch has [2, 3], paddle has [3, 2]",
        ),
        (np.zeros((2, 1), np.float32), np.zeros(2, np.float32), "shapes differ"),
        (np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32), "nothing was compared"),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), "torch has nan at [1]"),
        (np.array([1.0, 2.0]), np.array([np.inf, 2.0]), "paddle has inf at [0]"),
        (np.array([1, 2]), np.array([1.0, 2.0]), "differ in kind"),
        (np.array(["a"]), np.array(["a"]), "differ in kind"),
    ],
)
def test_what_cannot_be_compared_fails(torch: Any, paddle: Any, problem: str) -> None:
    found = compare("x", torch, paddle, Tolerance(1e9, 1e9))
    assert not found.passed
    assert found.problem is not None
    assert problem in found.problem
    assert found.excess == float("inf")


def test_one_element_of_many_is_not_hidden_by_the_mean() -> None:
    left = np.random.default_rng(0).normal(size=(1000, 2000)).astype(np.float32)
    right = left.copy()
    right[321, 1234] += 1.0
    found = compare("x", left, right, STRICT)
    assert found.mean < 1e-6
    assert not found.passed
    assert found.worst is not None
    assert found.worst.index == (321, 1234)
    assert sum(found.counts) == found.elements == 2_000_000
    assert not compare("x", left, left + np.float32(3e-6), STRICT).passed  # nor a small shift of all by the maximum
    assert compare("x", left, left, STRICT).passed


def test_large_values_are_held_to_as_many_digits_and_small_ones_are_not_let_off() -> None:
    left = np.full((4, 8), 1000.0)
    assert compare("x", left, left + 1e-4, STRICT).passed
    assert not compare("x", left, left + 1e-2, STRICT).passed
    left[0] = 0.01
    assert not compare("x", left / 1e5, left / 1e5 + 1e-4, STRICT).passed
    assert not compare("x", np.full(4, 1e-8), np.full(4, 2e-8), replace(STRICT, floor=0.0)).passed
    assert compare("x", np.full(4, 1e-8), np.full(4, 2e-8), STRICT).passed


def test_only_what_is_kept_counts_and_the_place_is_that_of_the_whole() -> None:
    left, right = np.zeros((2, 3, 4)), np.zeros((2, 3, 4))
    right[0, 2] = np.nan
    right[1, 1, 3] = 1
    keep = np.array([[1, 1, 0], [1, 1, 1]])
    found = compare("x", left, right, STRICT, keep)
    assert found.problem is None
    assert found.worst is not None
    assert found.worst.index == (1, 1, 3)
    assert found.elements == 20


def test_integers_are_equal_or_not() -> None:
    assert not compare("ids", np.array([5, 6]), np.array([5, 7]), Tolerance(10, 10)).passed
    assert compare("ids", np.array([5, 6]), np.array([5, 6]), Tolerance(10, 10)).tolerance == EXACT


# -- what makes a run void


def test_two_sides_of_one_framework_prove_nothing(small: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="both sides would be Paddle's, which proves nothing"):
        align(small[1], small[1], progress=QUIET)
    report = align_small(small[1], small[0])
    assert report.passed
    twice = replace(report, paddle=report.torch, problems=check_sides(report.torch, report.torch))
    assert not twice.passed
    assert twice.problems[0] == "both sides are torch: a framework held against itself proves nothing"
    assert not replace(report, stages=()).passed
    assert not replace(report, stages=tuple(replace(each, status="skipped") for each in report.stages)).passed


@pytest.mark.parametrize("missing", ["torch", "transformers", "paddle"])
def test_a_missing_framework_is_named_with_the_command(missing: str) -> None:
    command = f"""
import sys
sys.modules[{missing!r}] = None
from pphub.cli import main
sys.exit(main(["align", {str(GPT2)!r}, "-q"]))
"""
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"the package {missing!r}" in done.stderr
    assert "hint: pip install " in done.stderr
    assert "pphub[paddle,torch]" in done.stderr
    assert "Traceback" not in done.stderr


# -- the command


def test_the_command_prints_a_line_a_stage(small: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    torch, paddle = small
    assert main(["align", str(paddle), "--against", str(torch), "--stages", "forward,metric", "-q"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["forward", "passed"], ["metric", "passed"]]
    assert "55 of 55 parameters equal, 3 layers" in lines[0]
    assert " allowed 1e-06 and 1e-05 " in lines[0]


def test_the_command_says_no_and_the_proof_is_gone(
    tmp_path: Path, small: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    torch, paddle = small[0], Path(shutil.copytree(small[1], tmp_path / "paddle"))
    command = ["align", str(paddle), "--against", str(torch), "--stages", "forward"]
    assert main([*command, "-q"]) == 0
    assert read_proof(paddle) is not None
    change_weights(zero_a_bias)(paddle)
    assert proof_problems(paddle) == ["model_state.pdparams is not the file that was aligned"]
    capsys.readouterr()
    assert main([*command, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is False
    (stage,) = document["stages"]
    assert stage["status"] == "failed"
    assert stage["first"].startswith("encoder.layer.0 ")
    assert stage["tolerance"]["given_by_user"] is False
    assert "|torch - paddle| / scale" in stage["tolerance"]["rule"]
    assert not (paddle / PROOF_FILE).exists()


def test_the_proof_is_listed_and_verified(
    tmp_path: Path,
    small: tuple[Path, Path],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By its name from a hub, so that the conversion is in the cache."""
    shutil.copytree(small[0], tmp_path / "hub/org/small")
    with Server(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert main(["align", "org/small", "--stages", "forward", "-q"]) == 0
    capsys.readouterr()
    assert main(["list"]) == 0
    assert " aligned\n" in capsys.readouterr().out
    assert main(["list", "--json"]) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert model["aligned"][0].startswith("aligned: forward (mean ")
    assert main(["verify"]) == 0
    assert (pphub.prepare("org/small", offline=True) / PROOF_FILE).is_file()
    assert not (home / "models/org/small" / PROOF_FILE).exists()
    (proof,) = home.glob(f"hub/converted/*/{PROOF_FILE}")
    document = json.loads(proof.read_bytes())
    document["files"]["paddle"]["model_state.pdparams"] = "0" * 64
    proof.write_text(json.dumps(document))
    capsys.readouterr()
    assert main(["verify"]) == 1
    out = capsys.readouterr().out
    assert f"{PROOF_FILE}: model_state.pdparams is not the file that was aligned" in out
    assert main(["verify", "--quarantine", "-q"]) == 1
    assert not proof.exists()
    assert main(["verify", "-q"]) == 0


def test_a_tolerance_of_the_user_is_told(tmp_path: Path, small: tuple[Path, Path]) -> None:
    torch, paddle = small[0], Path(shutil.copytree(small[1], tmp_path / "paddle"))
    (paddle / PROOF_FILE).unlink(missing_ok=True)  # of another test, by the usual tolerance
    report = align(paddle, torch, "forward", tolerance=(1e-3, 1e-2), progress=QUIET)
    stage = report_document(report)["stages"][0]  # type: ignore[index]
    assert stage["tolerance"]["given_by_user"] is True
    assert (describe_proof(paddle) or "").endswith("tolerance of forward given by the user")


def test_low_memory_finds_the_same(small: tuple[Path, Path]) -> None:
    usual = align_small(small[1], small[0], "forward", "loss", "backward", steps=2)
    low = align_small(small[1], small[0], "forward", "loss", "backward", steps=2, low_memory=True)
    assert usual.passed
    assert low.passed
    for first, second in zip(usual.stages, low.stages, strict=True):
        assert [(each.name, each.max) for each in first.differences] == [
            (each.name, each.max) for each in second.differences
        ]


def test_a_paddle_folder_is_held_against_what_it_was_made_from(tmp_path: Path, small: tuple[Path, Path]) -> None:
    torch = Path(shutil.copytree(small[0], tmp_path / "torch"))
    paddle = pphub.convert(torch, tmp_path / "paddle", progress=QUIET)
    assert find_subject(paddle, None, QUIET).torch == torch
    with (torch / "config.json").open("a") as stream:
        stream.write("\n")
    with pytest.raises(Corrupt, match=r"config.json in .* is not what .* was made from"):
        find_subject(paddle, None, QUIET)
    (paddle / "conversion.json").unlink()
    with pytest.raises(UsageError, match="nothing says what it was made from"):
        find_subject(paddle, None, QUIET)
    assert align_small(paddle, torch).passed  # with --against it needs no record


def test_texts_of_the_user(tmp_path: Path, small: tuple[Path, Path]) -> None:
    data = tmp_path / "texts.tsv"
    lines = [f'a line {number} "quoted"\t{"yes" if number % 2 else "no"}' for number in range(9)]
    data.write_text("\n".join(["sentence\tlabel", *lines]) + "\n", encoding="utf-8")
    report = align_small(small[1], small[0], "data", "train", data=data, tasks=("sst2",))
    assert report.passed
    assert "texts.tsv, 9 lines" in report.stages[0].inputs
    assert "texts.tsv, 9 lines" in report.stages[1].inputs
    data.write_text("a\tb\n1\t2\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no columns that are understood: a, b"):
        align(small[1], small[0], data=data, progress=QUIET)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": "forward,sideways"}, "there is no stage 'sideways'"),
        ({"stages": ""}, "there is no stage ''"),
        ({"task": "mnli"}, "there is no task 'mnli'"),
        ({"tolerance": (0.0, 1e-5)}, "means nothing"),
        ({"steps": 0}, "0 steps are none"),
        ({"device": "tpu"}, "'tpu' is no device"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        align("nothing-is-fetched", **options)


@pytest.mark.skipif(importlib.util.find_spec("reprod_log") is None, reason="needs reprod-log")
def test_reprod_log_agrees(tmp_path: Path, small: tuple[Path, Path]) -> None:
    """The tool of the users' guide, run on our files, in a process of its own: it sets up logging for all."""
    stages = ("forward", "data", "metric", "loss", "schedule", "backward", "train")
    report = align_small(small[1], small[0], *stages, reprod_log=tmp_path / "log", tasks=("sst2",), steps=2)
    assert report.passed
    assert len(list((tmp_path / "log").glob("*_torch.npy"))) == len(stages)
    code = """
import sys
from reprod_log import ReprodDiffHelper
for stage in sys.argv[2:]:
    helper = ReprodDiffHelper()
    sides = [helper.load_info(f"{sys.argv[1]}/{stage}_{side}.npy") for side in ("torch", "paddle")]
    assert sides[0], stage
    helper.compare_info(*sides)
    helper.report(path=f"{sys.argv[1]}/{stage}.log", diff_threshold=1e-4 if "train" in stage else 1e-6)
"""
    names = [*stages[:-1], "train_A7"]
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "log"), *names], check=True)
    for name in names:
        assert (tmp_path / "log" / f"{name}.log").read_text().rstrip().endswith("diff check passed"), name


def test_the_tasks_answer_the_rows() -> None:
    assert {name: task.row for name, task in TASKS.items()} == {"sst2": "A7", "qnli": "A8"}
    qnli = TASKS["qnli"]
    assert (qnli.length, qnli.size, qnli.epochs, qnli.recipe.rate) == (128, 32, 1, 2e-5)
