"""What a rule file says, as values: a family, its rules, and how names are found among them.

A rule relates parts of torch to parts of Paddle. A part is one tensor, with all the names it may have; a side that
has several parts is one tensor of the other, cut along an axis; a side without parts does not have the tensor.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Final, Literal

from pphub.conversion.sizes import lookup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "PLACEHOLDER",
    "ConfigRules",
    "Constant",
    "Family",
    "Found",
    "Only",
    "Rule",
    "Side",
    "Size",
    "Table",
    "Tie",
    "fill",
    "holds",
]

Side = Literal["torch", "paddle"]
Size = int | str
"""A number, or the key of torch's config that has it; of a list its length is meant."""

When = tuple[tuple[str, tuple[object, ...]], ...]
"""Keys of a config (of a rule or a tie, Paddle's), and the values that each may have."""

PLACEHOLDER: Final = re.compile(r"\{([a-z]+)\}")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,5}")


def holds(when: When, config: Mapping[str, object], default: Mapping[str, object]) -> bool:
    """Whether a config says all of it; for a key that it leaves out the default is judged."""
    return all(lookup(config, key, default.get(key)) in allowed for key, allowed in when)


def fill(pattern: str, index: Mapping[str, str]) -> str:
    """A name of a pattern: its placeholders replaced."""
    return PLACEHOLDER.sub(lambda found: index[found[1]], pattern)


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor that is the same in every model of one size.

    Attributes:
        value: ``zeros``, ``ones``, ``arange`` (0, 1, 2, … along the last axis), ``tril`` (ones up to the diagonal of
            the last two axes), ``sinusoidal`` (positions, sines in the left half), or the number that all are.
        shape: its sizes; None if only a record can tell.
        dtype: a key of :data:`pphub.checkpoint.tensor.DTYPES`.
    """

    value: str | float
    shape: tuple[Size, ...] | None
    dtype: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What relates one tensor, or a tensor and the parts it is cut into.

    Attributes:
        label: the rule's own torch pattern, for messages and the record.
        torch: the parts in torch; of each, the names it may have, the first of which is written.
        paddle: the parts in Paddle; of each, its names, all of which are written.
        in_base: whether the names have the prefix of the base model.
        transpose: whether Paddle's values are torch's, transposed.
        axis: the axis of torch's tensor along which parts lie.
        shape: torch's sizes, where Paddle's differ, else None.
        paddle_shape: Paddle's then; -1 is what remains.
        required: whether a whole base model must have it.
        classes: the torch classes it is for; empty for all.
        reason: why one side does not have it, or None.
        constant: what it is made of for the side that has it, or None.
        untied: torch's names that are parameters of their own where its config unties them.
        used: the one among them that torch computes with then; the others may be anything.
        when: keys of Paddle's config, and the values for which the rule is there; with placeholders, for which layers.
        missing: what torch makes where a checkpoint lacks it, or None.
    """

    label: str
    torch: tuple[tuple[str, ...], ...]
    paddle: tuple[tuple[str, ...], ...]
    in_base: bool
    transpose: bool = False
    axis: int = 0
    shape: tuple[Size, ...] | None = None
    paddle_shape: tuple[Size, ...] = ()
    required: bool = True
    classes: tuple[str, ...] = ()
    reason: str | None = None
    constant: Constant | None = None
    untied: tuple[str, ...] = ()
    used: str | None = None
    when: When = ()
    missing: Constant | None = None

    def parts(self, side: Side) -> tuple[tuple[str, ...], ...]:
        """The parts of one side."""
        return self.torch if side == "torch" else self.paddle

    def is_for(self, architecture: str) -> bool:
        """Whether models of the torch class have it."""
        return not self.classes or architecture in self.classes

    @property
    def is_by_layer(self) -> bool:
        """Whether some layers have it and others do not."""
        return any(PLACEHOLDER.search(key) for key, _ in self.when)

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The placeholders of its names, in order."""
        names = (*self.torch, *self.paddle)[0]
        return tuple(dict.fromkeys(PLACEHOLDER.findall(names[0])))


@dataclass(frozen=True, slots=True)
class Tie:
    """A Paddle parameter that torch does not store, since it is another one.

    Attributes:
        paddle: its names.
        torch: the torch tensor it equals.
        transpose: whether it is that, transposed.
        in_base: whether it has the prefix of the base model.
        classes: the torch classes it is for.
        always: also where the config says ``"tie_word_embeddings": false``.
        when: as of a rule.
    """

    paddle: tuple[str, ...]
    torch: str
    transpose: bool
    in_base: bool
    classes: tuple[str, ...]
    always: bool
    when: When = ()


@dataclass(frozen=True, slots=True)
class Only:
    """Values that Paddle can express, where this depends on more than their key.

    Attributes:
        classes: the torch classes it is for; empty for all.
        when: keys of torch's config, and the values for which it is so.
        unless: likewise, for which it is not.
        values: as ``only`` of :class:`ConfigRules`.
        same: pairs of keys that must have one value, if both have any.
    """

    classes: tuple[str, ...]
    when: When
    unless: When
    values: Mapping[str, tuple[object, ...]]
    same: Mapping[str, str]

    def applies(self, architecture: str, config: Mapping[str, object], default: Mapping[str, object]) -> bool:
        """Whether the values of this model are judged."""
        if self.classes and architecture not in self.classes:
            return False
        return holds(self.when, config, default) and not (self.unless and holds(self.unless, config, default))


@dataclass(frozen=True, slots=True)
class ConfigRules:
    """How ``config.json`` is translated; keys are torch's unless said otherwise. See ``rules/README.md``."""

    rename: Mapping[str, str] = field(default_factory=dict)
    default: Mapping[str, object] = field(default_factory=dict)
    derive: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    only: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    null: Mapping[str, object] = field(default_factory=dict)
    paddle: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    replace: Mapping[str, object] = field(default_factory=dict)
    copy: Mapping[str, str] = field(default_factory=dict)
    set: Mapping[str, object] = field(default_factory=dict)
    legacy: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """The rules of one model family.

    Attributes:
        name: such as ``bert``.
        version: counts up when a rule changes.
        digest: sha256 of the rule file.
        model_types: what ``config.json`` calls the family; the first is written.
        tokenizer: Paddle's tokenizer class.
        prefixes: of the base model within a model with a head, without the dot; torch may have several.
        indices: placeholder → the config keys that count it, the first that has a number; or the number itself.
        architectures: torch class → Paddle class.
        former: what a torch class was called once → its name.
        bases: the torch classes that are base models, whose names have no prefix.
        absent: torch class → modules of Paddle's base model it is built without.
        only: what more of a config Paddle's classes cannot express, for some classes or configs.
        epsilon: of all layer norms, where Paddle's classes do not take it from the config: a key of Paddle's config.
        fixed_epsilon: torch class → what PaddleNLP's own class has in some of them instead.
        model: Paddle's config of the model that the rules are narrowed to; empty before.
    """

    name: str
    version: int
    digest: str
    model_types: tuple[str, ...]
    tokenizer: str
    prefixes: Mapping[Side, tuple[str, ...]]
    indices: Mapping[str, tuple[Size, ...]]
    architectures: Mapping[str, str]
    former: Mapping[str, str]
    bases: tuple[str, ...]
    absent: Mapping[str, tuple[str, ...]]
    epsilon: str | None
    fixed_epsilon: Mapping[str, float]
    config: ConfigRules
    only: tuple[Only, ...]
    rules: tuple[Rule, ...] = field(repr=False)
    ties: tuple[Tie, ...] = field(repr=False)
    model: Mapping[str, object] = field(default_factory=dict, repr=False)

    def narrowed(self, config: Mapping[str, object]) -> Family:
        """The same without what is not there in a model of this config, which is Paddle's."""
        default = self.config.default
        rules = tuple(rule for rule in self.rules if rule.is_by_layer or holds(rule.when, config, default))
        ties = tuple(tie for tie in self.ties if holds(tie.when, config, default))
        return replace(self, rules=rules, ties=ties, model=config)

    def rules_for(self, architecture: str) -> tuple[Rule, ...]:
        """The rules of one torch class."""
        return tuple(rule for rule in self.rules if rule.is_for(architecture))

    def ties_for(self, architecture: str) -> tuple[Tie, ...]:
        """The ties of one torch class."""
        return tuple(tie for tie in self.ties if architecture in tie.classes)

    def instances(self, architecture: str, counts: Mapping[str, int]) -> Iterator[tuple[Rule, dict[str, str]]]:
        """Every rule of the class with every index for which it is there, in a model of so many layers."""
        for rule in self.rules_for(architecture):
            keys = rule.placeholders
            conditions = rule.when if rule.is_by_layer else ()
            for numbers in product(*(range(counts.get(key, 0)) for key in keys)):
                index = dict(zip(keys, map(str, numbers), strict=True))
                when = tuple((fill(key, index), allowed) for key, allowed in conditions)
                if holds(when, self.model, self.config.default):
                    yield rule, index


