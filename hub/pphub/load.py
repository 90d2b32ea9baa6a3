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

from pphub.checkpoint.folder import open_checkpoint, read_json
from pphub.conversion.dtypes import FLOATS, cast
from pphub.errors import FileNotInModel, LoadFailed, MissingDependency

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

_CONFIG_FILES = ("config.json", "model_config.json")  # the second is PaddleNLP's before 2.5


class FreshParameters(UserWarning):
    """Parameters that the checkpoint does not hold kept their random start values."""


def import_paddlenlp() -> ModuleType:
    """Import ``paddlenlp.transformers``.

    Raises:
        MissingDependency: it is not installed, or what is installed does not import; the message says which.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # paddle and its dependencies warn about each other
            import paddlenlp.transformers
    except ImportError as error:
        if error.name in {"paddle", "paddlenlp"}:
            msg = f"a live Paddle model needs the package {error.name!r}, which is not installed"
        else:
            msg = f"paddlenlp is installed but does not import: {error}"
        raise MissingDependency(
            msg, hint="pip install 'pphub[paddle]' installs a set of versions that works"
        ) from error
    except Exception as error:
        msg = f"paddlenlp is installed but does not import: {type(error).__name__}: {error}"
        raise MissingDependency(
            msg, hint="pip install 'pphub[paddle]' installs a set of versions that works"
        ) from error
    return paddlenlp.transformers  # type: ignore[no-any-return]


def read_config(folder: Path) -> dict[str, object]:
    """The config of a Paddle model folder, of today's or the legacy name."""
    for name in _CONFIG_FILES:
        if (folder / name).is_file():
            return read_json(folder / name)
    msg = f"there is no config.json in {folder}"
    raise FileNotInModel(msg, hint="a model folder needs one; download the model again, or check the path")


def load_model(auto_class: str, folder: Path, weights: tuple[str, ...], kwargs: Mapping[str, Any]) -> Any:
    """Build a PaddleNLP model and fill it.

    Args:
        auto_class: the PaddleNLP auto class that chooses the model class, such as ``AutoModel``.
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
    dtype = kwargs.pop("dtype", None)
    ignore_mismatched = kwargs.pop("ignore_mismatched_sizes", False)
    config, model_kwargs = model_class.config_class.from_pretrained(str(folder), return_unused_kwargs=True, **kwargs)
    config.dtype = dtype or config.dtype or "float32"
    model = _build(model_class, config, model_kwargs)
    _fill(model, tensors, _absent_modules(folder), ignore_mismatched=ignore_mismatched)
    model.eval()
    return model


def load_config(folder: Path, values: Mapping[str, object], kwargs: Mapping[str, Any]) -> Any:
    """The PaddleNLP config object for a config in Paddle's terms."""
    transformers = import_paddlenlp()
    return _model_class(transformers, "AutoModel", folder, values).config_class.from_dict(dict(values), **kwargs)


def load_tokenizer(folder: Path, tokenizer_class: str | None, kwargs: Mapping[str, Any]) -> Any:
    """The PaddleNLP tokenizer of a folder; its class is found by PaddleNLP when it is not given."""
    transformers = import_paddlenlp()
    chosen = getattr(transformers, tokenizer_class, None) if tokenizer_class else None
    loader = chosen or transformers.AutoTokenizer
    try:
        return loader.from_pretrained(str(folder), **kwargs)
    except Exception as error:
        msg = f"PaddleNLP cannot make a tokenizer from {folder}: {type(error).__name__}: {error}"
        raise LoadFailed(msg, hint="does the folder hold the vocabulary and tokenizer_config.json?") from error


def _model_class(
    transformers: ModuleType, auto_class: str, folder: Path, values: Mapping[str, object] | None = None
) -> Any:
    config = copy.deepcopy(dict(values)) if values is not None else read_config(folder)
    auto = getattr(transformers, auto_class)
    try:
        # PaddleNLP's own choice, so that the same name gives the same class.
        return auto._get_model_class_from_config(str(folder), None, config)
    except (AttributeError, KeyError, TypeError) as error:
        named = config.get("architectures") or config.get("init_class") or "no architecture"
        msg = f"PaddleNLP has no {auto_class} for this model; its config names {named}"
        raise LoadFailed(msg, hint="is it another kind of model, or one that PaddleNLP lacks?") from error


def _build(model_class: Any, config: Any, model_kwargs: Mapping[str, Any]) -> Any:
    from paddlenlp.transformers.model_utils import dtype_guard

    try:
        with dtype_guard(config.dtype):
            return model_class(config, *(config["init_args"] or ()), **model_kwargs)
    except TypeError as error:
        msg = f"{model_class.__name__} cannot be built: {error}"
        raise LoadFailed(msg, hint="check the keyword arguments given to from_pretrained") from error


@dataclass(frozen=True, slots=True)
class _Match:
    """Which checkpoint tensor fills which parameter."""

    pairs: Mapping[str, Tensor]
    fresh: tuple[str, ...]


def _fill(model: Any, tensors: Mapping[str, Tensor], absent: tuple[str, ...], *, ignore_mismatched: bool) -> None:
    expected = model.state_dict()
    match = _pair_up(expected, tensors, model.base_model_prefix)
    wrong = {name for name, tensor in match.pairs.items() if tuple(expected[name].shape) != tensor.shape}
    if wrong and not ignore_mismatched:
        listed = "\n".join(f"  {name}: {match.pairs[name].shape}, not {tuple(expected[name].shape)}" for name in wrong)
        msg = f"the checkpoint does not fit {type(model).__name__}:\n{listed}"
        raise LoadFailed(msg, hint="check the config, or pass ignore_mismatched_sizes=True to leave these fresh")
    fresh = (*match.fresh, *sorted(wrong))
    _judge_fresh(model, fresh, absent, allowed=wrong)
    for name, tensor in match.pairs.items():
        if name not in wrong:
            _set(expected[name], tensor)


def _pair_up(expected: Mapping[str, Any], tensors: Mapping[str, Tensor], base: str) -> _Match:
    """Match by name, adding or removing the prefix of the base model where the two sides differ in it."""
    prefix = f"{base}."
    model_has, file_has = (any(name.startswith(prefix) for name in names) for names in (expected, tensors))
    pairs: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in expected:
            pairs[name] = tensor
        elif file_has and not model_has and name.removeprefix(prefix) in expected:
            pairs[name.removeprefix(prefix)] = tensor
        elif model_has and not file_has and prefix + name in expected:
            pairs[prefix + name] = tensor
    # One parameter may be listed under several names (tied weights): filling one fills all.
    filled = {id(expected[name]) for name in pairs}
    fresh = tuple(name for name, parameter in expected.items() if id(parameter) not in filled)
    return _Match(pairs, fresh)


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
        text = f"these parameters of {kind} are not in the checkpoint and start at random; train them: {listed}"
        warnings.warn(text, FreshParameters, stacklevel=5)


def _set(parameter: Any, tensor: Tensor) -> None:
    target = str(parameter.dtype).removeprefix("paddle.")
    array = tensor.read()
    if tensor.dtype in FLOATS and target in FLOATS:
        array = cast(array, tensor.dtype, target)
    parameter.set_value(array)


def _absent_modules(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(json.loads((folder / "conversion.json").read_bytes()).get("absent", ()))
    except (OSError, ValueError, AttributeError):
        return ()
