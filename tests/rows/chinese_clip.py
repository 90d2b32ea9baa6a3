"""Chinese-CLIP."""

from __future__ import annotations

from matrix import Row
from rows.clip import TEXT, VISION, both

ROWS = [
    Row(
        "chinese_clip",
        "ChineseCLIPModel",
        "ChineseCLIPConfig",
        {"text_config": TEXT, "vision_config": VISION, "projection_dim": 8},
        ask=both,
    ),
]
