"""``import pphub.paddlenlp`` makes PaddleNLP's own ``from_pretrained`` find its models through pphub.

::

    import pphub.paddlenlp  # this line; the rest of the program stays as it is
    from paddlenlp.transformers import BertModel, BertTokenizer

    model = BertModel.from_pretrained("bert-base-uncased")

Every ``from_pretrained`` of models, tokenizers and configurations keeps its signature. What is given to it decides:

* A **name** is resolved, downloaded and converted by pphub, and the model filled by it. As with PaddleNLP, the model is
  in training mode. ``from_hf_hub=True`` asks Hugging Face only, ``force_download=True`` asks again what the name stands
  for, and ``convert_from_torch`` has nothing left to say: what needs to be converted is.
* A name with keywords for another way of loading (``state_dict``, ``config``, ``low_cpu_mem_usage``, …) or positional
  arguments is resolved, downloaded and converted by pphub, and loaded from the folder by PaddleNLP.
* A **folder or file**, and what says another place (``cache_dir``, ``subfolder``, ``from_aistudio``), is PaddleNLP's.

:func:`disable` takes the effect back; so does a program without the import.
"""

from __future__ import annotations

import functools
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pphub import api, obtain
from pphub.live import CHOOSING_TOKENIZERS, live_config, live_model, live_tokenizer
from pphub.loading import import_paddlenlp
from pphub.names import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pphub.live import Fetch

    Load = Callable[[type, Fetch, dict[str, Any]], Any]

__all__ = ["disable", "enable"]

# Keywords that say where PaddleNLP is to look or to store: pphub has no such places.
_ELSEWHERE: Final = ("cache_dir", "subfolder", "from_aistudio")
# Keywords that say how PaddleNLP is to load: it must do so itself.
_OTHERWISE: Final = (
    "config",
    "low_cpu_mem_usage",
    "quantization_config",
    "state_dict",
    "task",
    "tensor_parallel_degree",
    "use_fast",
    "use_faster",
    "use_safetensors",
    "variant",
)
# Keywords for what pphub does without being asked, or was told otherwise.
_DONE: Final = ("convert_from_torch", "force_download", "from_hf_hub", "load_state_as_np", *_ELSEWHERE)

_TRUE: Final = frozenset({"1", "on", "t", "true", "y", "yes"})

_lock: Final = threading.Lock()
_originals: Final[dict[type, Any]] = {}


def enable() -> None:
    """Make PaddleNLP resolve names through pphub; importing this module has done so already.

    Raises:
        MissingDependency: PaddleNLP is not installed, or does not import.
    """
    transformers = import_paddlenlp()
    with _lock:
        for owner, load in _loaders(transformers):
            if owner not in _originals:
                attribute = _attribute(owner)
                _originals[owner] = vars(owner)[attribute]
                setattr(owner, attribute, classmethod(_resolving(_originals[owner].__func__, load)))


def disable() -> None:
    """Give PaddleNLP its own ``from_pretrained`` back."""
    with _lock:
        while _originals:
            owner, original = _originals.popitem()
            setattr(owner, _attribute(owner), original)


def _attribute(owner: type) -> str:
    """The auto classes of models share what theirs call."""
    return "_from_pretrained" if "_from_pretrained" in vars(owner) else "from_pretrained"


def _loaders(transformers: Any) -> Iterator[tuple[type, Load]]:
    """The classes with a ``from_pretrained`` of their own, and what pphub does in its place."""
    from paddlenlp.transformers.auto.modeling import _BaseAutoModelClass

    yield _BaseAutoModelClass, _model
    yield transformers.PretrainedModel, _model
    # Tokenizers have it from a class beside the base class.
    yield _owner(transformers.PretrainedTokenizer), lambda cls, fetch, kwargs: live_tokenizer(fetch, kwargs, cls)
    for name in CHOOSING_TOKENIZERS:
        yield getattr(transformers, name), lambda _, fetch, kwargs: live_tokenizer(fetch, kwargs)
    yield transformers.AutoConfig, lambda _, fetch, kwargs: live_config(fetch, kwargs)
    configs = {kind for kind in vars(transformers).values() if _is_config(kind, transformers.PretrainedConfig)}
    for kind in configs - {transformers.AutoConfig}:  # those of parts of a model have their own
        yield kind, lambda cls, fetch, kwargs: live_config(fetch, kwargs, cls)


def _owner(kind: type) -> type:
    return next(owner for owner in kind.__mro__ if "from_pretrained" in vars(owner))


def _is_config(kind: object, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base) and "from_pretrained" in vars(kind)


def _model(cls: type, fetch: Fetch, kwargs: dict[str, Any]) -> Any:
    model = live_model(cls, fetch, kwargs)
    model.train()
    return model


def _resolving(original: Callable[..., Any], load: Load) -> Callable[..., Any]:
    @functools.wraps(original)
    def from_pretrained(cls: type, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        name = pretrained_model_name_or_path
        positional = tuple(value for value in args if value is not None)  # AutoModel always gives its task
        if not isinstance(name, str) or any(kwargs.get(key) for key in _ELSEWHERE) or parse(name).kind != "name":
            return original(cls, name, *args, **kwargs)
        source = _source(kwargs)
        left = {key: value for key, value in kwargs.items() if key not in _DONE}
        if positional or any(left.get(key) is not None for key in _OTHERWISE):
            return original(cls, str(api.prepare(name, source=source)), *args, **left)
        fetch = partial(obtain.fetch, name, None, source, None, refresh=bool(kwargs.get("force_download")))
        return load(cls, fetch, {key: value for key, value in left.items() if key not in _OTHERWISE})

    return from_pretrained


def _source(kwargs: dict[str, Any]) -> str | None:
    """The one hub that PaddleNLP was told to ask."""
    if kwargs.get("from_hf_hub"):
        return "hf"
    return "ms" if os.environ.get("from_modelscope", "").lower() in _TRUE else None  # noqa: SIM112  its name


enable()
