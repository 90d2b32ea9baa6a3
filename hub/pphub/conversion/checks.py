"""Checks that the rules of a family contradict neither each other nor their own inverse."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

from pphub.conversion.family import PLACEHOLDER, Family, Rule, Side, Table, fill
from pphub.conversion.sizes import put

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_family"]

_NUMBER = re.compile(r"(?<![^.])[0-9]+(?![^.])")


def check_family(family: Family) -> None:
    """Check what can be said of rules without a checkpoint.

    Raises:
        ValueError: a placeholder has no index or is on one side only, a class is unknown, two rules know one name
            for the same class, or a config key could not be renamed back; the message names the rule.
    """
    for rule in family.rules:
        try:
            _check_placeholders(family, rule)
        except ValueError as error:
            msg = f"the rule for {rule.label!r}: {error}"
            raise ValueError(msg) from error
    _check_classes(family)
    _check_config(family)
    numbers = _numbers(family)
    # Classes that no rule tells apart are checked once.
    told_apart = {name for rule in family.rules for name in rule.classes}
    others = [name for name in family.architectures if name not in told_apart][:1]
    for variant in _variants(family):
        for architecture in [name for name in family.architectures if name in told_apart] + others:
            for side in ("torch", "paddle"):
                _check_names(variant, architecture, side, numbers)
        _check_ties(variant)


def _check_ties(family: Family) -> None:
    for tie in family.ties:
        for name in tie.classes:
            found = Table(family, name, "torch").find(tie.torch)
            if found is None or not len(found.rule.torch) == len(found.rule.paddle) == 1:
                msg = f"the tie for {tie.paddle[0]!r}: no rule knows {tie.torch!r} as one tensor, in {name}"
                raise ValueError(msg)


def _variants(family: Family) -> Iterable[Family]:
    """The rules that are there together: for every value that a condition names, and for others."""
    values: dict[str, list[object]] = {}
    rules = [rule for rule in family.rules if not rule.is_by_layer]
    for when in [rule.when for rule in rules] + [tie.when for tie in family.ties]:
        for key, allowed in when:
            known = values.setdefault(key, [None])
            known += [value for value in allowed if value not in known]
    for chosen in product(*values.values()):
        config: dict[str, object] = {}
        for key, value in zip(values, chosen, strict=True):
            put(config, key, value)
        yield family.narrowed(config)


def _check_placeholders(family: Family, rule: Rule) -> None:
    names = [name for part in (*rule.torch, *rule.paddle) for name in part]
    for name in names:
        rest = [segment for segment in name.split(".") if not PLACEHOLDER.fullmatch(segment)]
        if any(not segment or "{" in segment or "}" in segment for segment in rest):
            msg = f"{name!r}: a placeholder such as {{n}} stands between two dots, and nothing else is in braces"
            raise ValueError(msg)
        if set(PLACEHOLDER.findall(name)) != set(rule.placeholders):
            msg = f"{name!r} has other placeholders than {names[0]!r}, so one of them could not be made from the other"
            raise ValueError(msg)
    for key, _ in rule.when:
        if not set(PLACEHOLDER.findall(key)) <= set(rule.placeholders):
            msg = f"when: {key!r} has other placeholders than {names[0]!r}"
            raise ValueError(msg)
    if missing := sorted(set(rule.placeholders) - family.indices.keys()):
        msg = f"the placeholder {missing[0]!r} is not in [indices]"
        raise ValueError(msg)


def _check_classes(family: Family) -> None:
    named = [*family.bases, *family.absent, *family.fixed_epsilon]
    named += [name for rule in family.rules for name in rule.classes]
    named += [name for tie in family.ties for name in tie.classes]
    named += [name for only in family.only for name in only.classes]
    named += family.former.values()
    if unknown := sorted(set(named) - family.architectures.keys()):
        msg = f"{unknown[0]!r} is not in [architectures]"
        raise ValueError(msg)


def _check_config(family: Family) -> None:
    renamed = [*family.config.rename.values()]
    if twice := sorted({key for key in renamed if renamed.count(key) > 1}):
        msg = f"[config.rename]: two keys become {twice[0]!r}"
        raise ValueError(msg)
    if clash := sorted(set(renamed) & family.config.rename.keys()):
        msg = f"[config.rename]: {clash[0]!r} is both an old and a new name"
        raise ValueError(msg)


def _numbers(family: Family) -> tuple[str, ...]:
    """Indices at which a pattern could meet another: those that stand in a name, and two that stand in none."""
    names = (name for rule in family.rules for part in (*rule.torch, *rule.paddle) for name in part)
    literal = {number for name in names for number in _NUMBER.findall(name)}
    return (*sorted(literal), "999998", "999999")


def _check_names(family: Family, architecture: str, side: Side, numbers: Iterable[str]) -> None:
    known: dict[str, tuple[Rule, int]] = {}
    prefixes = ["", *(f"{prefix}." for prefix in family.prefixes[side])]
    for rule in family.rules_for(architecture):
        for part, names in enumerate(rule.parts(side)):
            for each in names:
                for sample in _samples(each, rule, numbers):
                    for prefix in prefixes if rule.in_base else [""]:
                        first = known.setdefault(prefix + sample, (rule, part))
                        if first[0] is not rule or first[1] != part:
                            which = f"{first[0].label!r} and {rule.label!r}"
                            msg = f"the rules for {which} both know {prefix + sample!r} of {side}, in {architecture}"
                            raise ValueError(msg)


def _samples(pattern: str, rule: Rule, numbers: Iterable[str]) -> Iterable[str]:
    keys = rule.placeholders
    for values in product(numbers, repeat=len(keys)):
        yield fill(pattern, dict(zip(keys, values, strict=True)))
