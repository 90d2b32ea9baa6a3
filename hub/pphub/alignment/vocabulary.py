"""Two tokenizers held against each other by what they are made of: a text asks for few of their tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pphub.alignment.compare import compare
from pphub.alignment.values import EXACT
from pphub.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pphub.alignment.compare import Array
    from pphub.alignment.stages.result import Found

__all__ = ["compare_tokenizers"]

_ROLES: Final = tuple(f"{role}_token" for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
_NAMED: Final = 5  # tokens that a failure names
_NO_LENGTH: Final = 1_000_000_000  # both libraries write "any length" as a larger number
_LOWERED: Final = 100  # transformers takes so much off the score of a piece such as "9,", which PaddleNLP cuts later

_Merge = tuple[str, str]


def compare_tokenizers(torch: Any, paddle: Any, found: Found, log: Callable[[str, Array, Array], None]) -> None:
    """Compare the whole vocabularies with the tokens added, the merges or scores, special tokens, sides and lengths.

    What torch's tokenizer does not state, such as the padding token of GPT-2, Paddle's may: that is only noted.

    Args:
        torch: the tokenizer of transformers.
        paddle: PaddleNLP's.
        found: is told what differs.
        log: given the name and both arrays of each comparison.
    """

    def hold(name: str, *values: Sequence[float] | Array, kind: Any = np.int64) -> None:
        left, right = (np.asarray(each, kind) for each in values)
        found.differences.append(compare(name, left, right, EXACT))
        log(name, left, right)

    known = _vocabulary_of(torch)
    other = _vocabulary_of(paddle, known)
    sizes = [len(torch)], [len(paddle)]
    hold("size of the vocabulary", *sizes)
    if sizes[0] != sizes[1]:
        found.fail(f"torch's vocabulary has {sizes[0][0]} tokens, Paddle's {sizes[1][0]}")
    tokens = sorted({*known, *other}, key=lambda token: (known.get(token, len(known)), token))
    hold("ids of all tokens", *([side.get(token, -1) for token in tokens] for side in (known, other)))
    wrong = [token for token in tokens if known.get(token) != other.get(token)]
    if wrong:
        shown = (f"{token!r} is {_id(known, token)} in torch and {_id(other, token)} in Paddle" for token in wrong)
        found.fail(f"{len(wrong)} of {len(tokens)} tokens have other ids: {_few(shown, len(wrong))}")
    _compare_merges(torch, paddle, found, hold)
    _compare_scores(torch, paddle, found, hold)
    _compare_special(torch, paddle, found, hold, other)
    _compare_sides(torch, paddle, found)
    _compare_lengths(torch, paddle, found)


def _vocabulary_of(tokenizer: Any, asked: Iterable[str] = ()) -> dict[str, int]:
    """Every token and its id; of a class of PaddleNLP that cannot list them, as ALBERT's, those that are asked for."""
    try:
        listed: Mapping[str, int] = tokenizer.get_vocab()
    except NotImplementedError:
        listed = {token: tokenizer.convert_tokens_to_ids(token) for token in asked}
    except Exception as error:  # a tokenizer may fail in any way
        kind = type(tokenizer)
        msg = f"{kind.__module__}.{kind.__name__} cannot tell its vocabulary: {type(error).__name__}: {error}"
        raise LoadFailed(msg) from error
    added: Mapping[str, int] = tokenizer.get_added_vocab()
    return {str(token): int(number) for token, number in {**listed, **added}.items()}


def _compare_merges(torch: Any, paddle: Any, found: Found, hold: Callable[..., None]) -> None:
    """The merges of BPE in their order, where both tokenizers can tell them."""
    left, right = _merges_of(torch), _merges_of(paddle)
    if left is None or right is None:
        return
    ranks = [{merge: rank for rank, merge in enumerate(side)} for side in (left, right)]
    every = [*left, *(merge for merge in right if merge not in ranks[0])]
    if not every:
        return
    hold("ranks of all merges", *([side.get(merge, -1) for merge in every] for side in ranks))
    if left == right:
        return
    # One that is missing moves all that follow it, which are not counted for that.
    common = (
        [merge for merge in side if merge in other] for side, other in zip((left, right), ranks[::-1], strict=True)
    )
    moved = sum(one != other for one, other in zip(*common, strict=True))
    alone = len(ranks[0].keys() ^ ranks[1].keys())
    least = min(len(left), len(right))
    first = next((rank for rank in range(least) if left[rank] != right[rank]), least)
    shown = [repr(" ".join(side[first])) if first < len(side) else "not there" for side in (left, right)]
    found.fail(
        f"{moved + alone} of {len(every)} merges differ: the first, of rank {first}, is {shown[0]} in torch and "
        f"{shown[1]} in Paddle"
    )


def _merges_of(tokenizer: Any) -> list[_Merge] | None:
    """The merges in their order; None where it knows no merges, or cannot tell them."""
    model = _model_of(tokenizer)
    if "merges" in model:
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        return [(str(pair[0]), str(pair[1])) for pair in pairs]
    ranks: Any = getattr(tokenizer, "bpe_ranks", None)
    if not isinstance(ranks, dict):
        return None
    ordered = sorted(ranks.items(), key=lambda each: each[1])
    # PaddleNLP also counts the blank lines of a merges.txt.
    return [(str(merge[0]), str(merge[1])) for merge, _ in ordered if len(merge) == 2]


