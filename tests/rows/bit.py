"""BiT."""

from __future__ import annotations

from typing import Any

import numpy as np

from matrix import Inputs, rows_of

# More stages make more of what single precision cannot tell.
TINY: dict[str, Any] = {"embedding_size": 16, "hidden_sizes": [8, 24], "depths": [2, 1], "num_groups": 2}
TINY |= {"num_labels": 5}
OTHER: dict[str, Any] = {"layer_type": "bottleneck", "global_padding": "SAME", "embedding_dynamic_padding": True}
OTHER |= {"hidden_act": "gelu", "output_stride": 4, "num_channels": 1, "drop_path_rate": 0.2}


def _image(config: Any) -> list[Inputs]:
    """Of two sizes, as dynamic padding is then uneven."""
    values = np.random.default_rng(0).normal(size=(2, config.num_channels, 13, 18))
    return [{"pixel_values": values.astype(np.float32)}]


_row = rows_of("bit", "BitConfig", TINY, ask=_image)

ROWS = [
    _row("BitModel"),
    _row("BitModel", settings=OTHER, label="other"),
    _row("BitModel", settings=OTHER | {"layer_type": "preactivation", "depths": [1, 2]}, label="padded"),
    _row("BitForImageClassification"),
    _row("BitForImageClassification", settings=OTHER, label="other"),
]
