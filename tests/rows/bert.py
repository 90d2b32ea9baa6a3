"""BERT."""

from __future__ import annotations

from matrix import ENCODER, rows_of

_row = rows_of("bert", "BertConfig", ENCODER)

ROWS = [
    _row("BertModel"),
    _row("BertModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3, "type_vocab_size": 4}, label="other"),
    _row("BertForPreTraining"),
    _row("BertForMaskedLM"),
    _row("BertForSequenceClassification", settings={"num_labels": 3}),
    _row("BertForTokenClassification", settings={"num_labels": 3}),
    _row("BertForQuestionAnswering"),
    _row("BertForMultipleChoice", ask="choices"),
    _row("BertModel", settings={"pad_token_id": None}, label="no padding", ask="plain"),
]
