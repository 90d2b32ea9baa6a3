"""What an alignment proves of tokenizers, what ``alignment.json`` covers, and what is made of one that is no proof."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.numpy import load_file, save_file

import pphub
from pphub.alignment.labelled import read_tsv
from pphub.alignment.record import PROOF_FILE, describe_proof, proof_problems, proof_words, read_proof
from pphub.alignment.run import align
from pphub.alignment.session import Options, Session
from pphub.alignment.stages.data import run_data
from pphub.alignment.stages.result import Found
from pphub.alignment.subject import find_subject
from pphub.alignment.torch_side import load_torch_tokenizer
from pphub.alignment.vocabulary import compare_tokenizers
from pphub.cli import main
from pphub.errors import FileNotInModel, StorageFailed, UsageError
from pphub.serve import Server
from pphub_cache.progress import SilentProgress
from test_alignment import change_weights, edit_json, small, zero_a_bias
from test_tokenizer import ARCHITECTURES, make
from tokenizer_files import save

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["small"]  # the fixture

QUIET = SilentProgress()
CONFIG = "tokenizer_config.json"


def copies(small: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    """Torch's folder and Paddle's, to be changed."""
    torch, paddle = (Path(shutil.copytree(each, folder / each.name)) for each in small)
    return torch, paddle


# -- tokenizers


def lines_of(folder: Path, change: Callable[[list[str]], None]) -> None:
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    change(words)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")


def exchange(first: int, second: int) -> Callable[[Path], None]:
    def change(words: list[str]) -> None:
        words[first], words[second] = words[second], words[first]

    return lambda folder: lines_of(folder, change)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (exchange(900, 950), "2 of 30522 tokens have other ids: '[unused895]' is 900 in torch and 950 in Paddle"),
        (exchange(103, 950), "2 of 30522 tokens have other ids: '[MASK]' is 103 in torch and 950 in Paddle"),
        (
            lambda folder: lines_of(folder, lambda words: words.remove(words[30510])),
            "torch's vocabulary has 30522 tokens, Paddle's 30521; 12 of 30522 tokens have other ids: ",
        ),
        (
            lambda folder: edit_json(folder / "special_tokens_map.json", mask_token="[unused895]"),
            "the mask_token is '[MASK]' in torch and '[unused895]' in Paddle",
        ),
        (lambda folder: edit_json(folder / CONFIG, model_max_length=77), "model_max_length) is 512 in torch and 77 in"),
        (
            lambda folder: edit_json(folder / CONFIG, additional_special_tokens=["novel"]),
            "special in Paddle and not in torch: 'novel'",
        ),
        (
            lambda folder: (folder / "added_tokens.json").write_text('{"<ent>": 30522}'),
            "torch's vocabulary has 30522 tokens, Paddle's 30523; 1 of 30523 tokens have other ids: '<ent>' is not the",
        ),
    ],
)
def test_what_no_text_asks_for_is_caught(tmp_path: Path, small: tuple[Path, Path], change: Any, reason: str) -> None:
    torch, paddle = copies(small, tmp_path)
    edit_json(torch / CONFIG, model_max_length=512)
    edit_json(paddle / CONFIG, model_max_length=512)

    def found() -> Found:
        with Session(find_subject(paddle, torch, QUIET), Options(), QUIET) as session:
            return run_data(session)

    right = found()
    assert right.failures == []
    assert all(each.passed for each in right.differences)
    assert {each.name: each.elements for each in right.differences[:3]} == {
        "size of the vocabulary": 1,
        "ids of all tokens": 30522,
        "ids of special tokens": 5,
    }
    change(paddle)
    assert reason in "; ".join(found().failures)


@pytest.mark.parametrize("kind", ["gpt2", "roberta", "t5", "albert", "xlnet", "mbart50", "deberta-v2"])
def test_tokenizers_of_every_kind_are_the_same(tmp_path: Path, kind: str) -> None:
    """Torch's of a ``tokenizer.json``, PaddleNLP's of the files that are made from it; ALBERT's cannot list its own."""
    folder = save(make(kind), tmp_path / "m", architectures=[ARCHITECTURES[kind]])
    if kind == "mbart50":
        (folder / CONFIG).write_text('{"tokenizer_class": "MBart50Tokenizer"}')
    torch, paddle = load_torch_tokenizer(folder), pphub.AutoTokenizer.from_pretrained(folder)
    logged: dict[str, tuple[Any, Any]] = {}
    found = Found()
    compare_tokenizers(torch, paddle, found, lambda name, left, right: logged.update({name: (left, right)}))
    assert found.failures == []
    assert all(each.passed for each in found.differences)
    assert len(logged["ids of all tokens"][0]) == len(torch) > 200


