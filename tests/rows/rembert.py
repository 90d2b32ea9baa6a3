"""RemBERT."""

from __future__ import annotations

from typing import Any

from matrix import Broken, Row

TINY: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "input_embedding_size": 12,
    "output_embedding_size": 20,
}

BROKEN = Broken("its attention gives a pair to a linear layer", "must be Tensor, but got tuple")


def _row(torch_class: str, **more: Any) -> Row:
    return Row("rembert", torch_class, "RemBertConfig", TINY | more.pop("settings", {}), broken=BROKEN, **more)


ROWS = [
    _row("RemBertModel"),
    _row("RemBertForSequenceClassification", settings={"num_labels": 3}),
    _row("RemBertForTokenClassification", settings={"num_labels": 3}),
    _row("RemBertForQuestionAnswering"),
    _row("RemBertForMultipleChoice", ask="choices"),
    _row("RemBertModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3}, label="other"),
]
