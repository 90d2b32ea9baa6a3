"""Blenderbot Small."""

from __future__ import annotations

from matrix import rows_of
from rows.blenderbot import TINY, unpadded

_row = rows_of("blenderbot_small", "BlenderbotSmallConfig", TINY, ask=unpadded)

ROWS = [
    _row("BlenderbotSmallModel"),
    _row("BlenderbotSmallModel", settings={"activation_function": "relu"}, label="other"),
    _row("BlenderbotSmallForConditionalGeneration"),
    # The cache of transformers has as many layers as the encoder.
    _row("BlenderbotSmallForCausalLM", ask="ids", settings={"use_cache": False}),
]
