"""DeBERTa 2 and 3. With a mask of two axes, Paddle's answers NaN where a text is padded."""

from __future__ import annotations

from matrix import ENCODER, Broken, rows_of

_row = rows_of("deberta_v2", "DebertaV2Config", ENCODER)

ROWS = [
    _row("DebertaV2Model"),
    _row("DebertaV2ForSequenceClassification", settings={"num_labels": 3}),
    _row("DebertaV2ForTokenClassification", settings={"num_labels": 3}),
    _row("DebertaV2ForQuestionAnswering"),
    _row("DebertaV2ForMultipleChoice", ask="plain choices"),
    _row(
        "DebertaV2ForMaskedLM",
        broken=Broken("its constructor calls what PaddleNLP's models do not have", "has no attribute 'post_init'"),
    ),
    _row(
        "DebertaV2Model",
        settings={
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "share_att_key": True,
            "position_buckets": 4,
            "norm_rel_ebd": "layer_norm",
            "layer_norm_eps": 1e-3,
        },
        label="3",
    ),
    _row(
        "DebertaV2Model",
        settings={
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "conv_kernel_size": 3,
            "conv_act": "gelu",
        },
        label="relative",
        ask="plain",
    ),
]
