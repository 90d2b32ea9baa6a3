"""Two tokenizers held against each other by what they are made of: a text asks for few of their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pphub.alignment.compare import compare
from pphub.alignment.values import EXACT
from pphub.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pphub.alignment.compare import Array
    from pphub.alignment.stages.result import Found

__all__ = ["compare_tokenizers"]

_ROLES: Final = tuple(f"{role}_token" for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
_NAMED: Final = 5  # tokens that a failure names
_NO_LENGTH: Final = 1_000_000_000  # both libraries write "any length" as a larger number


def compare_tokenizers(torch: Any, paddle: Any, found: Found, log: Callable[[str, Array, Array], None]) -> None:
    """Compare the whole vocabularies with the tokens added, the special tokens, and the longest texts.

    What torch's tokenizer does not state, such as the padding token of GPT-2, Paddle's may: that is only noted.

    Args:
        torch: the tokenizer of transformers.
        paddle: PaddleNLP's.
        found: is told what differs.
        log: given the name and both arrays of each comparison.
    """

    def hold(name: str, *ids: list[int]) -> None:
        left, right = (np.array(each, np.int64) for each in ids)
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
    _compare_special(torch, paddle, found, hold, other)
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
