"""DeBERTa. With a mask of two axes, Paddle's answers NaN where a text is padded."""

from __future__ import annotations

from matrix import ENCODER, Broken, rows_of

_row = rows_of("deberta", "DebertaConfig", ENCODER)

ROWS = [
    _row("DebertaModel"),
    _row("DebertaForSequenceClassification", settings={"num_labels": 3}),
    _row("DebertaForTokenClassification", settings={"num_labels": 3}),
    _row("DebertaForQuestionAnswering"),
    _row(
        "DebertaForMaskedLM",
        broken=Broken("its constructor calls what PaddleNLP's models do not have", "has no attribute 'post_init'"),
    ),
    _row(
        "DebertaModel",
        settings={
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_biased_input": False,
            "max_relative_positions": 16,
            "type_vocab_size": 2,
        },
        label="relative",
    ),
]
