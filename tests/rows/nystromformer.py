"""Nyströmformer."""

from __future__ import annotations

from typing import Any

import numpy as np

from matrix import ENCODER, Inputs, rows_of

TINY = ENCODER


def eight(config: Any) -> list[Inputs]:
    """Of the length that landmarks divide."""
    return [{"input_ids": np.arange(8, 24, dtype=np.int64).reshape(2, 8)}]


_row = rows_of("nystromformer", "NystromformerConfig", ENCODER)

ROWS = [
    _row("NystromformerModel"),
    _row("NystromformerForMaskedLM"),
    _row("NystromformerForSequenceClassification", settings={"num_labels": 3}),
    _row("NystromformerForTokenClassification", settings={"num_labels": 3}),
    _row("NystromformerForQuestionAnswering"),
    _row("NystromformerForMultipleChoice", ask="choices"),
    _row(
        "NystromformerModel",
        settings={"num_landmarks": 4, "segment_means_seq_len": 8, "conv_kernel_size": 3, "layer_norm_eps": 1e-3},
        label="landmarks",
        ask=eight,
    ),
]
