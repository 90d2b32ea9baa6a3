"""Llama."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY |= {"intermediate_size": 24, "max_position_embeddings": 32, "pad_token_id": 0}

_row = rows_of("llama", "LlamaConfig", TINY)

ROWS = [
    _row("LlamaModel"),
    _row(
        "LlamaModel",
        settings={
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-3,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        },
        label="grouped",
    ),
    _row("LlamaForCausalLM"),
    _row("LlamaForCausalLM", settings={"tie_word_embeddings": True}, label="tied"),
]
