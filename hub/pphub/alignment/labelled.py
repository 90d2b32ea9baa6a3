"""Labelled texts: our own, made by filling in sentences, and a user's from a TSV file; and how they become batches."""

from __future__ import annotations

import csv
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
        UsageError: it has no such columns, no lines, or fewer than two labels.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        msg = f"there is no file {path}"
        raise FileNotInModel(msg, hint="--data wants a TSV file with the columns sentence and label") from error
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise UsageError(msg, hint="--data wants a text file in UTF-8") from error
    rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    columns = set(rows[0]) if rows else set()
    texts = next((names for names in _COLUMNS if columns.issuperset(names)), None)
    if "label" not in columns or texts is None:
        msg = f"{path} has no columns that are understood: {', '.join(sorted(map(str, columns))) or 'it is empty'}"
        raise UsageError(msg, hint="name them in the first line: sentence and label, or sentence1, sentence2 and label")
    labels = sorted({str(row["label"]) for row in rows})
    if len(labels) < 2:
        msg = f"{path} has one label only, {labels[0]!r}: any model would be right"
        raise UsageError(msg, hint="give lines of two labels or more")
    made = [
        Example(str(row[texts[0]]), str(row[texts[1]]) if len(texts) > 1 else None, labels.index(str(row["label"])))
        for row in rows
    ]
    return Labelled(tuple(made), tuple(made), len(labels), f"{path.name}, {len(made)} lines")


_COLUMNS: Final = (("sentence1", "sentence2"), ("question", "sentence"), ("sentence",), ("text",))


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
