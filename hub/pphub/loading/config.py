"""Configuration objects of PaddleNLP."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pphub.errors import LoadFailed
from pphub.loading.classes import choose_class
from pphub.loading.library import import_paddlenlp

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["load_config", "make_config"]


def load_config(folder: Path, values: Mapping[str, object], kwargs: Mapping[str, Any], wanted: Any = None) -> Any:
    """The PaddleNLP config object for a config in Paddle's terms.

    Args:
        folder: where the config is from.
        values: the config.
        kwargs: values that take the place of its own.
        wanted: PaddleNLP's class, which may be that of a part of the model; None to find it.

    Raises:
        LoadFailed: PaddleNLP has no class for it, or the class cannot take it.
    """
    transformers = import_paddlenlp()
    if wanted is None:
        found = choose_class(transformers, "AutoModel", folder, values).config_class
        return found.from_dict(dict(values), **kwargs)
    with tempfile.TemporaryDirectory() as place:  # which values are for the class, its own reader knows
        Path(place, "config.json").write_text(json.dumps(values), encoding="utf-8")
        try:
            return wanted.from_pretrained(place, **kwargs)
        except Exception as error:  # a config may be wrong in any way
            msg = f"{wanted.__name__} cannot read the config in {folder}: {type(error).__name__}: {error}"
            raise LoadFailed(msg, hint="is it the config of another kind of model?") from error


def make_config(model_class: Any, folder: Path, kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """PaddleNLP's config object for a model, and the keywords that are not for it.

    Raises:
        LoadFailed: the config makes no sense.
    """
    try:
        return model_class.config_class.from_pretrained(  # type: ignore[no-any-return]
            str(folder), return_unused_kwargs=True, **kwargs
        )
    except Exception as error:  # a config may be wrong in any way
        msg = f"PaddleNLP cannot read the config in {folder}: {type(error).__name__}: {error}"
        raise LoadFailed(msg, hint="check config.json and the keyword arguments given to from_pretrained") from error
