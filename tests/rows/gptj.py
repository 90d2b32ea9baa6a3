"""GPT-J."""

from __future__ import annotations

from typing import Any

from matrix import Broken, rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "rotary_dim": 4}
TINY |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
BROKEN = Broken("its causal mask is of floats, and paddle.where takes booleans only", "expected to be a boolean Tensor")

_row = rows_of("gptj", "GPTJConfig", TINY, broken=BROKEN)

ROWS = [
    _row("GPTJModel"),
    _row("GPTJModel", settings={"n_inner": 24}, label="n_inner"),
    _row("GPTJForCausalLM"),
    _row("GPTJForCausalLM", settings={"tie_word_embeddings": True}, label="tied"),
    _row("GPTJForSequenceClassification", settings={"num_labels": 3}),
    _row("GPTJForQuestionAnswering"),
]
