"""CLIP."""

from __future__ import annotations

from typing import Any

from matrix import Inputs, Row, ask_ids, ask_image

TEXT: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT |= {"intermediate_size": 24, "max_position_embeddings": 32}
VISION: dict[str, Any] = {"hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 2}
VISION |= {"intermediate_size": 20, "image_size": 8, "patch_size": 4}


def both(config: Any) -> list[Inputs]:
    (image,) = ask_image(config)
    return [text | image for text in ask_ids(config)]


ROWS = [
    Row(
        "clip",
        "CLIPModel",
        "CLIPConfig",
        {"text_config": TEXT, "vision_config": VISION, "projection_dim": 8},
        ask=both,
    ),
    Row(
        "clip",
        "CLIPModel",
        "CLIPConfig",
        {
            "text_config": TEXT | {"eos_token_id": 2, "hidden_act": "gelu"},
            "vision_config": VISION | {"hidden_act": "gelu"},
        },
        ask=both,
        label="gelu",
    ),
]
