"""LayoutLM."""

from __future__ import annotations

from typing import Any

import numpy as np

from matrix import ENCODER, Inputs, ask_ids, rows_of

TINY = ENCODER | {"max_2d_position_embeddings": 32}


def boxes(config: Any) -> list[Inputs]:
    """Each token stands in a box of its own."""
    corners = np.random.default_rng(1).integers(0, 20, (2, 7, 2))
    return [{**inputs, "bbox": np.concatenate([corners, corners + 5], axis=-1)} for inputs in ask_ids(config)]


_row = rows_of("layoutlm", "LayoutLMConfig", TINY)

ROWS = [
    _row("LayoutLMModel", ask=boxes),
    _row("LayoutLMForMaskedLM", ask=boxes),
    _row("LayoutLMForSequenceClassification", settings={"num_labels": 3}, ask=boxes),
    _row("LayoutLMForTokenClassification", settings={"num_labels": 3}, ask=boxes),
    _row("LayoutLMForMaskedLM", ask=boxes, settings={"hidden_act": "relu", "layer_norm_eps": 1e-3}, label="other"),
]
