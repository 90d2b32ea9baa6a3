"""A plugin registry for pretrained model hubs: a name goes in, a correct, live Paddle model comes out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pphub import errors as errors
    from pphub.alignment.run import align as align
    from pphub.api import convert as convert
    from pphub.api import prepare as prepare
    from pphub.auto import AutoBackbone as AutoBackbone
    from pphub.auto import AutoConfig as AutoConfig
    from pphub.auto import AutoDecoder as AutoDecoder
    from pphub.auto import AutoDiscriminator as AutoDiscriminator
    from pphub.auto import AutoEncoder as AutoEncoder
    from pphub.auto import AutoGenerator as AutoGenerator
    from pphub.auto import AutoModel as AutoModel
    from pphub.auto import AutoModelForCausalLM as AutoModelForCausalLM
    from pphub.auto import AutoModelForCausalLMPipe as AutoModelForCausalLMPipe
    from pphub.auto import AutoModelForConditionalGeneration as AutoModelForConditionalGeneration
    from pphub.auto import AutoModelForMaskedLM as AutoModelForMaskedLM
    from pphub.auto import AutoModelForMultipleChoice as AutoModelForMultipleChoice
    from pphub.auto import AutoModelForPretraining as AutoModelForPretraining
    from pphub.auto import AutoModelForQuestionAnswering as AutoModelForQuestionAnswering
    from pphub.auto import AutoModelForSequenceClassification as AutoModelForSequenceClassification
    from pphub.auto import AutoModelForTokenClassification as AutoModelForTokenClassification
    from pphub.auto import AutoTokenizer as AutoTokenizer
    from pphub.live import from_pretrained as from_pretrained
    from pphub.obtain import download as download
    from pphub.publishing import publish as publish

# Names are imported when first used: `import pphub` must stay cheap.
_HOMES = {
    "align": "pphub.alignment.run",
    "convert": "pphub.api",
    "download": "pphub.obtain",
    "from_pretrained": "pphub.live",
    "prepare": "pphub.api",
    "publish": "pphub.publishing",
}
_AUTO_CLASSES = (
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
)
_HOMES.update(dict.fromkeys(_AUTO_CLASSES, "pphub.auto"))

__all__ = ["__version__", "errors", *sorted(_HOMES)]  # noqa: PLE0604  all are strings


if not TYPE_CHECKING:  # a type checker sees the imports above

    def __getattr__(name: str) -> object:
        if name == "errors":
            return import_module("pphub.errors")
        if name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
            globals()[name] = value
            return value
        msg = f"module 'pphub' has no attribute {name!r}"
        raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
