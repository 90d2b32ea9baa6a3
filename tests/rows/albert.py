"""ALBERT."""

from __future__ import annotations

from typing import Any

from matrix import Row

TINY: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "embedding_size": 12,
}


def _row(torch_class: str, **more: Any) -> Row:
    return Row("albert", torch_class, "AlbertConfig", TINY | more.pop("settings", {}), **more)


ROWS = [
    _row("AlbertModel"),
    _row("AlbertForPreTraining"),
    _row("AlbertForMaskedLM"),
    _row("AlbertForSequenceClassification", settings={"num_labels": 3}),
    _row("AlbertForTokenClassification", settings={"num_labels": 3}),
    _row("AlbertForMultipleChoice", ask="choices"),
    _row(
        "AlbertModel",
        settings={"num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2, "hidden_act": "gelu"},
        label="groups",
    ),
    _row("AlbertForMaskedLM", settings={"layer_norm_eps": 1e-3}, label="other"),
]
