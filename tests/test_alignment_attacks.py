"""What a stranger tried on alignment: other bytes than are loaded, proofs that go or stay, texts that steer."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file, save_file

import pphub
from matrix import Row, build, save
from pphub.alignment.html import report_page
from pphub.alignment.record import PROOF_FILE, proof_problems, read_proof
from pphub.alignment.report import report_document
from pphub.alignment.run import align
from pphub.checkpoint.folder import open_checkpoint
from pphub.cli import main
from pphub.errors import Corrupt, StorageFailed, UsageError
from pphub_cache.progress import SilentProgress
from test_alignment import (
    SMALL,
    align_small,
    change_weights,
    edit_json,
    small,
    stage_of,
    swap_query_and_key,
    zero_a_bias,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["small"]

QUIET = SilentProgress()


TINY: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY |= {"intermediate_size": 24, "max_position_embeddings": 32}


def copies(small: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    return shutil.copytree(small[0], folder / "torch"), shutil.copytree(small[1], folder / "paddle")


def tiny(folder: Path, kind: str) -> Path:
    return save(build(Row("bert", kind, "BertConfig", TINY)), folder)


# -- what is loaded is what was compared


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    """PaddleNLP reads whole shards, and keeps the one that it reads last."""
    ones = {"a": np.ones(2, np.float32)}
    save_file(ones, tmp_path / "model-00001-of-00002.safetensors")
    save_file(
        {"b": np.ones(2, np.float32), "a": np.zeros(2, np.float32)}, tmp_path / "model-00002-of-00002.safetensors"
    )
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(Corrupt, match=r"'a' is in model-00002-of-00002\.safetensors as well"):
        open_checkpoint(tmp_path, ("model.safetensors.index.json", *places.values()))


def test_what_is_tied_does_not_stand_in_for_the_base_model(tmp_path: Path) -> None:
    """Another class of the same folder has no such parameter to be tied to."""
    torch = tiny(tmp_path / "torch", "BertForMaskedLM")
    folder = pphub.convert(torch, tmp_path / "paddle")
    state = paddle.load(str(folder / "model_state.pdparams"))
    assert state.pop("bert.embeddings.word_embeddings.weight") is not None
    paddle.save(state, str(folder / "model_state.pdparams"))
    forward = stage_of(align_small(folder, torch), "forward")
    assert forward.status == "failed"
    assert "bert.embeddings.word_embeddings.weight" in forward.reason


def test_files_that_change_meanwhile_void_the_run(
    tmp_path: Path, small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch, folder = copies(small, tmp_path)

    def changed(session: Any) -> Any:
        found = forward(session)
        change_weights(zero_a_bias)(folder)
        return found

    from pphub.alignment.stages.forward import run_forward as forward

    monkeypatch.setattr("pphub.alignment.run.run_forward", changed)
    report = align(folder, torch, "forward", progress=QUIET)
    assert stage_of(report, "forward").status == "passed"
    assert report.problems == (f"{folder / 'model_state.pdparams'} was changed meanwhile",)
    assert not (folder / PROOF_FILE).exists()


def test_the_report_claims_no_more_than_was_looked_at(tmp_path: Path, small: tuple[Path, Path]) -> None:
    torch, folder = copies(small, tmp_path)
    change_weights(swap_query_and_key)(folder)
    report = align(folder, torch, "metric,schedule", progress=QUIET)
    assert report.passed
    page = report_page(report_document(report))
    assert "gives what the torch model gives" not in page
    assert "nothing of this was about what is in the models" in page


# -- right models


def test_a_class_that_leaves_out_the_axis_of_one_text(tmp_path: Path, small: tuple[Path, Path]) -> None:
    settings = SMALL | {"embedding_size": 24}
    torch = save(build(Row("electra", "ElectraForPreTraining", "ElectraConfig", settings)), tmp_path / "torch")
    shutil.copy(small[0] / "vocab.txt", torch / "vocab.txt")
    (torch / "tokenizer_config.json").write_text('{"tokenizer_class": "ElectraTokenizer"}')
    forward = stage_of(align_small(pphub.convert(torch, tmp_path / "paddle"), torch), "forward")
    assert (forward.status, forward.reason) == ("passed", "")
    assert not [note for note in forward.notes if "not asked" in note]


# -- proofs


def test_a_proof_without_a_tokenizer_holds(tmp_path: Path, small: tuple[Path, Path]) -> None:
    torch, folder = copies(small, tmp_path)
    for side in (torch, folder):
        for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            (side / name).unlink(missing_ok=True)
    report = align(folder, torch, "forward,train", task="sst2", progress=QUIET)
    assert report.passed
    assert "train sst2" in (read_proof(folder) or {})["stages"]
    assert proof_problems(folder) == []
    (folder / "vocab.txt").write_text("[PAD]\n")
    assert proof_problems(folder) == ["vocab.txt was not there when the tokenizer was aligned"]


def test_a_proof_of_a_folder_that_nobody_has_converted_here(
    tmp_path: Path, small: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    torch, folder = copies(small, tmp_path)
    (folder / "conversion.json").unlink()
    assert align(folder, torch, "forward", progress=QUIET).passed
    assert main(["verify", str(folder)]) == 0
    assert "is of the files beside it" in capsys.readouterr().out
    change_weights(zero_a_bias)(folder)
    assert main(["verify", str(folder)]) == 1
    assert "model_state.pdparams is not the file that was aligned" in capsys.readouterr().out
    assert main(["verify", str(folder), "--json"]) == 1
    (bad,) = json.loads(capsys.readouterr().out)["bad"]
    assert bad["path"] == PROOF_FILE


def test_neither_another_torch_model_nor_a_loose_tolerance_harms_a_proof(
    tmp_path: Path, small: tuple[Path, Path]
) -> None:
    torch, folder = copies(small, tmp_path)
    assert align(folder, torch, "forward", progress=QUIET).passed
    proof = (folder / PROOF_FILE).read_bytes()
    other = shutil.copytree(torch, tmp_path / "other")
    values = load_file(other / "model.safetensors")
    values["encoder.layer.0.output.dense.bias"] += 1
    save_file(values, other / "model.safetensors", metadata={"format": "pt"})
    assert not align(folder, other, "forward", progress=QUIET).passed
    assert (folder / PROOF_FILE).read_bytes() == proof
    assert align(folder, torch, "forward", tolerance=(1e30, 1e30), progress=QUIET).passed
    assert (read_proof(folder) or {})["stages"] == json.loads(proof)["stages"]
    edit_json(folder / "config.json", hidden_dropout_prob=0.7)
    assert not align(folder, torch, "forward", progress=QUIET).passed
    assert not (folder / PROOF_FILE).exists()


def test_conversions_of_folders_are_listed_with_their_proofs(
    home: Path, small: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert align(small[0], stages="forward", progress=QUIET).passed
    assert main(["list"]) == 0
    _, row, total = capsys.readouterr().out.splitlines()
    assert row.startswith(f"file:{small[0]} ")
    assert row.endswith(" aligned")
    assert total.startswith("0 models, 0 files, 0 B, and ")
    assert main(["list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [model["source"] for model in document["models"]] == ["file"]
    assert document["total"]["models"] == 0


# -- what is hostile, or has no room


def test_names_do_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = tiny(tmp_path / "torch", "BertModel")
    values = load_file(torch / "model.safetensors")
    save_file({**values, "evil\x1b[31m\x07": np.ones(1, np.float32)}, torch / "model.safetensors")
    assert main(["align", str(torch)]) != 0
    said = capsys.readouterr()
    assert "evil" in said.out + said.err
    assert not {"\x1b", "\x07"} & set(said.out + said.err)


def test_a_file_of_texts_without_an_end(tmp_path: Path, small: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="no file with an end"):
        align(small[0], data="/dev/zero", progress=QUIET)


def test_without_room_for_the_arrays_what_was_found_is_told(
    tmp_path: Path, small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        raise StorageFailed("No space left on device")

    monkeypatch.setattr("pphub.alignment.reprod_log.write_bytes", full)
    report = align(small[1], small[0], "metric", reprod_log=tmp_path / "log", progress=QUIET)
    assert stage_of(report, "metric").status == "passed"
    assert any("No space left on device" in problem for problem in report.problems)
    assert not report.passed
