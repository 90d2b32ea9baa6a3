"""CLIP's vision model."""

from __future__ import annotations

from typing import Any

from matrix import Row

VISION: dict[str, Any] = {"hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 2}
VISION |= {"intermediate_size": 20, "image_size": 8, "patch_size": 4}

ROWS = [
    Row("clip_vision", "CLIPVisionModel", "CLIPVisionConfig", VISION, ask="image"),
    Row(
        "clip_vision", "CLIPVisionModelWithProjection", "CLIPVisionConfig", VISION | {"projection_dim": 8}, ask="image"
    ),
]