def _compare_scores(torch: Any, paddle: Any, found: Found, hold: Callable[..., None]) -> None:
    """The scores of the pieces of a unigram model that both have, where both tokenizers can tell them."""
    known, other = (_scores_of(side) for side in (torch, paddle))
    added = {str(token) for token in torch.get_added_vocab()}  # these are looked for before any score is asked
    pieces = [piece for piece in known if piece in other and piece not in added]
    if not pieces:
        return
    left, right = (np.array([side[piece] for piece in pieces], np.float32) for side in (known, other))
    lowered = np.array([piece[-2:-1].isdigit() and piece.endswith(",") for piece in pieces])
    near = [np.abs(left + more - right) <= 2 * np.spacing(np.abs(right) + more) for more in (0, _LOWERED)]
    same = near[0] | (near[1] & lowered)
    hold("scores of all pieces", left, np.where(same, left, right), kind=np.float32)
    wrong = np.flatnonzero(~same)
    if len(wrong):
        texts = (f"{pieces[at]!r} has {left[at]:.7g} in torch and {right[at]:.7g} in Paddle" for at in wrong)
        found.fail(f"{len(wrong)} of {len(pieces)} pieces have other scores: {_few(texts, len(wrong))}")


def _scores_of(tokenizer: Any) -> dict[str, float]:
    """Piece → score, of pieces that are looked for by their score; none where it has none, or cannot tell them."""
    model = _model_of(tokenizer)
    if model.get("type") == "Unigram":
        return {str(piece): float(score) for piece, score in model["vocab"]}
    # PaddleNLP's ALBERT and DeBERTa are each one around another.
    holders = [tokenizer, *(getattr(tokenizer, name, None) for name in ("tokenizer", "_tokenizer"))]
    models = (getattr(holder, name, None) for holder in holders for name in ("sp_model", "spm"))
    pieces: Any = next((each for each in models if each is not None), None)
    if not hasattr(pieces, "GetScore"):
        return {}
    # By their kind, and not by their score, are found: control symbols, the unknown, the user's own, bytes.
    others = (pieces.IsControl, pieces.IsUnknown, pieces.IsUnused, pieces.IsByte)
    plain = (number for number in range(pieces.GetPieceSize()) if not any(is_other(number) for is_other in others))
    return {pieces.IdToPiece(number): pieces.GetScore(number) for number in plain}


def _model_of(tokenizer: Any) -> Mapping[str, Any]:
    """The model of a tokenizer of the library tokenizers, as in a ``tokenizer.json``; empty of any other."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if not hasattr(backend, "to_str"):
        return {}
    model: Mapping[str, Any] = json.loads(backend.to_str())["model"]
    return model


def _compare_special(
    torch: Any, paddle: Any, found: Found, hold: Callable[..., None], vocabulary: Mapping[str, int]
) -> None:
    ids: tuple[list[int], list[int]] = ([], [])
    own, lacking = [], []
    others = {str(token) for token in paddle.all_special_tokens}
    for role in _ROLES:
        left, right = (_role(side, role) for side in (torch, paddle))
        if left is None:
            own += [f"{role} {right!r}"] if right is not None else []
            continue
        if right is None and left in others:
            lacking.append(f"{role} {left!r}")  # such as RemBERT's bos_token, which is its cls_token as well
            continue
        if left != right:
            found.fail(f"the {role} is {left!r} in torch and {right!r} in Paddle")
        for numbers, side, token in zip(ids, (torch, paddle), (left, right), strict=True):
            number = side.convert_tokens_to_ids(token) if token is not None else None
            numbers.append(-1 if number is None else number)
    if own:
        found.notes.append(f"Paddle's tokenizer has what torch's does not state: {', '.join(own)}")
    if ids[0]:
        hold("ids of special tokens", *ids)
    if lacking:
        found.notes.append(f"Paddle's tokenizer has these in other roles only: {', '.join(lacking)}")
    special = {str(token) for token in torch.all_special_tokens}
    # A tokenizer.json calls tokens special that have no role.
    also = {str(token) for token in getattr(torch, "added_tokens_decoder", {}).values() if token.special}
    if fewer := sorted(special - others):
        found.fail(f"special in torch and not in Paddle: {_few(map(repr, fewer), len(fewer))}")
    # PaddleNLP's own default for a role may be a token that the model does not have, and no text gives it.
    if more := sorted(token for token in others - special - also if token in vocabulary):
        found.fail(f"special in Paddle and not in torch: {_few(map(repr, more), len(more))}")


def _compare_sides(torch: Any, paddle: Any, found: Found) -> None:
    """Which end of a text is cut off, and which is padded; without a padding token neither is."""
    names = ["truncation_side", *(["padding_side"] if torch.pad_token is not None else [])]
    for name in names:
        left, right = (getattr(side, name, None) for side in (torch, paddle))
        if left is not None and right is not None and left != right:
            found.fail(f"the {name} is {left!r} in torch and {right!r} in Paddle")


def _compare_lengths(torch: Any, paddle: Any, found: Found) -> None:
    left, right = (side.model_max_length for side in (torch, paddle))
    stated = [isinstance(each, int) and each < _NO_LENGTH for each in (left, right)]
    if all(stated) and left != right:
        found.fail(f"the longest text (model_max_length) is {left} in torch and {right} in Paddle")
    elif any(stated) and not all(stated):
        words = [each if is_stated else "not stated" for each, is_stated in zip((left, right), stated, strict=True)]
        found.notes.append(f"the longest text (model_max_length): torch {words[0]}, Paddle {words[1]}")


def _role(tokenizer: Any, role: str) -> str | None:
    """The token of a role, or None; the attribute of its name would log an error where there is none."""
    token = tokenizer.special_tokens_map.get(role)
    return None if token is None else str(token)


def _id(vocabulary: Mapping[str, int], token: str) -> str:
    return str(vocabulary[token]) if token in vocabulary else "not there"


def _few(texts: Iterable[str], count: int) -> str:
    first = [text for text, _ in zip(texts, range(_NAMED), strict=False)]
    return ", ".join(first) + (f" and {count - len(first)} more" if count > len(first) else "")
