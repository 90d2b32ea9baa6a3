"""Mixtral."""

from __future__ import annotations

from typing import Any

from matrix import Broken, rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY |= {"num_key_value_heads": 2, "intermediate_size": 24, "max_position_embeddings": 32, "num_local_experts": 4}
TINY |= {"pad_token_id": 0, "rope_parameters": {"rope_type": "default", "rope_theta": 1e5}}

BROKEN = Broken(
    "it expects indices of paddle.where in columns, as they were before 3.0", "Broadcast dimension mismatch"
)

_row = rows_of("mixtral", "MixtralConfig", TINY, broken=BROKEN)

ROWS = [
    _row("MixtralModel"),
    _row("MixtralForCausalLM"),
    _row("MixtralForCausalLM", settings={"tie_word_embeddings": True}, label="tied"),
]
