"""ERNIE."""

from __future__ import annotations

from matrix import ENCODER, rows_of

_row = rows_of("ernie", "ErnieConfig", ENCODER)

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
