"""Megatron-BERT. Paddle's takes a mask of two axes for numbers to be added, and finds padding by itself."""

from __future__ import annotations

from matrix import ENCODER, rows_of

_row = rows_of("megatron_bert", "MegatronBertConfig", ENCODER)

ROWS = [
    _row("MegatronBertModel"),
    _row("MegatronBertForPreTraining"),
    _row("MegatronBertForMaskedLM"),
    _row("MegatronBertForCausalLM"),
    _row("MegatronBertForSequenceClassification", settings={"num_labels": 3}),
    _row("MegatronBertForTokenClassification", settings={"num_labels": 3}),
    _row("MegatronBertForQuestionAnswering"),
    _row("MegatronBertForMultipleChoice", ask="choices"),
    _row("MegatronBertForNextSentencePrediction"),
    _row("MegatronBertModel", settings={"hidden_act": "relu", "layer_norm_eps": 1e-3}, label="other"),
    _row("MegatronBertForMaskedLM", settings={"layer_norm_eps": 1e-3}, label="other"),
]
