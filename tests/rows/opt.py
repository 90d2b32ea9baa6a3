"""OPT."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY |= {"ffn_dim": 24, "max_position_embeddings": 32}

_row = rows_of("opt", "OPTConfig", TINY)

ROWS = [
    _row("OPTModel"),
    _row("OPTModel", settings={"word_embed_proj_dim": 12, "do_layer_norm_before": False}, label="projected"),
    _row("OPTModel", settings={"activation_function": "gelu_new"}, label="gelu"),
    _row("OPTForCausalLM"),
    _row("OPTForCausalLM", settings={"tie_word_embeddings": False}, label="untied"),
]
