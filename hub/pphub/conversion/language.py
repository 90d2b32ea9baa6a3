"""Parses rule files; ``rules/README.md`` explains the language."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from pphub.checkpoint.tensor import DTYPES
from pphub.conversion.checks import check_family
from pphub.conversion.constants import CONSTANTS
from pphub.conversion.family import ConfigRules, Constant, Family, Only, Rule, Tie, When
from pphub.conversion.kinds import KINDS
from pphub.conversion.sizes import is_expression
from pphub.toml import parse_toml

__all__ = ["parse_family"]

_BATCHES: Final = ".num_batches_tracked"
_NO_COUNTER: Final = "how many batches were seen in training; Paddle's batch norm does not count them"

_FILE_KEYS: Final = frozenset(
    {"family", "version", "model_type", "tokenizer", "prefix", "indices", "architectures", "former", "bases", "absent"}
    | {"epsilon", "fixed_epsilon", "config", "only", "base", "head", "tie"}
)
_TWO_SIDED: Final = frozenset(
    {"torch", "paddle", "as", "aliases", "split", "merge", "bias", "shape", "paddle_shape", "optional", "for", "untied"}
    | {"used", "when", "missing"}
)
_ONE_SIDED: Final = frozenset({"torch", "paddle", "drop", "value", "shape", "dtype", "for", "when"})
_ONLY_KEYS: Final = frozenset({"for", "when", "unless", "values", "same"})
_TIE_KEYS: Final = frozenset({"paddle", "aliases", "torch", "as", "base", "for", "always", "when"})
_MUST_HAVE: Final = {"family": str, "version": int, "model_type": (str, list), "tokenizer": str, "architectures": dict}


def parse_family(text: str, origin: str = "the rule file") -> Family:
    """Parse a rule file and check that its rules contradict neither each other nor their own inverse.

    Args:
        text: TOML.
        origin: what messages call the file.

    Raises:
        ValueError: the file says something the language has no meaning for; the message names file and rule.
    """
    try:
        data = parse_toml(text)
        _known(data, _FILE_KEYS)
        for key, kind in _MUST_HAVE.items():
            if not isinstance(data.get(key), kind):  # type: ignore[arg-type]
                msg = f"{key!r} is missing, or of another type than it should be"
                raise ValueError(msg)  # noqa: TRY004  the text is wrong, not a type of ours
        family = _family(data, hashlib.sha256(text.encode()).hexdigest())
        check_family(family)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        msg = f"{origin}: {error}"
        raise ValueError(msg) from error
    return family


def _family(data: dict[str, Any], digest: str) -> Family:
    architectures = {str(torch): str(paddle) for torch, paddle in data["architectures"].items()}
    if not architectures:
        msg = "[architectures] is empty"
        raise ValueError(msg)
    bases = _names(data.get("bases", next(iter(architectures))))
    prefix = data.get("prefix", {})
    _known(prefix, frozenset({"torch", "paddle"}))
    rules = [rule for entry in data.get("base", []) for rule in _rules(entry, in_base=True)]
    rules += [rule for entry in data.get("head", []) for rule in _rules(entry, in_base=False)]
    return Family(
        name=data["family"],
        version=data["version"],
        digest=digest,
        model_types=_names(data["model_type"]),
        tokenizer=data["tokenizer"],
        prefixes={"torch": _names(prefix.get("torch", [])), "paddle": _names(prefix.get("paddle", []))},
        indices={name: _sizes(keys) for name, keys in data.get("indices", {}).items()},
        architectures=architectures,
        former={str(name): str(now) for name, now in data.get("former", {}).items()},
        bases=bases,
        absent={name: _names(modules) for name, modules in data.get("absent", {}).items()},
        epsilon=_names(data["epsilon"])[0] if "epsilon" in data else None,
        fixed_epsilon=_fixed_epsilon(data, architectures),
        config=_config(data.get("config", {})),
        only=tuple(_only(entry) for entry in data.get("only", [])),
        rules=tuple(rules),
        ties=tuple(_tie(entry, architectures, bases, rules) for entry in data.get("tie", [])),
    )


def _config(sections: dict[str, Any]) -> ConfigRules:
    _known(sections, frozenset(ConfigRules.__slots__))
    kinds = {"rename": str, "legacy": str, "copy": str, "derive": str, "values": dict, "only": list, "paddle": list}
    for name, section in sections.items():
        _known(section, frozenset(section))
        for key, value in section.items():
            if not isinstance(value, kinds.get(name, object)) or (name == "derive" and not is_expression(str(value))):
                msg = f"[config.{name}]: {key} = {value!r:.60} has no meaning there"
                raise ValueError(msg)
    lists = {
        name: {key: tuple(values) for key, values in sections.get(name, {}).items()} for name in ("only", "paddle")
    }
    return ConfigRules(**{**sections, **lists})


def _fixed_epsilon(data: dict[str, Any], architectures: dict[str, str]) -> dict[str, float]:
    given = data.get("fixed_epsilon", {})
    values = given if isinstance(given, dict) else dict.fromkeys(architectures, given)
    if ("epsilon" in data) != bool(values) or not all(type(value) is float for value in values.values()):
        msg = f"fixed_epsilon is {given!r:.60}; it says, where there is an epsilon, what Paddle's classes have instead"
        raise ValueError(msg)
    return values


def _only(entry: dict[str, Any]) -> Only:
    _known(entry, _ONLY_KEYS)
    tables = []
    for name, kind in (("values", list), ("same", str)):
        table = entry.get(name, {})
        if not isinstance(table, dict) or not all(isinstance(value, kind) for value in table.values()):
            msg = f"[[only]]: {name} is {table!r:.60}, not a table of keys and what each may be"
            raise ValueError(msg)
        tables.append(table)
    values = {key: tuple(allowed) for key, allowed in tables[0].items()}
    return Only(_names(entry.get("for", [])), _when(entry), _when(entry, "unless"), values, tables[1])


def _rules(entry: dict[str, Any], *, in_base: bool) -> list[Rule]:
    label = _label(entry)
    try:
        if "drop" in entry:
            return [_one_sided(entry, label, in_base=in_base)]
        return _two_sided(entry, in_base=in_base)
    except (ValueError, TypeError, KeyError) as error:
        msg = f"the rule for {label!r}: {error}"
        raise ValueError(msg) from error


def _label(entry: dict[str, Any]) -> str:
    names = entry.get("torch") or entry.get("paddle") or "?"
    return str(names[0] if isinstance(names, list) else names)


def _one_sided(entry: dict[str, Any], label: str, *, in_base: bool) -> Rule:
    _known(entry, _ONE_SIDED)
    if ("torch" in entry) == ("paddle" in entry):
        msg = "what is dropped has a name in torch or in Paddle, not in both"
        raise ValueError(msg)
    constant = None
    if "value" in entry:
        constant = _constant(entry, "int64")
    elif "shape" in entry or "dtype" in entry:
        msg = "shape and dtype are those of a `value`"
        raise ValueError(msg)
    return Rule(
        label,
        (_names(entry["torch"]),) if "torch" in entry else (),
        (_names(entry["paddle"]),) if "paddle" in entry else (),
        in_base,
        required=False,
        classes=_names(entry.get("for", [])),
        reason=str(entry["drop"]),
        constant=constant,
        when=_when(entry),
    )


def _constant(entry: dict[str, Any], dtype: str) -> Constant:
    shape = _sizes(entry["shape"]) if "shape" in entry else None
    constant = Constant(entry["value"], shape, entry.get("dtype", dtype))
    known = type(constant.value) in (int, float) or constant.value in CONSTANTS
    if not known or constant.dtype not in DTYPES:
        msg = f"value is a number or one of {', '.join(CONSTANTS)}, dtype one of {', '.join(DTYPES)}"
        raise ValueError(msg)
    return constant


def _missing(entry: dict[str, Any]) -> Constant | None:
    if "missing" not in entry:
        return None
    _known(entry["missing"], frozenset({"value", "shape"}))
    constant = _constant(entry["missing"], "float32")
    if constant.shape is None or entry["as"] not in {"embedding", "tensor"} or "shape" in entry:
        msg = "`missing` has a value and a shape, and is for as = 'embedding' or 'tensor', of one shape on both sides"
        raise ValueError(msg)
    return constant


def _two_sided(entry: dict[str, Any], *, in_base: bool) -> list[Rule]:
    _known(entry, _TWO_SIDED)
    if not {"torch", "paddle", "as"} <= entry.keys():
        msg = "it must have either `torch`, `paddle` and `as`, or one name and `drop`"
        raise ValueError(msg)
    if entry["as"] not in KINDS:
        msg = f"`as` is {entry['as']!r}, not one of {', '.join(KINDS)}"
        raise ValueError(msg)
    torch, paddle = _modules(entry)
    bias = entry.get("bias", True)
    optional = entry.get("optional", False)
    if bias not in (True, False, "optional") or not isinstance(optional, bool):
        msg = "bias is true, false or 'optional'; optional is true or false"
        raise ValueError(msg)
    shape = _sizes(entry["shape"]) if "shape" in entry else None
    rules = []
    untied = _names(entry.get("untied", []))
    if not set(untied) <= set(torch[0][1:]) or (untied and entry["as"] != "tensor"):
        msg = "`untied` are some of the further names in `torch`, with as = 'tensor'"
        raise ValueError(msg)
    used = entry.get("used")
    if used is not None and not (untied and used in torch[0]):
        msg = "`used` is one of the names in `torch`, where some are `untied`"
        raise ValueError(msg)
    missing = _missing(entry)
    for parameter in KINDS[entry["as"]]:
        if parameter.is_bias and bias is False:
            continue
        sides = [
            tuple(tuple(name + end for name in names for end in ends) for names in modules)
            for modules, ends in ((torch, parameter.torch), (paddle, (parameter.paddle,)))
        ]
        rules.append(
            Rule(
                sides[0][0][0],
                sides[0],
                sides[1],
                in_base,
                parameter.transpose,
                parameter.axis,
                shape,
                _sizes(entry.get("paddle_shape", [*(shape or ())[:1], -1])),
                required=not optional and not missing and not (parameter.is_bias and bias == "optional"),
                classes=_names(entry.get("for", [])),
                untied=untied,
                used=used,
                when=_when(entry),
                missing=missing,
            )
        )
    if entry["as"] == "batch_norm":
        names = tuple(name + _BATCHES for name in torch[0])
        counter = Constant("zeros", (), "int64")
        rules.append(
            Rule(
                names[0],
                (names,),
                (),
                in_base,
                required=False,
                classes=_names(entry.get("for", [])),
                reason=_NO_COUNTER,
                constant=counter,
                when=_when(entry),
            )
        )
    return rules


def _modules(entry: dict[str, Any]) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]:
    """The names of the modules of either side: of each part, those it may have."""
    torch, paddle = _names(entry["torch"]), _names(entry["paddle"])
    split, merge = entry.get("split", False), entry.get("merge", False)
    if (split, merge) not in {(False, False), (True, False), (False, True)}:
        msg = "split and merge are true or false, and not both true"
        raise ValueError(msg)
    if "aliases" in entry and split:
        msg = "the parts of a split have no aliases"
        raise ValueError(msg)
    if (split and len(paddle) < 2) or (merge and len(torch) < 2) or (not split and len(paddle) != 1):
        msg = "a split has several names in `paddle`, a merge in `torch`; otherwise further names are `aliases`"
        raise ValueError(msg)
    if (split or merge) and entry["as"] in {"matrix", "batch_norm"}:
        msg = f"{entry['as']!r} is not split or merged"
        raise ValueError(msg)
    if "paddle_shape" in entry and "shape" not in entry:
        msg = "a paddle_shape needs torch's, `shape`"
        raise ValueError(msg)
    if "shape" in entry and (split or merge or entry["as"] != "tensor"):
        msg = "`shape` is for as = 'tensor', neither split nor merged"
        raise ValueError(msg)
    torch_parts = tuple((name,) for name in torch) if merge else (torch,)
    paddle_parts = tuple((name,) for name in paddle) if split else ((*paddle, *_names(entry.get("aliases", []))),)
    return torch_parts, paddle_parts


def _tie(entry: dict[str, Any], architectures: dict[str, str], bases: tuple[str, ...], rules: list[Rule]) -> Tie:
    try:
        _known(entry, _TIE_KEYS)
        if entry["as"] not in ("tensor", "matrix"):
            msg = "`as` is 'tensor' or 'matrix'"
            raise ValueError(msg)
        paddle = (*_names(entry["paddle"]), *_names(entry.get("aliases", [])))
        in_base = bool(entry.get("base", False))
        classes = _names(entry.get("for", [name for name in architectures if in_base or name not in bases]))
        for rule in rules:  # a tensor of its own, where torch stores one, has the same names
            if any(set(paddle) & set(names) for names in rule.paddle):
                if len(rule.paddle) > 1:
                    msg = "the rule for a tensor of its own is a split"
                    raise ValueError(msg)
                paddle, in_base = rule.paddle[0], rule.in_base
        always = bool(entry.get("always", False))
        return Tie(paddle, entry["torch"], entry["as"] == "matrix", in_base, classes, always, _when(entry))
    except (ValueError, TypeError, KeyError) as error:
        msg = f"the tie for {entry.get('paddle')!r}: {error}"
        raise ValueError(msg) from error


def _when(entry: dict[str, Any], name: str = "when") -> When:
    """Keys of a config, and the value or list of values of each."""
    conditions = entry.get(name, {})
    if not isinstance(conditions, dict):
        msg = f"`{name}` is {conditions!r:.60}, not a table of keys of a config"
        raise TypeError(msg)
    return tuple((key, tuple(values) if isinstance(values, list) else (values,)) for key, values in conditions.items())


def _known(entry: object, keys: frozenset[str]) -> None:
    if not isinstance(entry, dict):
        msg = f"{entry!r:.40} stands where a table belongs"
        raise TypeError(msg)
    if unknown := sorted(entry.keys() - keys):
        msg = f"unknown key {unknown[0]!r}; known here: {', '.join(sorted(keys))}"
        raise ValueError(msg)


def _names(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) and name for name in names):
        msg = f"{value!r:.60} is no name and no list of names"
        raise ValueError(msg)
    return tuple(names)


def _sizes(value: object) -> tuple[int | str, ...]:
    sizes = value if isinstance(value, list) else [value]
    if not all(type(size) is int or (isinstance(size, str) and size) for size in sizes):
        msg = f"{value!r:.60} is no number and no key of the config"
        raise ValueError(msg)
    return tuple(sizes)
