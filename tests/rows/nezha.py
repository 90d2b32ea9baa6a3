"""NEZHA. Torch's side is the tests' own: transformers has it no more."""

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
    "max_relative_position": 3,
}


def _row(torch_class: str, **more: Any) -> Row:
    return Row("nezha", torch_class, "NezhaConfig", TINY | more.pop("settings", {}), own="nezha_of_torch", **more)


ROWS = [
    _row("NezhaModel"),
    _row("NezhaModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3, "type_vocab_size": 4}, label="other"),
    _row("NezhaForPreTraining"),
    _row("NezhaForSequenceClassification", settings={"num_labels": 3}),
    _row("NezhaForTokenClassification", settings={"num_labels": 3}),
    _row("NezhaForQuestionAnswering"),
    _row("NezhaForMultipleChoice", ask="choices"),
]
