"""CLAP."""

from __future__ import annotations

from typing import Any

import numpy as np

from matrix import Inputs, Row, ask_ids

TEXT: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT |= {"intermediate_size": 24, "max_position_embeddings": 32}
AUDIO: dict[str, Any] = {"hidden_size": 64, "patch_embeds_hidden_size": 8, "depths": [1, 2, 1, 1]}
AUDIO |= {"num_attention_heads": [2, 2, 2, 2], "spec_size": 64, "num_mel_bins": 32, "window_size": 2}
AUDIO |= {"patch_stride": [4, 4], "patch_size": 4, "enable_fusion": False, "projection_dim": 8}


def _both(config: Any) -> list[Inputs]:
    sound = np.random.default_rng(0).normal(size=(2, 1, 128, config.audio_config.num_mel_bins)).astype(np.float32)
    return [{**text, "input_features": sound} for text in ask_ids(config)]


ROWS = [
    Row(
        "clap",
        "ClapModel",
        "ClapConfig",
        {"text_config": TEXT, "audio_config": AUDIO, "projection_dim": 8},
        ask=_both,
    ),
]
