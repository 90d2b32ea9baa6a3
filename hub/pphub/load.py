"""The last stage: fills a PaddleNLP model from a checkpoint, and lets none pass that is not filled.

The only stage that needs paddle and paddlenlp. The checkpoint is read by our own reader, never by
``paddle.load``, which would run whatever the file says.
"""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pphub.checkpoint.folder import open_checkpoint, read_config
from pphub.conversion.dtypes import FLOATS, cast
from pphub.conversion.moves import same_bits
from pphub.errors import LoadFailed, MissingDependency, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import ModuleType

    from pphub.checkpoint.tensor import Tensor

__all__ = [
    "FreshParameters",
    "import_paddlenlp",
    "load_config",
    "load_model",
    "load_tokenizer",
    "read_config",
]


# What PaddleNLP's from_pretrained takes for jobs that are done here already.
_FOREIGN = frozenset(
    {"cache_dir", "config", "convert_from_torch", "force_download", "from_aistudio", "from_hf_hub", "low_cpu_mem_usage"}
    | {"state_dict", "subfolder", "use_safetensors", "variant"}
)


class FreshParameters(UserWarning):
    """Parameters that the checkpoint does not hold kept their random start values."""


class UnusedTensors(UserWarning):
    """Tensors of the base model that the model, as its config describes it, has no place for."""


def import_paddlenlp() -> ModuleType:
    """Import ``paddlenlp.transformers``.

    Raises:
        MissingDependency: it is not installed, or what is installed does not import; the message says which.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # paddle and its dependencies warn about each other
            import paddlenlp.transformers
    except Exception as error:  # a broken set of packages fails in any way
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        msg = f"paddlenlp is installed but does not import: {type(error).__name__}: {error}"
        if missing in {"paddle", "paddlenlp"}:
            msg = f"a live Paddle model needs the package {missing!r}, which is not installed"
        hint = "pip install 'pphub[paddle]' installs a set of versions that works"
        raise MissingDependency(msg, hint=hint) from error
    return paddlenlp.transformers  # type: ignore[no-any-return]


def load_model(auto_class: str, folder: Path, weights: tuple[str, ...], kwargs: Mapping[str, Any]) -> Any:
    """Build a PaddleNLP model and fill it.

    Args:
        auto_class: the PaddleNLP auto class that chooses the model class, such as ``AutoModel``, or the model class
            itself: not all are reached by an auto class.
        folder: a folder in Paddle's layout.
        weights: its weight files.
        kwargs: as for PaddleNLP's ``from_pretrained``: config values, the rest for the model class.

    Returns:
        A ``paddlenlp.transformers`` model in eval mode, every parameter of the base model loaded.

    Raises:
        LoadFailed: no such class, wrong shapes, or a parameter of the base model is not in the checkpoint.
        UnsafeCheckpoint, Corrupt, FileNotInModel: the checkpoint is refused or not whole.
        MissingDependency: PaddleNLP is not installed.
    """
    transformers = import_paddlenlp()
    model_class = _model_class(transformers, auto_class, folder)
    tensors = open_checkpoint(folder, weights)
    kwargs = dict(kwargs)
    _refuse_foreign(kwargs)
    dtype = kwargs.pop("dtype", None)
    ignore_mismatched = kwargs.pop("ignore_mismatched_sizes", False)
    config, model_kwargs = _make_config(model_class, folder, kwargs)
    config.dtype = dtype or config.dtype or "float32"
    model = _build(model_class, config, model_kwargs)
    _fill(model, tensors, _absent_modules(folder), ignore_mismatched=ignore_mismatched)
    _set_epsilon(model, folder)
    model.eval()
    return model


def _refuse_foreign(kwargs: Mapping[str, Any]) -> None:
    """Keywords of PaddleNLP's own loader that would be swallowed here, or misunderstood."""
    if foreign := sorted(_FOREIGN.intersection(kwargs)):
        msg = f"from_pretrained does not take {', '.join(foreign)}: pphub finds, converts and fills the model itself"
        raise UsageError(msg, hint="leave it out; see the README for what names and settings can say")


def load_config(folder: Path, values: Mapping[str, object], kwargs: Mapping[str, Any]) -> Any:
    """The PaddleNLP config object for a config in Paddle's terms."""
    transformers = import_paddlenlp()
    return _model_class(transformers, "AutoModel", folder, values).config_class.from_dict(dict(values), **kwargs)


def load_tokenizer(folder: Path, tokenizer_class: str | None, kwargs: Mapping[str, Any]) -> Any:
    """The PaddleNLP tokenizer of a folder; its class is found by PaddleNLP when it is not given."""
    transformers = import_paddlenlp()
    try:
        return _tokenizer_loader(transformers, tokenizer_class).from_pretrained(str(folder), **kwargs)
    except LoadFailed:
        raise
    except Exception as error:
        msg = f"PaddleNLP cannot make a tokenizer from {folder}: {type(error).__name__}: {error}"
        raise LoadFailed(msg, hint="does the folder hold the vocabulary and tokenizer_config.json?") from error


