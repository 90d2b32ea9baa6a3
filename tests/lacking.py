"""What there are no rules for, though PaddleNLP and transformers both have a class of that name; and why.

What can be seen of PaddleNLP or of transformers is looked at by the tests, so that a reason does not outlive its cause.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from pphub.loading import import_paddlenlp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SIZES = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
_SIZES |= {"intermediate_size": 24, "max_position_embeddings": 32}


@dataclass(frozen=True)
class Lack:
    """Some classes, and why they have no rules.

    Attributes:
        names: of torch's classes; ``*`` stands for any letters.
        why: for the page.
        seen: looks at PaddleNLP or transformers and says whether it is so; None where there is nothing to look at.
    """

    names: tuple[str, ...]
    why: str
    seen: Callable[[], bool] | None = None

    def covers(self, name: str) -> bool:
        """Whether it is about a class."""
        return any(fnmatchcase(name, pattern) for pattern in self.names)

    def __str__(self) -> str:
        return self.names[0]


def paddle_classes() -> dict[str, Any]:
    """Every model class of PaddleNLP, also those that it does not export."""
    base = import_paddlenlp().PretrainedModel
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("paddlenlp.transformers.")]
    found = {name: kind for module in modules for name, kind in vars(module).items() if inspect.isclass(kind)}
    return {name: kind for name, kind in found.items() if issubclass(kind, base)}


def _build(name: str, **settings: Any) -> Any:
    import paddle

    kind = paddle_classes()[name]
    paddle.seed(0)
    return kind(kind.config_class(**settings)).eval()


def _answers(model: Any, *shape: int) -> list[Any]:
    import paddle

    paddle.seed(1)
    found = model(paddle.randint(5, 60, list(shape or (2, 7))))
    return [each.numpy() for each in (found if isinstance(found, (tuple, list)) else [found])]


def _fails(name: str, error: str, **settings: Any) -> Callable[[], bool]:
    """Whether PaddleNLP's class says this when it is asked."""

    def look() -> bool:
        try:
            _answers(_build(name, **settings))
        except (TypeError, ValueError, AttributeError) as found:
            return error in str(found)
        return False

    return look


def _has(name: str, parameter: str, shape: list[int], **settings: Any) -> Callable[[], bool]:
    """Whether PaddleNLP's class has a parameter of this shape, where torch has none or another."""
    return lambda: _build(name, **settings).state_dict()[parameter].shape == shape


def _start_twice() -> bool:
    model = _build("AlbertForQuestionAnswering", **_SIZES, embedding_size=12)
    model.qa_outputs.bias.set_value(np.array([0, 1], "float32"))  # now the two are never the same
    start, end = _answers(model)
    return bool((start == end).all())


def _mixes_texts() -> bool:
    import paddle

    model = _build("FNetModel", **{key: value for key, value in _SIZES.items() if key != "num_attention_heads"})
    ids = paddle.arange(5, 19).reshape([2, 7])
    together, alone = model(ids)[0][:1].numpy(), model(ids[:1])[0].numpy()
    return bool(abs(together - alone).max() > 0.1)


def _needs_detectron() -> bool:
    import transformers

    try:
        transformers.LayoutLMv2Model(transformers.LayoutLMv2Config())
    except ImportError as error:
        return "detectron2" in str(error)
    return False


def _mixes_while_predicting() -> bool:
    """Of the stream that predicts: PaddleNLP's mixes the texts of a batch, torch's the positions of a text."""
    import paddle
    import torch
    import transformers

    paddle_model = _build("ProphetNetForConditionalGeneration", **_PROPHETNET)
    torch.manual_seed(0)
    config = transformers.ProphetNetConfig(**_PROPHETNET, use_cache=False)
    torch_model = transformers.ProphetNetForConditionalGeneration(config).eval()

    def of_paddle(ids: Any) -> Any:
        with paddle.no_grad():
            return paddle_model(paddle.to_tensor(ids), decoder_input_ids=paddle.to_tensor(ids))[0].numpy()

    def of_torch(words: Any, answer: Any) -> Any:
        with torch.no_grad():
            found = torch_model(input_ids=torch.from_numpy(words), decoder_input_ids=torch.from_numpy(answer))
            return found.logits.numpy()

    ids = np.arange(5, 19).reshape(2, 7)
    together, alone = of_paddle(ids)[:1], of_paddle(ids[:1])
    later = ids.copy()
    later[:, 2] = 40  # what comes before it must not see it
    before, after = of_torch(ids, ids)[:, :2], of_torch(ids, later)[:, :2]
    return bool(abs(together - alone).max() > 1e-3 and abs(before - after).max() > 1e-4)


