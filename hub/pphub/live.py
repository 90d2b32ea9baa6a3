"""From a name to a live object of PaddleNLP: what is fetched for it, and whether it is converted first."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pphub import obtain, preparing
from pphub.checkpoint.folder import is_paddle, read_config
from pphub.conversion.config import translate_config
from pphub.conversion.job import WEIGHTS_FILE
from pphub.conversion.rules import find_family
from pphub.errors import ConversionFailed, UsageError
from pphub.loading import import_paddlenlp, load_config, load_model, load_tokenizer
from pphub.progress import choose_progress
from pphub.select import WEIGHT_PATTERNS, Selection, weight_files
from pphub.stages import stage
from pphub.tokenizer.classes import without
from pphub.view import tokenizer_class

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from pphub_cache.store import Snapshot

    Fetch = Callable[..., Snapshot]
    """As :func:`pphub.obtain.fetch` of one name: takes a selection of files, or nothing for all that are needed."""

__all__ = ["CHOOSING_TOKENIZERS", "from_pretrained", "live_config", "live_model", "live_tokenizer"]

CHOOSING_TOKENIZERS = ("AutoTokenizer", "RobertaTokenizer", "GLMTokenizer")
"""Classes of PaddleNLP that choose among several tokenizers, and are none."""

_CONFIG_FILES = Selection(include=("config.json", "model_config.json"))
# Everything small: tokenizer files have many names, and weights are what costs.
_NO_WEIGHTS = Selection(exclude=WEIGHT_PATTERNS)


def from_pretrained(
    wanted: type,
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    source: str | None = None,
    offline: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Load an object of a class of PaddleNLP by name, downloading and converting first what needs to be.

    Args:
        wanted: a class of ``paddlenlp.transformers``: of models, tokenizers or configurations.
        name: a shortcut, ``[SCHEME:]ORG/NAME[@REVISION]``, a folder, or a weights file with its config beside it.
        revision: branch, tag or commit; None for the source's default.
        source: the scheme of the one source to ask; None for the configured order.
        offline: open no socket; None asks the environment.
        **kwargs: passed through to PaddleNLP (``num_classes=2``, ``dtype="float16"``, …).

    Returns:
        An object of the class; a model is in eval mode, with its weights really loaded.

    Raises:
        UsageError: the class is of another kind.
        LoadFailed: PaddleNLP cannot make it, shapes differ, or a parameter of the base model is missing.
        PphubError: see :mod:`pphub.errors`.

    Warns:
        FreshParameters: a task head is not in the checkpoint; its parameters are named.
        UnusedTensors: the checkpoint holds more of the base model than the config describes.
    """
    transformers = import_paddlenlp()
    fetch = partial(obtain.fetch, name, revision, source, offline)
    if isinstance(wanted, type):
        if issubclass(wanted, transformers.PretrainedModel) or hasattr(wanted, "_get_model_class_from_config"):
            return live_model(wanted, fetch, kwargs)
        if issubclass(wanted, transformers.PretrainedTokenizer):
            return live_tokenizer(fetch, kwargs, wanted)
        if wanted.__name__ in CHOOSING_TOKENIZERS:
            return live_tokenizer(fetch, kwargs)
        if wanted is transformers.AutoConfig:
            return live_config(fetch, kwargs)
        if issubclass(wanted, transformers.PretrainedConfig):
            return live_config(fetch, kwargs, wanted)
    msg = f"{wanted!r} is no class of PaddleNLP's models, tokenizers or configurations"
    raise UsageError(msg, hint="write it as in pphub.from_pretrained(BertModel, 'bert-base-uncased')")


def live_model(kind: str | type, fetch: Fetch, kwargs: dict[str, Any]) -> Any:
    """A model, of an auto class or a model class of PaddleNLP; either may be given by its name."""
    snapshot = fetch()
    weights = weight_files(snapshot.files)
    folder = snapshot.folder
    if not is_paddle(weights):
        folder, weights = preparing.convert_snapshot(snapshot, None, None, choose_progress()), (WEIGHTS_FILE,)
    with stage("load") as current:
        model = load_model(kind, folder, weights, kwargs)
        current.outcome = type(model).__name__
    return model


def live_config(fetch: Fetch, kwargs: dict[str, Any], wanted: type | None = None) -> Any:
    """A configuration; of the class that is wanted, if it is given."""
    folder = fetch(_CONFIG_FILES).folder
    return load_config(folder, _paddle_config(folder), kwargs, wanted)


def live_tokenizer(fetch: Fetch, kwargs: dict[str, Any], wanted: type | None = None) -> Any:
    """A tokenizer; of the class that is wanted, if it is given."""
    folder = preparing.tokenizer_folder(fetch(_NO_WEIGHTS))
    kind = wanted.__name__ if wanted is not None else tokenizer_class(folder)
    absent = without(kind, {path.name for path in folder.iterdir()})
    return load_tokenizer(folder, wanted or kind, {**absent, **kwargs})


def _paddle_config(folder: Path) -> dict[str, object]:
    """The config in Paddle's terms: a torch config is translated, a Paddle one is taken as it is."""
    config = read_config(folder)
    try:
        family, architecture = find_family(config)
    except ConversionFailed:
        return config  # not a torch class we know: PaddleNLP's own
    return dict(translate_config(family, architecture, config).values)
