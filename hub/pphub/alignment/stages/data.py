"""The data stage: both tokenizers, and what they and both loaders make of the same texts (row A2)."""

from __future__ import annotations

import json
import unicodedata
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pphub.alignment.asking import WELCOME
from pphub.alignment.compare import compare
from pphub.alignment.labelled import Example, has_tokenizer, read_tsv, sentences
from pphub.alignment.paddle_side import load_paddle_tokenizer, paddle_batches, paddle_encode
from pphub.alignment.session import Skipped
from pphub.alignment.stages.result import Found
from pphub.alignment.torch_side import load_torch_tokenizer, torch_batches
from pphub.alignment.values import EXACT
from pphub.alignment.vocabulary import compare_tokenizers
from pphub.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pphub.alignment.session import Session

__all__ = ["run_data"]

_TEXTS: Final = 32
_BATCH: Final = 4
_LENGTH: Final = 128
_OTHERS: Final = (
    WELCOME,
    "天气不错",
    "请输入测试样例",
    "MIXED Case, and; punctuation -- (all of it)!",
    "  spaces   here\tand there ",
    "naïve café, Ångström",
    "1,234.50 is 3/4 of 1646",
    "extraordinarily unpronounceable antidisestablishmentarianism",
    "one two three four five six seven " * 30,
)
"""Where tokenizers go apart: other scripts, case, blanks, accents, numbers, rare words, more than fits."""
_SYMBOLS: Final = (
    "It is 20°C outside",
    "the price is 5€ a piece",
    "no more than £5 for all",
    "an area of 30m² in town",
    "a Photoshop® document",
    "the Paddle™ of today",
)
"""Everyday texts, each with one symbol in a word: PaddleNLP's BERT and its kin cut it off; see docs/architecture.md."""
_ASCII: Final = 127
_OF_ANY_CLASS: Final = ("tokenizer.json", "tokenizer.model")
_ANY_CLASS: Final = ("TokenizersBackend", "PythonBackend", "PreTrainedTokenizer")
_FIELDS: Final = ("input_ids", "token_type_ids")


def run_data(session: Session) -> Found:
    """Compare the tokenizers themselves; ids, types and lengths of single texts; and padded batches in order."""
    if not has_tokenizer(session.subject.torch):
        msg = "the torch folder holds no tokenizer"
        raise Skipped(msg)
    labelled = read_tsv(session.options.data) if session.options.data else sentences(_TEXTS, _TEXTS)
    examples = labelled.train
    try:
        torch = load_torch_tokenizer(session.subject.torch)
    except LoadFailed as error:
        if _is_to_load(session.subject.torch, error):
            raise  # files that are there and cannot be read prove nothing, and are no reason to pass without them
        msg = f"there is no tokenizer in torch to hold Paddle's against: {error.message}"
        raise Skipped(msg) from error
    paddle = load_paddle_tokenizer(session.subject.paddle)
    more = f"{len(_OTHERS)} others, {len(_SYMBOLS)} with symbols"
    found = Found(inputs=f"{len(examples)} texts ({labelled.origin}), {more}; at most {_LENGTH} tokens")
    found.notes.append(f"tokenizers: {type(torch).__name__} and {type(paddle).__name__}")
    compare_tokenizers(torch, paddle, found, partial(session.log, "data"))
    others = [Example(text, None, 0) for text in _OTHERS]
    encoded: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for number, example in enumerate([*examples, *others]):
        left, right = _encode(torch, example, _torch_encode), _encode(paddle, example, paddle_encode)
        encoded.append((left, right))
        _compare_fields(session, found, f"text {number} {example.text[:30]!r}", left, right, left.keys())
    _compare_lengths(session, found, encoded)
    _compare_batches(session, found, examples, encoded[: len(examples)], (torch, paddle))
    _compare_symbols(session, found, torch, paddle)
    return found


def _is_to_load(folder: Path, error: LoadFailed) -> bool:
    """Whether transformers should have loaded a tokenizer that it could not, by what the folder holds.

    It has none for a class that it does not know, or that wants a package which is not installed; a ``tokenizer.json``
    or ``tokenizer.model`` wants no class.
    """
    if any((folder / name).is_file() for name in _OF_ANY_CLASS):
        return True
    if isinstance(error.__cause__, ImportError):
        return False
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

    configs: list[Any] = []
    for path in (folder / "tokenizer_config.json", folder / "config.json"):
        try:
            configs.append(json.loads(path.read_bytes()) if path.is_file() else {})
        except (OSError, ValueError):
            return True
    if not all(isinstance(config, dict) for config in configs):
        return True
    named = next((config["tokenizer_class"] for config in configs if config.get("tokenizer_class")), None)
    found: Any = named or TOKENIZER_MAPPING_NAMES.get(str(configs[1].get("model_type")))
    names = {str(name).removesuffix("Fast") for name in (found if isinstance(found, tuple) else (found,)) if name}
    return any(
        tokenizer_class_from_name(kind) is not None
        for name in names.difference(_ANY_CLASS)
        for kind in (name, f"{name}Fast")
    )