def _tokenizer_loader(transformers: ModuleType, name: str | None) -> Any:
    """The class a repository names, if it is a tokenizer's.

    Any other class, such as a model's, would be asked to load the folder in its own way, unpickling weights.
    """
    if name is None:
        return transformers.AutoTokenizer
    found = getattr(transformers, name, None)
    if not isinstance(found, type) or not issubclass(found, transformers.PretrainedTokenizer):
        msg = f"its tokenizer_config.json names {name[:80]!r}, which is no tokenizer of PaddleNLP"
        raise LoadFailed(msg, hint="correct tokenizer_class, or remove it where the model's family is known")
    return found


def _model_class(
    transformers: ModuleType, auto_class: str, folder: Path, values: Mapping[str, object] | None = None
) -> Any:
    config = values if values is not None else read_config(folder)
    auto = getattr(transformers, auto_class)
    if not hasattr(auto, "_get_model_class_from_config"):
        return auto
    named = config.get("architectures") or config.get("init_class") or "no architecture"
    sibling = _sibling(transformers, named, auto_class)
    try:
        # PaddleNLP's own choice, so that the same name gives the same class; it takes the config apart.
        found = auto._get_model_class_from_config(str(folder), None, copy.deepcopy(dict(config)))
    except (AttributeError, KeyError, TypeError) as error:
        if sibling:
            return sibling
        msg = f"PaddleNLP has no {auto_class} for this model; its config names {named}"
        raise LoadFailed(msg, hint="is it another kind of model, or one that PaddleNLP lacks?") from error
    return sibling if sibling and found.config_class is not sibling.config_class else found


def _sibling(transformers: ModuleType, named: object, auto_class: str) -> Any:
    """The class for a task that has the same config as the class that is named; None if there is none.

    PaddleNLP goes by parts of names: it takes GPT-J for GPT, and some families it does not look for at all.
    """
    last = named[-1] if isinstance(named, list) and named else named
    model_class = getattr(transformers, last, None) if isinstance(last, str) else None
    if model_class is None and isinstance(last, str):  # one that is not exported: the base model has the same config
        model_class = getattr(transformers, last.partition("For")[0] + "Model", None)
    config_class = getattr(model_class, "config_class", None)
    if not isinstance(config_class, type) or not isinstance(model_class, type):
        return None
    task = auto_class.removeprefix("AutoModel") or "Model"
    name = config_class.__name__.removesuffix("Config") + task.removeprefix("Auto")
    if task != "Model" and model_class.__name__.startswith(name):
        return model_class  # T5EncoderModel for AutoEncoder, XLMForQuestionAnsweringSimple
    found = getattr(transformers, name, None)
    same = isinstance(found, type) and getattr(found, "config_class", None) is config_class
    return found if same else None


