"""Makes tensors for the tests of the readers, and compares what was read with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pphub.checkpoint.tensor import DTYPES

if TYPE_CHECKING:
    from pathlib import Path

    from pphub.checkpoint.tensor import Tensor

NAMES = sorted(DTYPES)
Values = dict[str, Any]


def sample(dtype: str, *shape: int) -> Any:
    """A torch tensor whose bits vary; floats include infinities, nan and -0."""
    count = int(np.prod(shape)) * DTYPES[dtype].itemsize
    bits = np.random.default_rng(count + 1).integers(0, 256, count, np.uint8)
    if dtype == "bool":
        bits &= 1
    return torch.from_numpy(bits).view(getattr(torch, dtype)).reshape(shape)


def views() -> Values:
    """Every kind of view that a state dict can hold."""
    base = sample("float32", 4, 6, 8)
    return {
        "whole": base,
        "transposed": base.transpose(0, 2),
        "permuted": base.permute(2, 0, 1),
        "columns": base[:, 1:4],
        "steps": base[::2, 1::3, 3::2],
        "offset": base[3, 5],
        "expanded": base[:1, :, :1].expand(7, 6, 9),
        "overlapping": base.as_strided((10, 5), (2, 1), 3),
        "ones": base[2:3, :, 4:5],
        "odd stride of a 1": torch.as_strided(base, (1, 3), (1000, 2), 1),
        "scalar": base[1, 2, 3],
        "empty slice": base[4:],
        "empty": torch.empty(0),
        "empty 2d": torch.empty(0, 7, dtype=torch.int64),
        "0-d": torch.tensor(3.5),
        "bfloat16 columns": sample("bfloat16", 5, 7)[:, 2:5].t(),
        "float8 columns": sample("float8_e5m2", 5, 7)[:, 2:5].t(),
        "uint16 columns": sample("uint16", 5, 7)[1:, 2:5].t(),
    }


def raw(value: Any) -> bytes:
    """The bytes of a torch tensor, row-major."""
    return bytes(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def check(tensors: dict[str, Tensor], values: Values) -> None:
    """What was read is what was saved, bit for bit."""
    assert set(tensors) == set(values)
    for name, value in values.items():
        tensor, array = tensors[name], tensors[name].read()
        assert tensor.name == name
        assert tensor.dtype == str(value.dtype).removeprefix("torch.")
        assert tensor.shape == tuple(value.shape) == array.shape
        assert array.dtype == DTYPES[tensor.dtype]
        assert array.tobytes() == raw(value), name


def saved(path: Path, value: object, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path
