"""What the stage ``data`` compares of tokenizers beyond ids: merges, scores, sides, symbols; and what it refuses."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import transformers
from sentencepiece import sentencepiece_model_pb2

import pphub
from conftest import MINILM
from matrix import Row, build
from matrix import save as save_model
from pphub.alignment.paddle_side import load_paddle_tokenizer, paddle_encode
from pphub.alignment.run import run_stages
from pphub.alignment.session import Options, Session
from pphub.alignment.stages.data import _compare_symbols
from pphub.alignment.stages.result import Found
from pphub.alignment.subject import find_subject
from pphub.alignment.torch_side import load_torch_tokenizer
from pphub.alignment.vocabulary import compare_tokenizers
from test_alignment import align_small, edit_json, small, stage_of
from test_alignment_proof import CONFIG, QUIET, copies, exchange
from test_tokenizer import ARCHITECTURES, make
from tokenizer_files import byte_level, piece_model, save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["small"]  # the fixture

CUT = "PaddleNLP's tokenizer cuts symbols such as ° and € off words where torch's does not: "
Lines = list[str]


def compared(torch: Path, paddle: Path) -> Found:
    found = Found()
    compare_tokenizers(load_torch_tokenizer(torch), load_paddle_tokenizer(paddle), found, lambda *_: None)
    return found


def failed(found: Found) -> list[str]:
    return [each.name for each in found.differences if not each.passed]


# -- merges and scores


def bpe(folder: Path, kind: str) -> Path:
    folder.mkdir(parents=True)
    byte_level(kind).model.save(str(folder))
    config = {"architectures": [ARCHITECTURES[kind]], "model_type": kind}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def swap(lines: Lines) -> None:
    lines[150], lines[151] = lines[151], lines[150]


def reverse_the_tail(lines: Lines) -> None:
    lines[121:] = lines[:120:-1]


@pytest.mark.parametrize("kind", ["gpt2", "roberta"])
@pytest.mark.parametrize(
    ("change", "count", "first"),
    [
        (swap, "2 of 186", 149),
        (lambda lines: lines.pop(150), "1 of 186", 149),
        (lambda lines: lines.pop(), "1 of 186", 185),
        (lambda lines: lines.insert(10, "Ġw xx"), "1 of 187", 9),
        (reverse_the_tail, "66 of 186", 120),
        (lambda lines: lines.__delitem__(slice(1, None)), "186 of 186", 0),
    ],
)
def test_other_merges_are_caught_and_the_first_is_named(
    tmp_path: Path, kind: str, change: Callable[[Lines], object], count: str, first: int
) -> None:
    torch = bpe(tmp_path / "torch", kind)
    paddle = shutil.copytree(torch, tmp_path / "paddle")
    assert compared(torch, paddle).failures == []
    before = (torch / "merges.txt").read_text(encoding="utf-8").splitlines()  # the first line is a version
    after = list(before)
    change(after)
    (paddle / "merges.txt").write_text("\n".join(after) + "\n", encoding="utf-8")
    found = compared(torch, paddle)
    left, right = (repr(side[first + 1]) if first + 1 < len(side) else "not there" for side in (before, after))
    assert found.failures == [
        f"{count} merges differ: the first, of rank {first}, is {left} in torch and {right} in Paddle"
    ]
    assert failed(found) == ["ranks of all merges"]


@pytest.mark.parametrize("kind", ["gpt2", "opt", "bart", "t5", "albert", "xlnet", "mbart", "rembert", "deberta-v2"])
def test_merges_or_scores_of_every_kind_are_compared(tmp_path: Path, kind: str) -> None:
    torch = save(make(kind), tmp_path / "m", architectures=[ARCHITECTURES[kind]])
    found = Found()
    paddle = pphub.AutoTokenizer.from_pretrained(torch)
    compare_tokenizers(load_torch_tokenizer(torch), paddle, found, lambda *_: None)
    assert found.failures == []
    (extent,) = (each.elements for each in found.differences if each.name.startswith(("ranks", "scores")))
    assert extent > 150


def test_other_scores_are_caught_and_rounding_is_not(tmp_path: Path) -> None:
    torch = save(make("t5"), tmp_path / "torch", architectures=["T5Model"])
    paddle = tmp_path / "paddle"
    paddle.mkdir()
    (paddle / "config.json").write_bytes((torch / "config.json").read_bytes())
    (paddle / CONFIG).write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 100}', encoding="utf-8")
    model = sentencepiece_model_pb2.ModelProto.FromString(piece_model("t5"))  # type: ignore[attr-defined]

    def scores() -> Found:
        (paddle / "spiece.model").write_bytes(model.SerializeToString())
        found = compared(torch, paddle)
        found.failures = [each for each in found.failures if "scores" in each]
        return found

    document = json.loads((torch / "tokenizer.json").read_bytes())
    document["model"]["vocab"] = [[piece, float(f"{score:.8g}")] for piece, score in document["model"]["vocab"]]
    (torch / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    assert scores().failures == []
    model.pieces[300].score -= 0.001
    piece, other = model.pieces[300].piece, model.pieces[300].score
    (reason,) = scores().failures
    assert reason.startswith(f"1 of 397 pieces have other scores: {piece!r} has -")
    assert reason.endswith(f"and {other:.7g} in Paddle")
    assert "scores of all pieces" in failed(scores())


# -- sides


@pytest.mark.parametrize("name", ["truncation_side", "padding_side"])
def test_another_side_is_caught(tmp_path: Path, small: tuple[Path, Path], name: str) -> None:
    torch, paddle = copies(small, tmp_path)
    edit_json(paddle / CONFIG, **{name: "left"})
    assert compared(torch, paddle).failures == [f"the {name} is 'right' in torch and 'left' in Paddle"]
    assert stage_of(align_small(paddle, torch, "data"), "data").status == "failed"
    edit_json(torch / CONFIG, **{name: "left"})
    assert compared(torch, paddle).failures == []
    assert stage_of(align_small(paddle, torch, "data"), "data").status == "passed"


# -- a torch folder whose tokenizer cannot be loaded


@pytest.mark.parametrize("name", ["tokenizer.json", CONFIG])
def test_a_torch_tokenizer_that_cannot_be_read_fails(tmp_path: Path, small: tuple[Path, Path], name: str) -> None:
    torch, paddle = copies(small, tmp_path)
    exchange(900, 950)(paddle)
    (torch / name).write_text("{garbage", encoding="utf-8")
    report = align_small(paddle, torch, "forward", "data")
    assert not report.passed
    data = stage_of(report, "data")
    assert data.status == "failed"
    assert data.reason.startswith("transformers cannot make a tokenizer from ")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"tokenizer_class": "RoFormerTokenizer"}, "ImportError: You need to install rjieba"),
        ({"tokenizer_class": "NoSuchTokenizer"}, "ValueError: Couldn't instantiate the backend tokenizer"),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, "ValueError: Couldn't instantiate the backend tokenizer"),
    ],
)
def test_where_transformers_has_no_tokenizer_the_stage_is_skipped(
    tmp_path: Path, small: tuple[Path, Path], config: dict[str, str], reason: str
) -> None:
    if "rjieba" in reason and transformers.utils.is_rjieba_available():
        pytest.skip("rjieba is installed")
    torch, paddle = copies(small, tmp_path)
    edit_json(torch / CONFIG, **config)
    data = stage_of(align_small(paddle, torch, "data"), "data")
    assert data.status == "skipped"
    assert data.reason.startswith("there is no tokenizer in torch to hold Paddle's against: ")
    assert reason in data.reason


def test_without_tokenizer_files_the_stage_is_skipped(tmp_path: Path, small: tuple[Path, Path]) -> None:
    torch, paddle = copies(small, tmp_path)
    (torch / "vocab.txt").unlink()
    data = stage_of(align_small(paddle, torch, "data"), "data")
    assert (data.status, data.reason) == ("skipped", "the torch folder holds no tokenizer")


# -- PaddleNLP's DistilBERT knows other keywords


def test_distilbert_passes_and_its_long_texts_are_cut(tmp_path: Path) -> None:
    sizes = {"vocab_size": 30522, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4}
    torch = save_model(build(Row("distilbert", "DistilBertModel", "DistilBertConfig", sizes)), tmp_path / "torch")
    for name in ("vocab.txt", CONFIG):
        shutil.copy(MINILM / name, torch / name)
    edit_json(torch / CONFIG, tokenizer_class="DistilBertTokenizer")
    paddle = pphub.convert(torch, tmp_path / "paddle", progress=QUIET)
    tokenizers = load_torch_tokenizer(torch), load_paddle_tokenizer(paddle)
    assert type(tokenizers[1]).__name__ == "DistilBertTokenizer"
    ids = [
        tokenizers[0]("one two three four five", "six seven eight", truncation=True, max_length=8)["input_ids"],
        paddle_encode(tokenizers[1], "one two three four five", "six seven eight", 8)["input_ids"],
    ]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 8
    data = stage_of(align_small(paddle, torch, "data"), "data")
    assert (data.status, data.reason) == ("passed", "")
    (lengths,) = (each for each in data.differences if each.name == "lengths")
    assert lengths.worst is not None
    assert any("one two three four five six" in each.name and each.shape == (128,) for each in data.differences)


# -- symbols within words


def test_symbols_that_paddle_cuts_off_words_are_told(small: tuple[Path, Path]) -> None:
    report = align_small(small[1], small[0], "data")
    data = stage_of(report, "data")
    assert data.status == "passed"
    (note,) = (each for each in data.notes if "symbol" in each)
    assert note == f"{CUT}6 of 6 texts with symbols have other ids; texts of your own: --data"
    assert "9 others, 6 with symbols" in data.inputs


def symbols_of(small: tuple[Path, Path], torch: Any, paddle: Any) -> Found:
    found = Found()
    with Session(find_subject(small[1], small[0], QUIET), Options(), QUIET) as session:
        _compare_symbols(session, found, torch, paddle)
    return found


def test_without_a_difference_nothing_is_told(tmp_path: Path, small: tuple[Path, Path]) -> None:
    folder = bpe(tmp_path / "gpt2", "gpt2")
    found = symbols_of(small, load_torch_tokenizer(folder), load_paddle_tokenizer(folder))
    assert len(found.differences) == 6
    assert all(each.passed for each in found.differences)
    assert found.notes == []


def test_symbols_that_transformers_does_not_normalize_are_told(tmp_path: Path, small: tuple[Path, Path]) -> None:
    """transformers makes MBart's tokenizer of a model of sentencepiece without its NFKC."""
    (tmp_path / "sentencepiece.bpe.model").write_bytes(piece_model("mbart"))
    (tmp_path / "config.json").write_text('{"architectures": ["MBartModel"], "model_type": "mbart"}', encoding="utf-8")
    found = symbols_of(small, load_torch_tokenizer(tmp_path), load_paddle_tokenizer(tmp_path))
    assert failed(found) == []
    (note,) = found.notes
    assert note.startswith("PaddleNLP's tokenizer writes symbols such as ² as NFKC does where torch's does not: ")