def _make_config(model_class: Any, folder: Path, kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """PaddleNLP's config object, and the keywords that are not for it."""
    try:
        return model_class.config_class.from_pretrained(  # type: ignore[no-any-return]
            str(folder), return_unused_kwargs=True, **kwargs
        )
    except Exception as error:  # a config may be wrong in any way
        msg = f"PaddleNLP cannot read the config in {folder}: {type(error).__name__}: {error}"
        raise LoadFailed(msg, hint="check config.json and the keyword arguments given to from_pretrained") from error


def _build(model_class: Any, config: Any, model_kwargs: Mapping[str, Any]) -> Any:
    from paddlenlp.transformers.model_utils import dtype_guard

    try:
        with dtype_guard(config.dtype):
            return model_class(config, *(config["init_args"] or ()), **model_kwargs)
    except Exception as error:  # a config may be wrong in any way, and the classes check it in as many
        msg = f"{model_class.__name__} cannot be built: {type(error).__name__}: {error}"
        raise LoadFailed(msg, hint="check config.json and the keyword arguments given to from_pretrained") from error


@dataclass(frozen=True, slots=True)
class _Match:
    """Which checkpoint tensor fills which parameter."""

    pairs: Mapping[str, Tensor]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


def _fill(model: Any, tensors: Mapping[str, Tensor], absent: tuple[str, ...], *, ignore_mismatched: bool) -> None:
    expected = model.state_dict()
    match = _pair_up(expected, tensors, model.base_model_prefix)
    wrong = {name for name, tensor in match.pairs.items() if tuple(expected[name].shape) != tensor.shape}
    if wrong and not ignore_mismatched:
        listed = "\n".join(f"  {name}: {match.pairs[name].shape}, not {tuple(expected[name].shape)}" for name in wrong)
        msg = f"the checkpoint does not fit {type(model).__name__}:\n{listed}"
        raise LoadFailed(msg, hint="check the config, or pass ignore_mismatched_sizes=True to leave these fresh")
    _check_shared(model, expected, match.pairs)
    fresh = (*match.fresh, *sorted(wrong))
    _judge_fresh(model, fresh, absent, allowed=wrong)
    if match.unused:
        listed = ", ".join(match.unused[:20]) + (" …" if len(match.unused) > 20 else "")
        text = f"{type(model).__name__} has no place for these tensors of the base model, which were left out: {listed}"
        warnings.warn(text, UnusedTensors, stacklevel=5)
    for name, tensor in match.pairs.items():
        if name not in wrong:
            _set(expected[name], tensor)


def _check_shared(model: Any, expected: Mapping[str, Any], pairs: Mapping[str, Tensor]) -> None:
    """Two tensors for what is one parameter in the model must be equal: otherwise one would be lost."""
    filled: dict[int, str] = {}
    for name, tensor in pairs.items():
        first = filled.setdefault(id(expected[name]), name)
        if first != name and not same_bits(pairs[first], tensor):
            msg = f"{first} and {name} are one parameter in {type(model).__name__}, but their values differ"
            raise LoadFailed(msg, hint="PaddleNLP's class cannot be this model; its base model can be loaded")


def _pair_up(expected: Mapping[str, Any], tensors: Mapping[str, Tensor], base: str) -> _Match:
    """Match by name, adding or removing the prefix of the base model where the two sides differ in it."""
    prefix = f"{base}."
    model_has, file_has = (any(name.startswith(prefix) for name in names) for names in (expected, tensors))
    pairs: dict[str, Tensor] = {}
    unused: list[str] = []
    for name, tensor in tensors.items():
        if name in expected:
            pairs[name] = tensor
        elif file_has and not model_has and name.removeprefix(prefix) in expected:
            pairs[name.removeprefix(prefix)] = tensor
        elif model_has and not file_has and prefix + name in expected:
            pairs[prefix + name] = tensor
        elif name.startswith(prefix) or not file_has:
            unused.append(name)  # of the base model; heads of other tasks are passed over
    # One parameter may be listed under several names (tied weights): filling one fills all.
    filled = {id(expected[name]) for name in pairs}
    # Integers are no random start values: the class makes them, such as the numbers of positions.
    fresh = tuple(
        name
        for name, parameter in expected.items()
        if id(parameter) not in filled and "int" not in str(parameter.dtype)
    )
    return _Match(pairs, fresh, tuple(unused))


def _judge_fresh(model: Any, fresh: tuple[str, ...], absent: tuple[str, ...], *, allowed: set[str]) -> None:
    """A head may be fresh, and is warned of; the base may not, but for what its torch class does not have."""
    prefix = f"{model.base_model_prefix}."
    is_base = not any(name.startswith(prefix) for name in model.state_dict())
    base_missing = [
        name
        for name in fresh
        if (is_base or name.startswith(prefix))
        and name not in allowed
        and not any(f".{module}." in f".{name}" for module in absent)
    ]
    kind = type(model).__name__
    if base_missing:
        listed = "\n".join(f"  {name}" for name in base_missing[:30])
        more = f"\n  … and {len(base_missing) - 30} more" if len(base_missing) > 30 else ""
        msg = f"the checkpoint lacks {len(base_missing)} parameters of the base model of {kind}:\n{listed}{more}"
        raise LoadFailed(msg, hint="the model would answer with random numbers; is the checkpoint whole?")
    if fresh:
        listed = ", ".join(fresh)
        text = f"these parameters of {kind} are not in the checkpoint and keep random start values: {listed}"
        warnings.warn(text, FreshParameters, stacklevel=6)


def _set(parameter: Any, tensor: Tensor) -> None:
    target = str(parameter.dtype).removeprefix("paddle.")
    array = tensor.read()
    if tensor.dtype in FLOATS and target in FLOATS:
        array = cast(array, tensor.dtype, target)
    parameter.set_value(array)


def _set_epsilon(model: Any, folder: Path) -> None:
    """Give layer norms the epsilon of the config where PaddleNLP's class has another, fixed one."""
    from paddle.nn import LayerNorm

    epsilon = _recorded(folder, "epsilon")
    if isinstance(epsilon, (int, float)):
        for layer in model.sublayers():
            if isinstance(layer, LayerNorm):
                layer._epsilon = epsilon


def _absent_modules(folder: Path) -> tuple[str, ...]:
    found = _recorded(folder, "absent")
    return tuple(found) if isinstance(found, list) else ()


def _recorded(folder: Path, key: str) -> object:
    """What a conversion by pphub noted; None if it did not, or this is no conversion."""
    try:
        return json.loads((folder / "conversion.json").read_bytes()).get(key)
    except (OSError, ValueError, AttributeError):
        return None
