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
_MOST_LABELS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TranslatedConfig:
    """A config, and what was changed on the way, for the record.

    Attributes:
        values: the config for the other side.
        renamed: old key → new key.
        left_out: key → why it is not there any more.
        replaced: key → the value that means something else on the other side.
        added: key → a value that the source leaves to its defaults.
        notes: what the user should know of the model.
    """

    values: Mapping[str, object]
    renamed: Mapping[str, str]
    left_out: Mapping[str, str]
    replaced: Mapping[str, object]
    added: Mapping[str, object]
    notes: tuple[str, ...] = ()


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
    _check(family, architecture, config)
    rules = family.config
    left_out = {key: reason for key, reason in _NOTES.items() if key in config}
    values: dict[str, object] = {"architectures": [family.architectures[architecture]]}
    values |= {key: value for key, value in config.items() if key not in left_out and key != "architectures"}
    values.setdefault("model_type", family.model_types[0])
    added: dict[str, object] = {}
    replaced: dict[str, object] = {}
    _number_labels(values, replaced)
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
    return TranslatedConfig(values, renamed, left_out, replaced, added, _notes(family, architecture, values))


def _notes(family: Family, architecture: str, values: Mapping[str, object]) -> tuple[str, ...]:
    wanted = lookup(values, family.epsilon) if family.epsilon else None
    fixed = family.fixed_epsilon.get(architecture)
    if fixed is None or wanted in {None, fixed}:
        return ()
    text = "through unmodified PaddleNLP the answers differ a little from torch's: layer norms of its "
    text += f"{family.architectures[architecture]} have the epsilon {fixed:g}, not {wanted:g} as the config says; "
    return (f"{text}pphub's loader gives them the right one",)


def _number_labels(values: dict[str, object], replaced: dict[str, object]) -> None:
    """Where num_labels and the table of labels contradict each other, torch's classes take the number."""
    number, labels = values.get("num_labels"), values.get("id2label")
    if type(number) is int and 0 < number <= _MOST_LABELS and isinstance(labels, dict) and len(labels) != number:
        names = [f"LABEL_{label}" for label in range(number)]
        tables: dict[str, object] = {"id2label": dict(zip(map(str, range(number)), names, strict=True))}
        tables["label2id"] = {name: label for label, name in enumerate(names)}
        replaced |= {key: values[key] for key in tables if key in values}
        values |= tables


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
    for key, meant in family.config.null.items():
        if lookup(values, key, _MISSING) is None:
            replaced[key] = None
            put(values, key, meant)
    for key, translations in family.config.values.items():
        value = lookup(values, key)
        if isinstance(value, str) and value in translations:
            replaced[key] = value
            put(values, key, translations[value])
    for key, value in family.config.replace.items():
        if (found := lookup(values, key, _MISSING)) is not _MISSING and found != value:
            replaced[key] = found
            put(values, key, value)


def _check(family: Family, architecture: str, config: Mapping[str, object]) -> None:
    default = family.config.default
    judged = [(family.config.only, family.name)]
    for only in family.only:
        if only.applies(architecture, config, default):
            whose = family.architectures[architecture] if only.classes else family.name
            judged.append((only.values, whose))
            for key, other in only.same.items():
                found, wanted = (lookup(config, each, default.get(each)) for each in (key, other))
                if None not in (found, wanted) and found != wanted:
                    msg = f"{key} is {found!r} and {other} is {wanted!r}; PaddleNLP's {whose} can only express"
                    raise _refused(f"{msg} that they are the same")
    for values, whose in judged:
        for key, allowed in values.items():
            found = lookup(config, key, default.get(key))
            if found is not None and not any(found == _wanted(value, config) for value in allowed):
                choices = " or ".join(repr(value) for value in allowed) or "null"
                raise _refused(f"{key} is {found!r}; PaddleNLP's {whose} can only express {choices}")
    for key, meant in family.config.null.items():
        if meant == [] and lookup(config, key, _MISSING) is None:
            raise _refused(f"{key} is null, which PaddleNLP's {family.name} cannot express")


def _refused(msg: str) -> ConversionFailed:
    return ConversionFailed(msg, hint="converting it all the same would give a model that is silently wrong")


def _wanted(value: object, config: Mapping[str, object]) -> object:
    """An allowed value; one of several terms is calculated."""
    if isinstance(value, str) and " " in value and is_expression(value):
        return evaluate(value, config)
    return value
