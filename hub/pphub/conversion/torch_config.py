"""Translates ``config.json`` from PaddleNLP's conventions back to torch's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from pphub.checkpoint.folder import read_config
from pphub.conversion.config import DTYPE_KEYS, TranslatedConfig, translate_config
from pphub.conversion.sizes import lookup, put, remove
from pphub.errors import ConversionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pphub.conversion.family import Family

__all__ = ["flatten", "read_paddle_config", "translate_back"]

_NOTES: Final = {
    "paddlenlp_version": "the version of the library that saved the model",
    "init_args": "arguments of a constructor of Paddle's",
}
_LEGACY: Final = {"num_classes": "num_labels"}
_MISSING: Final = object()


def read_paddle_config(folder: Path) -> dict[str, object]:
    """The config of a Paddle model folder, of today's or the legacy name and shape."""
    return flatten(read_config(folder))


def flatten(config: Mapping[str, object]) -> dict[str, object]:
    """A config of PaddleNLP before 2.5, whose class and arguments are nested, in today's shape."""
    values = {key: value for key, value in config.items() if key not in {"init_args", "init_class"}}
    arguments = config.get("init_args")
    for entry in arguments if isinstance(arguments, list) else []:
        if isinstance(entry, dict):
            values |= {key: value for key, value in flatten(entry).items() if key not in values}
    named = config.get("init_class")
    if isinstance(named, str):  # the outermost class is the model's
        values["architectures"] = [named]
    return values


def translate_back(
    family: Family, architecture: str, config: Mapping[str, object], original: Mapping[str, object] | None = None
) -> TranslatedConfig:
    """Translate a Paddle config to torch's.

    Args:
        family: the rules that apply.
        architecture: the torch class that is made.
        config: Paddle's, flat.
        original: torch's own config, where the model was converted from one. It says again what had no place in
            Paddle's; what was changed in Paddle's since stays changed.

    Raises:
        ConversionFailed: a value that torch's classes cannot express.
    """
    back = _inverse(family, architecture, config)
    if original is None:
        return back
    try:
        before = _inverse(family, architecture, translate_config(family, architecture, original).values).values
    except ConversionFailed:  # by rules of another version
        return back
    values: dict[str, object] = {}
    restored: dict[str, object] = {}
    for key in dict.fromkeys([*original, *back.values]):
        now, then, first = (each.get(key, _MISSING) for each in (back.values, before, original))
        same = _text(now) == _text(then) and key not in {*DTYPE_KEYS, "architectures"}
        value = first if same else now
        if value is not _MISSING:
            values[key] = value
            if same and _text(value) != _text(now):
                restored[key] = value
    dtype = back.values.get(DTYPE_KEYS[0])
    values.pop(DTYPE_KEYS[0], None)
    named = next((key for key in DTYPE_KEYS if key in original), DTYPE_KEYS[0])
    if dtype is not None or named in original:
        values[named] = dtype
    return TranslatedConfig(values, back.renamed, back.left_out, back.replaced, restored)


def _inverse(family: Family, architecture: str, config: Mapping[str, object]) -> TranslatedConfig:
    rules = family.config
    left_out = {key: reason for key, reason in _NOTES.items() if key in config}
    values: dict[str, object] = {"architectures": [architecture]}
    values |= {key: value for key, value in config.items() if key not in left_out and key != "architectures"}
    model_type = values.get("model_type")
    values["model_type"] = model_type if model_type in family.model_types else family.model_types[0]
    renamed: dict[str, str] = {}
    for old, new in {**_LEGACY, **rules.legacy}.items():
        if old in values:
            value = values.pop(old)
            values.setdefault(new, value)
            renamed[old] = new
    for key, allowed in rules.paddle.items():
        found = lookup(values, key)
        if found is not None and not any(found == value for value in allowed):
            msg = f"{key} is {found!r}; {family.name} in torch can only be {' or '.join(map(repr, allowed)) or 'null'}"
            raise ConversionFailed(msg, hint="converting it all the same would give a model that is silently wrong")
        if lookup(values, key, _MISSING) is not _MISSING:
            remove(values, key)
            left_out[key] = "what torch does not have, at the value that its models amount to"
    for key, value in rules.set.items():
        if _text(lookup(values, key, _MISSING)) == _text(value):
            remove(values, key)
            left_out[key] = "what Paddle needs, and torch does not have"
    for target, key in {**rules.rename, DTYPE_KEYS[0]: DTYPE_KEYS[1]}.items():
        if (value := lookup(values, key, _MISSING)) is not _MISSING:
            remove(values, key)
            put(values, target, value)
            renamed[key] = target
    replaced: dict[str, object] = {}
    _say_in_torchs_words(family, values, replaced)
    return TranslatedConfig(values, renamed, left_out, replaced, {})


def _say_in_torchs_words(family: Family, values: dict[str, object], replaced: dict[str, object]) -> None:
    for key, meant in family.config.null.items():
        if meant != [] and lookup(values, key) == meant:
            replaced[key] = meant
            put(values, key, None)
    for key, translations in family.config.values.items():
        found = lookup(values, key)
        names = [torch for torch, paddle in translations.items() if paddle == found]
        if names:
            replaced[key] = found
            put(values, key, names[0])


def _text(value: object) -> str:
    """Equal for equal JSON values only: False is not 0, and a missing key is not null."""
    return "" if value is _MISSING else json.dumps(value, sort_keys=True)
