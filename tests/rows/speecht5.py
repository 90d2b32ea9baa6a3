"""SpeechT5: the vocoder."""

from __future__ import annotations

from typing import Any

import numpy as np

from matrix import BATCH, Inputs, Row

TINY: dict[str, Any] = {"model_in_dim": 6, "upsample_initial_channel": 32, "upsample_rates": [3, 2, 2, 4]}
TINY |= {"upsample_kernel_sizes": [7, 4, 6, 8], "resblock_kernel_sizes": [3, 5, 7]}
TINY |= {"resblock_dilation_sizes": [[1, 3, 5], [1, 2, 4], [2, 3, 5]]}


def _spectrogram(config: Any) -> list[Inputs]:
    values = np.random.default_rng(0).normal(size=(BATCH, 9, config.model_in_dim)).astype(np.float32)
    return [{"spectrogram": values}, {"spectrogram": values[0]}]


def _row(**more: Any) -> Row:
    settings = TINY | more.pop("settings", {})
    return Row("speecht5", "SpeechT5HifiGan", "SpeechT5HifiGanConfig", settings, ask=_spectrogram, **more)


ROWS = [
    _row(),
    _row(settings={"leaky_relu_slope": 0.3, "normalize_before": False}, label="other"),
    _row(
        settings={
            "upsample_rates": [3, 2],
            "upsample_kernel_sizes": [7, 4],
            "resblock_kernel_sizes": [3, 5],
            "resblock_dilation_sizes": [[1, 3], [1, 2]],
        },
        label="short lists",
    ),
]
