"""BERT."""

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
    return Row("bert", torch_class, "BertConfig", TINY | more.pop("settings", {}), **more)


ROWS = [
    _row("BertModel"),
    _row("BertModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3, "type_vocab_size": 4}, label="other"),
    _row("BertForPreTraining"),
    _row("BertForMaskedLM"),
    _row("BertForSequenceClassification", settings={"num_labels": 3}),
    _row("BertForTokenClassification", settings={"num_labels": 3}),
    _row("BertForQuestionAnswering"),
    _row("BertForMultipleChoice", ask="choices"),
    _row("BertModel", settings={"pad_token_id": None}, label="no padding", ask="plain"),
]
