"""Real tokenizers for the tests, trained here on a few hundred sentences, each saved as a ``tokenizer.json`` alone."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers
from transformers.models.mbart import tokenization_mbart as mbart
from transformers.models.mbart50 import tokenization_mbart50 as mbart50

from conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_SUBJECTS = [
    "the model",
    "a paddle",
    "Welcome",
    "an old tokenizer",
    "百度飞桨",
    "this café",
    "天气",
    "Über",
    "il naïve garçon",
    "2024",
]
_VERBS = [
    "loads",
    "is converted",
    "writes",
    "uses",
    "不错",
    "really reads",
    "unaffably answers",
    "costs 1,234",
    "isn't",
    "请输入",
]
_OBJECTS = [
    "its weights.",
    "paddle and paddlenlp!",
    "测试样例",
    "the résumé",
    "50% of it",
    "(nothing)",
    "a file-name, too",
    "it's",
    "😀",
    "们",
]
# Fixed, so that the tokenizers are always the same, and long enough for a few hundred pieces.
_LICENCE = (ROOT / "LICENSE").read_text(encoding="utf-8")
SENTENCES = [f"{one} {two} {three}" for one in _SUBJECTS for two in _VERBS for three in _OBJECTS]

TEXTS = [
    "",
    "Welcome to use paddle paddle and paddlenlp!",
    "the old, OLD tokenizer reads its weights; isn't it 1,234 files?",
    "天气不错，请输入测试样例",
    "Le garçon naïve lit le résumé au café. Ünbekannte Wörter: ærø, Ångström",
    "今天 paddle 不错 and the café 天气",
    "a word it has never seen: hippopotamus qwxzjk",
    "emoji 😀 and 👍 alone",
    " two  spaces and\ta tab\nand a line ",
    "they're we've I'm you'd he'll don't",
    " ".join(SENTENCES[:60]),
    "x" * 300,
]


def save(tokenizer: tokenizers.Tokenizer, folder: Path, **config: Any) -> Path:
    """The folder of a model of which there is the config and nothing else of the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def edit(folder: Path, **parts: Any) -> Path:
    """Replace parts of the tokenizer.json."""
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | parts), encoding="utf-8")
    return folder


def word_piece(*, lower: bool, accents: bool | None = None, chinese: bool = True) -> tokenizers.Tokenizer:
    """As of BERT."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=lower, strip_accents=accents, handle_chinese_chars=chinese
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
    put_around(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
    return tokenizer


def byte_level(kind: str) -> tokenizers.Tokenizer:
    """As of GPT-2, OPT or RoBERTa, whose is BART's as well."""
    special = {"gpt2": ["<|endoftext|>"], "opt": ["<s>", "<pad>", "</s>", "<unk>"]}.get(
        kind, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if kind == "opt":
        put_around(tokenizer, "</s> $A", "</s> $A </s> $B:1")
    elif kind == "gpt2":
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    else:
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


# What sentencepiece is told for each family, its pieces of a fixed meaning first.
_NO_ENDS = {"bos_id": -1, "eos_id": -1}
_TRAINED: dict[str, dict[str, Any]] = {
    "t5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "albert": {"pad_id": 0, "unk_id": 1, **_NO_ENDS, "control_symbols": ["[CLS]", "[SEP]", "[MASK]"]},
    "xlnet": {"unk_id": 0, "control_symbols": ["<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]},
    "rembert": {"pad_id": 0, "unk_id": 1, "unk_piece": "[UNK]", "pad_piece": "[PAD]", **_NO_ENDS}
    | {"control_symbols": ["[CLS]", "[SEP]", "[MASK]"]},
    "mbart": {"unk_id": 0, "bos_id": 1, "eos_id": 2},
}
_TRAINED["deberta-v2"] = {"pad_id": 0, "unk_id": 3, "unk_piece": "[UNK]", "pad_piece": "[PAD]"} | {
    "bos_id": 1,
    "bos_piece": "[CLS]",
    "eos_id": 2,
    "eos_piece": "[SEP]",
}
LANGUAGES = [
    "ar_AR",
    "cs_CZ",
    "de_DE",
    "en_XX",
    "es_XX",
    "et_EE",
    "fi_FI",
    "fr_XX",
    "gu_IN",
    "hi_IN",
    "it_IT",
    "ja_XX",
    "kk_KZ",
    "ko_KR",
    "lt_LT",
    "lv_LV",
    "my_MM",
    "ne_NP",
    "nl_XX",
    "ro_RO",
    "ru_RU",
    "si_LK",
    "tr_TR",
    "vi_VN",
    "zh_CN",
]
_TRAINED["mbart50"] = _TRAINED["mbart"]
_SHIFTED = {"mbart": mbart.FAIRSEQ_LANGUAGE_CODES, "mbart50": mbart50.FAIRSEQ_LANGUAGE_CODES}
EXTRAS = 10
_FRAMES = {
    "t5": ("$A </s>", "$A </s> $B </s>"),
    "mbart": ("$A </s> en_XX", "$A $B </s> en_XX"),
    "mbart50": ("en_XX $A </s>", "en_XX $A $B </s>"),
    "xlnet": ("$A <sep> <cls>:2", "$A <sep> $B:1 <sep>:1 <cls>:2"),
}


def piece_model(kind: str) -> bytes:
    """A model of sentencepiece, trained by sentencepiece."""
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES + [line for line in _LICENCE.splitlines() if line.strip()]),
        model_writer=file,
        vocab_size=400,
        model_type="unigram",
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
        **_TRAINED[kind],
    )
    return file.getvalue()


def parse_model(model: bytes) -> Any:
    """The message, as the package of sentencepiece itself reads it."""
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]  # made when it is imported
    proto.ParseFromString(model)
    return proto


def unigram(model: bytes, kind: str) -> tokenizers.Tokenizer:
    """What transformers makes of a model of sentencepiece for T5, ALBERT, XLNet, mBART, RemBERT and DeBERTa-v2."""
    proto = parse_model(model)
    vocab = [(piece.piece, piece.score) for piece in proto.pieces]
    special = [piece.piece for piece in proto.pieces if piece.type != 1]
    unknown = proto.trainer_spec.unk_id
    if kind == "t5":
        more = [f"<extra_id_{number}>" for number in reversed(range(EXTRAS))]
    elif kind in _SHIFTED:
        vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *vocab[3:]]
        special, unknown, more = ["<s>", "<pad>", "</s>", "<unk>"], 3, [*_SHIFTED[kind], "<mask>"]
    else:
        more = []
    vocab += [(piece, 0.0) for piece in more]
    tokenizer = tokenizers.Tokenizer(models.Unigram(vocab, unk_id=unknown))
    steps: list[Any] = []
    if kind in {"albert", "xlnet"}:
        steps += [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if kind == "albert":
        steps.append(normalizers.Lowercase())
    steps += [
        normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap),
        normalizers.Strip(left=False, right=True),
        normalizers.Replace(tokenizers.Regex(" {2,}"), "\u2581"),
    ]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, normalized=False) for token in [*special, *more]])
    if kind == "deberta-v2":
        tokenizer.add_special_tokens(["[MASK]"])
    put_around(tokenizer, *_FRAMES.get(kind, ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")))
    return tokenizer


def put_around(tokenizer: tokenizers.Tokenizer, single: str, pair: str) -> None:
    """Tokens around one text and around two, in the language of the tokenizers package."""
    tokens = {part.partition(":")[0] for part in f"{single} {pair}".split() if not part.startswith("$")}
    ids = [(token, tokenizer.token_to_id(token)) for token in sorted(tokens)]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
