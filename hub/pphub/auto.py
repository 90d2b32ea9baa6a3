"""``AutoModel``, ``AutoTokenizer``, ``AutoConfig`` and every ``AutoModelFor…`` of PaddleNLP.

Each resolves its argument through pphub (a shortcut, an identifier, a folder or a file), then returns an object
of ``paddlenlp.transformers``, which is imported only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pphub import api
from pphub.checkpoint.folder import is_paddle, read_config, read_json
from pphub.conversion.config import translate_config
from pphub.conversion.job import WEIGHTS_FILE
from pphub.conversion.rules import find_family
from pphub.errors import ConversionFailed, UsageError
from pphub.load import load_config, load_model, load_tokenizer
from pphub.progress import choose_progress
from pphub.select import WEIGHT_PATTERNS, Selection, weight_files
from pphub.stages import stage

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from pphub_cache.store import Snapshot

__all__ = [
    "AutoBackbone",
    "AutoConfig",
    "AutoDecoder",
    "AutoDiscriminator",
    "AutoEncoder",
    "AutoGenerator",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForCausalLMPipe",
    "AutoModelForConditionalGeneration",
    "AutoModelForMaskedLM",
    "AutoModelForMultipleChoice",
    "AutoModelForPretraining",
    "AutoModelForQuestionAnswering",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
]

_CONFIG_FILES = Selection(include=("config.json", "model_config.json"))
# Everything small: tokenizer files have many names, and weights are what costs.
_NO_WEIGHTS = Selection(exclude=WEIGHT_PATTERNS)


class _NotMade:
    def __init__(self) -> None:
        msg = f"{type(self).__name__} is not made by calling it"
        raise UsageError(msg, hint=f"write {type(self).__name__}.from_pretrained(name)")


class _AutoModelBase(_NotMade):
    """Shared by all auto classes of models; PaddleNLP's class of the same name chooses the model class."""

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        source: str | None = None,
        offline: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Load a model by name, downloading and converting it first if it needs to be.

        Args:
            name: a shortcut, ``[SCHEME:]ORG/NAME[@REVISION]``, a folder, or a weights file with its config beside it.
            revision: branch, tag or commit; None for the source's default.
            source: the scheme of the one source to ask; None for the configured order.
            offline: open no socket; None asks the environment.
            **kwargs: passed through to PaddleNLP's config and model (``num_classes=2``, ``dtype="float16"``, …).

        Returns:
            A model of ``paddlenlp.transformers`` in eval mode, weights really loaded.

        Raises:
            LoadFailed: a parameter of the base model is not in the checkpoint, or shapes differ.
            PphubError: see :mod:`pphub.errors`.

        Warns:
            FreshParameters: a task head is not in the checkpoint; its parameters are named.
        """
        progress = choose_progress()
        snapshot = api.fetch(name, revision, source, offline, progress=progress)
        weights = weight_files(snapshot.files)
        folder = snapshot.folder
        if not is_paddle(weights):
            folder, weights = api.convert_snapshot(snapshot, None, None, progress), (WEIGHTS_FILE,)
        with stage("load") as current:
            model = load_model(cls.__name__, folder, weights, kwargs)
            current.outcome = type(model).__name__
        return model


class AutoModel(_AutoModelBase):
    """The base model, without a task head."""


class AutoBackbone(_AutoModelBase):
    """A vision backbone."""


class AutoModelForPretraining(_AutoModelBase):
    """With the heads of its pretraining."""


class AutoModelForSequenceClassification(_AutoModelBase):
    """With a head that classifies a text."""


class AutoModelForTokenClassification(_AutoModelBase):
    """With a head that classifies each token."""


class AutoModelForQuestionAnswering(_AutoModelBase):
    """With a head that finds the span of an answer."""


class AutoModelForMultipleChoice(_AutoModelBase):
    """With a head that chooses among texts."""


class AutoModelForMaskedLM(_AutoModelBase):
    """With a head that fills masked tokens."""


class AutoModelForCausalLM(_AutoModelBase):
    """With a head that predicts the next token."""


class AutoModelForCausalLMPipe(_AutoModelBase):
    """As AutoModelForCausalLM, cut for pipeline parallelism."""


class AutoModelForConditionalGeneration(_AutoModelBase):
    """With a decoder that writes a text for a text."""


class AutoEncoder(_AutoModelBase):
    """The encoder of a sequence-to-sequence model."""


class AutoDecoder(_AutoModelBase):
    """The decoder of a sequence-to-sequence model."""


class AutoGenerator(_AutoModelBase):
    """The generator of ELECTRA."""


class AutoDiscriminator(_AutoModelBase):
    """The discriminator of ELECTRA."""


class AutoConfig(_NotMade):
    """Configurations."""

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        source: str | None = None,
        offline: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Load a configuration by name; only ``config.json`` is downloaded.

        Args:
            name: as for :meth:`AutoModel.from_pretrained`, and so the others.
            revision: branch, tag or commit.
            source: the scheme of the one source to ask.
            offline: open no socket.
            **kwargs: values that override those of the file.

        Returns:
            A configuration object of ``paddlenlp.transformers``.
        """
        snapshot = _fetch(name, revision, source, offline, _CONFIG_FILES)
        return load_config(snapshot.folder, _paddle_config(snapshot.folder), kwargs)


class AutoTokenizer(_NotMade):
    """Tokenizers."""

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        source: str | None = None,
        offline: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Load a tokenizer by name; no weights are downloaded.

        Args:
            name: as for :meth:`AutoModel.from_pretrained`, and so the others.
            revision: branch, tag or commit.
            source: the scheme of the one source to ask.
            offline: open no socket.
            **kwargs: passed through to PaddleNLP's tokenizer.

        Returns:
            A tokenizer of ``paddlenlp.transformers``.

        Raises:
            LoadFailed: PaddleNLP cannot make one from the files there are.
        """
        snapshot = _fetch(name, revision, source, offline, _NO_WEIGHTS)
        return load_tokenizer(snapshot.folder, _tokenizer_class(snapshot.folder), kwargs)


def _fetch(
    name: str | os.PathLike[str],
    revision: str | None,
    source: str | None,
    offline: bool | None,
    files: Selection,
) -> Snapshot:
    """Only the wanted files; of a path on this disk everything is there already."""
    return api.fetch(name, revision, source, offline, files, progress=choose_progress())


def _paddle_config(folder: Path) -> dict[str, object]:
    """The config in Paddle's terms: a torch config is translated, a Paddle one is taken as it is."""
    config = read_config(folder)
    try:
        family, architecture = find_family(config)
    except ConversionFailed:
        return config  # not a torch class we know: PaddleNLP's own
    return dict(translate_config(family, architecture, config).values)


def _tokenizer_class(folder: Path) -> str | None:
    """The class the tokenizer's own file names, else the family's; None leaves the choice to PaddleNLP."""
    named: object = None
    if (folder / "tokenizer_config.json").is_file():
        config = read_json(folder / "tokenizer_config.json")
        named = config.get("init_class") or config.get("tokenizer_class")
    if isinstance(named, str) and named not in {"TokenizersBackend", "PreTrainedTokenizerFast"}:
        return named.removesuffix("Fast")
    if (folder / "config.json").is_file():
        try:
            return find_family(read_json(folder / "config.json"))[0].tokenizer
        except ConversionFailed:
            return None
    return None
