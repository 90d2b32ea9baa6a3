"""CLIP's text model."""

from __future__ import annotations

from typing import Any

from matrix import Row

TEXT: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT |= {"intermediate_size": 24, "max_position_embeddings": 32}

ROWS = [
    Row("clip_text", "CLIPTextModel", "CLIPTextConfig", TEXT),
    Row("clip_text", "CLIPTextModel", "CLIPTextConfig", TEXT | {"eos_token_id": 2, "hidden_act": "gelu"}, label="gelu"),
    Row("clip_text", "CLIPTextModelWithProjection", "CLIPTextConfig", TEXT | {"projection_dim": 8}),
]
