"""DPT."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 5, "num_attention_heads": 4, "intermediate_size": 24}
TINY |= {"image_size": 16, "patch_size": 4, "is_hybrid": False, "backbone_out_indices": [1, 2, 3, 4]}
TINY |= {"neck_hidden_sizes": [8, 10, 12, 14], "fusion_hidden_size": 8, "num_labels": 3}

_row = rows_of("dpt", "DPTConfig", TINY, ask="image")

ROWS = [
    _row("DPTModel"),
    _row("DPTModel", settings={"layer_norm_eps": 1e-3, "qkv_bias": False}, label="other"),
    _row("DPTForDepthEstimation"),
    _row("DPTForSemanticSegmentation"),
]
