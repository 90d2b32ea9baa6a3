"""MobileBERT."""

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
    "intra_bottleneck_size": 8,
    "num_feedforward_networks": 3,
}


def _row(torch_class: str, **more: Any) -> Row:
    return Row("mobilebert", torch_class, "MobileBertConfig", TINY | more.pop("settings", {}), **more)


ROWS = [
    _row("MobileBertModel"),
    _row("MobileBertForPreTraining"),
    _row("MobileBertForSequenceClassification", settings={"num_labels": 3}),
    _row("MobileBertForQuestionAnswering"),
    _row(
        "MobileBertModel",
        settings={"normalization_type": "layer_norm", "use_bottleneck_attention": True},
        label="other",
    ),
]
