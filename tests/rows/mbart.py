"""mBART."""

from __future__ import annotations

from typing import Any

from matrix import Row
from rows.bart import TINY, ended


def _row(torch_class: str, **more: Any) -> Row:
    return Row("mbart", torch_class, "MBartConfig", TINY | more.pop("settings", {}), **({"ask": "seq2seq"} | more))


ROWS = [
    _row("MBartModel"),
    _row("MBartModel", settings={"activation_function": "relu", "scale_embedding": True}, label="other"),
    _row("MBartForConditionalGeneration"),
    _row("MBartForSequenceClassification", ask=ended, settings={"num_labels": 3}),
    _row("MBartForQuestionAnswering"),
    _row("MBartModel", settings={"pad_token_id": None}, label="no padding", ask="plain seq2seq"),
]
