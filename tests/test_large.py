"""Tensors of any shape and any strides are read and converted in little memory, and in few passes over the file."""

from __future__ import annotations

import json
import math
import os
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import berts
import pphub
from pphub.checkpoint.folder import read_weights
from pphub.checkpoint.tensor import Tensor
from pphub.conversion.moves import same_bits
from pphub.conversion.operation import Operation
from pphub.conversion.streamed import Streamed
from pphub.errors import Corrupt
from samples import raw

if TYPE_CHECKING:
    from pathlib import Path

MEGA = 1 << 20


def peak_of(run: Any) -> int:
    """Bytes that were taken at once."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thirty-second of the sizes of real conversions, so that a few megabytes are many."""
    monkeypatch.setattr("pphub.conversion.streamed._LARGE", MEGA)
    monkeypatch.setattr("pphub.conversion.streamed._TURNED", MEGA)
    monkeypatch.setattr("pphub.conversion.streamed._BLOCK", MEGA >> 3)
    monkeypatch.setattr("pphub.checkpoint.tensor._BLOCK", MEGA >> 3)
    monkeypatch.setattr("pphub.checkpoint.hashed_file._AHEAD", 2)
    monkeypatch.setattr("pphub.checkpoint.hashed_file._KEPT", 1)


# -- reading ---------------------------------------------------------------------------------------------------------


def test_far_apart_in_a_large_file(tmp_path: Path) -> None:
    path, stride = tmp_path / "m.bin", 170_000_000
    with path.open("wb") as stream:
        for number in range(4):
            stream.seek(4 * stride * number)
            stream.write(np.float32(number + 0.5).tobytes())
    tensor = Tensor("w", "float32", (4,), (stride,), path, 0, path.stat().st_size)
    assert peak_of(lambda: np.testing.assert_array_equal(tensor.read(), [0.5, 1.5, 2.5, 3.5])) < MEGA


def test_slices_take_what_they_hold(tmp_path: Path) -> None:
    base = torch.arange(3000 * 3000, dtype=torch.float32).reshape(3000, 3000)
    slices = {"columns": base[:, 5:9], "rows": base[7:11], "steps": base[::100, ::7], "turned": base[:, :40].t()}
    torch.save(slices, tmp_path / "m.bin")
    tensors = read_weights(tmp_path / "m.bin")
    for name, value in slices.items():
        read: list[Any] = []
        assert peak_of(lambda name=name, read=read: read.append(tensors[name].read())) < 4 * MEGA, name
        np.testing.assert_array_equal(read[0], value.numpy())


@pytest.mark.parametrize(("block", "gap"), [(1 << 20, 1 << 14), (64, 1 << 14), (64, 8), (4, 0), (600, 100)])
def test_every_view_is_the_one_of_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, gap: int) -> None:
    monkeypatch.setattr("pphub.checkpoint.tensor._BLOCK", block)
    monkeypatch.setattr("pphub.checkpoint.tensor._GAP", gap)
    random = np.random.default_rng(block + gap)
    storage = np.arange(3000, dtype=np.int32)
    path = tmp_path / "m.bin"
    path.write_bytes(b"head" + storage.tobytes())
    made = 0
    while made < 300:
        shape = tuple(int(size) for size in random.integers(1, 7, random.integers(0, 5)))
        strides = tuple(int(stride) for stride in random.choice([0, 1, 2, 5, 6, 30, 31, 180, 400], len(shape)))
        offset = int(random.integers(0, 50))
        if offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) > len(storage):
            continue
        made += 1
        tensor = Tensor("w", "int32", shape, strides, path, 4, storage.nbytes, offset)
        apart = [4 * stride for stride in strides]
        expected = np.lib.stride_tricks.as_strided(storage[offset:], shape, apart)
        np.testing.assert_array_equal(tensor.read(), expected)
        ranges = [(int(random.integers(0, n)), n) for n in shape[: int(random.integers(0, len(shape) + 1))]]
        cut = tuple(slice(start, end) for start, end in ranges)
        np.testing.assert_array_equal(tensor.part(*ranges).read(), expected[cut])
        if len(shape) == 2:
            np.testing.assert_array_equal(tensor.turned.read(), expected.T)


