"""``AutoModel``, ``AutoTokenizer``, ``AutoConfig`` and every ``AutoModelFor…`` of PaddleNLP.

Each resolves its argument through pphub (a shortcut, an identifier, a folder or a file), then returns an object
of ``paddlenlp.transformers``, which is imported only then.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pphub import obtain
from pphub.errors import UsageError
from pphub.live import live_config, live_model, live_tokenizer

if TYPE_CHECKING:
    import os

    from pphub.live import Fetch

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


class _Auto:
    """Shared by all classes: a name is resolved and fetched here, and loaded by the class."""

    def __init__(self) -> None:
        msg = f"{type(self).__name__} is not made by calling it"
        raise UsageError(msg, hint=f"write {type(self).__name__}.from_pretrained(name)")

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
        """Load by name, downloading and converting first what needs to be.

        Args:
            name: a shortcut, ``[SCHEME:]ORG/NAME[@REVISION]``, a folder, or a weights file with its config beside it.
            revision: branch, tag or commit; None for the source's default.
            source: the scheme of the one source to ask; None for the configured order.
            offline: open no socket; None asks the environment.
            **kwargs: passed through to PaddleNLP (``num_classes=2``, ``dtype="float16"``, …).

        Returns:
            An object of ``paddlenlp.transformers``: a model in eval mode with its weights really loaded, a
            configuration, or a tokenizer. For the latter two no weights are downloaded.

        Raises:
            LoadFailed: PaddleNLP cannot make it, shapes differ, or a parameter of the base model is missing.
            PphubError: see :mod:`pphub.errors`.

        Warns:
            FreshParameters: a task head is not in the checkpoint; its parameters are named.
            UnusedTensors: the checkpoint holds more of the base model than the config describes.
        """
        return cls._load(partial(obtain.fetch, name, revision, source, offline), kwargs)

    @classmethod
    def _load(cls, fetch: Fetch, kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError


class _AutoModelBase(_Auto):
    """Shared by all classes of models; PaddleNLP's class of the same name chooses the model class."""

    @classmethod
    def _load(cls, fetch: Fetch, kwargs: dict[str, Any]) -> Any:
        return live_model(cls.__name__, fetch, kwargs)


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


class AutoConfig(_Auto):
    """Configurations."""

    @classmethod
    def _load(cls, fetch: Fetch, kwargs: dict[str, Any]) -> Any:
        return live_config(fetch, kwargs)


class AutoTokenizer(_Auto):
    """Tokenizers."""

    @classmethod
    def _load(cls, fetch: Fetch, kwargs: dict[str, Any]) -> Any:
        return live_tokenizer(fetch, kwargs)
