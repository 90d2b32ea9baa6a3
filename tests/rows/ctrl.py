"""CTRL."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32, "dff": 24}
TINY |= {"pad_token_id": 0}

_row = rows_of("ctrl", "CTRLConfig", TINY)

ROWS = [
    _row("CTRLModel"),
    _row("CTRLLMHeadModel", paddle_class="CTRLLMHeadModel"),
    _row("CTRLLMHeadModel", paddle_class="CTRLLMHeadModel", settings={"tie_word_embeddings": False}, label="untied"),
    _row("CTRLForSequenceClassification", settings={"num_labels": 3}),
]