def test_overlapping_views_do_not_nest_without_end(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(np.arange(600_000, dtype=np.int8).tobytes())
    tensor = Tensor("w", "int8", (30, 500_000), (1, 1), path, 0, 600_000)
    values = np.arange(600_000, dtype=np.int8)
    np.testing.assert_array_equal(tensor.read(), np.lib.stride_tricks.sliding_window_view(values, 500_000)[:30])


@pytest.mark.parametrize("shape", [(), (5,), (2000,), (90, 70), (1, 4000), (3, 40, 50), (0, 3)])
def test_equal_or_not_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]) -> None:
    monkeypatch.setattr("pphub.conversion.moves._TILE", 16)
    values = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    other = values.copy()
    if values.size:
        other.reshape(-1)[-1] += 1
    tensors = {}
    for name, array in {"one": values, "same": values, "other": other, "turned": values.T, "not": other.T}.items():
        path = tmp_path / f"{name}.bin"
        path.write_bytes(array.tobytes())
        strides = torch.empty(array.shape).stride()
        tensors[name] = Tensor(name, "int32", array.shape, strides, path, 0, array.nbytes)
    assert same_bits(tensors["one"], tensors["same"])
    assert same_bits(tensors["one"], tensors["other"]) is (not values.size)
    if len(shape) == 2:
        assert same_bits(tensors["one"], tensors["turned"], transpose=True)
        assert same_bits(tensors["one"], tensors["not"], transpose=True) is (not values.size)


# -- turning, cutting, merging ---------------------------------------------------------------------------------------


OPERATIONS = {
    "same": (Operation(), 1),
    "turned": (Operation(transpose=True), 1),
    "split": (Operation(parts=3, cut="paddle"), 1),
    "split of columns": (Operation(parts=3, cut="paddle", axis=1), 1),
    "split, turned": (Operation(parts=3, cut="paddle", transpose=True), 1),
    "split of columns, turned": (Operation(parts=3, cut="paddle", axis=1, transpose=True), 1),
    "merge": (Operation(parts=3, cut="torch"), 3),
    "merge of columns": (Operation(parts=3, cut="torch", axis=1), 3),
    "merge, turned": (Operation(parts=3, cut="torch", transpose=True), 3),
    "merge of columns, turned": (Operation(parts=3, cut="torch", axis=1, transpose=True), 3),
    "back: split": (Operation("torch", 3, "torch"), 1),
    "back: split, turned": (Operation("torch", 3, "torch", transpose=True), 1),
    "back: merge, turned": (Operation("torch", 3, "paddle", transpose=True), 3),
    "back: merge of columns, turned": (Operation("torch", 3, "paddle", axis=1, transpose=True), 3),
    "another shape": (Operation(shapes=((-1, 6), (2, -1))), 1),
}


@pytest.mark.parametrize("title", OPERATIONS)
@pytest.mark.parametrize("turned", [1, 40, 700, 1 << 20])
def test_every_operation_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str, turned: int) -> None:
    """As in one piece, whether there is room for a number, a part of a row, some rows, or all."""
    monkeypatch.setattr("pphub.conversion.streamed._TURNED", turned)
    monkeypatch.setattr("pphub.conversion.streamed._BLOCK", 100)
    operation, count = OPERATIONS[title]
    tensors, arrays = [], []
    for number in range(count):
        array = np.random.default_rng(number).normal(size=(18, 6)).astype("<f4")
        path = tmp_path / f"{number}.bin"
        path.write_bytes(array.tobytes())
        tensors.append(Tensor("w", "float32", array.shape, (6, 1), path, 0, array.nbytes))
        arrays.append(array)
    expected = operation.run(arrays)
    shapes = operation.results([array.shape for array in arrays])
    for target in ("float32", "float64"):
        parts = [
            Streamed(views, axis, shape, target, tmp_path)
            for (views, axis), shape in zip(operation.views(tensors), shapes, strict=True)
        ]
        for part, array in zip(parts, expected, strict=True):
            assert part.shape == array.shape
            written = b"".join(block.tobytes() for block in part.blocks())
            assert written == array.astype(target).tobytes()
            assert part.nbytes == len(written)
    assert sorted(path.name for path in tmp_path.glob(".*")) == []  # no scratch file stays


