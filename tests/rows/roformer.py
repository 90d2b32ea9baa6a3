"""RoFormer."""

from __future__ import annotations

from matrix import ENCODER, rows_of

_row = rows_of("roformer", "RoFormerConfig", ENCODER)

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
