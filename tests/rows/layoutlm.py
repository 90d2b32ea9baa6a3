"""LayoutLM."""

from __future__ import annotations

from typing import Any

import numpy as np

from matrix import Inputs, Row, ask_ids

TINY: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "max_2d_position_embeddings": 32,
}


def boxes(config: Any) -> list[Inputs]:
    """Each token stands in a box of its own."""
    corners = np.random.default_rng(1).integers(0, 20, (2, 7, 2))
    return [{**inputs, "bbox": np.concatenate([corners, corners + 5], axis=-1)} for inputs in ask_ids(config)]


def _row(torch_class: str, **more: Any) -> Row:
    return Row("layoutlm", torch_class, "LayoutLMConfig", TINY | more.pop("settings", {}), **more)


ROWS = [
    _row("LayoutLMModel", ask=boxes),
    _row("LayoutLMForMaskedLM", ask=boxes),
    _row("LayoutLMForSequenceClassification", settings={"num_labels": 3}, ask=boxes),
    _row("LayoutLMForTokenClassification", settings={"num_labels": 3}, ask=boxes),
    _row("LayoutLMForMaskedLM", ask=boxes, settings={"hidden_act": "relu", "layer_norm_eps": 1e-3}, label="other"),
]
