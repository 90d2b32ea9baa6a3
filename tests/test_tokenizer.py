"""A repository with a ``tokenizer.json`` and no vocabulary: PaddleNLP's tokenizer gives the ids of transformers'."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import pickle
import random
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sentencepiece
import tokenizers

import pphub
from conftest import MINILM
from hubs import Hub, fill, tiny_bert
from pphub.cli import main
from pphub.conversion.rules import load_families
from pphub.errors import ConversionFailed, Corrupt, UnsafeCheckpoint
from pphub.select import Selection
from pphub.tokenizer.classes import FORMS, LACKING, UNPICKLING
from pphub.tokenizer.derive import derive_files
from pphub.view import family_class
from tokenizer_files import (
    EXTRAS,
    TEXTS,
    byte_level,
    edit,
    parse_model,
    piece_model,
    put_around,
    save,
    unigram,
    word_piece,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ARCHITECTURES = {
    "bert-cased": "BertModel",
    "bert-uncased": "BertModel",
    "bert-uncased-accents": "BertModel",
    "bert-cased-plain": "BertModel",
    "gpt2": "GPT2Model",
    "opt": "OPTModel",
    "roberta": "RobertaModel",
    "bart": "BartModel",
    "t5": "T5Model",
    "albert": "AlbertModel",
    "xlnet": "XLNetModel",
    "mbart": "MBartModel",
    "rembert": "RemBertModel",
    "deberta-v2": "DebertaV2Model",
    "mbart50": "MBartModel",
}
SPECIAL = {
    "bert-uncased": "A [MASK] paddle [SEP] IT",
    "gpt2": "a <|endoftext|> it",
    "opt": "a </s> it",
    "roberta": "a <mask> paddle</s> it",
    "bart": "a <mask> paddle</s> it",
    "t5": "a <extra_id_0> paddle <extra_id_3>. it",
    "xlnet": "a <mask> paddle <sep> it",
    "mbart": "a <mask> en_XX </s> it",
    "deberta-v2": "a [MASK] it",
}


def make(kind: str) -> tokenizers.Tokenizer:
    if kind.startswith("bert"):
        accents = False if "accents" in kind else None
        return word_piece(lower="uncased" in kind, accents=accents, chinese="plain" not in kind)
    if kind in {"gpt2", "opt", "roberta", "bart"}:
        return byte_level(kind)
    return unigram(piece_model(kind), kind)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def compare(ours: Any, theirs: tokenizers.Tokenizer, texts: Sequence[str] = TEXTS) -> None:
    for text in texts:
        expected = theirs.encode(text).ids
        assert ours(text)["input_ids"] == expected, (text, theirs.encode(text).tokens)
    first, second = "Welcome", "to paddle"
    assert ours(first, second)["input_ids"] == theirs.encode(first, second).ids
    assert len({tuple(theirs.encode(text).ids) for text in texts}) > len(texts) / 2  # it tells texts apart


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_ids_are_those_of_transformers(tmp_path: Path, kind: str) -> None:
    theirs = make(kind)
    folder = save(theirs, tmp_path / "m", architectures=[ARCHITECTURES[kind]])
    if kind == "mbart50":  # its config names the same model class
        fill(folder, {"tokenizer_config.json": b'{"tokenizer_class": "MBart50Tokenizer"}'})
    before = tree(folder)
    ours = pphub.AutoTokenizer.from_pretrained(folder)
    compare(ours, theirs, [*TEXTS, *([SPECIAL[kind]] if kind in SPECIAL else [])])
    assert len(ours) == theirs.get_vocab_size()  # PaddleNLP has added no token of its own
    assert tree(folder) == before
    ours.save_pretrained(str(tmp_path / "saved"))
    fill(tmp_path / "saved", {"config.json": before["config.json"]})
    compare(pphub.AutoTokenizer.from_pretrained(tmp_path / "saved"), theirs)


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name, form in FORMS.items() if form.model != "Unigram" for number in range(len(form.frames))],
)
def test_every_class_puts_around_a_text_what_the_file_says(tmp_path: Path, name: str, number: int) -> None:
    form = FORMS[name]
    theirs = word_piece(lower=True) if form.model == "WordPiece" else byte_level("roberta")
    tokens = {"A": "$A", "B": "$B", "bos": "<s>", "cls": "<s>", "sep": "</s>"}
    tokens |= {"cls": "[CLS]", "sep": "[SEP]"} if form.model == "WordPiece" else {}
    frame = form.frames[number]
    put_around(theirs, *(" ".join(tokens[word] for word in text.split()) for text in (frame.single, frame.pair)))
    config = json.dumps({"tokenizer_class": name}).encode()
    folder = fill(save(theirs, tmp_path / "m"), {"tokenizer_config.json": config})
    ours = pphub.AutoTokenizer.from_pretrained(folder)
    assert type(ours).__name__ == name
    compare(ours, theirs)


@pytest.mark.parametrize("kind", ["t5", "albert", "xlnet", "rembert"])
def test_a_sentencepiece_model_is_written_as_sentencepiece_would(tmp_path: Path, kind: str) -> None:
    model = piece_model(kind)
    folder = save(unigram(model, kind), tmp_path, architectures=[ARCHITECTURES[kind]])
    files = derive_files(folder, ["tokenizer.json"], family_class(folder)).files
    (ours,) = (content for name, content in files.items() if name.endswith(".model"))
    protos = [parse_model(each) for each in (model, ours)]
    facts = [[(piece.piece, piece.score, piece.type) for piece in proto.pieces] for proto in protos]
    assert facts[0] == facts[1]
    for setting in ("precompiled_charsmap", "add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"):
        assert len({getattr(proto.normalizer_spec, setting) for proto in protos}) == 1
    processors = [sentencepiece.SentencePieceProcessor(model_proto=each) for each in (model, ours)]
    for text in [*TEXTS, "ﬁne Ａ ①½", "trailing  ", "\u200bzero width"]:
        assert processors[0].encode(text) == processors[1].encode(text)


@pytest.mark.parametrize("name", FORMS)
def test_the_table_of_classes_is_true(name: str) -> None:
    import paddlenlp.transformers as library

    kind = getattr(library, name, None)
    if kind is None:  # these two are reached by way of another
        from paddlenlp.transformers.roberta import tokenizer as roberta

        kind = getattr(roberta, name)
    form = FORMS[name]
    assert set(form.files) <= set(kind.resource_files_names.values())
    assert form.codes == tuple(getattr(kind, "FAIRSEQ_LANGUAGE_CODES", ()))
    known = set(inspect.signature(kind.__init__).parameters) | set(inspect.signature(kind.__base__.__init__).parameters)
    assert form.heeds - {"quotes"} <= known
    assert set(form.fixed) <= known


def test_where_paddlenlp_has_no_tokenizer() -> None:
    import paddlenlp.transformers as library

    named = {family.tokenizer for family in load_families()}
    assert {name for name in named if not hasattr(library, name)} == LACKING


def test_of_a_real_model_the_vocabulary_is_the_one_it_was_published_with(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(MINILM / name, tmp_path / name)
    assert folder_of(tmp_path)["vocab.txt"] == (MINILM / "vocab.txt").read_bytes()
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs.no_truncation()
    theirs.no_padding()
    compare(pphub.AutoTokenizer.from_pretrained(tmp_path), theirs)


# -- through the whole way ------------------------------------------------------------------------------------


def bert_files(folder: Path, theirs: tokenizers.Tokenizer) -> dict[str, bytes]:
    files = tiny_bert(words=theirs.get_vocab_size())
    del files["vocab.txt"]
    theirs.save(str(folder / "tokenizer.json"))
    return {**files, "tokenizer.json": (folder / "tokenizer.json").read_bytes()}


def test_a_conversion_has_the_files_and_tells_of_them(tmp_path: Path) -> None:
    theirs = word_piece(lower=False)
    folder = fill(tmp_path / "m", bert_files(tmp_path, theirs))
    before = tree(folder)
    prepared = pphub.prepare(folder)
    made = tree(prepared)
    assert made.keys() == before.keys() - {"model.safetensors"} | {
        "conversion.json",
        "model_state.pdparams",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
    assert tree(folder) == before
    record = json.loads(made["conversion.json"])
    names = ["special_tokens_map.json", "tokenizer_config.json", "vocab.txt"]
    assert record["tokenizer"] == {"class": "BertTokenizer", "made": names, "version": 1}
    assert set(names) < set(record["files"])
    assert [each["file"] for each in record["inputs"]] == ["config.json", "model.safetensors", "tokenizer.json"]
    times = {path: path.stat().st_mtime_ns for path in prepared.iterdir()}
    assert pphub.prepare(folder) == prepared
    assert {path: path.stat().st_mtime_ns for path in prepared.iterdir()} == times
    assert main(["verify", str(prepared), "-q"]) == 0  # it is made again, and compared
    (prepared / "vocab.txt").write_bytes(made["vocab.txt"].replace(b"paddle", b"peddle"))
    assert main(["verify", str(prepared), "-q"]) == 1
    (prepared / "vocab.txt").write_bytes(made["vocab.txt"])
    elsewhere = pphub.convert(shutil.copytree(folder, tmp_path / "copy"), tmp_path / "out")
    assert {name: content for name, content in tree(elsewhere).items() if name != "conversion.json"} == {
        name: content for name, content in made.items() if name != "conversion.json"
    }
    from paddlenlp.transformers import AutoTokenizer, BertTokenizer

    for kind in (AutoTokenizer, BertTokenizer):
        compare(kind.from_pretrained(str(prepared)), theirs)
    back = pphub.convert(prepared, tmp_path / "torch", to="torch")
    assert (back / "tokenizer.json").read_bytes() == before["tokenizer.json"]


def test_from_a_hub(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = word_piece(lower=True)
    with Hub.open(tmp_path / "hub", {"org/bert": bert_files(tmp_path, theirs)}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        compare(pphub.AutoTokenizer.from_pretrained("org/bert"), theirs)
        assert (hub.count("tokenizer.json"), hub.count("model.safetensors")) == (1, 0)
        prepared = pphub.prepare("org/bert")
        assert hub.count("tokenizer.json") == 1
    snapshot = pphub.download("org/bert", offline=True)
    assert sorted(path.name for path in snapshot.iterdir()) == [
        "config.json",
        "model.safetensors",
        "snapshot.json",
        "tokenizer.json",
    ]
    compare(pphub.AutoTokenizer.from_pretrained("org/bert", offline=True), theirs)
    from paddlenlp.transformers import BertTokenizer

    for folder in (prepared, home / "models" / "org" / "bert"):
        compare(BertTokenizer.from_pretrained(str(folder)), theirs)


def test_a_paddle_checkpoint_is_shown_with_the_files(tmp_path: Path) -> None:
    theirs = word_piece(lower=False)
    torch = fill(tmp_path / "torch", bert_files(tmp_path, theirs))
    folder = pphub.convert(torch, tmp_path / "paddle")
    for name in ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "conversion.json"):
        (folder / name).unlink()
    before = tree(folder)
    shown = pphub.prepare(folder)
    assert tree(folder) == before
    assert (shown / "model_state.pdparams").samefile(folder / "model_state.pdparams")
    record = json.loads((shown / "derived.json").read_bytes())
    assert set(record["files"]) == {"vocab.txt", "tokenizer_config.json", "special_tokens_map.json"}
    from paddlenlp.transformers import AutoTokenizer

    compare(AutoTokenizer.from_pretrained(str(shown)), theirs)
    (shown / "vocab.txt").write_bytes(b"")
    assert pphub.prepare(folder) == shown
    compare(AutoTokenizer.from_pretrained(str(shown)), theirs)
    edit(folder, **json.loads(word_piece(lower=True).to_str()))
    assert pphub.prepare(folder) != shown  # another tokenizer


def test_the_folder_of_links_goes_with_its_model(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub.open(tmp_path / "hub", {"org/bert": bert_files(tmp_path, word_piece(lower=True))}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        pphub.AutoTokenizer.from_pretrained("org/bert")
    assert len(list((home / "hub" / "converted").iterdir())) == 1
    assert main(["remove", "org/bert", "-q"]) == 0
    assert main(["prune", "-q"]) == 0
    assert not list((home / "hub" / "converted").iterdir())


# -- what the repository has wins ------------------------------------------------------------------------------


def test_a_vocabulary_that_is_there_is_the_vocabulary(tmp_path: Path) -> None:
    files = bert_files(tmp_path, word_piece(lower=False))
    folder = fill(tmp_path / "m", {**files, "vocab.txt": tiny_bert()["vocab.txt"]})
    prepared = pphub.prepare(folder)
    assert tree(prepared)["vocab.txt"] == tiny_bert()["vocab.txt"]
    assert "tokenizer_config.json" not in tree(prepared)
    assert "tokenizer" not in json.loads((prepared / "conversion.json").read_bytes())


def test_the_record_has_the_hash_of_a_file_that_was_completed(tmp_path: Path) -> None:
    folder = fill(tmp_path / "m", bert_files(tmp_path, word_piece(lower=False)))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 77}')
    prepared = pphub.prepare(folder)
    content = (prepared / "tokenizer_config.json").read_bytes()
    assert len(json.loads(content)) > 1
    record = json.loads((prepared / "conversion.json").read_bytes())
    assert record["files"]["tokenizer_config.json"] == hashlib.sha256(content).hexdigest()
    assert main(["verify", str(prepared), "-q"]) == 0


def test_what_the_config_of_the_tokenizer_says_is_kept(tmp_path: Path) -> None:
    folder = save(word_piece(lower=False), tmp_path, architectures=["BertModel"])
    said = {
        "do_lower_case": True,
        "tokenizer_class": "BertTokenizerFast",
        "model_max_length": 77,
        "pad_token": "[MASK]",
    }
    token_map = b'{"sep_token": "[CLS]"}'
    fill(folder, {"tokenizer_config.json": json.dumps(said).encode(), "special_tokens_map.json": token_map})
    names = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
    files = derive_files(folder, names, "ErnieTokenizer").files
    assert sorted(files) == ["tokenizer_config.json", "vocab.txt"]
    config = json.loads(files["tokenizer_config.json"])
    assert {key: config[key] for key in said} == said
    assert config["init_class"] == "BertTokenizer"
    assert (config["tokenize_chinese_chars"], config["cls_token"]) == (True, "[CLS]")


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("bert-uncased", "BertTokenizer"),
        ("bert-cased", "BertTokenizer"),
        ("gpt2", "GPT2Tokenizer"),
        ("roberta", "RobertaTokenizer"),
        ("bart", "BartTokenizer"),
        ("t5", "T5Tokenizer"),
        ("albert", "AlbertTokenizer"),
        ("xlnet", "XLNetTokenizer"),
    ],
)
def test_as_transformers_saves_it(tmp_path: Path, kind: str, named: str) -> None:
    """Its config names classes and settings of its own, which PaddleNLP's classes are given as well."""
    import transformers

    folder = save(make(kind), tmp_path / "m", architectures=[ARCHITECTURES[kind]])
    roles = json.loads(folder_of(folder)["tokenizer_config.json"])
    roles = {key: value for key, value in roles.items() if key.endswith("_token")}
    saved = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **roles)
    saved.save_pretrained(str(folder))
    config = json.loads((folder / "tokenizer_config.json").read_bytes())
    for name in (config["tokenizer_class"], named, f"{named}Fast"):
        (folder / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": name}), encoding="utf-8")
        ours = pphub.AutoTokenizer.from_pretrained(folder)
        for text in TEXTS:
            assert ours(text)["input_ids"] == saved(text)["input_ids"], text


def folder_of(folder: Path) -> dict[str, bytes]:
    return dict(derive_files(folder, ["tokenizer.json"], family_class(folder)).files)


@pytest.mark.parametrize("kind", ["bert-cased", "roberta", "t5"])
def test_a_file_of_old_which_does_not_name_its_kind(tmp_path: Path, kind: str) -> None:
    folder = save(make(kind), tmp_path, architectures=[ARCHITECTURES[kind]])
    expected = folder_of(folder)
    model = json.loads((folder / "tokenizer.json").read_bytes())["model"]
    assert folder_of(edit(folder, model={key: model[key] for key in model if key != "type"})) == expected


# -- ids and merges --------------------------------------------------------------------------------------------


def test_merges_of_either_form_give_the_same_files(tmp_path: Path) -> None:
    theirs = byte_level("roberta")
    folder = save(theirs, tmp_path, architectures=["RobertaModel"])
    model = json.loads((folder / "tokenizer.json").read_bytes())["model"]
    pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
    made = []
    for merges in (pairs, [" ".join(pair) for pair in pairs]):
        made.append(folder_of(edit(folder, model={**model, "merges": merges})))
    assert made[0] == made[1]
    lines = made[0]["merges.txt"].decode().split("\n")
    assert lines == ["#version: 0.2", *(" ".join(pair) for pair in pairs), ""]
    assert json.loads(made[0]["vocab.json"]) == theirs.get_vocab()


@pytest.mark.parametrize(
    ("kind", "tokens", "text"),
    [
        ("bert-uncased", ["<Ent>", "Köln"], "a <ent> and <ENT> in KÖLN or <Ent>it"),
        ("bert-cased", [("<a>", True), ("<b>", True)], "the <a> of <b> <a>"),
        ("bert-cased", [("<a>", True), ("<b>", False)], "the <a> of <b> <a>"),
        ("roberta", [("<a>", True), ("<b>", False)], "the <a> of <b> it<a> is<b>"),
        ("albert", [("<a>", True)], "the of it"),  # ALBERT's class of PaddleNLP finds no added token in a text
        ("xlnet", [("<a>", True), ("<b>", True)], "the <a> of <b> it"),
        ("t5", [("<a>", True), ("<b>", True)], "the <a> of <b> it <extra_id_2>"),
        ("mbart", [("<a>", True)], "the <a> of it zh_CN"),
    ],
)
def test_added_tokens_have_their_ids(tmp_path: Path, kind: str, tokens: list[Any], text: str) -> None:
    theirs = make(kind)
    for token in tokens:
        content, special = token if isinstance(token, tuple) else (token, False)
        added = tokenizers.AddedToken(content, normalized=not special and kind.startswith("bert"))
        (theirs.add_special_tokens if special else theirs.add_tokens)([added])
    folder = save(theirs, tmp_path / "m", architectures=[ARCHITECTURES[kind]])
    ours = pphub.AutoTokenizer.from_pretrained(folder)
    assert ours(text)["input_ids"] == theirs.encode(text).ids, theirs.encode(text).tokens
    compare(ours, theirs)
    assert len(ours) == theirs.get_vocab_size()


def test_added_tokens_of_a_file_of_their_own_stay_in_it(tmp_path: Path) -> None:
    theirs = word_piece(lower=True)
    size = theirs.get_vocab_size()
    theirs.add_tokens([tokenizers.AddedToken("<ent>", normalized=True)])
    folder = save(theirs, tmp_path / "m", architectures=["BertModel"])
    fill(folder, {"added_tokens.json": json.dumps({"<ent>": size}).encode()})
    files = derive_files(folder, ["added_tokens.json", "tokenizer.json"], "BertTokenizer").files
    assert "added_tokens.json" not in files
    assert len(files["vocab.txt"].splitlines()) == size
    compare(pphub.AutoTokenizer.from_pretrained(folder), theirs, ["an <ent> and <ENT>", *TEXTS])


@pytest.mark.parametrize("kind", ["bert-cased", "roberta"])
def test_a_hole_is_filled_with_a_token_that_is_in_no_text(tmp_path: Path, kind: str) -> None:
    theirs = make(kind)
    size = theirs.get_vocab_size()
    folder = save(theirs, tmp_path / "m", architectures=[ARCHITECTURES[kind]])
    file = json.loads((folder / "tokenizer.json").read_bytes())
    vocab = {token: at + 3 * (at > 20) for token, at in file["model"]["vocab"].items()}
    vocab["[unused21]"] = vocab.pop(max(vocab, key=lambda token: vocab[token]))
    file["model"]["merges"] = [
        pair for pair in file["model"].get("merges", []) if "".join(pair).replace(" ", "") in vocab
    ]
    late = {**file["added_tokens"][0], "content": "<late>", "id": size + 7}
    edit(folder, model={**file["model"], "vocab": vocab}, added_tokens=[*file["added_tokens"], late])
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    ours = pphub.AutoTokenizer.from_pretrained(folder)
    words = {**theirs.get_vocab(), "<late>": size + 7}
    assert len(ours) == size + 8
    assert [ours.convert_tokens_to_ids(token) for token in vocab] == list(vocab.values())
    assert ours.convert_tokens_to_ids("<late>") == words["<late>"]
    assert ours.convert_ids_to_tokens([21, 22]) == ["[[unused21]]", "[unused22]"]
    for text in [*TEXTS, "[unused22] it"]:
        assert ours(text)["input_ids"] == theirs.encode(text).ids


# -- what cannot be ---------------------------------------------------------------------------------------------

Change = dict[str, Any]


def _step(**values: Any) -> Change:
    return {"normalizer": {"type": "BertNormalizer", "lowercase": True, **values}}


REFUSED: list[tuple[str, str, Callable[[Change], Change], str]] = [
    ("bert-cased", "BertModel", lambda file: _step(clean_text=False), "control characters"),
    ("bert-cased", "ErnieModel", lambda file: _step(strip_accents=False), "accents or Chinese"),
    ("bert-cased", "BertModel", lambda file: {"normalizer": None}, "the normalizer nothing"),
    ("bert-cased", "BertModel", lambda file: {"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer Whitespace"),
    ("bert-cased", "BertModel", lambda file: {"post_processor": None}, "'A B' of two texts"),
    ("bert-cased", "BertModel", lambda file: {"model": {**file["model"], "max_input_chars_per_word": 9}}, "up to 9"),
    ("bert-cased", "T5Model", lambda file: {}, "WordPiece model, and PaddleNLP's T5Tokenizer is made from a Unigram"),
    ("bert-cased", "RoFormerModel", lambda file: {}, "RoFormerTokenizer cannot be made from it"),
    ("bert-cased", "CamembertModel", lambda file: {}, "PaddleNLP has no CamembertTokenizer"),
    ("roberta", "RobertaModel", lambda file: {"normalizer": {"type": "NFC"}}, "changes texts by NFC"),
    ("bart", "BartModel", lambda file: {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "a space"),
    ("roberta", "RobertaModel", lambda file: {"model": {**file["model"], "ignore_merges": True}}, "ignore_merges"),
    ("roberta", "RobertaModel", lambda file: _without_a_byte(file["model"]), "1 of the 256 bytes"),
    ("roberta", "RobertaModel", lambda file: _spaced(file["model"]), "cannot be written in merges.txt: 'x y'"),
    ("t5", "T5Model", lambda file: {"normalizer": {"type": "NFKC"}}, "by NFKC in a way that sentencepiece"),
    ("t5", "T5Model", lambda file: {"model": {**file["model"], "unk_id": None}}, "without an unknown piece"),
    ("t5", "T5Model", lambda file: {"model": {**file["model"], "byte_fallback": True}}, "byte_fallback"),
    ("t5", "T5Model", lambda file: {"pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "first"}}, "'first'"),
    ("mbart", "MBartModel", lambda file: {"normalizer": {"type": "Lowercase"}}, "lower case"),
    ("mbart", "MBartModel", lambda file: {"model": _swapped(file["model"])}, "25 languages"),
    ("t5", "T5Model", lambda file: {"model": _piece(file["model"], "a\u2581b")}, "a piece with a space within"),
    ("bert-cased", "BertModel", lambda file: {"model": {**file["model"], "type": "WordLevel"}}, "'WordLevel'"),
    (
        "bert-cased",
        "BertModel",
        lambda file: {"added_tokens": _single(file)},
        "'\\[PAD\\]', found as a whole word only",
    ),
]


def _without_a_byte(model: Change) -> Change:
    return {"model": {**model, "vocab": {token: at for token, at in model["vocab"].items() if token != "Q"}}}


def _spaced(model: Change) -> Change:
    vocab = {**model["vocab"], "x y": 9000, "x yz": 9001, "z": model["vocab"]["z"]}
    return {"model": {**model, "vocab": vocab, "merges": [*pairs(model), ["x y", "z"]]}}


def pairs(model: Change) -> list[list[str]]:
    return [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]


def _single(file: Change) -> list[Change]:
    return [{**token, "single_word": True} for token in file["added_tokens"]]


def _swapped(model: Change) -> Change:
    vocab = list(model["vocab"])
    vocab[-2], vocab[-3] = vocab[-3], vocab[-2]
    return {**model, "vocab": vocab}


def _piece(model: Change, piece: str) -> Change:
    vocab = list(model["vocab"])
    vocab[200] = [piece, -5.0]
    return {**model, "vocab": vocab}


@pytest.mark.parametrize(("kind", "architecture", "change", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_other_ids_are_refused(
    tmp_path: Path, kind: str, architecture: str, change: Callable[[Change], Change], message: str
) -> None:
    folder = save(make(kind), tmp_path / "m", architectures=[architecture])
    file = json.loads((folder / "tokenizer.json").read_bytes())
    changed = change(file)
    if kind == "mbart" and "model" in changed:
        changed["added_tokens"] = file["added_tokens"][:4]
    edit(folder, **changed)
    with pytest.raises(ConversionFailed, match=message) as caught:
        pphub.AutoTokenizer.from_pretrained(folder)
    assert caught.value.hint
    assert str(tmp_path) not in caught.value.message


def test_a_model_is_converted_without_the_tokenizer_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fill(tmp_path / "m", bert_files(tmp_path, word_piece(lower=True)))
    edit(folder, normalizer=None)
    prepared = pphub.prepare(folder)
    assert (prepared / "model_state.pdparams").is_file()
    assert not (prepared / "vocab.txt").exists()
    record = json.loads((prepared / "conversion.json").read_bytes())["tokenizer"]
    assert (record["made"], "the normalizer nothing" in record["refused"]) == ([], True)
    assert "has no tokenizer of PaddleNLP: tokenizer.json has the normalizer nothing" in capsys.readouterr().err
    assert type(pphub.AutoModel.from_pretrained(folder)).__name__ == "BertModel"


HOSTILE: dict[str, tuple[bytes, str]] = {
    "nested": (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
    "steps": (json.dumps({"type": "x"}).encode(), "its model is None"),
    "twice": (b'{"model": {}, "model": {}}', "a name stands in it twice"),
    "list": (b"[]", "not an object"),
    "cut": (b'{"model": {"type": "WordPi', "is not JSON"),
    "many": (b'{"a": [' + b"0," * 5_100_000 + b"0]}", "far too large"),
    "half a character": (b'{"model": {"type": "WordPiece", "vocab": {"\\ud800": 0}}}', "half a character"),
    "no text": (b'{"model": {"type": "WordPiece", "vocab": {"": 0}}}', "not a text"),
    "two for one": (
        b'{"model": {"type": "WordPiece", "vocab": {"a": 0, "b": 0}}}',
        "the id 0 to two tokens, 'a' and 'b'",
    ),
    "negative": (b'{"model": {"type": "WordPiece", "vocab": {"a": -1}}}', "the id of 'a' is -1"),
    "true": (b'{"model": {"type": "WordPiece", "vocab": {"a": true}}}', "the id of 'a' is True"),
    "far": (b'{"model": {"type": "WordPiece", "vocab": {"a": 4000000000}}}', "the id of 'a' is 4000000000"),
    "infinite": (b'{"model": {"type": "Unigram", "vocab": [["a", 1e999]]}}', "the score of 'a' is inf"),
    "nan": (b'{"model": {"type": "Unigram", "vocab": [["a", NaN]]}}', "the score of 'a' is nan"),
    "piece": (b'{"model": {"type": "Unigram", "vocab": [["a", 0], ["a", 0]]}}', "the piece 'a' twice"),
    "merge": (b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}', "merge 0 is of 'b'"),
    "merges": (b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a"]]}}', "merge 0 does not join two"),
    "added": (
        b'{"model": {"type": "WordPiece", "vocab": {"a": 0}}, "added_tokens": [{"content": "b", "id": 0}]}',
        "the id 0 to two tokens",
    ),
    "added twice": (
        b'{"model": {"type": "WordPiece", "vocab": {"a": 0}}, "added_tokens": [{"content": "a", "id": 5}]}',
        "'a' two ids, 0 and 5",
    ),
    "sequences": (
        b'{"model": {"type": "WordPiece", "vocab": {"a": 0}}, "normalizer": '
        + b'{"type": "Sequence", "normalizers": [' * 90
        + b'{"type": "NFC"},' * 90
        + b'{"type": "NFC"}'
        + b"]}" * 90
        + b"}",
        "more steps than any tokenizer",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_clear_error(tmp_path: Path, name: str) -> None:
    content, message = HOSTILE[name]
    fill(tmp_path / "m", {"tokenizer.json": content, "config.json": b'{"architectures": ["BertModel"]}'})
    with pytest.raises(Corrupt, match=message) as caught:
        pphub.AutoTokenizer.from_pretrained(tmp_path / "m")
    assert caught.value.message.startswith("tokenizer.json ")


def test_ids_far_apart_are_no_vocabulary(tmp_path: Path) -> None:
    folder = save(word_piece(lower=True), tmp_path / "m", architectures=["BertModel"])
    file = json.loads((folder / "tokenizer.json").read_bytes())
    file["model"]["vocab"]["zzz"] = 2_000_000_000
    edit(folder, **file)
    with pytest.raises(Corrupt, match="tokens, and ids up to 2000000000"):
        pphub.AutoTokenizer.from_pretrained(folder)


def test_a_file_larger_than_any_tokenizer_is_not_read(tmp_path: Path) -> None:
    fill(tmp_path / "m", {"config.json": b'{"architectures": ["BertModel"]}'})
    with (tmp_path / "m" / "tokenizer.json").open("wb") as stream:
        stream.truncate((64 << 20) + 1)
    with pytest.raises(Corrupt, match="larger than any tokenizer"):
        pphub.AutoTokenizer.from_pretrained(tmp_path / "m")


def test_a_damaged_file_is_refused_and_never_anything_else(tmp_path: Path) -> None:
    """Parts of a right file are replaced at random: what comes out is files, or one of two errors."""
    chance = random.Random(7)
    for kind in ("bert-cased", "roberta", "albert", "mbart"):
        folder = save(make(kind), tmp_path / kind, architectures=[ARCHITECTURES[kind]])
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        outcomes = set()
        for _ in range(150):
            file = json.loads(text)
            _damage(file, chance)
            edit(folder, **file)
            try:
                outcomes.add(type(folder_of(folder)).__name__)
            except (ConversionFailed, Corrupt) as error:
                outcomes.add(type(error).__name__)
        assert outcomes == {"dict", "ConversionFailed", "Corrupt"}


def _damage(file: Any, chance: random.Random) -> None:
    """Replace, take away or double one value, at a depth that chance decides."""
    while True:
        keys = list(file) if isinstance(file, dict) else list(range(len(file)))
        key = chance.choice(keys)
        if isinstance(file[key], (dict, list)) and file[key] and chance.random() < 0.85:
            file = file[key]
            continue
        if chance.random() < 0.2 and isinstance(file, dict):
            del file[key]
        else:
            file[key] = chance.choice([None, True, -1, 1 << 40, 0.5, "", "x", "\ud800", [], {}, [[]], ["a"], {"a": []}])
        return


# -- which files there are ---------------------------------------------------------------------------------------


def test_the_file_is_downloaded() -> None:
    names = ("config.json", "model.safetensors", "tokenizer.json", "pytorch_model.bin")
    assert Selection().pick(names) == ("config.json", "model.safetensors", "tokenizer.json")
    assert Selection(exclude=("*.safetensors", "*.bin")).pick(names) == ("config.json", "tokenizer.json")


def test_a_model_of_llama_is_there_under_the_name_paddlenlp_looks_for(tmp_path: Path) -> None:
    model = piece_model("mbart")
    folder = fill(tmp_path / "m", {"tokenizer.model": model, "config.json": b'{"architectures": ["LlamaModel"]}'})
    tokenizer = pphub.AutoTokenizer.from_pretrained(folder)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert type(tokenizer).__name__ == "LlamaTokenizer"
    assert tokenizer("paddle and it")["input_ids"] == [1, *processor.encode("paddle and it")]
    assert sorted(tree(folder)) == ["config.json", "tokenizer.model"]


@pytest.mark.parametrize(
    ("kind", "named", "expected"),
    [
        ("roberta", "RobertaTokenizerFast", "RobertaBPETokenizer"),
        ("roberta", None, "RobertaBPETokenizer"),
        ("gpt2", "GPT2Tokenizer", "GPTTokenizer"),
        ("albert", "AlbertTokenizer", "AlbertTokenizer"),
        ("t5", "MT5Tokenizer", "T5Tokenizer"),
    ],
)
def test_a_repository_with_its_vocabulary_has_the_class_for_it(
    tmp_path: Path, kind: str, named: str | None, expected: str
) -> None:
    """Some names mean other classes in PaddleNLP, and ALBERT's is to be told of the file that is not there."""
    theirs = make(kind)
    folder = save(theirs, tmp_path / "m", architectures=[ARCHITECTURES[kind]])
    vocabulary = {name: content for name, content in folder_of(folder).items() if not name.endswith("_config.json")}
    (folder / "tokenizer.json").unlink()
    extras = {"extra_ids": EXTRAS} if kind == "t5" else {}
    fill(folder, {**vocabulary, "tokenizer_config.json": json.dumps({"tokenizer_class": named, **extras}).encode()})
    ours = pphub.AutoTokenizer.from_pretrained(folder)
    assert type(ours).__name__ == expected
    compare(ours, theirs)


@pytest.mark.parametrize("name", ["spm.model", "sentencepiece.model", "entity_vocab.json"])
def test_every_file_that_a_tokenizer_reads_is_converted_along(tmp_path: Path, name: str) -> None:
    folder = fill(tmp_path / "m", {**tiny_bert(), name: b"{}"})
    assert tree(pphub.prepare(folder))[name] == b"{}"


# ------------------------------------------------------------------------------------------ tokenizers that unpickle


class Marks:
    """A pickle of it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("key", ["tokenizer_class", "init_class"])
@pytest.mark.parametrize("file", ["dict.wordseg.pickle", "vocab.txt"])
@pytest.mark.parametrize("command", ["prepare", "convert", "load", "prepare paddle"])
def test_a_tokenizer_that_unpickles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, file: str, key: str
) -> None:
    folder, mark = tmp_path / "model", tmp_path / "mark"
    fill(folder, tiny_bert())
    if command == "prepare paddle":
        folder = pphub.convert(folder, tmp_path / "paddle")
    config = {key: "ErnieTinyTokenizer", "word_dict": str(folder / file)}
    fill(folder, {"tokenizer_config.json": json.dumps(config).encode(), file: pickle.dumps(Marks(mark))})
    if command == "load":
        with pytest.raises(UnsafeCheckpoint, match="ErnieTinyTokenizer, which unpickles"):
            pphub.AutoTokenizer.from_pretrained(folder)
    else:
        assert main([command.split()[0], str(folder)]) == 4
        assert "ErnieTinyTokenizer, which unpickles" in capsys.readouterr().err
    assert not mark.exists()
    pickle.loads((folder / file).read_bytes())  # the attack would have worked
    assert mark.exists()


def test_no_other_tokenizer_of_paddlenlp_unpickles() -> None:
    from paddlenlp import transformers

    folder = Path(inspect.getfile(transformers)).parent
    modules = [path for path in folder.rglob("*token*.py") if "import pickle" in path.read_text(encoding="utf-8")]
    classes = {
        name
        for path in modules
        for name, text in re.findall(r"^class (\w+)(.*?)(?=^class |\Z)", path.read_text(encoding="utf-8"), re.M | re.S)
        if "pickle.load" in text
    }
    assert classes == UNPICKLING
