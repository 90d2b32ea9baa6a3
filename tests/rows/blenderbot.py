"""Blenderbot."""

from __future__ import annotations

from typing import Any

from matrix import Inputs, ask_seq2seq, rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "d_model": 16, "max_position_embeddings": 32}
TINY |= {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 24}
TINY |= {"decoder_layers": 3, "decoder_attention_heads": 2, "decoder_ffn_dim": 28}


def unpadded(config: Any) -> list[Inputs]:
    """Paddle's encoder hides what is 1 in a mask, and its decoder sees padding whatever the mask says."""
    return ask_seq2seq(config)[:1]


_row = rows_of("blenderbot", "BlenderbotConfig", TINY, ask=unpadded)

ROWS = [
    _row("BlenderbotModel"),
    _row(
        "BlenderbotModel",
        settings={"activation_function": "relu", "scale_embedding": True},
        label="other",
    ),
    _row("BlenderbotForConditionalGeneration"),
    # The cache of transformers has as many layers as the encoder.
    _row("BlenderbotForCausalLM", ask="ids", settings={"use_cache": False}),
]
