"""MPNet."""

from __future__ import annotations

from matrix import ENCODER, rows_of

_row = rows_of("mpnet", "MPNetConfig", ENCODER)

ROWS = [
    _row("MPNetModel"),
    _row("MPNetForMaskedLM"),
    _row("MPNetForSequenceClassification", settings={"num_labels": 3}),
    _row("MPNetForTokenClassification", settings={"num_labels": 3}),
    _row("MPNetForQuestionAnswering"),
    _row("MPNetForMultipleChoice", ask="choices"),
    _row("MPNetModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3}, label="other"),
]
