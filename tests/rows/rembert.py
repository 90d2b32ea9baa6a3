"""RemBERT."""

from __future__ import annotations

from matrix import ENCODER, Broken, rows_of

TINY = ENCODER | {"input_embedding_size": 12, "output_embedding_size": 20}

BROKEN = Broken("its attention gives a pair to a linear layer", "must be Tensor, but got tuple")

_row = rows_of("rembert", "RemBertConfig", TINY, broken=BROKEN)

ROWS = [
    _row("RemBertModel"),
    _row("RemBertForSequenceClassification", settings={"num_labels": 3}),
    _row("RemBertForTokenClassification", settings={"num_labels": 3}),
    _row("RemBertForQuestionAnswering"),
    _row("RemBertForMultipleChoice", ask="choices"),
    _row("RemBertModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3}, label="other"),
]
