"""DistilBERT."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {
    "vocab_size": 60,
    "dim": 16,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 24,
    "max_position_embeddings": 32,
}

_row = rows_of("distilbert", "DistilBertConfig", TINY)

ROWS = [
    _row("DistilBertModel"),
    _row("DistilBertForMaskedLM"),
    _row("DistilBertForSequenceClassification", settings={"num_labels": 3}),
    _row("DistilBertForTokenClassification", settings={"num_labels": 3}),
    _row("DistilBertForQuestionAnswering"),
    _row("DistilBertModel", settings={"activation": "relu", "sinusoidal_pos_embds": True}, label="other"),
    _row("DistilBertModel", settings={"pad_token_id": None}, label="no padding", ask="plain"),
]
