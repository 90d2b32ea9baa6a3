"""Finds the rule file of a model: ours, and those that packages declare in the entry-point group ``pphub.rules``.

A rule file is data, one TOML file a family; ``rules/README.md`` explains the language. Of two files for one
architecture ours is taken, then that of the entry point that is first by name: a package adds families, it does not
change what a conversion of ours means.
"""

from __future__ import annotations

import warnings
from functools import cache, lru_cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pphub.conversion.language import parse_family
from pphub.errors import ConversionFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.metadata import EntryPoint
    from importlib.resources.abc import Traversable

    from pphub.conversion.family import Family

__all__ = ["GROUP", "RulesIgnored", "find_family", "find_paddle_family", "load_families", "parse_family"]

GROUP: Final = "pphub.rules"


class RulesIgnored(UserWarning):
    """A package's rule files cannot be used; conversions go on without them."""


@lru_cache(maxsize=1)
def _our_files() -> tuple[tuple[str, str], ...]:
    return _rule_files(files("pphub.conversion") / "rules")


@lru_cache(maxsize=1)
def _their_files() -> tuple[tuple[str, str], ...]:
    """Rule files of other packages; one that does not import is named in a warning."""
    from importlib.metadata import entry_points  # not at the top: most models need no other rules

    found: list[tuple[str, str]] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        try:
            found += _rule_files(_folder(point))
        except Exception as error:  # noqa: BLE001  another package may fail in any way
            text = f"the rules {point.name!r} ({point.value}) do not load: {type(error).__name__}: {error}"
            warnings.warn(text, RulesIgnored, stacklevel=2)
    return tuple(found)


def _folder(point: EntryPoint) -> Traversable:
    """A package's own folder, or the folder a module is in."""
    module = import_module(point.value)
    if hasattr(module, "__path__"):
        return files(module)
    return Path(str(module.__file__)).parent


def _rule_files(folder: Traversable) -> tuple[tuple[str, str], ...]:
    """What messages call each file, and its text."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return tuple((str(folder / name), (folder / name).read_text(encoding="utf-8")) for name in names)


@cache
def _parsed(origin: str, text: str) -> Family | None:
    """The family of a file; None, and a warning, where another package's file is wrong."""
    try:
        return parse_family(text, origin)
    except ValueError as error:
        if (origin, text) in _our_files():
            raise
        warnings.warn(f"these rules are left out: {error}", RulesIgnored, stacklevel=2)
        return None


def _families(named: str = "") -> Iterator[Family]:
    """The families whose files name something, ours first; only those are parsed."""
    for find in (_our_files, _their_files):
        for origin, text in find():
            family = _parsed(origin, text) if named in text else None
            if family is not None:
                yield family


@lru_cache(maxsize=1)
def load_families() -> tuple[Family, ...]:
    """Every family there are rules for, ours first."""
    return tuple(_families())


def find_family(config: Mapping[str, object]) -> tuple[Family, str]:
    """The rules for a torch config, and the torch class it names.

    Args:
        config: the parsed ``config.json``.

    Raises:
        ConversionFailed: there are no rules for it; the message lists the families there are rules for.
    """
    architecture, model_type = _architecture(config), config.get("model_type")
    if architecture is not None:
        for family in _families(architecture):
            named = family.former.get(architecture, architecture)
            if named in family.architectures:
                return family, named
    elif isinstance(model_type, str):
        for family in _families(model_type):
            if model_type in family.model_types:
                return family, next(iter(family.architectures))
    raise _no_rules(config)


def find_paddle_family(config: Mapping[str, object], wanted: str | None = None) -> tuple[Family, str]:
    """The rules for a Paddle config, and the torch class that its model becomes.

    Several torch classes may be one in Paddle (those of roberta and xlm-roberta): then the one that is wanted is
    taken, else the first of the family that ``model_type`` names, else the one of the same name, else the first.

    Args:
        config: the parsed config.
        wanted: the torch class that the model was converted from, if that is known.

    Raises:
        ConversionFailed: there are no rules for it; the message lists the families there are rules for.
    """
    architecture, model_type = _architecture(config), config.get("model_type")
    found = [
        (family, torch)
        for family in (_families(architecture) if architecture else ())
        for torch, paddle in family.architectures.items()
        if paddle == architecture
    ]
    if not found:
        raise _no_rules(config)
    return min(
        found, key=lambda pair: (pair[1] != wanted, model_type not in pair[0].model_types, pair[1] != architecture)
    )


def _architecture(config: Mapping[str, object]) -> str | None:
    listed = config.get("architectures")
    named = listed[-1] if isinstance(listed, list) and listed else None
    return named if isinstance(named, str) else None


def _no_rules(config: Mapping[str, object]) -> ConversionFailed:
    architecture, model_type = _architecture(config), config.get("model_type")
    if architecture is None and not model_type:
        msg = "there are no conversion rules for this model: config.json has neither architectures nor model_type"
        return ConversionFailed(msg, hint='say in config.json what it is, such as "model_type": "bert"')
    families = [family for family in load_families() if model_type in family.model_types]
    if architecture is not None and families:
        known = ", ".join(name for family in families for name in family.architectures)
        msg = f"there are no conversion rules for this model: config.json names {architecture!r:.200}; "
        msg += f"of {model_type} there are rules for {known}"
        hint = "if it is one of these by another name, correct architectures in config.json"
        return ConversionFailed(msg, hint=hint)
    found = repr(architecture) if architecture is not None else f"model_type {model_type!r:.200}"
    known = ", ".join(family.name for family in load_families())
    msg = f"there are no conversion rules for this model: config.json names {found:.200}; there are rules for {known}"
    return ConversionFailed(msg, hint="see pphub/conversion/rules/README.md for how a family is added")