def _sees_what_comes_later() -> bool:
    import paddle

    model = _build("SpeechT5Model", **_SPEECHT5)
    sound, answer = paddle.randn([1, 7, 16]), paddle.randn([1, 5, 16])
    later = answer.clone()
    later[:, -1] += 1
    with paddle.no_grad():
        first, second = (model(sound, decoder_input_values=each)[0][:, :-1].numpy() for each in (answer, later))
    return bool(abs(first - second).max() > 1e-3)


def _normalises_twice() -> bool:
    """Of what is said of a whole image: torch's class twice, and PaddleNLP's once."""
    import paddle
    import torch
    import transformers

    sizes = {key: value for key, value in _SIZES.items() if key not in ("vocab_size", "max_position_embeddings")}
    sizes |= {"image_size": 8, "patch_size": 4}
    paddle_model = _build("BlipVisionModel", **sizes)
    torch_model = transformers.BlipVisionModel(transformers.BlipVisionConfig(**sizes)).eval()
    with paddle.no_grad(), torch.no_grad():
        bias = np.arange(16, dtype="float32")  # with zeros, twice is the same as once
        paddle_model.post_layernorm.bias.set_value(bias)
        torch_model.post_layernorm.bias.copy_(torch.from_numpy(bias))
        left, right = torch_model(torch.ones(1, 3, 8, 8)), paddle_model(paddle.ones([1, 3, 8, 8]))
    gaps = [abs((pooled - all_places[:, 0]).numpy()).max() for all_places, pooled in (left.to_tuple(), right[:2])]
    return bool(gaps[0] > 0.1 and gaps[1] == 0)


