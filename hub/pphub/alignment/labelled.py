"""Labelled texts: our own, made by filling in sentences, and a user's from a TSV file; and how they become batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pphub.alignment.sides import Batch
from pphub.errors import FileNotInModel, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pphub.alignment.asking import Inputs

__all__ = ["Example", "Labelled", "has_tokenizer", "made_up_batches", "pairs", "read_tsv", "sentences", "text_batches"]

_TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)

_SUBJECTS: Final = (
    ("The soup", "was served"),
    ("This old bicycle", "rode home"),
    ("Her second novel", "was finished"),
    ("The evening concert", "came to an end"),
    ("Our hotel room", "was shown to us"),
    ("That long lecture", "went by"),
    ("The repaired clock", "was put back"),
    ("His garden", "was opened"),
)
_GOOD: Final = ("and everyone loved it", "and it was a pure delight", "better than we had hoped", "to warm applause")
_BAD: Final = ("and everyone hated it", "and it was a sad waste", "worse than we had feared", "to cold silence")

_THINGS: Final = ("bridge", "school", "market", "library", "harbour", "mill", "station", "museum")
_PLACES: Final = ("behind the old church", "by the northern gate", "at the end of the lane", "near the river")
_YEARS: Final = ("in the spring", "three years ago", "after the great flood", "last summer")


@dataclass(frozen=True, slots=True)
class Example:
    """A text, or a pair of texts, and its class."""

    text: str
    pair: str | None
    label: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled texts.

    Attributes:
        train: to train on, in order.
        test: to be judged by.
        classes: how many there are.
        origin: where they are from, in words.
    """

    train: tuple[Example, ...]
    test: tuple[Example, ...]
    classes: int
    origin: str


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds the vocabulary of a tokenizer."""
    return any((folder / name).is_file() for name in _TOKENIZER_FILES)


def sentences(train: int, test: int) -> Labelled:
    """Single sentences that praise (1) or blame (0); those of the test are other combinations of the same parts."""
    made = [
        Example(f"{subject} {verb} {end}.", None, label)
        for subject, verb in _SUBJECTS
        for label, ends in ((1, _GOOD), (0, _BAD))
        for end in ends
    ]
    return _shuffled(made, train, test, "sentences of our own, which praise or blame")


def pairs(train: int, test: int) -> Labelled:
    """Questions, each with a sentence that answers it (0) or not (1), as in QNLI."""
    made = []
    for number, thing in enumerate(_THINGS):
        for place in _PLACES:
            other = _THINGS[(number + 3) % len(_THINGS)]
            year = _YEARS[(number + len(place)) % len(_YEARS)]
            question = f"Where does the {thing} stand?"
            made.append(Example(question, f"The {thing} was built {year}, {place}.", 0))
            made.append(Example(question, f"The {other} was painted {year} by two brothers.", 1))
    return _shuffled(made, train, test, "questions and sentences of our own, which answer them or do not")


def read_tsv(path: Path) -> Labelled:
    """Labelled texts from a file whose first line names the columns.

    Args:
        path: tab-separated, UTF-8. One column is ``label``; the texts are ``sentence`` (or ``text``), or two of
            ``sentence1`` and ``sentence2``, or ``question`` and ``sentence``.

    Raises:
        FileNotInModel: there is no such file.
        UsageError: it has no such columns or others, no lines, one that does not fit, or fewer than two labels.
    """
    try:
        if path.exists() and not path.is_file():
            msg = f"{path} is no file with an end"
            raise UsageError(msg, hint="--data wants a text file in UTF-8")
        # Neither splitlines() nor universal newlines: a text may hold what these take for an end of line.
        content = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        msg = f"there is no file {path}"
        raise FileNotInModel(msg, hint="--data wants a TSV file with the columns sentence and label") from error
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise UsageError(msg, hint="--data wants a text file in UTF-8") from error
    heads, *lines = (line.removesuffix("\r").split("\t") for line in content.rstrip("\r\n").split("\n"))
    texts = _texts_of(path, heads)
    if not lines:
        msg = f"{path} names its columns and holds no lines"
        raise UsageError(msg, hint="give lines of two labels or more")
    rows = []
    for number, line in enumerate(lines, start=2):
        row = dict(zip(heads, line, strict=False))
        if len(line) != len(heads):
            msg = f"line {number} of {path} has {len(line)} columns, and the first line names {len(heads)}"
            raise UsageError(msg, hint="columns are parted by one tab each; no text may hold a tab or a line break")
        if empty := [name for name in (*texts, "label") if not row[name].strip()]:
            msg = f"line {number} of {path} has no {empty[0]}"
            raise UsageError(msg, hint="each line has a text and a label; take out what has none")
        rows.append(row)
    labels = sorted({row["label"] for row in rows})
    if len(labels) < 2:
        msg = f"{path} has one label only, {labels[0]!r}: any model would be right"
        raise UsageError(msg, hint="give lines of two labels or more")
    made = [
        Example(row[texts[0]], row[texts[1]] if len(texts) > 1 else None, labels.index(row["label"])) for row in rows
    ]
    return Labelled(tuple(made), tuple(made), len(labels), f"{path.name}, {len(made)} lines")


_COLUMNS: Final = (("sentence1", "sentence2"), ("question", "sentence"), ("sentence",), ("text",))


def _texts_of(path: Path, heads: Sequence[str]) -> tuple[str, ...]:
    """The columns that are texts; all others but the label and a number of the line are refused."""
    texts = next((names for names in _COLUMNS if set(heads).issuperset(names)), None)
    if "label" not in heads or texts is None:
        named = ", ".join(sorted(filter(None, heads)))
        msg = f"{path} has no columns that are understood: {named or 'it is empty'}"
        raise UsageError(msg, hint="name them in the first line: sentence and label, or sentence1, sentence2 and label")
    if twice := [name for name in heads if heads.count(name) > 1]:
        msg = f"line 1 of {path} names the column {twice[0]!r} twice"
        raise UsageError(msg, hint="each column has a name of its own")
    if more := [name for name in heads if name not in (*texts, "label", *_NUMBERS)]:
        msg = f"line 1 of {path} names a column {more[0]!r}, of which it is not known what it is"
        raise UsageError(msg, hint=f"take it out: texts are {' and '.join(texts)}, and their class is label")
    return texts


_NUMBERS: Final = ("index", "idx", "id")  # of the line, as the files of GLUE have it


def text_batches(
    examples: Sequence[Example], tokenizer: Any, size: int, length: int, *, whole: bool, padded: bool
) -> list[Batch]:
    """Batches of texts, in order.

    Args:
        examples: the texts.
        tokenizer: of transformers.
        size: texts in a batch.
        length: tokens at most.
        whole: pad to the length, and not to the longest of the batch.
        padded: whether the class can be trusted with padding; if not, all texts are cut to the shortest.
    """
    encoded = [tokenizer(each.text, each.pair, truncation=True, max_length=length) for each in examples]
    shortest = min(len(each["input_ids"]) for each in encoded)
    pad = tokenizer.pad_token_id
    batches = []
    for start in range(0, len(examples), size):
        rows = encoded[start : start + size]
        width = shortest
        if padded and pad is not None:
            width = length if whole else max(len(each["input_ids"]) for each in rows)
        inputs: Inputs = {"input_ids": _table([each["input_ids"] for each in rows], width, pad or 0)}
        if "token_type_ids" in rows[0]:
            inputs["token_type_ids"] = _table([each["token_type_ids"] for each in rows], width, 0)
        if padded and pad is not None:
            inputs["attention_mask"] = _table([[1] * len(each["input_ids"]) for each in rows], width, 0)
        batches.append(Batch(inputs, np.array([each.label for each in examples[start : start + size]], np.int64)))
    return batches


def made_up_batches(plain: Any, texts: int, size: int, length: int, seed: int) -> list[Batch]:
    """Batches of ids for a model without a tokenizer: most ids of a text are of its class's half of the words.

    Args:
        plain: the ids there are to choose from: int64 [words].
        texts: how many.
        size: texts in a batch.
        length: tokens of each.
        seed: of what is drawn.
    """
    draw = np.random.default_rng((seed, 5))
    labels = draw.permutation(np.arange(texts) % 2)
    middle = len(plain) // 2
    halves = (plain[:middle], plain[middle:])
    rows = np.stack([draw.choice(halves[label], length) for label in labels])
    strangers = draw.random(rows.shape) < 0.2
    rows = np.where(strangers, draw.choice(plain, rows.shape), rows).astype(np.int64)
    return [
        Batch({"input_ids": rows[start : start + size]}, labels[start : start + size].astype(np.int64))
        for start in range(0, texts, size)
    ]


def _table(rows: Sequence[Sequence[int]], width: int, fill: int) -> Any:
    table = np.full((len(rows), width), fill, np.int64)
    for number, row in enumerate(rows):
        kept = list(row)[:width]
        table[number, : len(kept)] = kept
    return table


def _shuffled(made: list[Example], train: int, test: int, origin: str) -> Labelled:
    """So many of each, in an order that is always the same."""
    order = np.random.default_rng(11).permutation(len(made))
    chosen = [made[number] for number in order]
    repeated = [chosen[number % (len(chosen) - test)] for number in range(train)]
    return Labelled(tuple(repeated), tuple(chosen[-test:]), 2, origin)
