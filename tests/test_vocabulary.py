"""Vocabulary files as models have them beside their weights: PaddleNLP's tokenizer and transformers' give the same ids.

Of repositories with a ``tokenizer.json`` alone, and of models of sentencepiece, test_tokenizer.py tells the same.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import sentencepiece
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

import pphub
from conftest import MINILM
from pphub.conversion.rules import load_families
from pphub.loading import import_paddlenlp
from tokenizer_files import SENTENCES, TEXTS, byte_level, word_piece

if TYPE_CHECKING:
    from pathlib import Path

    from pphub.conversion.family import Family

# What keeps the two from being compared here, or being equal; texts for which they are not.
ELSEWHERE = {
    **dict.fromkeys(
        ["albert", "big_bird", "deberta_v2", "mbart", "mt5", "pegasus", "reformer", "rembert", "t5", "xlnet"],
        "a model of sentencepiece",
    ),
    **dict.fromkeys(["camembert", "xlm_roberta"], "PaddleNLP has no such tokenizer"),
    **dict.fromkeys(
        ["bloom", "falcon", "nystromformer"], "transformers makes none of a vocabulary, only of a tokenizer.json"
    ),
    **dict.fromkeys(
        ["bit", "chinese_clip_vision", "clip_text", "clip_vision", "dpt"], "a part of a model, or of images"
    ),
    "speecht5": "the vocoder, which reads no text",
    **dict.fromkeys(
        ["mistral", "mixtral"], "PaddleNLP's is Llama's; transformers makes none like it without its own files"
    ),
    "blenderbot_small": "its vocabulary has words of its own; PaddleNLP wants __unk__, which transformers does not add",
    "nezha": "transformers has it no more",
    "roformer": "transformers needs rjieba for it",
    "xlm": "transformers needs sacremoses for it",
}
DIFFERENT = {
    # PaddleNLP puts </s> behind a text, as Blenderbot was trained; transformers 5 does so from a tokenizer.json only.
    "blenderbot": len(TEXTS),
    # PaddleNLP cuts Chinese into characters before it looks for pieces.
    "clip": 3,
    "clipseg": 3,
    # PaddleNLP puts a blank before each text, transformers 5 only before one that has none.
    "llama": 1,
    # PaddleNLP leaves out a blank at the begin.
    "luke": 1,
}


@pytest.fixture(scope="module", autouse=True)
def _paddlenlp() -> None:
    import_paddlenlp()
    from paddlenlp.utils.log import logger

    logger.disable()


def clip_bpe() -> tokenizers.Tokenizer:
    """Words end in a mark of their own, and every byte is there with it and without."""
    tokenizer = tokenizers.Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    words = tokenizers.Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    split = pre_tokenizers.Split(words, "removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def llama_model() -> bytes:
    """Bytes for what has no piece, every digit on its own, and nothing of a text is changed."""
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=file,
        vocab_size=600,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
    )
    return file.getvalue()


def write_files(folder: Path, family: Family) -> None:
    """A config, and the vocabulary that the family's tokenizers read."""
    import paddlenlp.transformers

    config = {"architectures": [next(iter(family.architectures))], "model_type": family.model_types[0]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    kind = getattr(paddlenlp.transformers, family.tokenizer)
    if family.name in {"clip", "clipseg"}:
        clip = clip_bpe()
        clip.model.save(str(folder))
        vocab = clip.get_vocab()
        missing = [f"{byte}</w>" for byte in pre_tokenizers.ByteLevel.alphabet() if f"{byte}</w>" not in vocab]
        vocab |= {piece: len(vocab) + index for index, piece in enumerate(missing)}
        (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    elif family.name == "llama":
        (folder / "tokenizer.model").write_bytes(llama_model())
        settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    elif "vocab.txt" in getattr(kind, "resource_files_names", {}).values():
        vocab = word_piece(lower=True).get_vocab()
        text = "\n".join(sorted(vocab, key=lambda piece: vocab[piece])) + "\n"
        if family.name == "funnel":
            for name in ("pad", "unk", "cls", "sep", "mask"):
                text = text.replace(f"[{name.upper()}]", f"<{name}>")
        (folder / "vocab.txt").write_text(text, encoding="utf-8")
    else:
        byte_level({"gptj": "gpt2"}.get(family.name, family.name)).model.save(str(folder))
    entities = {"[PAD]": 0, "[UNK]": 1, "[MASK]": 2, "[MASK2]": 3}
    (folder / "entity_vocab.json").write_text(json.dumps(entities), encoding="utf-8")


def unequal(folder: Path) -> list[str]:
    """The texts that the two see differently; they must tell texts apart."""
    import transformers

    ours: Any = pphub.AutoTokenizer.from_pretrained(folder)
    theirs: Any = transformers.AutoTokenizer.from_pretrained(folder)
    assert len({tuple(ours(text)["input_ids"]) for text in TEXTS}) > len(TEXTS) / 2
    return [text for text in TEXTS if ours(text)["input_ids"] != theirs(text)["input_ids"]]


FAMILIES = {family.name: family for family in load_families()}


def test_the_tables_name_families() -> None:
    assert {*ELSEWHERE, *DIFFERENT} <= FAMILIES.keys()
    assert not ELSEWHERE.keys() & DIFFERENT.keys()


@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - ELSEWHERE.keys()))
def test_every_family_gives_the_ids_of_transformers(tmp_path: Path, name: str) -> None:
    family = FAMILIES[name]
    write_files(tmp_path, family)
    assert len(unequal(tmp_path)) == DIFFERENT.get(family.name, 0)


def test_a_real_vocabulary() -> None:
    assert unequal(MINILM) == []


def test_known_ids_of_ernie(tmp_path: Path) -> None:
    """ernie-1.0, in a vocabulary with these entries where they are in its own."""
    known = {0: "[PAD]", 1: "[CLS]", 2: "[SEP]", 3: "[MASK]", 17963: "[UNK]"}
    ids = [647, 789, 109, 558, 525, 314, 656]
    known |= dict(zip(ids, "请输入测试样例", strict=True))
    vocab = [known.get(index, f"[unused{index}]") for index in range(17964)]
    (tmp_path / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    config = {"architectures": ["ErnieModel"], "model_type": "ernie"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = pphub.AutoTokenizer.from_pretrained(tmp_path)
    assert type(tokenizer).__name__ == "ErnieTokenizer"
    assert tokenizer("请输入测试样例")["input_ids"] == [1, *ids, 2]


@pytest.mark.parametrize(("glued", "apart"), [("20°c", "20 ° c"), ("5€", "5 €"), ("brand™", "brand ™")])
def test_paddlenlps_bert_cuts_symbols_off_as_if_they_were_punctuation(glued: str, apart: str) -> None:
    """transformers, and BERT's own code, leave them within the word; with blanks around them both agree."""
    transformers = pytest.importorskip("transformers")
    paddle, torch = (auto.from_pretrained(str(MINILM)) for auto in (pphub.AutoTokenizer, transformers.AutoTokenizer))
    assert paddle(apart)["input_ids"] == torch(apart)["input_ids"]
    assert paddle(glued)["input_ids"] == paddle(apart)["input_ids"]
    assert paddle(glued)["input_ids"] != torch(glued)["input_ids"]
