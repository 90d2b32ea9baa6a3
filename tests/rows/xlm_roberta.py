"""XLM-RoBERTa, which is RoBERTa in PaddleNLP."""

from __future__ import annotations

from matrix import ENCODER, rows_of

_row = rows_of("xlm_roberta", "XLMRobertaConfig", ENCODER)

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
