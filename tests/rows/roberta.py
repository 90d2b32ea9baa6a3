"""RoBERTa."""

from __future__ import annotations

from matrix import ENCODER, rows_of

_row = rows_of("roberta", "RobertaConfig", ENCODER)

ROWS = [
    _row("RobertaModel"),
    _row("RobertaForMaskedLM"),
    _row("RobertaForCausalLM"),
    _row("RobertaForSequenceClassification", settings={"num_labels": 3}),
    _row("RobertaForTokenClassification", settings={"num_labels": 3}),
    _row("RobertaForQuestionAnswering"),
    _row("RobertaForMultipleChoice", ask="choices"),
    _row("RobertaModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3}, label="other"),
]
