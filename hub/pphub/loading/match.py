"""Which tensor of a checkpoint fills which parameter, and whether that is good enough; nothing is filled here."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pphub.conversion.dtypes import FLOATS
from pphub.conversion.moves import same_bits
from pphub.errors import LoadFailed
from pphub.loading.warned import FreshParameters, UnusedTensors, warn_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pphub.checkpoint.tensor import Tensor
    from pphub.loading.tied import Tied

__all__ = ["Match", "match_up", "tell"]

_LOG: Final = logging.getLogger("pphub")
_SHOWN: Final = 20
_SHOWN_AS_LINES: Final = 30


@dataclass(frozen=True, slots=True)
class Match:
    """Which tensor of the checkpoint fills which parameter.

    Attributes:
        pairs: name in the model → tensor; a parameter that has several names is there once.
        fresh: names of what the checkpoint does not fill, but for what is zeros in every new model.
        tied: name of what the tensor of another parameter fills, as in torch → the name of that tensor.
        unused: names of the checkpoint that belong to the base model, and have no place in it.
        passed_over: other names of the checkpoint without a place, of heads that the model does not have.
    """

    pairs: Mapping[str, Tensor]
    fresh: tuple[str, ...]
    tied: Mapping[str, str]
    unused: tuple[str, ...]
    passed_over: tuple[str, ...]


def match_up(
    model: Any,
    tensors: Mapping[str, Tensor],
    absent: Iterable[str] = (),
    ties: Callable[[], Iterable[Tied]] = tuple,
    *,
    ignore_mismatched: bool = False,
) -> Match:
    """Match by name, with the prefix of the base model added or removed where the two sides differ in it.

    Args:
        model: a model of PaddleNLP, whose parameters need no values yet.
        tensors: of the checkpoint.
        absent: modules of the base model that may stay fresh.
        ties: says what torch ties; not called where the checkpoint fills all.
        ignore_mismatched: whether a parameter stays fresh whose tensor has another shape.

    Raises:
        LoadFailed: shapes differ, the base model is not whole, or two tensors differ that are one parameter.
    """
    expected: dict[str, Any] = model.state_dict()
    pairs, unused, passed_over = _pair_up(expected, tensors, model.base_model_prefix)
    wrong = [name for name, tensor in pairs.items() if _shape(expected[name].shape) != _shape(tensor.shape)]
    if wrong and not ignore_mismatched:
        listed = _lines(f"{name}: {pairs[name].shape}, not {tuple(expected[name].shape)}" for name in wrong)
        msg = f"the checkpoint does not fit {type(model).__name__}:\n{listed}"
        raise LoadFailed(msg, hint="check the config, or pass ignore_mismatched_sizes=True to leave these fresh")
    pairs = {name: tensor for name, tensor in pairs.items() if name not in wrong}
    _check_kinds(expected, pairs)
    once = _once(model, expected, pairs)
    lacking = [name for name in _fresh(expected, once) if name not in wrong]
    tied = _tied(expected, once, lacking, ties()) if lacking else {}
    once |= tied
    fresh = _fresh(expected, once)
    _check_base(model, expected, [name for name in fresh if name not in wrong], tuple(absent))
    told = tuple(name for name in fresh if name in wrong or not _is_constant(model, expected[name]))
    return Match(once, told, {name: tensor.name for name, tensor in tied.items()}, unused, passed_over)


def tell(model: Any, match: Match) -> None:
    """Warn of what is not as one would expect, once for each kind."""
    kind = type(model).__name__
    if match.unused:
        listed = _listed(match.unused)
        text = f"{kind} has no place for these tensors of the base model, which were left out: {listed}"
        warn_user(text, UnusedTensors)
    if match.passed_over:
        _LOG.debug("%s has no place for these tensors of the checkpoint: %s", kind, _listed(match.passed_over))
    for name, other in match.tied.items():
        _LOG.debug("%s of %s is not in the checkpoint: it is %s, to which torch ties it", name, kind, other)
    if match.fresh:
        listed = ", ".join(match.fresh)
        text = f"these parameters of {kind} are not in the checkpoint and have random start values: {listed}"
        warn_user(text, FreshParameters)


def _pair_up(
    expected: Mapping[str, Any], tensors: Mapping[str, Tensor], base: str
) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    prefix = f"{base}."
    model_has, file_has = (any(name.startswith(prefix) for name in names) for names in (expected, tensors))
    pairs: dict[str, Tensor] = {}
    unused, passed_over = [], []
    for name, tensor in tensors.items():
        place = None
        if name in expected:
            place = name
        elif file_has and not model_has and name.removeprefix(prefix) in expected:
            place = name.removeprefix(prefix)
        elif model_has and not file_has and prefix + name in expected:
            place = prefix + name
        if place is not None:
            if place in pairs and not same_bits(pairs[place], tensor):
                msg = f"the checkpoint has {pairs[place].name} and {name}, which are one parameter, and differ"
                raise LoadFailed(msg, hint="remove the one that is not meant from the checkpoint")
            pairs[place] = tensor
        elif name.startswith(prefix) or not file_has:
            unused.append(name)
        else:
            passed_over.append(name)
    return pairs, tuple(unused), tuple(passed_over)


def _shape(shape: Iterable[int]) -> tuple[int, ...]:
    """Sizes; a single number may be written with a dimension or without, as Paddle changed its mind on that."""
    sizes = tuple(shape)
    return () if sizes == (1,) else sizes


def _check_kinds(expected: Mapping[str, Any], pairs: Mapping[str, Tensor]) -> None:
    """Whole numbers are no weights: they would be quantized ones, or 8-bit floats as Paddle saves them."""
    kinds = {name: _name_of(expected[name].dtype) for name in pairs}
    wrong = [
        f"{name}: {tensor.dtype}, not {kinds[name]}"
        for name, tensor in pairs.items()
        if (kinds[name] in FLOATS) != (tensor.dtype in FLOATS) and kinds[name] != tensor.dtype
    ]
    if wrong:
        msg = f"the checkpoint holds other kinds of numbers than the model:\n{_lines(wrong)}"
        raise LoadFailed(msg, hint="a quantized checkpoint cannot be loaded as it is")


def _name_of(dtype: object) -> str:
    return str(dtype).removeprefix("paddle.")


def _once(model: Any, expected: Mapping[str, Any], pairs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The pairs, one for each parameter: of two tensors for one, none may be lost, so they must be equal."""
    first: dict[int, str] = {}
    for name, tensor in pairs.items():
        before = first.setdefault(id(expected[name]), name)
        if before != name and not same_bits(pairs[before], tensor):
            msg = f"{before} and {name} are one parameter in {type(model).__name__}, but their values differ"
            raise LoadFailed(msg, hint="PaddleNLP's class cannot be this model; its base model can be loaded")
    return {name: pairs[name] for name in first.values()}