@dataclass(frozen=True, slots=True)
class Found:
    """What the rules say about a name: which part of which rule it is, and its indices."""

    rule: Rule
    part: int
    index: Mapping[str, str]


class Table:
    """Finds the rule of a name, of one side, in the models of one torch class.

    Names are matched as a whole. Where no rule of the class knows one, the heads of other classes are asked: many
    a checkpoint holds more than its class needs.

    Args:
        family: the rules.
        architecture: the torch class.
        side: whose names are looked for.
    """

    def __init__(self, family: Family, architecture: str, side: Side) -> None:
        self._architecture = architecture
        self._prefixes = tuple(f"{prefix}." for prefix in family.prefixes[side])
        self._entries: dict[str, list[tuple[list[str], Rule, int]]] = {}
        own = family.rules_for(architecture)
        others = tuple(rule for rule in family.rules if not rule.in_base and not rule.is_for(architecture))
        for rule in own + others:
            for part, names in enumerate(rule.parts(side)):
                for name in names:
                    segments = name.split(".")
                    self._entries.setdefault(_outline(segments), []).append((segments, rule, part))

    def find(self, name: str) -> Found | None:
        """What the rules say about a name, or None if they do not know it."""
        found = self._find(name, base_only=False)
        for prefix in self._prefixes:
            # A head of another class may be called as this model's own base is.
            if (found is None or not found.rule.is_for(self._architecture)) and name.startswith(prefix):
                found = self._find(name.removeprefix(prefix), base_only=True) or found
        return found

    def _find(self, name: str, *, base_only: bool) -> Found | None:
        given = name.split(".")
        for segments, rule, part in self._entries.get(_outline(given), ()):
            index: dict[str, str] = {}
            if (rule.in_base or not base_only) and all(map(lambda a, b: _fits(a, b, index), segments, given)):
                return Found(rule, part, index)
        return None


def _outline(segments: list[str]) -> str:
    """The name with all numbers and placeholders alike."""
    return ".".join("#" if PLACEHOLDER.fullmatch(part) or _INDEX.fullmatch(part) else part for part in segments)


def _fits(segment: str, given: str, index: dict[str, str]) -> bool:
    placeholder = PLACEHOLDER.fullmatch(segment)
    if placeholder is None:
        return segment == given
    return index.setdefault(placeholder[1], given) == given
