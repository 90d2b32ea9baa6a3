"""ALBERT."""

from __future__ import annotations

from matrix import ENCODER, rows_of

TINY = ENCODER | {"embedding_size": 12}
_row = rows_of("albert", "AlbertConfig", TINY)

ROWS = [
    _row("AlbertModel"),
    _row("AlbertForPreTraining"),
    _row("AlbertForMaskedLM"),
    _row("AlbertForSequenceClassification", settings={"num_labels": 3}),
    _row("AlbertForTokenClassification", settings={"num_labels": 3}),
    _row("AlbertForMultipleChoice", ask="choices"),
    _row(
        "AlbertModel",
        settings={"num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2, "hidden_act": "gelu"},
        label="groups",
    ),
    _row("AlbertForMaskedLM", settings={"layer_norm_eps": 1e-3}, label="other"),
]
