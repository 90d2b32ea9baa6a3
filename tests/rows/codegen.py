"""CodeGen."""

from __future__ import annotations

from typing import Any

from matrix import Broken, rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "rotary_dim": 4}
TINY |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
BROKEN = Broken("its causal mask is of floats, and paddle.where takes booleans only", "expected to be a boolean Tensor")

_row = rows_of("codegen", "CodeGenConfig", TINY, broken=BROKEN)

ROWS = [
    _row("CodeGenModel"),
    _row("CodeGenModel", settings={"n_inner": 24, "layer_norm_epsilon": 1e-3}, label="other"),
    _row("CodeGenForCausalLM"),
    _row("CodeGenForCausalLM", settings={"tie_word_embeddings": True}, label="tied"),
]
