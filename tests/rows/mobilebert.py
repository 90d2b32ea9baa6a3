"""MobileBERT."""

from __future__ import annotations

from matrix import ENCODER, rows_of

TINY = ENCODER | {"embedding_size": 12, "intra_bottleneck_size": 8, "num_feedforward_networks": 3}
_row = rows_of("mobilebert", "MobileBertConfig", TINY)

ROWS = [
    _row("MobileBertModel"),
    _row("MobileBertForPreTraining"),
    _row("MobileBertForSequenceClassification", settings={"num_labels": 3}),
    _row("MobileBertForQuestionAnswering"),
    _row(
        "MobileBertModel",
        settings={"normalization_type": "layer_norm", "use_bottleneck_attention": True},
        label="other",
    ),
    # As in the public model, whose pooler has no layer.
    *(
        _row(name, settings={"classifier_activation": False}, label="plain pooler")
        for name in ("MobileBertModel", "MobileBertForPreTraining", "MobileBertForSequenceClassification")
    ),
]
