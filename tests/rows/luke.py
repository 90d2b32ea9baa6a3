"""LUKE."""

from __future__ import annotations

from typing import Any

import numpy as np

from matrix import ENCODER, Inputs, ask_ids, rows_of

TINY = ENCODER | {"entity_vocab_size": 20, "entity_emb_size": 12}


def entities(config: Any) -> list[Inputs]:
    """Two entities in each text."""
    positions = np.full((2, 2, 4), -1, dtype=np.int64)
    positions[:, :, :2] = [[[1, 2], [3, 4]], [[0, 1], [2, 3]]]
    more = {
        "entity_ids": np.array([[3, 4], [5, 6]], dtype=np.int64),
        "entity_position_ids": positions,
        "entity_attention_mask": np.ones((2, 2), dtype=np.int64),
        "token_type_ids": np.zeros((2, 7), dtype=np.int64),
        "entity_token_type_ids": np.zeros((2, 2), dtype=np.int64),
    }
    return [{**inputs, **more} for inputs in ask_ids(config)]


def spans(config: Any) -> list[Inputs]:
    """And where each of them starts and ends."""
    start = np.array([[1, 3], [0, 2]], dtype=np.int64)
    return [
        {**inputs, "entity_start_positions": start, "entity_end_positions": start + 1} for inputs in entities(config)
    ]


_row = rows_of("luke", "LukeConfig", TINY)

ROWS = [
    _row("LukeModel", ask=entities),
    _row("LukeForMaskedLM", ask=entities, same=(("lm_head.decoder.weight", "luke.embeddings.word_embeddings.weight"),)),
    _row("LukeForEntityClassification", ask=entities, settings={"num_labels": 3}),
    _row("LukeForEntityPairClassification", ask=entities, settings={"num_labels": 3}),
    _row("LukeForEntitySpanClassification", ask=spans, settings={"num_labels": 3}),
    _row("LukeForQuestionAnswering", ask=entities),
    _row(
        "LukeModel",
        ask=entities,
        settings={"hidden_act": "relu", "layer_norm_eps": 1e-3},
        label="other",
    ),
]
