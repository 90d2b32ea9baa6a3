"""BLIP-2, with an OPT and with a T5."""

from __future__ import annotations

from typing import Any

import numpy as np

from matrix import Inputs, Row, ask_ids, ask_image, ask_seq2seq
from pphub.alignment.manner import Manner

IMAGE, QUERIES = 4, 3
VISION: dict[str, Any] = {"hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 2}
VISION |= {"intermediate_size": 20, "image_size": 8, "patch_size": 4}
QFORMER: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4}
QFORMER |= {"intermediate_size": 22, "vocab_size": 50}
OPT: dict[str, Any] = {"model_type": "opt", "vocab_size": 60, "hidden_size": 24, "num_hidden_layers": 2}
OPT |= {"num_attention_heads": 4, "ffn_dim": 28, "max_position_embeddings": 32, "word_embed_proj_dim": 24}
T5: dict[str, Any] = {"model_type": "t5", "vocab_size": 60, "d_model": 24, "d_kv": 5, "num_heads": 4, "d_ff": 28}
T5 |= {"num_layers": 2, "num_decoder_layers": 3, "initializer_factor": 0.3}
TINY = {"vision_config": VISION, "qformer_config": QFORMER, "num_query_tokens": QUERIES, "image_token_index": IMAGE}
OTHER = {
    "vision_config": VISION | {"qkv_bias": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
    "qformer_config": QFORMER | {"cross_attention_frequency": 3, "hidden_act": "relu", "layer_norm_eps": 1e-4},
}
OTHER_OPT = OPT | {"tie_word_embeddings": False, "activation_function": "gelu_new", "do_layer_norm_before": False}
# The text of torch's question has places for the image, which PaddleNLP's classes put before theirs.
NAMES = {"input_ids": None, "attention_mask": None, "text": "input_ids", "text_mask": "attention_mask"}


def _ask(config: Any) -> list[Inputs]:
    (image,) = ask_image(config)
    found = []
    for inputs in (ask_ids if config.use_decoder_only_language_model else ask_seq2seq)(config):
        text, keep = inputs["input_ids"], inputs.get("attention_mask", np.ones_like(inputs["input_ids"]))
        places = np.full((len(text), QUERIES), IMAGE)
        found.append(inputs | image | {"text": text, "text_mask": keep})
        found[-1]["input_ids"] = np.concatenate([places, text], axis=1)
        found[-1]["attention_mask"] = np.concatenate([np.ones_like(places), keep], axis=1)
    return found


def _row(torch_class: str, text: dict[str, Any], **more: Any) -> Row:
    settings = TINY | {"text_config": text} | more.pop("settings", {})
    manner = Manner(names=NAMES, paddle={"return_dict": True}, outputs=(("logits", 0),))
    return Row("blip_2", torch_class, "Blip2Config", settings, ask=_ask, manner=manner, **more)


ROWS = [
    _row("Blip2ForConditionalGeneration", OPT),
    _row("Blip2ForConditionalGeneration", OTHER_OPT, settings=OTHER, label="other"),
    _row("Blip2ForConditionalGeneration", T5, label="t5"),
    _row("Blip2Model", OPT),
    _row(
        "Blip2Model",
        T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        settings=OTHER,
        label="t5 1.1",
    ),
]