def _fresh(expected: Mapping[str, Any], pairs: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The names of what is not filled."""
    # One parameter may be listed under several names (tied weights): filling one fills all.
    filled = {id(expected[name]) for name in pairs}
    # Integers are no random start values: the class makes them, such as the numbers of positions.
    return tuple(
        name
        for name, parameter in expected.items()
        if id(parameter) not in filled and "int" not in str(parameter.dtype)
    )


def _tied(
    expected: Mapping[str, Any], pairs: Mapping[str, Tensor], lacking: list[str], ties: Iterable[Tied]
) -> dict[str, Tensor]:
    """What fills parameters that the checkpoint lacks, since in torch they are others that it has."""
    filled = {id(expected[name]): tensor for name, tensor in pairs.items()}
    found: dict[str, Tensor] = {}
    for tie in ties:
        others = (filled.get(id(expected[name])) for name in tie.others if name in expected)
        tensor = next((other for other in others if other is not None), None)
        if tensor is None:
            continue
        tensor = tensor.turned if tie.transpose else tensor
        for name in tie.names:
            if name in lacking and id(expected[name]) not in filled and tuple(expected[name].shape) == tensor.shape:
                found[name] = filled[id(expected[name])] = tensor
    return found


def _is_constant(model: Any, value: Any) -> bool:
    """Whether it is no parameter but a buffer of zeros, as every new model has it: the bias of final logits."""
    return any(value is buffer for buffer in model.buffers()) and not value.numpy().any()


def _check_base(model: Any, expected: Mapping[str, Any], fresh: list[str], absent: tuple[str, ...]) -> None:
    """A head may be fresh; the base may not, but for what its torch class does not have."""
    prefix = f"{model.base_model_prefix}."
    is_base = not any(name.startswith(prefix) for name in expected)
    missing = [
        name
        for name in fresh
        if (is_base or name.startswith(prefix)) and not any(f".{module}." in f".{name}" for module in absent)
    ]
    if missing:
        kind = type(model).__name__
        msg = f"the checkpoint lacks {len(missing)} parameters of the base model of {kind}:\n{_lines(missing)}"
        raise LoadFailed(msg, hint="the model would answer with random numbers; is the checkpoint whole?")


def _lines(texts: Iterable[str]) -> str:
    all_of_them = [f"  {text}" for text in texts]
    rest = len(all_of_them) - _SHOWN_AS_LINES
    more = [f"  … and {rest} more"] if rest > 0 else []
    return "\n".join([*all_of_them[:_SHOWN_AS_LINES], *more])


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
