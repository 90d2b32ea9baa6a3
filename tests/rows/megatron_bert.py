"""Megatron-BERT. Paddle's takes a mask of two axes for numbers to be added, and finds padding by itself."""

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
    return Row(
        "megatron_bert",
        torch_class,
        "MegatronBertConfig",
        TINY | more.pop("settings", {}),
        **more,
    )


ROWS = [
    _row("MegatronBertModel"),
    _row("MegatronBertForPreTraining"),
    _row("MegatronBertForMaskedLM"),
    _row("MegatronBertForCausalLM"),
    _row("MegatronBertForSequenceClassification", settings={"num_labels": 3}),
    _row("MegatronBertForTokenClassification", settings={"num_labels": 3}),
    _row("MegatronBertForQuestionAnswering"),
    _row("MegatronBertForMultipleChoice", ask="choices"),
    _row("MegatronBertForNextSentencePrediction"),
    _row("MegatronBertModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3}, label="other"),
    _row("MegatronBertForMaskedLM", settings={"layer_norm_eps": 1e-3}, label="other"),
]