def test_a_role_that_paddle_does_not_state_counts_unless_its_token_has_another(
    tmp_path: Path, small: tuple[Path, Path]
) -> None:
    """As RemBERT's bos_token, which is its cls_token."""
    torch = copies(small, tmp_path)[0]
    paddle = pphub.AutoTokenizer.from_pretrained(small[1])
    for token, failures in (("[CLS]", []), ("novel", ["the bos_token is 'novel' in torch and None in Paddle"])):
        edit_json(torch / "special_tokens_map.json", bos_token=token)
        edit_json(torch / CONFIG, bos_token=token)
        found = Found()
        compare_tokenizers(load_torch_tokenizer(torch), paddle, found, lambda *_: None)
        assert found.failures[:1] == failures
        if not failures:
            assert found.notes == ["Paddle's tokenizer has these in other roles only: bos_token '[CLS]'"]


# -- what the proof covers


def test_the_proof_covers_the_tokenizer(tmp_path: Path, small: tuple[Path, Path]) -> None:
    torch, paddle = copies(small, tmp_path)
    data = tmp_path / "texts.tsv"
    data.write_text("sentence\tlabel\ngood\t1\nbad\t0\n")
    assert align(paddle, torch, data=data, progress=QUIET).passed
    proof = read_proof(paddle)
    assert proof is not None
    assert proof["stages"]["data"]["data"] == hashlib.sha256(data.read_bytes()).hexdigest()
    assert proof["tokenizer"]["torch"].keys() == {"vocab.txt", CONFIG, "special_tokens_map.json"}
    assert proof_problems(paddle) == []
    (paddle / "added_tokens.json").write_text("{}")
    assert proof_problems(paddle) == ["added_tokens.json was not there when the tokenizer was aligned"]
    (paddle / "added_tokens.json").unlink()
    # Of the same tokenizer the stage stays when only the model is looked at again; of another it goes.
    assert align(paddle, torch, "forward", progress=QUIET).passed
    assert set((read_proof(paddle) or {})["stages"]) == {"forward", "data"}
    exchange(900, 950)(paddle)
    assert proof_problems(paddle) == ["vocab.txt is not the file that was aligned"]
    assert align(paddle, torch, "forward", progress=QUIET).passed
    assert set((read_proof(paddle) or {})["stages"]) == {"forward"}
    assert proof_problems(paddle) == []


def test_a_proof_is_published_with_the_tokenizer_it_is_of(tmp_path: Path, small: tuple[Path, Path]) -> None:
    """Publishing names the tokenizer's class in its config, which is another file, and no other tokenizer."""
    torch, paddle = copies(small, tmp_path)
    config = json.loads((paddle / CONFIG).read_bytes())
    for name in ("tokenizer_class", "init_class"):
        config.pop(name, None)
    (paddle / CONFIG).write_text(json.dumps(config))
    assert align(paddle, torch, progress=QUIET).passed
    out = pphub.publish(paddle, tmp_path / "out") / "models/community/paddle"
    assert (out / CONFIG).read_bytes() != (paddle / CONFIG).read_bytes()
    assert proof_problems(out) == []
    exchange(900, 950)(paddle)
    assert not (pphub.publish(paddle, tmp_path / "other") / f"models/community/paddle/{PROOF_FILE}").exists()


def test_another_copy_of_the_torch_model_is_no_false_alarm(tmp_path: Path, small: tuple[Path, Path]) -> None:
    """With another config, and with the same weights in another file."""
    torch, paddle = copies(small, tmp_path)
    edit_json(torch / "config.json", a_key_that_nobody_reads=1)
    weights = torch / "model.safetensors"
    save_file(load_file(weights), weights, metadata={"format": "pt", "saved": "again"})
    assert align(paddle, torch, "forward", progress=QUIET).passed
    assert (read_proof(paddle) or {})["torch_is_input"] is False
    assert proof_problems(paddle) == []
    assert align(paddle, small[0], "forward", progress=QUIET).passed
    assert (read_proof(paddle) or {})["torch_is_input"] is True
    document = json.loads((paddle / PROOF_FILE).read_bytes())
    document["files"]["torch"]["model.safetensors"] = "0" * 64
    (paddle / PROOF_FILE).write_text(json.dumps(document))
    assert proof_problems(paddle) == ["it was held against another torch model than it was made from"]


