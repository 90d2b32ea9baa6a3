"""SqueezeBERT."""

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
    "embedding_size": 16,
}


def _row(torch_class: str, **more: Any) -> Row:
    return Row("squeezebert", torch_class, "SqueezeBertConfig", TINY | more.pop("settings", {}), **more)


ROWS = [
    _row("SqueezeBertModel"),
    _row("SqueezeBertForSequenceClassification", settings={"num_labels": 3}),
    _row("SqueezeBertForTokenClassification", settings={"num_labels": 3}),
    _row("SqueezeBertForQuestionAnswering", ask="plain"),
]
