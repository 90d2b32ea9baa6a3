"""ERNIE."""

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
    return Row("ernie", torch_class, "ErnieConfig", TINY | more.pop("settings", {}), **more)


ROWS = [
    _row("ErnieModel"),
    _row("ErnieForPreTraining"),
    _row("ErnieForMaskedLM"),
    _row("ErnieForSequenceClassification", settings={"num_labels": 3}),
    _row("ErnieForTokenClassification", settings={"num_labels": 3}),
    _row("ErnieForQuestionAnswering"),
    _row("ErnieForMultipleChoice", ask="choices"),
    _row("ErnieModel", settings={"use_task_id": True, "layer_norm_eps": 1e-3, "type_vocab_size": 4}, label="3.0"),
    _row("ErnieForMaskedLM", settings={"use_task_id": True, "layer_norm_eps": 1e-5}, label="3.0"),
]
