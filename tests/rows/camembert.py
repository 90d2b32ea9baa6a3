"""CamemBERT, which is RoBERTa in PaddleNLP."""

from __future__ import annotations

from matrix import ENCODER, rows_of

_row = rows_of("camembert", "CamembertConfig", ENCODER)

ROWS = [
    _row("CamembertModel"),
    _row("CamembertForMaskedLM"),
    _row("CamembertForCausalLM"),
    _row("CamembertForSequenceClassification", settings={"num_labels": 3}),
    _row("CamembertForTokenClassification", settings={"num_labels": 3}),
    _row("CamembertForQuestionAnswering"),
    _row("CamembertForMultipleChoice", ask="choices"),
    _row("CamembertModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3}, label="other"),
]
