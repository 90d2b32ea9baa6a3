"""Rule files: which torch tensor becomes which Paddle tensor, and how.

A rule file is data, one TOML file a family; ``rules/bert.toml`` explains the language. Patterns are literal but
for ``{n}``, a layer index, and match whole names, so the order of the rules means nothing.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Literal

from pphub.errors import ConversionFailed
from pphub.toml import parse_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Family", "Match", "Operation", "find_family", "load_families", "parse_family"]

Operation = Literal["same", "transpose"]

_INDEX: Final = r"(?P<n>0|[1-9][0-9]{0,5})"
# as → (suffixes of the torch name, suffix of the Paddle name, operation)
_MODULES: Final[dict[str, tuple[tuple[tuple[str, ...], str, Operation], ...]]] = {
    "linear": (((".weight",), ".weight", "transpose"), ((".bias",), ".bias", "same")),
    "norm": (((".weight", ".gamma"), ".weight", "same"), ((".bias", ".beta"), ".bias", "same")),
    "embedding": (((".weight",), ".weight", "same"),),
    "tensor": ((("",), "", "same"),),
}


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule says about one torch tensor.

    Attributes:
        rule: the rule's own torch pattern, for the record.
        names: what the tensor is called in Paddle; several names share their bytes; empty if it is dropped.
        operation: what is done to the values.
        core: the first name without the prefix of the base model; None for a head.
        reason: why it is dropped, or None.
    """

    rule: str
    names: tuple[str, ...]
    operation: Operation
    core: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    label: str
    pattern: re.Pattern[str]
    targets: tuple[str, ...]
    operation: Operation
    reason: str | None
    in_base: bool


@dataclass(frozen=True, slots=True)
class Family:
    """The rules of one model family.

    Attributes:
        name: such as ``bert``.
        version: counts up when a rule changes.
        digest: sha256 of the rule file.
        model_type: what ``config.json`` calls the family.
        tokenizer: Paddle's tokenizer class.
        layers_key: the config key that counts the layers.
        architectures: torch class → Paddle class.
        absent: torch class → modules of Paddle's base model it is built without.
        only: config keys and the values Paddle can express.
        replace: config keys whose value means something else in Paddle, and the value that is right there.
    """

    name: str
    version: int
    digest: str
    model_type: str
    tokenizer: str
    layers_key: str
    architectures: Mapping[str, str]
    absent: Mapping[str, tuple[str, ...]]
    only: Mapping[str, tuple[object, ...]]
    replace: Mapping[str, object]
    rules: tuple[_Rule, ...] = field(repr=False)

    def match(self, name: str) -> Match | None:
        """What the rules say about a torch tensor, or None if they do not know it."""
        for rule in self.rules:
            found = rule.pattern.fullmatch(name)
            if found:
                groups = found.groupdict()
                prefix, index = groups.get("prefix") or "", groups.get("n") or ""
                cores = tuple(target.replace("{n}", index) for target in rule.targets)
                core = cores[0] if cores and rule.in_base else None
                return Match(rule.label, tuple(prefix + name for name in cores), rule.operation, core, rule.reason)
        return None

    def base_names(self, layers: int) -> tuple[str, ...]:
        """Every parameter of the base model with so many layers, without its prefix, in Paddle's names."""
        templates = dict.fromkeys(rule.targets[0] for rule in self.rules if rule.in_base and rule.targets)
        names = []
        for template in templates:
            counts = range(layers) if "{n}" in template else range(1)
            names += [template.replace("{n}", str(n)) for n in counts]
        return tuple(names)


def parse_family(text: str) -> Family:
    """Parse a rule file.

    Raises:
        ValueError: the file says something the language has no meaning for.
    """
    data = parse_toml(text)
    prefix = rf"(?P<prefix>{re.escape(data['base_prefix'])}\.)?"
    rules = [rule for entry in data.get("base", []) for rule in _compile(entry, prefix, in_base=True)]
    rules += [rule for entry in data.get("head", []) for rule in _compile(entry, "", in_base=False)]
    return Family(
        name=data["family"],
        version=data["version"],
        digest=hashlib.sha256(text.encode()).hexdigest(),
        model_type=data["model_type"],
        tokenizer=data["tokenizer"],
        layers_key=data["layers"],
        architectures=dict(data["architectures"]),
        absent={name: tuple(modules) for name, modules in data.get("absent", {}).items()},
        only={key: tuple(values) for key, values in data.get("config", {}).get("only", {}).items()},
        replace=data.get("config", {}).get("replace", {}),
        rules=tuple(rules),
    )


def _compile(entry: dict[str, Any], prefix: str, *, in_base: bool) -> list[_Rule]:
    torch_names = _listed(entry["torch"])
    unknown = entry.keys() - {"torch", "paddle", "as", "drop"}
    if unknown or ("drop" in entry) == ("paddle" in entry):
        msg = f"the rule for {torch_names[0]!r} must have either `paddle` and `as`, or `drop`, and nothing else"
        raise ValueError(msg)
    if "drop" in entry:
        return [_Rule(name, _pattern(prefix, name), (), "same", entry["drop"], in_base) for name in torch_names]
    rules = []
    for suffixes, target_suffix, operation in _MODULES[entry["as"]]:
        targets = tuple(name + target_suffix for name in _listed(entry["paddle"]))
        for name in torch_names:
            for suffix in suffixes:
                rules.append(_Rule(name + suffix, _pattern(prefix, name + suffix), targets, operation, None, in_base))
    return rules


def _listed(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _pattern(prefix: str, name: str) -> re.Pattern[str]:
    return re.compile(prefix + re.escape(name).replace(re.escape("{n}"), _INDEX))


@lru_cache(maxsize=1)
def load_families() -> tuple[Family, ...]:
    """Every family there are rules for."""
    folder = files("pphub.conversion") / "rules"
    texts = [entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return tuple(sorted((parse_family(text) for text in texts), key=lambda family: family.name))


def find_family(config: Mapping[str, object]) -> tuple[Family, str]:
    """The rules for a config, and the torch class it names.

    Args:
        config: the parsed ``config.json``.

    Raises:
        ConversionFailed: there are no rules for it; the message lists those there are.
    """
    listed = config.get("architectures")
    architecture = listed[-1] if isinstance(listed, list) and listed and isinstance(listed[-1], str) else None
    model_type = config.get("model_type")
    for family in load_families():
        if architecture in family.architectures:
            return family, str(architecture)
        if architecture is None and model_type == family.model_type:
            return family, next(iter(family.architectures))
    known = ", ".join(name for family in load_families() for name in family.architectures)
    found = architecture or (f"model_type {model_type!r}" if model_type else "no architectures and no model_type")
    msg = f"there are no conversion rules for this model: config.json names {found}; there are rules for {known}"
    raise ConversionFailed(msg, hint="see docs/architecture.md for how a family is added")
