"""SqueezeBERT."""

from __future__ import annotations

from matrix import ENCODER, rows_of

TINY = ENCODER | {"embedding_size": 16}
_row = rows_of("squeezebert", "SqueezeBertConfig", TINY)

ROWS = [
    _row("SqueezeBertModel"),
    _row("SqueezeBertForSequenceClassification", settings={"num_labels": 3}),
    _row("SqueezeBertForTokenClassification", settings={"num_labels": 3}),
    _row("SqueezeBertForQuestionAnswering", ask="plain"),
]
