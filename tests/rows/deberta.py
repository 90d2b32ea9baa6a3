"""DeBERTa. With a mask of two axes, Paddle's answers NaN where a text is padded."""

from __future__ import annotations

from typing import Any

from matrix import Broken, Row

TINY: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}


def _row(torch_class: str, **more: Any) -> Row:
    return Row("deberta", torch_class, "DebertaConfig", TINY | more.pop("settings", {}), **more)


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
