"""ELECTRA."""

from __future__ import annotations

from matrix import ENCODER, rows_of

TINY = ENCODER | {"embedding_size": 12}
_row = rows_of("electra", "ElectraConfig", TINY)

ROWS = [
    _row("ElectraModel"),
    _row("ElectraForPreTraining"),
    _row("ElectraForMaskedLM"),
    _row("ElectraForSequenceClassification", settings={"num_labels": 3}),
    _row("ElectraForTokenClassification", settings={"num_labels": 3}),
    _row("ElectraForQuestionAnswering"),
    _row("ElectraForMultipleChoice", ask="choices"),
    _row("ElectraModel", settings={"embedding_size": 16, "layer_norm_eps": 1e-3}, label="other"),
    _row("ElectraForMaskedLM", settings={"layer_norm_eps": 1e-3}, label="other"),
    _row("ElectraModel", settings={"pad_token_id": None}, label="no padding", ask="plain"),
]
