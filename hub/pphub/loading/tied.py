"""Parameters that torch has no tensor of their own for, since it ties them to others; the rules of conversion tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pphub.conversion.family import Table, fill
from pphub.conversion.moves import Request
from pphub.conversion.rules import find_family, find_paddle_family
from pphub.conversion.torch_config import read_paddle_config
from pphub.errors import ConversionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pphub.conversion.family import Family

__all__ = ["Tied", "tied_in_torch"]

_SWITCH: Final = "tie_word_embeddings"


@dataclass(frozen=True, slots=True)
class Tied:
    """A parameter that is another one in torch.

    Attributes:
        names: what PaddleNLP's classes may call it.
        others: what they may call the other one.
        transpose: whether it is the other one, transposed.
    """

    names: tuple[str, ...]
    others: tuple[str, ...]
    transpose: bool


def tied_in_torch(
    model_class: Any, folder: Path, record: Mapping[str, object], given: Mapping[str, Any]
) -> tuple[Tied, ...]:
    """What torch ties in the models of a class, if its config does not say otherwise.

    Args:
        model_class: PaddleNLP's, or one that is built on it.
        folder: in Paddle's layout.
        record: of the conversion that made the folder; empty if none did.
        given: keywords that take the place of what the config says.

    Returns:
        Empty where there are no rules for the class.

    Raises:
        FileNotInModel, Corrupt: there is no config, or it cannot be read.
    """
    config = read_paddle_config(folder)
    try:
        family, architecture = _find(model_class, config, record)
    except ConversionFailed:
        return ()
    narrowed = family.narrowed({**config, **given})
    request = Request(narrowed, architecture, "paddle", {**_as_torch_says(family, config, record), **given})
    table = Table(narrowed, architecture, "torch")
    prefixes = ("", *(f"{prefix}." for prefix in family.prefixes["paddle"]))
    found = []
    for tie in request.ties():
        other = table.find(tie.torch)
        if other is None:
            continue
        rule = other.rule
        if len(rule.paddle) != 1 or len(rule.torch) != 1 or rule.shape is not None:  # cut, or laid out otherwise
            continue
        names = tuple(prefix + name for prefix in (prefixes if tie.in_base else ("",)) for name in tie.paddle)
        others = tuple(
            prefix + fill(name, other.index)
            for prefix in (prefixes if rule.in_base else ("",))
            for name in rule.paddle[0]
        )
        found.append(Tied(names, others, rule.transpose != tie.transpose))
    return tuple(found)


def _find(model_class: Any, config: Mapping[str, object], record: Mapping[str, object]) -> tuple[Family, str]:
    """The rules, and the torch class that a class of PaddleNLP's is; several may be one there."""
    kind = next(each for each in model_class.__mro__ if each.__module__.startswith("paddlenlp.") or each is object)
    classes = record.get("architecture")
    before = classes.get("torch") if isinstance(classes, dict) else None
    model_type = config.get("model_type")
    if isinstance(before, str):  # the class may be another than the one that was converted, but not the family
        model_type = find_family({"architectures": [before]})[0].model_types[0]
    return find_paddle_family({"architectures": [kind.__name__], "model_type": model_type}, before)


def _as_torch_says(family: Family, config: Mapping[str, object], record: Mapping[str, object]) -> Mapping[str, object]:
    """The config that tells whether anything is tied: Paddle's, unless the rules make it say otherwise than torch's."""
    rules = family.config
    notes = record.get("config")
    original = notes.get("original") if isinstance(notes, dict) else None
    rewritten = any(_SWITCH in keys for keys in (rules.replace, rules.set, rules.copy))
    return original if rewritten and isinstance(original, dict) else config
