"""ELECTRA."""

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
    return Row("electra", torch_class, "ElectraConfig", TINY | more.pop("settings", {}), **more)


ROWS = [
    _row("ElectraModel"),
    _row("ElectraForPreTraining"),
    _row("ElectraForMaskedLM"),
    _row("ElectraForSequenceClassification", settings={"num_labels": 3}),
    _row("ElectraForTokenClassification", settings={"num_labels": 3}),
    _row("ElectraForQuestionAnswering"),
    _row("ElectraForMultipleChoice", ask="choices"),
    _row("ElectraModel", settings={"embedding_size": 16, "layer_norm_eps": 1e-3}, label="other"),
    _row("ElectraForMaskedLM", settings={"layer_norm_eps": 1e-3}, label="other"),
    _row("ElectraModel", settings={"pad_token_id": None}, label="no padding", ask="plain"),
]
