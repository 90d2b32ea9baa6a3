"""Numbers that a rule file takes from ``config.json``: sizes, counts of layers, derived values."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Final

from pphub.errors import ConversionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pphub.conversion.family import Family, Size

__all__ = ["count_layers", "evaluate", "is_expression", "lookup", "put", "remove", "resolve"]

_MAX_LAYERS: Final = 10_000
_MAX_MODULES: Final = 100_000  # layers times experts
_OPERATORS: Final[dict[str, Callable[[int, int], int]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
}


def lookup(config: Mapping[str, object], key: str, default: object = None) -> object:
    """The value of a key; ``text_config.hidden_size`` is a key within a table, ``depths.0`` one of a list."""
    value: object = config
    for part in key.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return default
    return value


def put(config: dict[str, object], key: str, value: object) -> None:
    """Set a key, in a copy of the table it is in."""
    head, _, rest = key.partition(".")
    if not rest:
        config[head] = value
        return
    inner = config.get(head)
    table = dict(inner) if isinstance(inner, dict) else {}
    put(table, rest, value)
    config[head] = table


def remove(config: dict[str, object], key: str) -> None:
    """Take a key away, if it is there, from a copy of the table it is in."""
    head, _, rest = key.partition(".")
    inner = config.get(head)
    if not rest:
        config.pop(head, None)
    elif isinstance(inner, dict):
        table = dict(inner)
        remove(table, rest)
        config[head] = table


def is_expression(text: str) -> bool:
    """Whether :func:`evaluate` understands it."""
    terms = text.split()
    return len(terms) % 2 == 1 and all(symbol in _OPERATORS for symbol in terms[1::2])


def evaluate(expression: Size, config: Mapping[str, object]) -> int:
    """A number, a key, or several of them with + - * // between, from left to right.

    Raises:
        ConversionFailed: a key has no whole number.
    """
    if isinstance(expression, int):
        return expression
    terms = expression.split()
    result = _number(terms[0], config)
    for symbol, term in zip(terms[1::2], terms[2::2], strict=True):
        number = _number(term, config)
        if symbol == "//" and not number:
            msg = f"{term} is 0 in config.json"
            raise ConversionFailed(msg, hint="get config.json again from its source")
        result = _OPERATORS[symbol](result, number)
    return result


def _number(term: str, config: Mapping[str, object]) -> int:
    if term.removeprefix("-").isdecimal():
        return int(term)
    value = lookup(config, term)
    if isinstance(value, list):
        return len(value)
    if type(value) is not int:
        msg = f"config.json should say a whole number for {term}, but has {value!r:.80}"
        raise ConversionFailed(msg, hint="get config.json again from its source")
    return value


def resolve(sizes: Iterable[Size], config: Mapping[str, object]) -> tuple[int, ...]:
    """A shape; -1 stays.

    Raises:
        ConversionFailed: a key has no whole number, or it is negative.
    """
    shape = tuple(evaluate(size, config) for size in sizes)
    if any(size < -1 for size in shape):
        msg = f"config.json makes the shape {list(shape)} of {list(sizes)}"
        raise ConversionFailed(msg, hint="get config.json again from its source")
    return shape


def _count(key: Size, config: Mapping[str, object]) -> object:
    if isinstance(key, int):
        return key
    if len(key.split()) > 1:
        return evaluate(key, config)
    value = lookup(config, key)
    return len(value) if isinstance(value, list) else value


def count_layers(family: Family, architecture: str, config: Mapping[str, object]) -> dict[str, int]:
    """How many there are of what each placeholder counts.

    Raises:
        ConversionFailed: the config does not say it.
    """
    absent = tuple(f"{module}." for module in family.absent.get(architecture, ()))
    rules = family.rules_for(architecture)
    used = {
        name
        for rule in rules
        if not any(names[0].startswith(absent) for names in rule.paddle)  # no layers of what is not there
        for name in rule.placeholders
    }
    counts = {}
    for placeholder, keys in family.indices.items():
        if placeholder not in used:
            continue
        values = [_count(key, config) for key in keys]
        count = next((value for value in values if value is not None), None)
        if type(count) is not int or not 0 <= count <= _MAX_LAYERS:
            msg = f"config.json does not say how many layers there are: {keys[0]} is {count!r:.80}"
            raise ConversionFailed(msg, hint="get config.json again from its source")
        counts[placeholder] = count
    if any(math.prod(counts.get(name, 0) for name in rule.placeholders) > _MAX_MODULES for rule in rules):
        msg = f"config.json counts more modules than any model has: {counts}"
        raise ConversionFailed(msg, hint="get config.json again from its source")
    return counts
