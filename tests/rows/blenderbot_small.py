"""Blenderbot Small."""

from __future__ import annotations

from typing import Any

from matrix import Inputs, Row, ask_seq2seq

TINY: dict[str, Any] = {"vocab_size": 60, "d_model": 16, "max_position_embeddings": 32}
TINY |= {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 24}
TINY |= {"decoder_layers": 3, "decoder_attention_heads": 2, "decoder_ffn_dim": 28}


def _unpadded(config: Any) -> list[Inputs]:
    """Paddle's encoder hides what is 1 in a mask, and its decoder sees padding whatever the mask says."""
    return ask_seq2seq(config)[:1]


def _row(torch_class: str, **more: Any) -> Row:
    settings = TINY | more.pop("settings", {})
    return Row("blenderbot_small", torch_class, "BlenderbotSmallConfig", settings, **({"ask": _unpadded} | more))


ROWS = [
    _row("BlenderbotSmallModel"),
    _row("BlenderbotSmallModel", settings={"activation_function": "relu"}, label="other"),
    _row("BlenderbotSmallForConditionalGeneration"),
    # The cache of transformers has as many layers as the encoder.
    _row("BlenderbotSmallForCausalLM", ask="ids", settings={"use_cache": False}),
]
