"""Writes the compared arrays in the form that the tool reprod_log reads: a ``.npy`` file for each side of a stage.

Such a file is a pickled dict of name → array, so it is to be read only where one trusts who wrote it. The tool itself
looks at the mean alone and passes a NaN; its answer is for those who want it, not the proof.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np

from pphub_cache.atomic import write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pphub.alignment.compare import Array

__all__ = ["write_reprod_log"]


def write_reprod_log(logs: Mapping[str, Mapping[str, tuple[Array, Array]]], folder: Path) -> list[Path]:
    """Write ``STAGE_torch.npy`` and ``STAGE_paddle.npy`` for each stage.

    Args:
        logs: stage → name → torch's array and Paddle's.
        folder: is made.

    Returns:
        The files.
    """
    written = []
    for stage, arrays in logs.items():
        for place, side in enumerate(("torch", "paddle")):
            values = {name: np.array(pair[place]) for name, pair in arrays.items()}
            stream = io.BytesIO()
            np.save(stream, np.array(values, dtype=object), allow_pickle=True)
            path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '_', stage)}_{side}.npy"
            write_bytes(path, stream.getvalue())
            written.append(path)
    return written
