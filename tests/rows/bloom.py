"""BLOOM."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "n_layer": 2, "n_head": 4}

_row = rows_of("bloom", "BloomConfig", TINY)

ROWS = [
    _row("BloomModel"),
    _row(
        "BloomModel",
        settings={"apply_residual_connection_post_layernorm": True, "layer_norm_epsilon": 1e-3},
        label="post",
    ),
    _row("BloomForCausalLM"),
    _row("BloomForSequenceClassification", settings={"num_labels": 3, "pad_token_id": 3}),
    _row("BloomForTokenClassification", settings={"num_labels": 3}),
]
