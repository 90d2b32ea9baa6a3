"""Reads ``tokenizer.json`` into a value whose parts have been looked at; it may come from anybody."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from pphub.checkpoint.json_text import parse_json
from pphub.errors import ConversionFailed, Corrupt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["TOKENIZER_FILE", "AddedToken", "Part", "Template", "TokenizerFile", "read_tokenizer"]

TOKENIZER_FILE: Final = "tokenizer.json"
# A quarter of a million pieces and half a million merges, written with indents, take less.
_MAX_BYTES: Final = 64 << 20
_MAX_VALUES: Final = 5_000_000
_MAX_STEPS: Final = 64
"""Of a normalizer and the like; those that are in use have up to ten."""

_HINT: Final = "get it again from its source"

Part = int | str
"""Of what a text becomes: 0 and 1 are the first and the second text, everything else is a token."""


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is looked for before a text is taken apart.

    Attributes:
        content: its text.
        id: its id.
        special: left out when ids are made a text again.
        normalized: looked for in what the normalizer makes of a text, not in the text itself.
        lstrip: takes the white space before it along.
        rstrip: likewise, after it.
        single_word: not found within a word.
    """

    content: str
    id: int
    special: bool
    normalized: bool
    lstrip: bool
    rstrip: bool
    single_word: bool


@dataclass(frozen=True, slots=True)
class Template:
    """What is put around one text, and around two."""

    single: tuple[Part, ...] = (0,)
    pair: tuple[Part, ...] = (0, 1)


@dataclass(frozen=True, slots=True)
class TokenizerFile:
    """A ``tokenizer.json``.

    Attributes:
        kind: ``WordPiece``, ``BPE`` or ``Unigram``.
        model: that part of the file, for the settings in it.
        vocab: id of each token of the model; an id is there once.
        scores: of a Unigram model, by id.
        merges: of a BPE model, in order.
        added: in the order of their ids; those of the model are among them.
        normalizers: the steps one after the other.
        pre_tokenizers: likewise.
        template: what is put around texts.
        pad: the token that is used for padding, if the file says.
    """

    kind: str
    model: Mapping[str, Any]
    vocab: Mapping[str, int]
    scores: tuple[float, ...]
    merges: tuple[tuple[str, str], ...]
    added: tuple[AddedToken, ...]
    normalizers: tuple[Mapping[str, Any], ...]
    pre_tokenizers: tuple[Mapping[str, Any], ...]
    template: Template
    pad: str | None


def read_tokenizer(path: Path) -> TokenizerFile:
    """Read the file.

    Raises:
        Corrupt: it is not what a tokenizer.json is; the message says where.
        ConversionFailed: it holds a kind of model that no tokenizer of PaddleNLP is made of.
    """
    if path.stat().st_size > _MAX_BYTES:
        msg = f"{path.name} is larger than any tokenizer: {path.stat().st_size} bytes"
        raise Corrupt(msg, hint=_HINT)
    try:
        return _tokenizer(parse_json(path.read_bytes(), strict=True, most_values=_MAX_VALUES))
    except ValueError as error:
        if isinstance(error, (ConversionFailed, Corrupt)):
            raise
        msg = f"{path.name} {error}"
        raise Corrupt(msg, hint=_HINT) from error


