"""Decides what becomes of every tensor of a checkpoint, in either direction, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pphub.conversion.constants import can_make, deviates, recognise
from pphub.conversion.family import Found, Side, Table, fill
from pphub.conversion.moves import Drop, Made, Move, Plan, Request, same_bits
from pphub.conversion.operation import Operation
from pphub.conversion.sizes import count_layers, resolve
from pphub.conversion.ties import drop_tied, make_tied, tied_names
from pphub.errors import ConversionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pphub.checkpoint.tensor import Tensor
    from pphub.conversion.family import Constant, Rule

__all__ = ["check_coverage", "make_plan"]


@dataclass(slots=True)
class _Group:
    """The parts of one rule that have been met."""

    found: Found
    parts: dict[int, Tensor] = field(default_factory=dict)


def make_plan(request: Request, tensors: Mapping[str, Tensor]) -> Plan:
    """Apply the rules to every tensor.

    Raises:
        ConversionFailed: the rules do not know a tensor, two different tensors become one, parts are missing, or a
            shape does not fit what is to be done with it. All unknown names are listed.
    """
    table = Table(request.family, request.architecture, request.source)
    names = {name: table.find(name) for name in tensors}
    request = replace(request, has_heads=any(found and _is_head(request, found.rule) for found in names.values()))
    tied = tied_names(request) if request.to == "torch" else {}
    unknown: list[str] = []
    drops: list[Drop] = []
    others: dict[str, Tensor] = {}
    groups: dict[tuple[int, tuple[tuple[str, str], ...]], _Group] = {}
    for name, tensor in tensors.items():
        found = names[name]
        if found is None:
            if name in tied:
                others[name] = tensor
            else:
                unknown.append(name)
        elif found.rule.reason is not None:
            drops.append(_left_out(tensor, found.rule, found.rule.reason))
        elif found.rule.missing and name in request.made and _is_constant(tensor, found.rule.missing):
            drops.append(Drop(tensor, "torch's checkpoint did not have it: torch makes it"))
        else:
            group = groups.setdefault((id(found.rule), tuple(sorted(found.index.items()))), _Group(found))
            first = group.parts.setdefault(found.part, tensor)
            if first is not tensor:
                group.parts[found.part], drop = _one_of_two(request, found, first, tensor)
                drops.append(drop)
    if unknown:
        listed = "\n".join(f"  {name} {list(tensors[name].shape)}" for name in unknown[:50])
        more = f"\n  … and {len(unknown) - 50} more" if len(unknown) > 50 else ""
        msg = f"the rules for {request.family.name} do not know {len(unknown)} of {len(tensors)} tensors:\n"
        msg += f"{listed}{more}"
        raise ConversionFailed(msg, hint=_hint(request, unknown))
    moves = [_move(request, group) for group in groups.values()]
    if request.to == "paddle":
        moves = _share(make_tied(request, moves))
    else:
        moves, equal = drop_tied(request, moves, others)
        drops += equal
    made = _made(request, moves)
    again = {name for each in made for name in each.names}
    return Plan(tuple(_without(move, again) for move in moves), tuple(drops), tuple(made))


def _hint(request: Request, unknown: Sequence[str]) -> str:
    other = Table(request.family, request.architecture, request.to)
    if request.to == "paddle" and all(map(other.find, unknown)):
        return (
            "these are PaddleNLP's own names: save the model with safe_serialization=False, and it is a .pdparams file"
        )
    return "nothing was written; is config.json that of another model?"


def _left_out(tensor: Tensor, rule: Rule, reason: str) -> Drop:
    """Leave out what the other side makes by itself, if it is what that would be."""
    if rule.constant is None:
        return Drop(tensor, reason)
    value = rule.constant.value
    if deviates(tensor, value):
        msg = f"{tensor.name} is not {value!r}, as it is in every model of the family; it would be left out, since it "
        msg += f"is {reason}"
        raise ConversionFailed(msg, hint="converting it all the same would give a model that is silently wrong")
    return Drop(tensor, reason, recognise(tensor, value))


def _is_constant(tensor: Tensor, constant: Constant) -> bool:
    return recognise(tensor, constant.value) == constant.value


def _is_head(request: Request, rule: Rule) -> bool:
    """Whether a tensor shows that a model is more than its base, also where its config names the base."""
    return not rule.in_base and rule.reason is None and request.architecture not in rule.classes


def _move(request: Request, group: _Group) -> Move:
    found, rule = group.found, group.found.rule
    names = rule.parts(request.source)
    there = next(iter(group.parts.values())).name
    if missing := [names[part][0] for part in range(len(names)) if part not in group.parts]:
        msg = f"of the parts that {there} belongs to, these are not in the checkpoint:\n{_lines(missing)}"
        raise ConversionFailed(msg, hint="a shard alone, or a part of a model? Convert the whole folder")
    tensors = tuple(group.parts[part] for part in range(len(names)))
    try:
        if len({tensor.dtype for tensor in tensors}) > 1:
            msg = "merges it with others of another dtype"
            raise ValueError(msg)
        operation = _operation(request, found)
        shapes = tuple(operation.results([tensor.shape for tensor in tensors]))
    except ValueError as error:
        if isinstance(error, ConversionFailed):
            raise
        msg = f"{there} has the shape {tensors[0].shape}, but the rule {rule.label!r} {error}"
        raise ConversionFailed(msg, hint="is config.json that of another model?") from error
    sources = tuple(tensor.name for tensor in tensors)
    return Move(tensors, sources, request.outputs(found), shapes, operation, rule.label, request.cores(found))


def _operation(request: Request, found: Found) -> Operation:
    rule = found.rule
    cut: Side = "torch" if len(rule.torch) > 1 else "paddle"
    shapes = None
    if rule.shape is not None:
        shapes = (resolve(rule.shape, request.config), resolve(rule.paddle_shape, request.config))
    parts = max(len(rule.torch), len(rule.paddle))
    return Operation(request.to, parts, cut, rule.axis, rule.transpose, shapes)


def _share(moves: Sequence[Move]) -> list[Move]:
    """Tensors that are the same bytes of the same file are written once."""
    payloads: dict[tuple[object, ...], list[Move]] = {}
    for move in moves:
        whole = len(move.tensors) == len(move.outputs) == 1
        key = (*move.tensors[0].identity, move.operation) if whole else (id(move),)
        payloads.setdefault(key, []).append(move)
    return [same[0] if len(same) == 1 else _as_one(same) for same in payloads.values()]


def _as_one(moves: Sequence[Move]) -> Move:
    return replace(
        moves[0],
        sources=tuple(dict.fromkeys(name for move in moves for name in move.sources)),
        outputs=(tuple(name for move in moves for name in move.outputs[0]),),
        cores=tuple(name for move in moves for name in move.cores),
    )


def _made(request: Request, moves: Sequence[Move]) -> list[Made]:
    """The constants that the target has: as an earlier conversion left them out, and as the rules ask for them."""
    made = []
    table = Table(request.family, request.architecture, request.to)
    taken = {name for move in moves for names in move.outputs for name in names}
    again = set()
    for entry in request.dropped:
        found = table.find(str(entry.get("name")))
        match entry:
            case {
                "name": str(name),
                "value": str() | int() | float() as value,
                "dtype": str(dtype),
                "shape": list(sizes),
            } if (
                found
                and (found.rule.constant or (found.rule.used and request.is_untied))
                and all(type(size) is int for size in sizes)
                and can_make(value, tuple(sizes), dtype)
            ):
                made.append(Made((name,), value, dtype, tuple(sizes), found.rule.label))
                again |= {name, *request.written(found)}
    if request.to == "paddle":
        made += _missing(request, taken)
    modules = {_above(name) for name in taken}
    constants = [rule for rule in request.family.rules_for(request.architecture) if rule.constant]
    if not any(rule.parts(request.to) for rule in constants):
        return made
    counts = count_layers(request.family, request.architecture, request.config)
    whole = list(request.family.instances(request.architecture, counts))
    owners = {
        _above(name) for rule, index in whole if not rule.reason for name in request.written(Found(rule, 0, index))
    }
    for rule, index in whole:
        if rule.constant is None or rule.constant.shape is None or not rule.parts(request.to):
            continue
        names = request.written(Found(rule, 0, index))
        module = _above(names[0])
        while module and not _within(module, owners):  # a module of nothing but constants
            module = _above(module)
        there = not module or _within(module, modules)
        if there and not again.intersection(names):
            shape = resolve(rule.constant.shape, request.config)
            made.append(_make(names, rule, rule.constant, shape))
    return made


def _make(names: tuple[str, ...], rule: Rule, constant: Constant, shape: tuple[int, ...]) -> Made:
    if not can_make(constant.value, shape, constant.dtype):
        msg = f"config.json makes {names[0]} of the shape {list(shape)}"
        raise ConversionFailed(msg, hint="get config.json again from its source")
    return Made(names, constant.value, constant.dtype, shape, rule.label)


def _missing(request: Request, taken: set[str]) -> list[Made]:
    """What torch makes by itself where a checkpoint lacks it; in float32 also beside halves, as torch calculates it."""
    made = []
    if any(rule.missing for rule in request.family.rules_for(request.architecture)):
        counts = count_layers(request.family, request.architecture, request.config)
        for rule, index in request.family.instances(request.architecture, counts):
            if rule.missing is None or rule.missing.shape is None:
                continue
            names = request.written(Found(rule, 0, index))
            if not taken.intersection(names):
                made.append(_make(names, rule, rule.missing, resolve(rule.missing.shape, request.config)))
    return made


def _above(name: str) -> str:
    return name.rpartition(".")[0]


def _within(module: str, names: set[str]) -> bool:
    """Whether the module, or one within it, is among the names."""
    return any(name == module or name.startswith(f"{module}.") for name in names)


def check_coverage(request: Request, plan: Plan) -> None:
    """Check that the checkpoint is the whole base model that its config describes, and no more of it.

    Raises:
        ConversionFailed: parameters are missing, which would stay random, or are there beyond the layers that
            the config counts; they are listed.
    """
    family, architecture = request.family, request.architecture
    counts = count_layers(family, architecture, request.config)
    required: set[str] = set()
    known = {tie.paddle[0] for tie in family.ties_for(architecture)}
    for rule, index in family.instances(architecture, counts):
        names = request.cores(Found(rule, 0, index))
        known.update(names)
        if rule.required:
            required.update(names)
    found = {core for move in plan.moves for core in move.cores}
    absent = tuple(f"{module}." for module in family.absent.get(architecture, ()))
    missing = sorted(name for name in required - found if not name.startswith(absent))
    if missing:
        msg = f"the checkpoint is not whole: {architecture} has {len(missing)} more parameters:\n{_lines(missing)}"
        raise ConversionFailed(msg, hint="a shard alone, or a part of a model? Convert the whole folder")
    if surplus := sorted(found - known):
        counted = " and ".join(f"{family.indices[name][0]} is {count}" for name, count in counts.items())
        msg = f"{counted or 'config.json names no layers'}, but the checkpoint goes on:\n{_lines(surplus)}"
        raise ConversionFailed(msg, hint="is config.json that of another model?")


def _lines(names: list[str]) -> str:
    more = f"\n  … and {len(names) - 30} more" if len(names) > 30 else ""
    return "\n".join(f"  {name}" for name in names[:30]) + more


def _one_of_two(request: Request, found: Found, first: Tensor, second: Tensor) -> tuple[Tensor, Drop]:
    """Of two source names for one target: the one that is taken, and what is said of the other.

    They are one parameter that was saved twice, unless the config unties them.
    """
    rule, target = found.rule, request.written(found)[0]
    is_untied = request.is_untied and request.to == "paddle" and bool(rule.untied)
    if is_untied and rule.used is not None and second.name == fill(rule.used, found.index):
        first, second = second, first
    if same_bits(first, second):
        return first, Drop(second, f"equal to {first.name}, which is the same parameter")
    if not is_untied:
        msg = f"{first.name} and {second.name} both become {target}, but their values differ"
        raise ConversionFailed(msg, hint="the checkpoint contradicts itself; get it again from its source")
    if rule.used is None:
        msg = f"{first.name} and {second.name} are two parameters, since config.json unties them; in PaddleNLP's "
        msg += f"{request.family.architectures[request.architecture]} they are one, {target}"
        raise ConversionFailed(msg, hint="converting it all the same would give a model that is silently wrong")
    value = recognise(second, "zeros")
    return first, Drop(second, f"not used by torch, which takes {first.name} where the config unties them", value)


def _without(move: Move, names: set[str]) -> Move:
    """The move without names that are made of the record, where they had values of their own."""
    outputs = tuple(tuple(name for name in part if name not in names) for part in move.outputs)
    return move if outputs == move.outputs else replace(move, outputs=outputs)