def test_nothing_is_written_into_a_download(
    tmp_path: Path, small: tuple[Path, Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither over a proof that was downloaded, nor is it taken away by a run that fails."""
    torch, paddle = copies(small, tmp_path)
    assert align(paddle, torch, "forward", progress=QUIET).passed
    Path(shutil.copytree(paddle, tmp_path / "hub/org/right"))
    (tmp_path / "hub/org/right" / PROOF_FILE).unlink()
    change_weights(zero_a_bias)(paddle)
    shutil.copytree(paddle, tmp_path / "hub/org/wrong")
    with Server(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        for name, include in (("right", None), ("wrong", ["*"])):
            folder = pphub.download(f"org/{name}", include=include, progress=QUIET)
            before = {path.name: path.readlink() for path in folder.iterdir() if path.is_symlink()}
            assert (PROOF_FILE in before) == (name == "wrong")
            report = align(f"org/{name}", torch, "forward", progress=QUIET)
            assert report.passed == (name == "right")
            assert report.recorded is None
            assert {path.name: path.readlink() for path in folder.iterdir() if path.is_symlink()} == before
            assert (folder / PROOF_FILE).exists() == (name == "wrong")


@pytest.mark.parametrize("source", ["bos", "hf"])
def test_a_published_proof_arrives_and_is_checked(
    tmp_path: Path,
    small: tuple[Path, Path],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
) -> None:
    torch, paddle = copies(small, tmp_path)
    assert align(paddle, torch, "forward,data", progress=QUIET).passed
    shelf = pphub.publish(paddle, tmp_path / "shelf", "our/right")
    wrong = shelf / "models/community/our/wrong"
    shutil.copytree(shelf / "models/community/our/right", wrong)
    (shelf / "our/wrong").symlink_to(wrong)
    change_weights(zero_a_bias)(wrong)
    with Server(shelf) as server:
        monkeypatch.setenv({"bos": "PPNLP_ENDPOINT", "hf": "HF_ENDPOINT"}[source], server.url)
        for name in ("right", "wrong"):
            assert (pphub.download(f"our/{name}", source=source, progress=QUIET) / PROOF_FILE).is_file()
    assert main(["list", "--json"]) == 0
    listed = {model["repo"]: model["aligned"] for model in json.loads(capsys.readouterr().out)["models"]}
    assert listed["our/wrong"] == []
    (said,) = listed["our/right"]
    assert said.startswith("aligned: forward, data (mean ")
    assert said.endswith(", says its publisher")
    assert main(["list"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows[f"{source}:our/right"].endswith("aligned, says its publisher")
    assert "aligned" not in rows[f"{source}:our/wrong"]
    assert main(["verify"]) == 0  # every file is as it was published
    out = capsys.readouterr().out
    assert "our/right" not in out
    assert "model_state.pdparams is not the file that was aligned" in out
    assert main(["verify", "our/wrong", "--json"]) == 0
    (refuted,) = json.loads(capsys.readouterr().out)["refuted"]
    assert refuted["repo"] == "our/wrong"
    assert refuted["problems"] == ["model_state.pdparams is not the file that was aligned"]


# -- what is said of it


def test_a_tolerance_of_ones_own_is_in_the_table(
    tmp_path: Path,
    small: tuple[Path, Path],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And what the hub's client logs is not on the terminal, although PaddleNLP has all that is logged shown."""
    caplog.set_level(logging.INFO)
    shutil.copytree(small[0], tmp_path / "hub/org/small")
    with Server(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert main(["align", "org/small", "--stages", "forward", "--tolerance", "1e-3", "1e-2", "-q"]) == 0
    assert [each for each in caplog.records if each.name.startswith("httpx")] == []
    capsys.readouterr()
    assert main(["list"]) == 0
    assert " aligned (own tolerance)\n" in capsys.readouterr().out


MALFORMED = [
    "",
    "[]",
    "null",
    "[" * 100_000,
    '{"format": 1}',
    '{"format": 1, "stages": {"forward": []}, "files": {}}',
    '{"format": 1, "stages": {"forward": {"tolerance": []}}, "files": {}}',
    '{"format": 1, "stages": {}, "files": {"torch": [1]}}',
    '{"format": 1, "stages": {}, "files": {"torch": {"a": {}}}}',
    '{"format": 1, "stages": {}, "files": {"paddle": {"a": "0"}}}',
    '{"format": 1, "stages": {}, "files": {}, "tokenizer": []}',
    '{"format": 1, "stages": {}, "files": {}, "tokenizer": {"paddle": null}}',
    '{"format": 1, "stages": {}, "files": {}, "torch_is_input": []}',
    '{"format": [], "stages": {}, "files": {}}',
]


@pytest.mark.parametrize("text", MALFORMED)
def test_a_proof_that_is_none_crashes_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / PROOF_FILE).write_text(text)
    assert [read_proof(tmp_path), describe_proof(tmp_path), proof_words(tmp_path)] == [None, None, None]
    assert proof_problems(tmp_path) == [f"{PROOF_FILE} cannot be read"]


def test_a_proof_may_name_anything(tmp_path: Path) -> None:
    names = dict.fromkeys(("..", "", "a\0b", "\ud800"), "0" * 64)
    proof = {"format": 1, "stages": {"forward": {"mean": [], "max": {}}}, "files": {"paddle": names}}
    (tmp_path / PROOF_FILE).write_text(json.dumps(proof))
    (tmp_path / "conversion.json").write_text('{"inputs": [1]}')
    assert describe_proof(tmp_path) == "aligned: forward"
    assert len(proof_problems(tmp_path)) == 4
    (tmp_path / PROOF_FILE).unlink()
    (tmp_path / PROOF_FILE).symlink_to("nowhere")
    assert proof_problems(tmp_path) == [f"{PROOF_FILE} cannot be read"]


# -- what is found before anything that takes long


def test_a_text_may_hold_what_others_take_for_an_end_of_line(tmp_path: Path) -> None:
    data = tmp_path / "texts.tsv"
    data.write_bytes("\ufefflabel\tsentence\r\n1\ta\u2028b\x0bc\x85d\x1ce\r\n0\tf\r\n\r\n".encode())
    examples = read_tsv(data).train
    assert [(each.text, each.label) for each in examples] == [("a\u2028b\x0bc\x85d\x1ce", 1), ("f", 0)]
    data.write_text("index\tquestion\tsentence\tlabel\n0\tq\ts\tno\n1\tr\tt\tyes\n")
    assert [(each.text, each.pair, each.label) for each in read_tsv(data).train] == [("q", "s", 0), ("r", "t", 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sentence\tlabel\na\t1\nb\n", "line 3 of .* has 1 columns, and the first line names 2"),
        ("sentence\tlabel\na\t1\tx\n", "line 2 of .* has 3 columns, and the first line names 2"),
        ("sentence\tlabel\na\t1\n\nb\t0\n", "line 3 of .* has 1 columns"),
        ("sentence\tlabel\na\t1\nb\t\n", "line 3 of .* has no label"),
        ("sentence\tlabel\na\t1\n \t0\n", "line 3 of .* has no sentence"),
        ("sentence\tlabel\tlabel\na\t1\t1\n", "line 1 of .* names the column 'label' twice"),
        ("sentence\tlabel\tsource\na\t1\tx\n", "line 1 of .* names a column 'source', of which it is not known"),
        ("sentence\tlabel\n", "names its columns and holds no lines"),
        ("", "no columns that are understood: it is empty"),
        ("sentence\tlabel\na\t1\nb\t1\n", "has one label only, '1'"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "texts.tsv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_tsv(tmp_path / "texts.tsv")


@pytest.mark.parametrize("option", ["report", "reprod_log"])
def test_where_nothing_can_be_written_is_found_at_once(tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_text("mine")
    options: dict[str, Any] = {option: tmp_path / "file"}
    with pytest.raises(UsageError, match="file is a file, and a folder is wanted"):
        align("nothing-is-fetched", **options)
    assert (tmp_path / "file").read_text() == "mine"
    options = {option: tmp_path / "file/below"}
    with pytest.raises(StorageFailed, match=r"could not write in .*below"):
        align("nothing-is-fetched", **options)
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(StorageFailed, match=r"could not write in .*closed"):
            align("nothing-is-fetched", **(options | {option: tmp_path / "closed"}))


def test_a_published_model_asks_no_hub_for_what_it_was_made_from(
    tmp_path: Path, small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record has lost the path: what has the folder's name, on a hub or where one is, is another model."""
    published = pphub.publish(copies(small, tmp_path)[1], tmp_path / "out") / "models/community/paddle"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotInModel, match=r"made from a folder 'torch' .* which is not here") as caught:
        find_subject(published, None, QUIET)
    assert "--against" in str(caught.value.hint)