def _tokenizer(file: Mapping[str, Any]) -> TokenizerFile:
    model = _object(file.get("model"), "its model")
    kind = model.get("type") or _kind_of_old(model)
    if kind == "Unigram":
        vocab, scores = _pieces(model.get("vocab"))
    elif kind in ("BPE", "WordPiece"):
        vocab, scores = _ids(model.get("vocab")), ()
    else:
        msg = f"tokenizer.json holds a model of the kind {str(kind)[:40]!r}; PaddleNLP has no tokenizer for it"
        raise ConversionFailed(msg, hint="WordPiece, BPE and Unigram are known")
    added = _added(file.get("added_tokens"), vocab)
    padding = file.get("padding")
    pad = padding.get("pad_token") if isinstance(padding, dict) else None
    return TokenizerFile(
        kind=kind,
        model=model,
        vocab=vocab,
        scores=scores,
        merges=_merges(model.get("merges"), vocab) if kind == "BPE" else (),
        added=added,
        normalizers=_steps(file.get("normalizer"), "normalizer", "normalizers"),
        pre_tokenizers=_steps(file.get("pre_tokenizer"), "pre_tokenizer", "pretokenizers"),
        template=_template(_steps(file.get("post_processor"), "post_processor", "processors")),
        pad=_text(pad, "its pad_token") if pad is not None else None,
    )


def _kind_of_old(model: Mapping[str, Any]) -> str | None:
    """Until 2021 the kind was not written: it is told by what only one kind has."""
    if "merges" in model:
        return "BPE"
    if isinstance(model.get("vocab"), list):
        return "Unigram"
    return "WordPiece" if "continuing_subword_prefix" in model else None


# ------------------------------------------------------------------------------------------ values


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        msg = f"is no tokenizer: {what} is {_shown(value)}, not an object"
        raise ValueError(msg)  # noqa: TRY004 - the file is wrong, not a type of ours
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        msg = f"is no tokenizer: {what} is {_shown(value)}, not a list"
        raise ValueError(msg)  # noqa: TRY004
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        msg = f"is no tokenizer: {what} is {_shown(value)}, not a text"
        raise ValueError(msg)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        msg = f"is no tokenizer: {what} is {_shown(value)}, which is half a character"
        raise ValueError(msg) from error
    return value


