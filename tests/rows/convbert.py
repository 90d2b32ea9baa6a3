"""ConvBERT."""

from __future__ import annotations

from matrix import ENCODER, rows_of

TINY = ENCODER | {"embedding_size": 12}
_row = rows_of("convbert", "ConvBertConfig", TINY)

ROWS = [
    _row("ConvBertModel"),
    _row(
        "ConvBertModel",
        settings={"embedding_size": 16, "layer_norm_eps": 1e-3, "conv_kernel_size": 3},
        label="other",
    ),
    _row("ConvBertForMaskedLM"),
    _row("ConvBertForTokenClassification", settings={"num_labels": 3}),
    _row("ConvBertForQuestionAnswering"),
]