def _torch_encode(tokenizer: Any, text: str, pair: str | None, length: int) -> Mapping[str, Any]:
    found: Mapping[str, Any] = tokenizer(text, pair, truncation=True, max_length=length)
    return found


def _encode(tokenizer: Any, example: Example, encode: Callable[..., Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return encode(tokenizer, example.text, example.pair, _LENGTH)
    except Exception as error:  # a tokenizer may fail in any way
        msg = f"{type(tokenizer).__module__}.{type(tokenizer).__name__} fails on {example.text[:40]!r}: {error}"
        raise LoadFailed(msg) from error


def _apart(text: str) -> str:
    return "".join(f" {each} " if ord(each) > _ASCII else each for each in text)


_KNOWN: Final[tuple[tuple[Callable[[str], str], str], ...]] = (
    (_apart, "cuts symbols such as ° and € off words"),
    # transformers makes some tokenizers of a model of sentencepiece without the normalization in it, as MBart's.
    (partial(unicodedata.normalize, "NFKC"), "writes symbols such as ² as NFKC does"),
)
"""What PaddleNLP's tokenizers do and torch's may not: torch's give the same ids of a text that it was done to."""


def _compare_symbols(session: Session, found: Found, torch: Any, paddle: Any) -> None:
    """Texts with symbols in words: what the two libraries are known to do differently is told, anything else fails."""
    told: dict[str, int] = {}
    for number, text in enumerate(_SYMBOLS):
        left = _encode(torch, Example(text, None, 0), _torch_encode)
        right = _encode(paddle, Example(text, None, 0), paddle_encode)
        if list(left["input_ids"]) != list(right["input_ids"]):
            same = (words for change, words in _KNOWN if _ids(torch, change(text)) == list(right["input_ids"]))
            if words := next(same, None):
                told[words] = told.get(words, 0) + 1
                continue
        _compare_fields(session, found, f"symbols {number} {text[:30]!r}", left, right, left.keys())
    if told and not found.failures and all(each.passed for each in found.differences):
        found.notes.append(
            f"PaddleNLP's tokenizer {' and '.join(told)} where torch's does not: {sum(told.values())} of "
            f"{len(_SYMBOLS)} texts with symbols have other ids; texts of your own: --data"
        )


def _ids(torch: Any, text: str) -> list[int]:
    return list(_encode(torch, Example(text, None, 0), _torch_encode)["input_ids"])


def _compare_fields(
    session: Session, found: Found, name: str, left: Mapping[str, Any], right: Mapping[str, Any], there: Any
) -> None:
    for field in _FIELDS:
        if field in there:
            torch, paddle = np.array(left[field], np.int64), np.array(right.get(field, []), np.int64)
            difference = compare(f"{name} {field}", torch, paddle, EXACT)
            found.differences.append(difference)
            session.log("data", difference.name, torch, paddle)


def _compare_lengths(session: Session, found: Found, encoded: Sequence[tuple[Mapping[str, Any], ...]]) -> None:
    torch, paddle = (np.array([len(each[side]["input_ids"]) for each in encoded], np.int64) for side in (0, 1))
    found.differences.append(compare("lengths", torch, paddle, EXACT))
    session.log("data", "lengths", torch, paddle)


def _compare_batches(
    session: Session,
    found: Found,
    examples: Sequence[Example],
    encoded: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    tokenizers: tuple[Any, Any],
) -> None:
    """What the loaders and collators of both frameworks make of it, in order."""
    if tokenizers[0].pad_token is None:
        found.notes.append("no padded batches: the tokenizer has no padding token")
        return
    rows: list[list[dict[str, Any]]] = []
    for side in (0, 1):
        fields = [field for field in _FIELDS if field in encoded[0][side] and field in encoded[0][0]]
        rows.append(
            [
                {**{field: list(pair[side][field]) for field in fields}, "labels": example.label}
                for pair, example in zip(encoded, examples, strict=True)
            ]
        )
    torch = torch_batches(rows[0], tokenizers[0], _BATCH)
    paddle = paddle_batches(rows[1], tokenizers[1], _BATCH)
    if len(torch) != len(paddle):
        found.fail(f"torch makes {len(torch)} batches, Paddle {len(paddle)}")
    for number, (left, right) in enumerate(zip(torch, paddle, strict=False)):
        for field in (*_FIELDS, "labels"):
            if field in left:
                values = right.get(field, np.empty(0, np.int64))
                difference = compare(f"batch {number} {field}", left[field], values, EXACT)
                found.differences.append(difference)
                session.log("data", difference.name, left[field], values)
