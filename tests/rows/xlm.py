"""XLM."""

from __future__ import annotations

from typing import Any

import numpy as np

from matrix import Inputs, Row, ask_ids, rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "emb_dim": 16, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 32}
TINY |= {"n_langs": 3}


def _in_languages(config: Any) -> list[Inputs]:
    asked = ask_ids(config)
    return [*asked, *({**each, "langs": np.full_like(each["input_ids"], 2)} for each in asked)]


_row = rows_of("xlm", "XLMConfig", TINY, ask=_in_languages)

ROWS = [
    _row("XLMModel"),
    Row("xlm", "XLMModel", "XLMConfig", TINY | {"n_langs": 1, "layer_norm_eps": 1e-3}, label="one"),
    _row("XLMWithLMHeadModel", paddle_class="XLMWithLMHeadModel"),
    _row("XLMForSequenceClassification", settings={"num_labels": 3}),
    _row("XLMForTokenClassification", settings={"num_labels": 3}),
    _row("XLMForQuestionAnsweringSimple"),
]
