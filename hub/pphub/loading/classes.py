"""Which class of PaddleNLP a model is."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from pphub.checkpoint.folder import read_config
from pphub.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import ModuleType

__all__ = ["choose_class"]


def choose_class(
    transformers: ModuleType, kind: str | type, folder: Path, values: Mapping[str, object] | None = None
) -> Any:
    """The model class: of the architecture that the config names, else of its ``model_type``.

    Args:
        transformers: ``paddlenlp.transformers``.
        kind: the auto class that chooses, or the model class itself, or the name of either.
        folder: in Paddle's layout.
        values: its config, if it is known already.

    Raises:
        LoadFailed: PaddleNLP has none.
    """
    auto: Any = getattr(transformers, kind, None) if isinstance(kind, str) else kind
    if auto is None:
        msg = f"PaddleNLP has no class {kind!r}"
        raise LoadFailed(msg)
    if not hasattr(auto, "_get_model_class_from_config"):
        return auto
    task = auto.__name__
    config = values if values is not None else read_config(folder)
    named = _named(config)
    if named is None:
        return _of_model_type(transformers, config.get("model_type"), task, folder)
    if task == "AutoModel" and (encoder := _encoder_alone(transformers, named)):
        return encoder
    sibling = _sibling(transformers, named, task)
    try:
        # PaddleNLP's own choice, so that the same name gives the same class; it takes the config apart.
        found = auto._get_model_class_from_config(str(folder), None, copy.deepcopy(dict(config)))
    except (AttributeError, KeyError, TypeError) as error:
        if sibling:
            return sibling
        msg = f"PaddleNLP has no {task} for this model; its config names {named}"
        raise LoadFailed(msg, hint="is it another kind of model, or one that PaddleNLP lacks?") from error
    return sibling if sibling and found.config_class is not sibling.config_class else found


def _named(config: Mapping[str, object]) -> object:
    """What the config says of its class; None if it says nothing."""
    listed = config.get("architectures")
    return (listed[-1] if isinstance(listed, list) and listed else listed) or config.get("init_class") or None


def _of_model_type(transformers: ModuleType, model_type: object, task: str, folder: Path) -> Any:
    """The class for a task of the family that ``model_type`` says."""
    for config_class in _config_classes(transformers):
        if isinstance(model_type, str) and config_class.model_type == model_type:
            found = _with_config(transformers, config_class, task)
            if found is not None:
                return found
            msg = f"PaddleNLP has no {task} for models of the type {model_type!r}"
            raise LoadFailed(msg, hint="is it another kind of model, or one that PaddleNLP lacks?")
    said = f"no family PaddleNLP knows as {model_type!r}" if model_type else "neither architectures nor model_type"
    msg = f"the config in {folder} names no class: there is {said}"
    raise LoadFailed(msg, hint='add a line such as "architectures": ["BertModel"] to config.json')


def _encoder_alone(transformers: ModuleType, named: object) -> Any:
    """The class of an encoder without its decoder, if that is what is named: PaddleNLP takes the pair, with a decoder
    of random numbers.
    """
    found = getattr(transformers, named, None) if isinstance(named, str) and named.endswith("EncoderModel") else None
    is_model = isinstance(found, type) and issubclass(found, transformers.PretrainedModel)
    return found if is_model else None


def _config_classes(transformers: ModuleType) -> list[Any]:
    found = (getattr(transformers, name) for name in sorted(dir(transformers), key=len) if name.endswith("Config"))
    return [each for each in found if isinstance(each, type) and issubclass(each, transformers.PretrainedConfig)]


def _sibling(transformers: ModuleType, named: object, task: str) -> Any:
    """The class for a task that has the same config as the class that is named; None if there is none.

    PaddleNLP goes by parts of names: it takes GPT-J for GPT, and some families it does not look for at all.
    """
    model_class = getattr(transformers, named, None) if isinstance(named, str) else None
    if model_class is None and isinstance(named, str):  # one not exported: the base model has the same config
        model_class = getattr(transformers, named.partition("For")[0] + "Model", None)
    config_class = getattr(model_class, "config_class", None)
    if not isinstance(config_class, type) or not isinstance(model_class, type):
        return None
    wanted = _class_name(config_class, task)
    if not wanted.endswith("Model") and model_class.__name__.startswith(wanted):
        return model_class  # T5EncoderModel for AutoEncoder, XLMForQuestionAnsweringSimple
    return _with_config(transformers, config_class, task)


def _with_config(transformers: ModuleType, config_class: Any, task: str) -> Any:
    found = getattr(transformers, _class_name(config_class, task), None)
    same = isinstance(found, type) and getattr(found, "config_class", None) is config_class
    return found if same else None


def _class_name(config_class: type, task: str) -> str:
    """As PaddleNLP names its classes: ``BertForMaskedLM`` for ``AutoModelForMaskedLM``."""
    return config_class.__name__.removesuffix("Config") + (task.removeprefix("AutoModel") or "Model").removeprefix(
        "Auto"
    )
