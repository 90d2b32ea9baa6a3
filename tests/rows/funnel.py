"""Funnel."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {
    "vocab_size": 60,
    "d_model": 16,
    "n_head": 4,
    "d_head": 4,
    "d_inner": 24,
    "block_sizes": [1, 2],
    "num_decoder_layers": 1,
}

_row = rows_of("funnel", "FunnelConfig", TINY)

ROWS = [
    _row("FunnelModel"),
    _row("FunnelForSequenceClassification", settings={"num_labels": 3}),
    _row("FunnelForTokenClassification", settings={"num_labels": 3}),
    _row("FunnelForQuestionAnswering"),
    _row("FunnelForMultipleChoice", ask="choices"),
    _row(
        "FunnelModel",
        settings={
            "pooling_type": "max",
            "block_repeats": [1, 2],
            "truncate_seq": False,
            "pool_q_only": False,
            "layer_norm_eps": 1e-3,
        },
        label="other",
    ),
]
