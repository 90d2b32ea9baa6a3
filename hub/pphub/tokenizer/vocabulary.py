"""The vocabulary files: ``vocab.txt``, ``vocab.json`` with ``merges.txt``, and those of sentencepiece."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pphub.errors import Corrupt
from pphub.tokenizer.pipeline import UNDERLINE, charsmap, dummy_prefix, refuse
from pphub.tokenizer.sentencepiece import CONTROL, NORMAL, UNKNOWN, UNUSED, Piece, model_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pphub.tokenizer.classes import Form
    from pphub.tokenizer.reading import TokenizerFile

__all__ = ["Vocabulary", "write_vocabulary"]

_MOST_HOLES: Final = 10_000
_LINE_ENDS: Final = ("\n", "\r")
_SHIFTED: Final = ("<s>", "<pad>", "</s>", "<unk>")  # the first ids of fairseq; sentencepiece has three, and no <pad>


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What was written.

    Attributes:
        files: content by name.
        size: how many ids there are, with those that the class has by itself.
        extras: how many of these are called ``<extra_id_0>`` and so on.
    """

    files: Mapping[str, bytes]
    size: int
    extras: int = 0


def write_vocabulary(file: TokenizerFile, form: Form, elsewhere: Collection[str]) -> Vocabulary:
    """The files a class is made of, but for its settings.

    Args:
        file: the tokenizer.
        form: of the class.
        elsewhere: added tokens that come from another file, and not from these.

    Raises:
        ConversionFailed: a token cannot be written in such a file.
        Corrupt: the ids are not what a vocabulary has.
    """
    by_id = _with_added(file, elsewhere)
    tokens = _dense(by_id)
    if file.kind == "Unigram":
        extras = _extra_ids(tokens) if form.extras else 0
        pieces = _pieces(file, form, tokens[: len(tokens) - extras], by_id)
        model = model_bytes(pieces, charsmap(file), dummy_prefix=dummy_prefix(file))
        return Vocabulary({form.files[0]: model}, len(tokens), extras)
    if file.kind == "WordPiece":
        return Vocabulary({"vocab.txt": _lines(tokens)}, len(tokens))
    text = json.dumps({token: at for at, token in enumerate(tokens)}, ensure_ascii=False) + "\n"
    return Vocabulary({"vocab.json": text.encode(), "merges.txt": _merges(file.merges)}, len(tokens))


def _with_added(file: TokenizerFile, elsewhere: Collection[str]) -> dict[int, str]:
    found = {at: token for token, at in file.vocab.items()}
    return found | {token.id: token.content for token in file.added if token.content not in elsewhere}


def _dense(by_id: Mapping[int, str]) -> list[str]:
    """The tokens in the order of their ids; an id without one gets a token that is in no text.

    Such holes are there where a tokenizer was made smaller or its tokens were numbered by hand. In these files the
    place of a line is its id, and PaddleNLP numbers what is added from their count on, so none may be left out.
    """
    size = max(by_id, default=-1) + 1
    if size - len(by_id) > _MOST_HOLES:
        msg = f"tokenizer.json has {len(by_id)} tokens, and ids up to {size - 1}"
        raise Corrupt(msg, hint="its ids are wrong; get it again from its source")
    taken = set(by_id.values())
    return [by_id[at] if at in by_id else _filler(at, taken) for at in range(size)]


def _filler(at: int, taken: set[str]) -> str:
    name = f"[unused{at}]"
    while name in taken:
        name = f"[{name}]"
    taken.add(name)
    return name


def _lines(tokens: list[str]) -> bytes:
    for at, token in enumerate(tokens):
        if any(end in token for end in _LINE_ENDS):
            raise refuse(f"has a token with the end of a line in it, {ascii(token)[:60]} with the id {at}")
    return "".join(f"{token}\n" for token in tokens).encode()


def _merges(merges: tuple[tuple[str, str], ...]) -> bytes:
    for at, pair in enumerate(merges):
        for piece in pair:
            if not piece or any(character.isspace() for character in piece):
                raise refuse(f"has a merge that cannot be written in merges.txt: {ascii(piece)[:60]}, number {at}")
    return "".join(["#version: 0.2\n", *(f"{first} {second}\n" for first, second in merges)]).encode()


# ------------------------------------------------------------------------------------------ sentencepiece


def _pieces(file: TokenizerFile, form: Form, texts: list[str], by_id: Collection[int]) -> list[Piece]:
    unknown = file.model.get("unk_id")
    if type(unknown) is not int or not 0 <= unknown < len(file.scores):
        raise refuse("has a Unigram model without an unknown piece")
    special = {token.content for token in file.added if token.special}

    def piece(at: int) -> Piece:
        text = texts[at]
        if at == unknown:
            return text, 0.0, UNKNOWN
        if at not in by_id:
            return text, 0.0, UNUSED
        if text in special or at >= len(file.scores):
            return text, 0.0, CONTROL
        if UNDERLINE in text.strip(UNDERLINE):
            raise refuse(f"has a piece with a space within, {ascii(text)[:60]}; transformers never finds it")
        return text, file.scores[at], NORMAL

    if not form.codes:
        return [piece(at) for at in range(len(texts))]
    head: list[Piece] = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    return head + [piece(at) for at in range(len(_SHIFTED), _before_codes(texts, form.codes))]


def _before_codes(texts: list[str], codes: tuple[str, ...]) -> int:
    """How many ids there are before those that the class gives to its languages and to the mask."""
    own = len(texts) - len(codes) - 1
    if tuple(texts[:4]) != _SHIFTED or texts[own:] != [*codes, "<mask>"]:
        raise refuse(f"does not end with PaddleNLP's {len(codes)} languages and a mask, or begin with the usual tokens")
    return own


def _extra_ids(texts: Sequence[str]) -> int:
    """How many ``<extra_id_0>`` and so on there are at the end; the class of T5 numbers them from the end."""
    count = 0
    while count < len(texts) and texts[-count - 1] == f"<extra_id_{count}>":
        count += 1
    if any(text.startswith("<extra_id_") for text in texts[: len(texts) - count]):
        raise refuse("has tokens <extra_id_…> in another order than PaddleNLP's class gives them ids")
    return count
