"""MPNet."""

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
    return Row("mpnet", torch_class, "MPNetConfig", TINY | more.pop("settings", {}), **more)


ROWS = [
    _row("MPNetModel"),
    _row("MPNetForMaskedLM"),
    _row("MPNetForSequenceClassification", settings={"num_labels": 3}),
    _row("MPNetForTokenClassification", settings={"num_labels": 3}),
    _row("MPNetForQuestionAnswering"),
    _row("MPNetForMultipleChoice", ask="choices"),
    _row("MPNetModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3}, label="other"),
]
