"""Mistral."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY |= {"num_key_value_heads": 2, "intermediate_size": 24, "max_position_embeddings": 32}
TINY |= {"sliding_window": None, "pad_token_id": 0, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}

_row = rows_of("mistral", "MistralConfig", TINY)

ROWS = [
    _row("MistralModel"),
    _row("MistralForCausalLM"),
    _row("MistralForCausalLM", settings={"tie_word_embeddings": True}, label="tied"),
]
