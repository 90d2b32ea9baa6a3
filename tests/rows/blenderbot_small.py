"""Blenderbot Small."""

from __future__ import annotations

from typing import Any

from matrix import Row
from rows.blenderbot import TINY, unpadded


def _row(torch_class: str, **more: Any) -> Row:
    settings = TINY | more.pop("settings", {})
    return Row("blenderbot_small", torch_class, "BlenderbotSmallConfig", settings, **({"ask": unpadded} | more))


ROWS = [
    _row("BlenderbotSmallModel"),
    _row("BlenderbotSmallModel", settings={"activation_function": "relu"}, label="other"),
    _row("BlenderbotSmallForConditionalGeneration"),
    # The cache of transformers has as many layers as the encoder.
    _row("BlenderbotSmallForCausalLM", ask="ids", settings={"use_cache": False}),
]
