"""Translates ``config.json`` from torch's conventions to PaddleNLP's; ``torch_config`` translates back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pphub.conversion.sizes import evaluate, is_expression, lookup, put, remove
from pphub.errors import ConversionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pphub.conversion.family import Family

__all__ = ["DTYPE_KEYS", "TranslatedConfig", "translate_config"]

# Notes of the tool that wrote the file; they mean nothing to a model.
_NOTES: Final = {
    "_name_or_path": "a path of whoever saved the model",
    "transformers_version": "the version of the library that saved the model",
    "gradient_checkpointing": "how it was trained",
    "torchscript": "an export setting of torch",
}
DTYPE_KEYS: Final = ("torch_dtype", "dtype")
"""What torch calls the dtype of the weights; the first is understood by all its versions, Paddle has the second."""
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class TranslatedConfig:
    """A config, and what was changed on the way, for the record.

    Attributes:
        values: the config for the other side.
        renamed: old key → new key.
        left_out: key → why it is not there any more.
        replaced: key → the value that means something else on the other side.
        added: key → a value that the source leaves to its defaults.
    """

    values: Mapping[str, object]
    renamed: Mapping[str, str]
    left_out: Mapping[str, str]
    replaced: Mapping[str, object]
    added: Mapping[str, object]


def translate_config(family: Family, architecture: str, config: Mapping[str, object]) -> TranslatedConfig:
    """Translate a config; keys without special meaning stay as they are, falsy values included.

    A config that is Paddle's already stays as it is.

    Args:
        family: the rules that apply.
        architecture: the torch class the config names.
        config: the parsed ``config.json``.

    Raises:
        ConversionFailed: a value that Paddle's classes cannot express.
    """
    _check(family, config)
    rules = family.config
    left_out = {key: reason for key, reason in _NOTES.items() if key in config}
    values: dict[str, object] = {"architectures": [family.architectures[architecture]]}
    values |= {key: value for key, value in config.items() if key not in left_out and key != "architectures"}
    values.setdefault("model_type", family.model_types[0])
    added: dict[str, object] = {}
    replaced: dict[str, object] = {}
    _complete(family, config, values, added, replaced)
    _replace(family, values, replaced)
    renamed = {}
    for key, target in {**rules.rename, DTYPE_KEYS[0]: DTYPE_KEYS[1]}.items():
        if (value := lookup(values, key, _MISSING)) is not _MISSING:
            remove(values, key)
            put(values, target, value)
            renamed[key] = target
    copied = {key: lookup(config, source, rules.default.get(source, _MISSING)) for key, source in rules.copy.items()}
    for key, value in {**{key: value for key, value in copied.items() if value is not _MISSING}, **rules.set}.items():
        if (found := lookup(values, key, _MISSING)) is _MISSING:
            added[key] = value
        elif found != value:
            replaced[key] = found
        put(values, key, value)
    return TranslatedConfig(values, renamed, left_out, replaced, added)


def _complete(
    family: Family,
    config: Mapping[str, object],
    values: dict[str, object],
    added: dict[str, object],
    replaced: dict[str, object],
) -> None:
    """Write down what torch takes for keys that are left out, and Paddle does not."""
    rules = family.config
    for key, value in rules.default.items():
        if (
            lookup(values, rules.rename.get(key, key), _MISSING) is _MISSING
            and lookup(values, key, _MISSING) is _MISSING
        ):
            put(values, key, value)
            added[key] = value
    for key, expression in rules.derive.items():
        if lookup(values, key) is None and lookup(values, rules.rename.get(key, key)) is None:
            if lookup(values, key, _MISSING) is None:
                replaced[key] = None
            added[key] = evaluate(expression, config)
            put(values, key, added[key])


def _replace(family: Family, values: dict[str, object], replaced: dict[str, object]) -> None:
    """Say in Paddle's words what has other words there."""
    for key, translations in family.config.values.items():
        value = lookup(values, key)
        if isinstance(value, str) and value in translations:
            replaced[key] = value
            put(values, key, translations[value])
    for key, value in family.config.replace.items():
        if (found := lookup(values, key, _MISSING)) is not _MISSING and found != value:
            replaced[key] = found
            put(values, key, value)


def _check(family: Family, config: Mapping[str, object]) -> None:
    for key, allowed in family.config.only.items():
        found = lookup(config, key, family.config.default.get(key))
        if found is not None and not any(found == _wanted(value, config) for value in allowed):
            choices = " or ".join(repr(value) for value in allowed) or "null"
            msg = f"{key} is {found!r}; PaddleNLP's {family.name} can only express {choices}"
            raise ConversionFailed(msg, hint="converting it all the same would give a model that is silently wrong")


def _wanted(value: object, config: Mapping[str, object]) -> object:
    """An allowed value; one of several terms is calculated."""
    if isinstance(value, str) and " " in value and is_expression(value):
        return evaluate(value, config)
    return value
