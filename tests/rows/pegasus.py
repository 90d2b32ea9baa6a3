"""Pegasus."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "d_model": 16, "max_position_embeddings": 32}
TINY |= {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 24}
TINY |= {"decoder_layers": 3, "decoder_attention_heads": 2, "decoder_ffn_dim": 28}

_row = rows_of("pegasus", "PegasusConfig", TINY, ask="seq2seq")

ROWS = [
    _row("PegasusModel"),
    _row(
        "PegasusModel",
        settings={"activation_function": "relu", "scale_embedding": True},
        label="other",
    ),
    _row("PegasusForConditionalGeneration"),
    _row("PegasusModel", settings={"pad_token_id": None}, label="no padding", ask="plain seq2seq"),
]