def _id(value: object, what: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        msg = f"is no tokenizer: the id of {what} is {_shown(value)}"
        raise ValueError(msg)
    return value


def _shown(value: object) -> str:
    return ascii(value)[:60] if isinstance(value, (str, int, float)) or value is None else f"a {type(value).__name__}"


# ------------------------------------------------------------------------------------------ parts of the file


def _ids(value: object) -> dict[str, int]:
    vocab = {_text(token, "a token"): _id(at, _shown(token)) for token, at in _object(value, "its vocab").items()}
    if len(set(vocab.values())) != len(vocab):
        seen: dict[int, str] = {}
        first, second, at = next(
            (seen[at], token, at) for token, at in vocab.items() if seen.setdefault(at, token) != token
        )
        msg = f"gives the id {at} to two tokens, {_shown(first)} and {_shown(second)}"
        raise ValueError(msg)
    return vocab


def _pieces(value: object) -> tuple[dict[str, int], tuple[float, ...]]:
    vocab: dict[str, int] = {}
    scores = []
    for at, entry in enumerate(_list(value, "its vocab")):
        if not isinstance(entry, list) or len(entry) != 2:
            msg = f"is no tokenizer: entry {at} of its vocab is no piece with its score"
            raise ValueError(msg)
        piece, score = _text(entry[0], f"piece {at}"), entry[1]
        if type(score) not in {int, float} or not isfinite(score) or abs(score) > 1e30:
            msg = f"is no tokenizer: the score of {_shown(piece)} is {_shown(score)}"
            raise ValueError(msg)
        if vocab.setdefault(piece, at) != at:
            msg = f"holds the piece {_shown(piece)} twice, as {vocab[piece]} and {at}"
            raise ValueError(msg)
        scores.append(float(score))
    return vocab, tuple(scores)


def _merges(value: object, vocab: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
    """Of old one text with a space within, since 2024 lists of two: so that a piece may hold a space."""
    merges = []
    for at, entry in enumerate(_list(value, "its merges")):
        parts = entry.split(" ") if isinstance(entry, str) else entry
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
            msg = f"is no tokenizer: merge {at} does not join two pieces"
            raise ValueError(msg)
        first, second = parts
        if missing := [piece for piece in (first, second, first + second) if piece not in vocab]:
            msg = f"is no tokenizer: merge {at} is of {_shown(missing[0])}, which is not in its vocab"
            raise ValueError(msg)
        merges.append((first, second))
    return tuple(merges)


def _added(value: object, vocab: Mapping[str, int]) -> tuple[AddedToken, ...]:
    tokens = [_added_token(_object(entry, "an added token")) for entry in _list(value or [], "added_tokens")]
    owners = {at: content for content, at in vocab.items()}
    ids = dict(vocab)
    for token in tokens:
        owner = owners.setdefault(token.id, token.content)
        if owner != token.content:
            msg = f"gives the id {token.id} to two tokens, {_shown(owner)} and {_shown(token.content)}"
            raise ValueError(msg)
        if ids.setdefault(token.content, token.id) != token.id:
            msg = f"gives {_shown(token.content)} two ids, {ids[token.content]} and {token.id}"
            raise ValueError(msg)
    unique = {token.content: token for token in tokens}
    return tuple(sorted(unique.values(), key=lambda token: token.id))


def _added_token(entry: Mapping[str, Any]) -> AddedToken:
    content = _text(entry.get("content"), "an added token")
    special = entry.get("special") is True
    return AddedToken(
        content=content,
        id=_id(entry.get("id"), _shown(content)),
        special=special,
        normalized=entry.get("normalized", not special) is True,
        lstrip=entry.get("lstrip") is True,
        rstrip=entry.get("rstrip") is True,
        single_word=entry.get("single_word") is True,
    )


def _steps(value: object, what: str, within: str) -> tuple[Mapping[str, Any], ...]:
    """A step, or several in a Sequence, which may hold others."""
    waiting: list[object] = [] if value is None else [value]
    found: list[Mapping[str, Any]] = []
    while waiting:
        step = _object(waiting.pop(0), f"a part of its {what}")
        if step.get("type") == "Sequence":
            waiting[:0] = _list(step.get(within), f"a Sequence of its {what}")
        else:
            _text(step.get("type"), f"the type of a part of its {what}")
            found.append(step)
        if len(found) + len(waiting) > _MAX_STEPS:
            msg = f"has a {what} of more steps than any tokenizer"
            raise ValueError(msg)
    return tuple(found)


def _template(steps: tuple[Mapping[str, Any], ...]) -> Template:
    steps = tuple(step for step in steps if step["type"] != "ByteLevel")  # it is about offsets alone
    if not steps:
        return Template()
    if len(steps) > 1 or steps[0]["type"] not in ("BertProcessing", "RobertaProcessing", "TemplateProcessing"):
        msg = f"tokenizer.json puts tokens around a text in a way of its own: {', '.join(_types(steps))}"
        raise ConversionFailed(msg)
    (step,) = steps
    if step["type"] == "TemplateProcessing":
        return Template(_parts(step.get("single")), _parts(step.get("pair")))
    cls, sep = (_text((_list(step.get(name), f"its {name}") or [None])[0], f"its {name}") for name in ("cls", "sep"))
    between = (sep, sep) if step["type"] == "RobertaProcessing" else (sep,)
    return Template((cls, 0, sep), (cls, 0, *between, 1, sep))


def _types(steps: tuple[Mapping[str, Any], ...]) -> list[str]:
    return [str(step["type"])[:40] for step in steps]


def _parts(value: object) -> tuple[Part, ...]:
    parts: list[Part] = []
    for entry in _list(value, "its template"):
        kinds = _object(entry, "a part of its template")
        if len(kinds) != 1:
            msg = "is no tokenizer: a part of its template is not one thing"
            raise ValueError(msg)
        ((what, part),) = kinds.items()
        name = _text(_object(part, "a part of its template").get("id"), "a part of its template")
        parts.append("AB".index(name) if what == "Sequence" and name in ("A", "B") else name)
    return tuple(parts)
