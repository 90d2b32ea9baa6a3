"""RoFormer."""

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
}


def _row(torch_class: str, **more: Any) -> Row:
    return Row("roformer", torch_class, "RoFormerConfig", TINY | more.pop("settings", {}), **more)


ROWS = [
    _row("RoFormerModel"),
    _row("RoFormerForMaskedLM"),
    _row("RoFormerForCausalLM"),
    _row("RoFormerForSequenceClassification", settings={"num_labels": 3}),
    _row("RoFormerForTokenClassification", settings={"num_labels": 3}),
    _row("RoFormerForQuestionAnswering"),
    _row(
        "RoFormerModel",
        settings={"embedding_size": 12, "rotary_value": True, "layer_norm_eps": 1e-3},
        label="other",
    ),
    _row("RoFormerForSequenceClassification", settings={"hidden_act": "relu"}, label="relu"),
    _row("RoFormerModel", settings={"pad_token_id": None}, label="no padding", ask="plain"),
]