def test_symbols_that_differ_otherwise_fail(small: tuple[Path, Path]) -> None:
    torch, paddle = load_torch_tokenizer(small[0]), load_paddle_tokenizer(small[1])

    class Lossy:
        def __call__(self, text: str, pair: str | None, *, truncation: bool, max_length: int) -> Any:
            kept = text.replace("€", "")
            return paddle(kept, pair, truncation=truncation, max_length=max_length)

    found = symbols_of(small, torch, Lossy())
    assert {name.partition("'")[0] for name in failed(found)} == {"symbols 1 "}
    assert found.notes == []


def test_the_note_is_printed_and_reported_and_stays_out_of_a_failure(
    tmp_path: Path, small: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from pphub.cli import main

    torch, paddle = copies(small, tmp_path)
    arguments = ["align", str(paddle), "--against", str(torch), "--stages", "data", "--report", str(tmp_path / "r")]
    assert main(arguments) == 0
    assert f"data: {CUT}6 of 6" in capsys.readouterr().err
    written = json.loads((tmp_path / "r" / "report.json").read_bytes())
    assert any(note.startswith(CUT) for note in written["stages"][0]["notes"])
    assert "cuts symbols such as ° and €" in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    exchange(900, 950)(paddle)
    report = run_stages(find_subject(paddle, torch, QUIET), ("data",), Options(), QUIET)
    assert report.stages[0].status == "failed"
    assert not any("symbol" in note for note in report.stages[0].notes)
