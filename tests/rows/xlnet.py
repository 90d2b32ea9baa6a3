"""XLNet."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {
    "vocab_size": 60,
    "d_model": 16,
    "n_layer": 2,
    "n_head": 4,
    "d_inner": 24,
}

_row = rows_of("xlnet", "XLNetConfig", TINY)

ROWS = [
    _row("XLNetModel"),
    _row(
        "XLNetModel",
        settings={"attn_type": "uni", "clamp_len": 3, "ff_activation": "relu", "layer_norm_eps": 1e-3},
        label="other",
        ask="plain",
    ),
    _row("XLNetLMHeadModel", paddle_class="XLNetLMHeadModel"),
    _row("XLNetForSequenceClassification", settings={"num_labels": 3}),
    _row("XLNetForTokenClassification", settings={"num_labels": 3}),
    _row("XLNetForQuestionAnsweringSimple"),
]