_FUNNEL = {"vocab_size": 60, "block_sizes": [1, 1], "d_model": 16, "n_head": 4, "d_head": 4, "d_inner": 24}
_FUNNEL_ERROR = "'tuple' object has no attribute 'last_hidden_state'"
_XLNET = {"vocab_size": 60, "d_model": 16, "n_layer": 2, "n_head": 4, "d_inner": 24, "num_labels": 3}
_XLM = {"vocab_size": 60, "emb_dim": 16, "n_layers": 2, "n_heads": 4}
_PROPHETNET = {"vocab_size": 60, "hidden_size": 16, "max_position_embeddings": 32, "init_std": 0.5, "num_buckets": 8}
_PROPHETNET |= {"num_encoder_layers": 2, "num_encoder_attention_heads": 4, "encoder_ffn_dim": 24}
_PROPHETNET |= {"num_decoder_layers": 2, "num_decoder_attention_heads": 2, "decoder_ffn_dim": 28}
_SPEECHT5 = {"vocab_size": 60, "hidden_size": 16, "conv_dim": [8, 10], "conv_stride": [5, 2], "conv_kernel": [10, 3]}
_SPEECHT5 |= {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 24, "initializer_range": 0.5}
_SPEECHT5 |= {"decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 28}
_SPEECHT5 |= {"num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 2}

WITHOUT_RULES = [
    Lack(("AlbertForQuestionAnswering",), "PaddleNLP's class answers with the start twice", _start_twice),
    Lack(
        ("ConvBertForSequenceClassification",),
        "PaddleNLP's class has a pooler before the classifier, and torch's has none",
        _has(
            "ConvBertForSequenceClassification", "convbert.pooler.dense.weight", [16, 16], **_SIZES, embedding_size=12
        ),
    ),
    Lack(
        ("ConvBertForMultipleChoice",),
        "torch's class chooses by the last token, PaddleNLP's by the first, pooled",
        _has("ConvBertForMultipleChoice", "convbert.pooler.dense.weight", [16, 16], **_SIZES, embedding_size=12),
    ),
    Lack(
        ("RoFormerForMultipleChoice",),
        "torch's class chooses by the last token, PaddleNLP's by the first, pooled",
        _has("RoFormerForMultipleChoice", "roformer.pooler.dense.weight", [16, 16], **_SIZES),
    ),
    Lack(
        ("RemBertForMaskedLM",),
        "PaddleNLP's class fails, and has no decoder of the size of the vocabulary",
        _fails("RemBertForMaskedLM", "must be Tensor, but got tuple", **_SIZES, input_embedding_size=12),
    ),
    Lack(("FunnelForMaskedLM",), "PaddleNLP's class fails", _fails("FunnelForMaskedLM", _FUNNEL_ERROR, **_FUNNEL)),
    Lack(
        ("FunnelForPreTraining",), "PaddleNLP's class fails", _fails("FunnelForPreTraining", _FUNNEL_ERROR, **_FUNNEL)
    ),
    Lack(
        ("XLMForMultipleChoice",),
        "torch's class has a summary before its last layer, and PaddleNLP's has one layer",
        _has("XLMForMultipleChoice", "classifier.weight", [16, 1], **_XLM),
    ),
    Lack(
        ("XLNetForMultipleChoice",),
        "PaddleNLP's class gives every choice num_labels numbers, torch's gives one",
        _has("XLNetForMultipleChoice", "classifier.out_proj.weight", [16, 3], **_XLNET),
    ),
    Lack(
        ("FunnelBaseModel",),
        "PaddleNLP has the class, and does not export it",
        lambda: not hasattr(import_paddlenlp(), "FunnelBaseModel"),
    ),
    Lack(
        ("XLNetForQuestionAnswering",),
        "PaddleNLP's class of this name is torch's XLNetForQuestionAnsweringSimple, which is converted",
        _has("XLNetForQuestionAnswering", "qa_outputs.weight", [16, 2], **_XLNET),
    ),
    Lack(
        ("FNet*",),
        "the Fourier transform of PaddleNLP's classes is also one over the texts of a batch, and mixes them",
        _mixes_texts,
    ),
    Lack(
        ("LayoutLMv2*",),
        "torch's classes need detectron2, which is no package that pip installs, so nothing can be compared",
        _needs_detectron,
    ),
    Lack(
        ("GlmModel",),
        "PaddleNLP's GLMModel is the GLM of 2021, torch's GlmModel that of 2024: another model of the same name",
        lambda: not hasattr(import_paddlenlp().GLMConfig(), "num_key_value_heads"),
    ),
    Lack(
        ("BlipModel",),
        "torch's class normalises what it says of an image twice, and PaddleNLP's once",
        _normalises_twice,
    ),
    Lack(
        ("BigBirdForSequenceClassification",),
        "torch's class has a layer of its own before the last one, with the model's activation; PaddleNLP's has the "
        "pooler",
        _has("BigBirdForSequenceClassification", "linear.weight", [16, 2], **_SIZES),
    ),
    Lack(
        ("BigBirdForQuestionAnswering",),
        "torch's class has a feed-forward layer before its last one, and PaddleNLP's has one layer",
        _has("BigBirdForQuestionAnswering", "classifier.weight", [16, 2], **_SIZES),
    ),
    Lack(
        ("ProphetNetModel", "ProphetNetForConditionalGeneration"),
        "where words are predicted, PaddleNLP's classes mix the texts of a batch, and torch's the relative positions "
        "within a text",
        _mixes_while_predicting,
    ),
    Lack(
        ("SpeechT5Model", "SpeechT5ForTextToSpeech"),
        "the decoder of PaddleNLP's classes attends to all positions alike, later ones too",
        _sees_what_comes_later,
    ),
    Lack(
        ("SpeechT5ForSpeechToText", "SpeechT5ForSpeechToSpeech"),
        "PaddleNLP's classes have no weight norm in the encoder, which torch's have, and the decoder of SpeechT5Model",
        _has("SpeechT5ForSpeechToText", "speecht5.encoder.prenet.pos_conv_embed.conv.weight", [16, 8, 6], **_SPEECHT5),
    ),
    Lack(
        (
            *("Blip2QFormerModel", "Blip2VisionModel", "BlipText*", "BlipVisionModel", "CLIPSegTextModel"),
            *("CLIPSegVisionModel", "ChineseCLIPTextModel", "ClapAudio*", "ClapText*", "ProphetNetDecoder"),
            "ProphetNetEncoder",
        ),
        "a part of a larger model, which is converted as a whole; there are no rules for the part alone",
    ),
]

NOT_IN_PADDLENLP = {
    "Gemma": ("GemmaModel", "GemmaForCausalLM"),
    "Qwen2": ("Qwen2Model", "Qwen2ForCausalLM"),
    "ViT": ("ViTModel", "ViTForImageClassification"),
}
"""Families that are asked for, of which PaddleNLP 2.8 has no class under any name; and torch's classes."""


def reason(name: str) -> Lack | None:
    """What is said of a class of torch."""
    return next((lack for lack in WITHOUT_RULES if lack.covers(name)), None)


def shared_names(paddle: Iterable[str], torch: Iterable[str]) -> list[str]:
    """Torch's classes that PaddleNLP has one for by name, capitals aside."""
    lower = {name.lower() for name in paddle}
    return sorted(name for name in torch if name.lower() in lower)