def bert(folder: Path, hidden: int, inner: int, vocab: int) -> dict[str, np.ndarray[Any, Any]]:
    settings = berts.config(
        architectures=["BertModel"], layers=1, hidden=hidden, vocab=vocab, intermediate_size=inner
    ) | {"num_attention_heads": 1}
    values = {name: value for name, value in berts.state(settings).items() if not name.startswith("cls.")}
    berts.write_bin(folder, settings, values)
    return values


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize(
    ("hidden", "inner", "vocab"),
    [(4, 1_500_000, 10), (1, 5_000_000, 10), (60, 100_000, 10), (1, 2, 5_000_000)],
    ids=["4 rows", "1 row", "60 rows", "1 column"],
)
@pytest.mark.usefixtures("small_blocks")
def test_odd_shapes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hidden: int,
    inner: int,
    vocab: int,
    dtype: str | None,
) -> None:
    values = bert(tmp_path / "m", hidden, inner, vocab)
    size = (tmp_path / "m" / "pytorch_model.bin").stat().st_size
    read = 0
    read_into = Tensor._read_into

    def count(self: Tensor, stream: Any, start: int, view: memoryview) -> None:
        nonlocal read
        read += len(view)
        read_into(self, stream, start, view)

    monkeypatch.setattr(Tensor, "_read_into", count)
    assert peak_of(lambda: pphub.convert(tmp_path / "m", tmp_path / "out", dtype=dtype)) < 12 * MEGA
    assert size / 2 < read < 5 * size
    written = read_weights(tmp_path / "out" / "model_state.pdparams")
    for name, paddle, turned in berts.table(1):
        if name in values:
            expected = torch.from_numpy(values[name].T if turned else values[name])
            expected = expected.to(getattr(torch, dtype or "float32"))
            found = written[paddle.removeprefix("bert.")].read()
            assert found.tobytes() == raw(expected), name


@pytest.mark.usefixtures("small_blocks")
def test_a_slice_of_a_large_storage_is_converted_in_little_memory(tmp_path: Path) -> None:
    values = {name: torch.from_numpy(value) for name, value in bert(tmp_path / "m", 600, 2400, 10).items()}
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    storage = torch.randn(600, 4 * 2400)
    values[name] = storage.t()[2400:4800]
    assert not values[name].is_contiguous()
    torch.save(values, tmp_path / "m" / "pytorch_model.bin")
    assert peak_of(lambda: pphub.convert(tmp_path / "m", tmp_path / "out", dtype="float16")) < 12 * MEGA
    found = read_weights(tmp_path / "out" / "model_state.pdparams")["encoder.layers.0.linear1.weight"]
    assert found.read().tobytes() == values[name].t().to(torch.float16).contiguous().numpy().tobytes()


# -- files of the tokenizer ------------------------------------------------------------------------------------------


def test_a_large_vocabulary_is_copied_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pphub.checkpoint.hashed_file._KEPT", 1)
    folder = tmp_path / "m"
    bert(folder, 4, 4, 10)
    os.truncate(folder / "vocab.txt", 60 * MEGA)
    assert peak_of(lambda: pphub.convert(folder, tmp_path / "out")) < 20 * MEGA
    assert (tmp_path / "out" / "vocab.txt").stat().st_size == 60 * MEGA
    record = json.loads((tmp_path / "out" / "conversion.json").read_bytes())
    assert record["files"]["vocab.txt"] == {e["file"]: e["sha256"] for e in record["inputs"]}["vocab.txt"]


def test_a_vocabulary_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    bert(folder, 4, 4, 10)
    os.truncate(folder / "vocab.txt", 3 << 30)
    with pytest.raises(Corrupt, match=r"vocab\.txt has 3\.0 GiB, far more than a file of a tokenizer has"):
        pphub.convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
