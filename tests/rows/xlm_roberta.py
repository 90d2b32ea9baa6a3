"""XLM-RoBERTa, which is RoBERTa in PaddleNLP."""

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
    return Row("xlm_roberta", torch_class, "XLMRobertaConfig", TINY | more.pop("settings", {}), **more)


ROWS = [
    _row("XLMRobertaModel"),
    _row("XLMRobertaForMaskedLM"),
    _row("XLMRobertaForCausalLM"),
    _row("XLMRobertaForSequenceClassification", settings={"num_labels": 3}),
    _row("XLMRobertaForTokenClassification", settings={"num_labels": 3}),
    _row("XLMRobertaForQuestionAnswering"),
    _row("XLMRobertaForMultipleChoice", ask="choices"),
    _row("XLMRobertaModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3}, label="other"),
]
