"""NEZHA. Torch's side is the tests' own: transformers has it no more."""

from __future__ import annotations

from matrix import ENCODER, rows_of

TINY = ENCODER | {"max_relative_position": 3}
_row = rows_of("nezha", "NezhaConfig", TINY, own="nezha_of_torch")

ROWS = [
    _row("NezhaModel"),
    _row("NezhaModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3, "type_vocab_size": 4}, label="other"),
    _row("NezhaForPreTraining"),
    _row("NezhaForSequenceClassification", settings={"num_labels": 3}),
    _row("NezhaForTokenClassification", settings={"num_labels": 3}),
    _row("NezhaForQuestionAnswering"),
    _row("NezhaForMultipleChoice", ask="choices"),
]
