"""What each of PaddleNLP's tokenizers is made of, and what it puts around a text: facts of PaddleNLP 2.8."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pphub.errors import UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = [
    "FORMS",
    "LACKING",
    "UNPICKLING",
    "VOCABULARY_FILES",
    "Form",
    "Frame",
    "named_class",
    "paddle_class",
    "refuse_unpickling",
    "without",
]

_TORCH_ONLY: Final = frozenset({"TokenizersBackend", "PreTrainedTokenizerFast"})
_OTHER_NAMES: Final = {"GPT2Tokenizer": "GPTTokenizer", "MT5Tokenizer": "T5Tokenizer"}
_EITHER: Final = {"AlbertTokenizer": {"vocab_file": "vocab.txt", "sentencepiece_model_file": "spiece.model"}}
"""ALBERT's class is two: the one of Chinese models has a vocabulary, the other a sentencepiece model."""
_ROBERTA: Final = {"BPE": "RobertaBPETokenizer", "WordPiece": "RobertaChineseTokenizer"}


@dataclass(frozen=True, slots=True)
class Frame:
    """What is put around one text and around two: roles of tokens around ``A`` and ``B``.

    Attributes:
        single: around one.
        pair: around two.
        options: what ``tokenizer_config.json`` must say for it.
    """

    single: str
    pair: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Form:
    """What one class is made of.

    Attributes:
        model: the kind of model.
        files: what the class reads.
        frames: the ways it puts tokens around texts.
        heeds: what ``tokenizer_config.json`` may say of how a text is prepared.
        same: roles whose token is that of another role, unless something else is said.
        fixed: what must be in ``tokenizer_config.json`` for the class to be made from these files.
        codes: languages that have ids after those of the pieces; a model with them has ids shifted by one.
        extras: whether ``<extra_id_0>`` has the last id, and others the ids before it, outside of the file.
    """

    model: str
    files: tuple[str, ...]
    frames: tuple[Frame, ...]
    heeds: frozenset[str] = frozenset()
    same: tuple[tuple[str, str], ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    codes: tuple[str, ...] = ()
    extras: bool = False


_BERT: Final = Frame("cls A sep", "cls A sep B sep")
_ROBERTA_FRAME: Final = Frame("cls A sep", "cls A sep sep B sep")
_GPT: Final = (
    Frame("A", "A B", {"add_bos_token": False}),
    Frame("bos A", "bos A bos B", {"add_bos_token": True}),
)
_ENDS: Final = (("bos", "cls"), ("eos", "sep"))
_PLAIN: Final = frozenset({"do_lower_case"})
_FULL: Final = frozenset({"do_lower_case", "strip_accents", "tokenize_chinese_chars"})
_SPACES: Final = frozenset({"do_lower_case", "keep_accents", "quotes"})
_LANGUAGES: Final = (
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
)
_MORE_LANGUAGES: Final = (
    "af_ZA",
    "az_AZ",
    "bn_IN",
    "fa_IR",
    "he_IL",
    "hr_HR",
    "id_ID",
    "ka_GE",
    "km_KH",
    "mk_MK",
    "ml_IN",
    "mn_MN",
    "mr_IN",
    "pl_PL",
    "ps_AF",
    "pt_XX",
    "sv_SE",
    "sw_KE",
    "ta_IN",
    "te_IN",
    "th_TH",
    "tl_XX",
    "uk_UA",
    "ur_PK",
    "xh_ZA",
    "gl_ES",
    "sl_SI",
)


def _word_piece(frame: Frame = _BERT, heeds: frozenset[str] = _FULL, **more: Any) -> Form:
    return Form("WordPiece", ("vocab.txt",), (frame,), heeds, **more)


def _bytes(*frames: Frame, heeds: frozenset[str] = frozenset(), **more: Any) -> Form:
    return Form("BPE", ("vocab.json", "merges.txt"), frames, heeds, **more)


def _unigram(file: str, *frames: Frame, heeds: frozenset[str] = frozenset(), **more: Any) -> Form:
    return Form("Unigram", (file,), frames, heeds, **more)


FORMS: Final[Mapping[str, Form]] = {
    "BertTokenizer": _word_piece(),
    "ChineseCLIPTokenizer": _word_piece(),
    "ConvBertTokenizer": _word_piece(),
    "DistilBertTokenizer": _word_piece(),
    "ElectraTokenizer": _word_piece(),
    "ErnieTokenizer": _word_piece(heeds=_PLAIN),
    "FunnelTokenizer": _word_piece(),
    "LayoutLMTokenizer": _word_piece(),
    "MPNetTokenizer": _word_piece(_ROBERTA_FRAME, same=_ENDS),
    "MegatronBertTokenizer": _word_piece(),
    "MobileBertTokenizer": _word_piece(),
    "NystromformerTokenizer": _word_piece(),
    "RobertaChineseTokenizer": _word_piece(),
    "SqueezeBertTokenizer": _word_piece(heeds=_PLAIN),
    "BartTokenizer": _bytes(_ROBERTA_FRAME, same=_ENDS),
    "CodeGenTokenizer": _bytes(*_GPT),
    "DebertaTokenizer": _bytes(_BERT, same=_ENDS),
    "GPTTokenizer": _bytes(*_GPT),
    "RobertaBPETokenizer": _bytes(_ROBERTA_FRAME, heeds=frozenset({"add_prefix_space"}), same=_ENDS),
    "AlbertTokenizer": _unigram("spiece.model", _BERT, heeds=_SPACES, same=_ENDS, fixed={"vocab_file": None}),
    "DebertaV2Tokenizer": _unigram("spm.model", _BERT, heeds=_PLAIN, same=_ENDS),
    "MBart50Tokenizer": _unigram(
        "sentencepiece.bpe.model", Frame("lang A eos", "lang A B eos"), codes=_LANGUAGES + _MORE_LANGUAGES
    ),
    "MBartTokenizer": _unigram("sentencepiece.bpe.model", Frame("A eos lang", "A B eos lang"), codes=_LANGUAGES),
    "RemBertTokenizer": _unigram("sentencepiece.model", _BERT),
    "T5Tokenizer": _unigram("spiece.model", Frame("A eos", "A eos B eos"), heeds=_SPACES, extras=True),
    "XLNetTokenizer": _unigram("spiece.model", Frame("A sep cls", "A sep B sep cls"), heeds=_SPACES),
}
"""Those that can be made from a tokenizer.json; others need more than is in one, or prepare texts otherwise."""

LACKING: Final = frozenset({"CamembertTokenizer", "XLMRobertaTokenizer"})
"""What our rules call the tokenizers of families that PaddleNLP has none for."""

UNPICKLING: Final = frozenset({"ErnieTinyTokenizer"})
"""PaddleNLP's tokenizers that unpickle one of their files, and so run whatever it says."""

VOCABULARY_FILES: Final = frozenset({name for form in FORMS.values() for name in form.files} | {"tokenizer.model"})
"""Any of these beside a tokenizer.json says what its vocabulary is."""


def named_class(config: Mapping[str, object]) -> str | None:
    """The class of PaddleNLP that a ``tokenizer_config.json`` means, if it names one."""
    named = config.get("init_class") or config.get("tokenizer_class")
    if not isinstance(named, str) or named in _TORCH_ONLY:
        return None
    named = named.removesuffix("Fast")
    return _OTHER_NAMES.get(named, named)


def refuse_unpickling(kind: str | None) -> None:
    """Refuse a tokenizer that would run what a file says.

    Raises:
        UnsafeCheckpoint: the class is one of :data:`UNPICKLING`.
    """
    if kind in UNPICKLING:
        msg = f"its tokenizer is PaddleNLP's {kind}, which unpickles its dictionary of words: a pickle may run any code"
        raise UnsafeCheckpoint(msg, hint="if you trust who made it, make this tokenizer with PaddleNLP itself")


def paddle_class(named: str | None, model: str | None) -> str | None:
    """The class itself: RobertaTokenizer is two, by the kind of model."""
    return _ROBERTA.get(model or "", named) if named == "RobertaTokenizer" else named


def without(kind: str | None, names: Collection[str]) -> dict[str, None]:
    """Keywords for the files that a class can do without, but does not take for absent unless it is told."""
    known = _EITHER.get(kind or "", {})
    return {keyword: None for keyword, name in known.items() if name not in names}
