"""Translates ``config.json`` from torch's conventions to PaddleNLP's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pphub.errors import ConversionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pphub.conversion.rules import Family

__all__ = ["TranslatedConfig", "translate_config"]

# Notes of the tool that wrote the file; they mean nothing to a model.
_NOTES: Final = {
    "_name_or_path": "a path of whoever saved the model",
    "transformers_version": "the version of the library that saved the model",
    "gradient_checkpointing": "how it was trained",
    "torchscript": "an export setting of torch",
}
# torch key → Paddle key
_RENAMED: Final = {"torch_dtype": "dtype"}


@dataclass(frozen=True, slots=True)
class TranslatedConfig:
    """A config for Paddle, and what was changed on the way, for the record."""

    values: Mapping[str, object]
    renamed: Mapping[str, str]
    left_out: Mapping[str, str]
    replaced: Mapping[str, object]


def translate_config(family: Family, architecture: str, config: Mapping[str, object]) -> TranslatedConfig:
    """Translate a config; keys without special meaning stay as they are, falsy values included.

    Args:
        family: the rules that apply.
        architecture: the torch class the config names.
        config: the parsed ``config.json``.

    Raises:
        ConversionFailed: a value that Paddle's classes cannot express.
    """
    for key, allowed in family.only.items():
        if key in config and not any(config[key] == value for value in allowed):
            choices = " or ".join(repr(value) for value in allowed)
            msg = f"{key} is {config[key]!r}; PaddleNLP's {family.name} can only express {choices}"
            raise ConversionFailed(msg, hint="converting it all the same would give a model that is silently wrong")
    values: dict[str, object] = {"architectures": [family.architectures[architecture]]}
    renamed, left_out = {}, {}
    for key, value in config.items():
        if key in _NOTES:
            left_out[key] = _NOTES[key]
        elif key in _RENAMED:
            values[_RENAMED[key]] = value
            renamed[key] = _RENAMED[key]
        elif key != "architectures":
            values[key] = value
    values.setdefault("model_type", family.model_type)
    replaced = {key: config[key] for key, value in family.replace.items() if key in config and config[key] != value}
    values |= {key: family.replace[key] for key in replaced}
    return TranslatedConfig(values, renamed, left_out, replaced)
