"""mT5."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_heads": 4}
TINY |= {"num_layers": 2, "num_decoder_layers": 3, "decoder_start_token_id": 0, "initializer_factor": 0.3}

_row = rows_of("mt5", "MT5Config", TINY, ask="seq2seq")

ROWS = [
    _row("MT5Model"),
    _row("MT5Model", settings={"feed_forward_proj": "relu", "layer_norm_epsilon": 1e-3}, label="other"),
    _row("MT5Model", settings={"feed_forward_proj": "gated-silu", "relative_attention_num_buckets": 8}, label="silu"),
    _row("MT5ForConditionalGeneration"),
    _row("MT5EncoderModel", ask="ids", paddle_class="MT5EncoderModel"),
]
