"""Falcon."""

from __future__ import annotations

from typing import Any

from matrix import Inputs, ask_ids, rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY |= {"pad_token_id": 0}


def _unpadded(config: Any) -> list[Inputs]:
    """With these positions Paddle's class takes no mask of integers."""
    return ask_ids(config)[:1]


_row = rows_of("falcon", "FalconConfig", TINY)

ROWS = [
    _row("FalconModel"),
    _row("FalconModel", settings={"multi_query": False, "parallel_attn": False, "bias": True}, label="bias"),
    _row(
        "FalconModel",
        settings={"alibi": True, "multi_query": False, "parallel_attn": False},
        ask=_unpadded,
        label="alibi",
    ),
    _row("FalconForCausalLM"),
    _row("FalconForCausalLM", settings={"tie_word_embeddings": False}, label="untied"),
]
