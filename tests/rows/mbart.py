"""mBART."""

from __future__ import annotations

from matrix import rows_of
from rows.bart import TINY, ended

_row = rows_of("mbart", "MBartConfig", TINY, ask="seq2seq")

ROWS = [
    _row("MBartModel"),
    _row("MBartModel", settings={"activation_function": "relu", "scale_embedding": True}, label="other"),
    _row("MBartForConditionalGeneration"),
    _row("MBartForSequenceClassification", ask=ended, settings={"num_labels": 3}),
    _row("MBartForQuestionAnswering"),
    _row("MBartModel", settings={"pad_token_id": None}, label="no padding", ask="plain seq2seq"),
]
