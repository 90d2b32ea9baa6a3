"""GPT-2."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}
TINY |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}

_row = rows_of("gpt2", "GPT2Config", TINY)

ROWS = [
    _row("GPT2Model"),
    _row("GPT2Model", settings={"n_inner": 24, "activation_function": "gelu_pytorch_tanh"}, label="n_inner"),
    _row("GPT2LMHeadModel"),
    # Paddle's class takes the last token that is not eos_token_id, so that must be what pads.
    _row("GPT2ForSequenceClassification", settings={"num_labels": 3}),
    _row("GPT2ForTokenClassification", settings={"num_labels": 3}),
]
