"""What torch, safetensors and paddle write, our readers read, bit for bit; what our writer writes, paddle loads."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import pytest
import safetensors.torch
import torch

from pphub.checkpoint import pdparams
from pphub.checkpoint.folder import open_checkpoint, read_json, read_weights
from pphub.checkpoint.pdparams import PdparamsWriter, read_pdparams
from pphub.checkpoint.safetensors import read_safetensors
from pphub.checkpoint.tensor import DTYPES, Tensor
from pphub.checkpoint.torch_zip import read_torch_zip
from pphub.errors import ConversionFailed, Corrupt, FileNotInModel, Refused, UnsafeCheckpoint
from samples import NAMES, check, sample, saved

if TYPE_CHECKING:
    from pphub.checkpoint.hashed_file import Written

PADDLE_DTYPES = sorted(pdparams._DTYPE_CODES)


# -- torch -----------------------------------------------------------------------------------------------------


def test_torch_ties_are_seen_by_identity(tmp_path: Path) -> None:
    base = sample("float32", 4, 6)
    values = {"a": base, "b": base, "view": base.view(4, 6), "t": base.t(), "row": base[1], "copy": base.clone()}
    tensors = read_torch_zip(saved(tmp_path / "m.bin", values))
    check(tensors, values)
    same = [name for name in values if tensors[name].identity == tensors["a"].identity]
    assert same == ["a", "b", "view"]


def test_torch_other_values_beside_the_tensors_are_left_out(tmp_path: Path) -> None:
    extra = {"epoch": 3, "lr": 1e-4, "note": "x" * 10_000, "big": 2**80, "ok": True, "steps": [1, (2, None)], "d": {}}
    values = {"w": sample("float32", 3)}
    check(read_torch_zip(saved(tmp_path / "m.bin", {**values, **extra})), values)


def test_torch_file_names_and_folders(tmp_path: Path) -> None:
    values = {"w": sample("float32", 3)}
    check(read_torch_zip(saved(tmp_path / "模型 权重.bin", values)), values)
    path = saved(tmp_path / "m.bin", values)
    repacked = tmp_path / "repacked.bin"  # by an ordinary zip program, with an entry for the folder
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(repacked, "w") as new:
        new.writestr("权重/", b"")
        for name in old.namelist():
            new.writestr("权重/" + name.partition("/")[2], old.read(name))
    check(read_torch_zip(repacked), values)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_torchscript_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(UnsafeCheckpoint, match="TorchScript archive, which is a program"):
        read_weights(path)


def test_torch_gigantic_file_opens_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    with torch.serialization.skip_data():  # a hole instead of 2 GB
        torch.save({"w": torch.empty(1 << 29), "b": torch.ones(2)}, path)
    assert path.stat().st_size > 2 << 30
    opens_lightly(path, {"w", "b"})


def opens_lightly(path: Path, names: set[str]) -> None:
    tracemalloc.start()
    start = time.monotonic()
    tensors = read_weights(path)
    seconds, peak = time.monotonic() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(tensors) == names
    assert seconds < 0.5
    assert peak < 2 << 20


# -- safetensors -----------------------------------------------------------------------------------------------


def test_safetensors_every_dtype(tmp_path: Path) -> None:
    values = {f"层.{dtype}": sample(dtype, 3, 5) for dtype in NAMES}
    values |= {"empty": torch.empty(0, 4), "0-d": torch.tensor(2.5, dtype=torch.bfloat16)}
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(values, path, metadata={"format": "pt", "备注": "x"})
    check(read_safetensors(path), values)


def test_safetensors_dtype_that_is_not_supported(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"w": torch.ones(2, dtype=torch.complex64)}, path)
    with pytest.raises(Corrupt, match="'w' has the dtype 'C64', which is not supported"):
        read_safetensors(path)


def test_safetensors_gigantic_file_opens_without_reading_it(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 29], "data_offsets": [0, 1 << 31]}}).encode()
    path = tmp_path / "model.safetensors"
    with path.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + (1 << 31))
    opens_lightly(path, {"w"})


def test_safetensors_of_a_hundred_thousand_tensors(tmp_path: Path) -> None:
    count, hole = 100_000, 1 << 28
    header = {f"layer.{i}.weight": {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i in range(count)}
    header["hole"] = {"dtype": "U8", "shape": [hole], "data_offsets": [count, count + hole]}
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + count + hole)
    assert len(read_safetensors(path)) == count + 1
    header = {name: {**entry, "shape": [0], "data_offsets": [0, 0]} for name, entry in header.items()}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(Corrupt, match="far too large for what it should be"):  # where there are no weights to speak of
        read_safetensors(path)


def test_a_size_that_is_only_claimed_allows_no_larger_header(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    text = b'{"a":[' + b"[]," * 12_000_000
    with path.open("wb") as stream:
        stream.write((33 << 20).to_bytes(8, "little"))
        stream.truncate(1 << 40)
    with pytest.raises(UnsafeCheckpoint, match="claims a header of 34603008 bytes"):
        read_safetensors(path)
    with path.open("wb") as stream:
        stream.write((32 << 20).to_bytes(8, "little") + text[: 32 << 20])
        stream.truncate(1 << 40)
    with pytest.raises(Corrupt, match="far too large for what it should be"):
        read_safetensors(path)


# -- shards ----------------------------------------------------------------------------------------------------


def save_paddle(values: dict[str, Any], path: Path) -> None:
    paddle.save({name: paddle.to_tensor(value.numpy()) for name, value in values.items()}, str(path), protocol=2)


@pytest.mark.parametrize("suffix", ["safetensors", "bin", "pdparams"])
def test_shards_go_by_the_index(tmp_path: Path, suffix: str) -> None:
    values = {f"w{i}": sample("float32", i + 1) for i in range(4)}
    writers = {"safetensors": safetensors.torch.save_file, "bin": torch.save, "pdparams": save_paddle}
    write = writers[suffix]
    names = [f"model-0000{i}-of-00002.{suffix}" for i in (1, 2)]
    write({name: values[name] for name in ("w0", "w2")}, tmp_path / names[0])
    write({name: values[name] for name in ("w1", "w3")} | {"stray": torch.ones(1)}, tmp_path / names[1])
    index = f"model.{suffix}.index.json"
    weight_map = {name: names[int(name[1:]) % 2] for name in values}
    (tmp_path / index).write_text(json.dumps({"metadata": {"total_size": 40}, "weight_map": weight_map}))
    check(open_checkpoint(tmp_path, (*names, index)), values)

    (tmp_path / index).write_text(json.dumps({"weight_map": {**weight_map, "w9": names[0]}}))
    with pytest.raises(Corrupt, match=rf"says that 'w9' is in {names[0]}, but it is not"):
        open_checkpoint(tmp_path, (*names, index))
    (tmp_path / names[1]).unlink()
    with pytest.raises(FileNotInModel, match=names[1]):
        open_checkpoint(tmp_path, (*names, index))
    with pytest.raises(FileNotInModel, match="no index"):
        open_checkpoint(tmp_path, tuple(names))
    with pytest.raises(FileNotInModel, match="no weights"):
        open_checkpoint(tmp_path, ())


def test_json_of_a_model_may_have_a_mark_and_odd_numbers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'\xef\xbb\xbf{"limit": Infinity, "a": 1, "a": 2}')
    assert read_json(tmp_path / "config.json") == {"limit": float("inf"), "a": 2}
    for text, why in ((b"<html>", "is not JSON"), (b"[1]", "a JSON list"), (b"\xff\xfe", "is not JSON")):
        (tmp_path / "config.json").write_bytes(text)
        with pytest.raises(Corrupt, match=why):
            read_json(tmp_path / "config.json")


# -- .pdparams -------------------------------------------------------------------------------------------------


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    values = {f"层.{dtype}": sample(dtype, 3, 5) for dtype in PADDLE_DTYPES}
    values |= {"empty": torch.empty(0, 4), "0-d": torch.tensor(2.5), "large": sample("float32", 300, 70)}
    values |= {f"pad {i}": sample("uint8", i + 1) for i in range(70)}  # every gap before a boundary
    return {name: (v.view(torch.uint16) if v.dtype is torch.bfloat16 else v).numpy() for name, v in values.items()}


def dtype_of(name: str, array: np.ndarray[Any, Any]) -> str:
    return "bfloat16" if "bfloat16" in name else str(array.dtype)


def write_ours(path: Path, values: dict[str, np.ndarray[Any, Any]]) -> tuple[dict[str, Written], int, str]:
    with path.open("wb") as stream:
        writer = PdparamsWriter(stream)
        places = {name: writer.add((name, f"{name} 别名"), dtype_of(name, a), a) for name, a in values.items()}
        size, digest = writer.finish()
    return places, size, digest


def same(left: Any, right: np.ndarray[Any, Any]) -> bool:
    left = np.asarray(left)
    return bool(left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes())


def test_our_pdparams_on_disk_and_in_paddle(tmp_path: Path) -> None:
    path, values = tmp_path / "model_state.pdparams", arrays()
    values["column-major"] = np.asfortranarray(values["large"])
    places, size, digest = write_ours(path, values)
    data = path.read_bytes()
    assert len(data) == size
    assert hashlib.sha256(data).hexdigest() == digest
    for name, place in places.items():
        payload = data[place.offset : place.offset + place.length]
        assert place.offset % 64 == 0
        assert payload == values[name].tobytes()
        assert hashlib.sha256(payload).hexdigest() == place.sha256

    for loaded in (pickle.loads(data), paddle.load(str(path), return_numpy=True)):
        assert len(loaded) == 2 * len(values)
        for name, array in values.items():
            assert same(loaded[name], array), name
            assert same(loaded[f"{name} 别名"], array), name
    plain = pickle.loads(data)
    assert plain["large"] is plain["large 别名"]

    tensors = read_pdparams(path)
    for name, array in values.items():
        tensor = tensors[name]
        assert tensor.dtype == ("bfloat16" if array.dtype == np.uint16 else str(array.dtype))
        assert (tensor.start, tensor.length) == (places[name].offset, places[name].length)
        assert tensor.identity == tensors[f"{name} 别名"].identity
        assert same(tensor.read(), array)


def test_our_writer_refuses_values_of_another_dtype(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="to be written as float32, but is float64"):
        PdparamsWriter(io.BytesIO()).add(("w",), "float32", np.ones(2))


@pytest.mark.parametrize("dtype", sorted(set(NAMES) - set(PADDLE_DTYPES)))
def test_our_writer_refuses_what_paddle_does_not_know(dtype: str) -> None:
    """A uint16 would come out as bfloat16, the others not at all."""
    array = np.ones(2, DTYPES[dtype])
    with pytest.raises(ConversionFailed, match=f"w is {dtype}, which paddle does not know"):
        PdparamsWriter(io.BytesIO()).add(("w",), dtype, array)


def check_paddle(path: Path, values: dict[str, np.ndarray[Any, Any]]) -> None:
    tensors = read_pdparams(path)
    assert set(tensors) == set(values)
    assert all(same(tensors[name].read(), values[name]) for name in values)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_paddle_saves(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "m.pdparams"
    layer = paddle.nn.Linear(5, 3)
    paddle.save(layer.state_dict(), str(path), protocol=protocol)
    assert b"StructuredToParameterName@@" in path.read_bytes()
    check_paddle(path, {"weight": layer.weight.numpy(), "bias": layer.bias.numpy()})
    # A dict of another shape is written as pairs (name of the tensor, array), made by calling `tuple`.
    paddle.save({"epoch": 1, "w": layer.weight}, str(path), protocol=protocol)
    assert (b"__builtin__" if protocol == 2 else b"builtins") in path.read_bytes()
    check_paddle(path, {"w": layer.weight.numpy()})
    path.write_bytes(pickle.dumps({"w": ("linear_0.w_0", layer.weight.numpy())}, protocol))
    check_paddle(path, {"w": layer.weight.numpy()})


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_paddle_saves_reads_as_paddle_reads_it(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "m.pdparams"
    tensors = {dtype: paddle.to_tensor(a) for dtype, a in arrays().items() if a.size}
    paddle.save(tensors, str(path), protocol=protocol)
    check_paddle(path, dict(paddle.load(str(path), return_numpy=True)))
    assert {tensor.dtype for tensor in read_pdparams(path).values()} == set(PADDLE_DTYPES)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_training_checkpoint_of_paddle(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "m.pdparams"
    layer = paddle.nn.Linear(5, 3)
    optimizer = paddle.optimizer.AdamW(parameters=layer.parameters())
    layer(paddle.ones([1, 5])).sum().backward()
    optimizer.step()
    numbers = {"epoch": 3, "lr": 1e-3, "best": np.float32(0.5), "note": "x", "steps": [1, 2], "empty": np.zeros((0, 3))}
    state = {"model": layer.state_dict(), "optimizer": optimizer.state_dict(), **numbers}
    paddle.save(state, str(path), protocol=protocol)
    assert paddle.load(str(path))["best"] == np.float32(0.5)
    check_paddle(path, {"weight": layer.weight.numpy(), "bias": layer.bias.numpy()})
    paddle.save({**numbers, "layer": layer.state_dict()}, str(path), protocol=protocol)
    with pytest.raises(Corrupt, match=r"several sets of tensors, in 'layer' \(a dict\) and beside them"):
        read_pdparams(path)
    del numbers["empty"]
    paddle.save(numbers, str(path), protocol=protocol)
    says = r"holds no tensors, but 'epoch' \(an int\), 'lr' \(a float\), 'best' \(a number of numpy\), 'note' \(a str\)"
    with pytest.raises(Corrupt, match=says):
        read_pdparams(path)
    paddle.save(layer.weight, str(path), protocol=protocol)
    with pytest.raises(Corrupt, match="holds a tuple, not the dict"):
        read_pdparams(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickled_arrays(tmp_path: Path, protocol: int) -> None:
    path, values = tmp_path / "m.pdparams", arrays()
    values["column-major"] = np.asfortranarray(values["large"])
    values["steps"] = values["large"][::3, ::2]
    values["same again"] = values["large"]
    values["unsigned"] = np.arange(5, dtype=np.uint32)
    path.write_bytes(pickle.dumps(values, protocol))
    check_paddle(path, values)
    tensors = read_pdparams(path)
    assert tensors["large"].identity == tensors["same again"].identity


def test_an_array_whose_name_in_paddle_is_long(tmp_path: Path) -> None:
    path = tmp_path / "m.pdparams"
    path.write_bytes(pickle.dumps({"w": ("n" * 5000, np.ones(2, "f4")), "b": np.ones(1, "f4")}, 4))
    assert set(read_pdparams(path)) == set(paddle.load(str(path))) == {"w", "b"}


@pytest.mark.parametrize("make", [pickle.Pickler, pickle._Pickler], ids=["C", "Python"])
@pytest.mark.parametrize("protocol", [4, 5])
def test_frames_of_every_length(tmp_path: Path, protocol: int, make: Any) -> None:
    """Arrays and names about as large as a frame, which are written into it or outside of it."""
    lengths = [*range(0, 70_000, 997), *range(65_400, 65_600, 7), 200_000]
    values = {f"{'n' * (length % 300)}{length}": np.arange(length, dtype="u1") for length in lengths}
    for some in (values, dict(reversed(values.items())), {"n" * 4000: np.ones(3), **values}):
        stream = io.BytesIO()
        make(stream, protocol).dump(some)
        path = tmp_path / "m.pdparams"
        path.write_bytes(stream.getvalue())
        assert {name: t.read().tobytes() for name, t in read_pdparams(path).items()} == {
            name: array.tobytes() for name, array in some.items()
        }


def test_equal_texts_of_protocol_2_are_not_tied(tmp_path: Path) -> None:
    path = tmp_path / "m.pdparams"
    path.write_bytes(pickle.dumps({"a": np.zeros(3), "b": np.zeros(3)}, 2))
    tensors = read_pdparams(path)
    assert tensors["a"].identity != tensors["b"].identity


def test_protocol_2_is_decoded_block_by_block(tmp_path: Path) -> None:
    path = tmp_path / "m.pdparams"
    values = {"w": np.random.default_rng(1).integers(0, 256, 24 << 20, np.uint8), "ascii": np.zeros(9 << 20, np.uint8)}
    path.write_bytes(pickle.dumps(values, 2))
    assert path.stat().st_size > 40 << 20  # every other byte takes two
    opens_lightly(path, {"w", "ascii"})
    tensor = read_pdparams(path)["w"]
    tracemalloc.start()
    array = tensor.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert same(array, values["w"])
    assert peak < array.nbytes + (8 << 20)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\xc3\xbf", b"\xc4\x80"),  # a character that is no byte
        (b"\xc3\xbf", b"\xff\xff"),  # no UTF-8
        (b"\xc3\xbf", b"aa"),  # one byte more
        (b"aa", b"\xc3\xbf"),  # one less
        (b"a\xc3", b"\xc3\xbf"),  # a character cut in two
    ],
)
def test_a_text_that_is_not_the_bytes_it_should_be(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "m.pdparams"
    data = pickle.dumps({"w": np.frombuffer(b"a" * 5000 + b"\xff" + b"a" * 5000, np.uint8)}, 2)
    assert data.count(old)
    path.write_bytes(data.replace(old, new, 1))
    [tensor] = read_pdparams(path).values()
    with pytest.raises(Corrupt, match=r"m\.pdparams: the text at byte \d+ is not the bytes of tensor 'w'"):
        tensor.read()


def in_parts(values: dict[str, np.ndarray[Any, Any]], most: int) -> dict[str, Any]:
    """What paddle makes of arrays of more than a gigabyte; here of more than so many elements."""
    result: dict[str, Any] = {}
    table: dict[str, Any] = {}
    for name, array in values.items():
        if array.size <= most:
            result[name] = array
            continue
        flat = array.flatten()
        parts = {f"{name}@@.{i}": flat[at : at + most] for i, at in enumerate(range(0, array.size, most))}
        result |= parts
        table[name] = {"OriginShape": array.shape, "slices": list(parts)}
    return {**result, "UnpackBigParamInfor@@": table}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_in_parts(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "m.pdparams"
    values = arrays()
    path.write_bytes(pickle.dumps(in_parts(values, 1000), protocol))
    assert b"large@@.20" in path.read_bytes()
    check_paddle(path, dict(paddle.load(str(path), return_numpy=True)))
    check_paddle(path, values)
    path.write_bytes(pickle.dumps(in_parts({"large": values["large"]}, 1000), protocol))
    check_paddle(path, {"large": values["large"]})


def test_numpy_2_has_other_names(tmp_path: Path) -> None:
    path, values = tmp_path / "m.pdparams", arrays()
    for protocol in (4, 5):
        data = pickle.dumps(values, protocol)
        for module in ("multiarray", "numeric"):
            name = f"numpy.core.{module}".encode()
            data = data.replace(bytes([len(name)]) + name, bytes([len(name) + 1]) + b"numpy._core." + name[11:])
        head, frame, rest = data[:3], data[3:11], data[11:]
        path.write_bytes(head + frame + rest)
        check_paddle(path, values)


def test_pdparams_gigantic_file_opens_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "m.pdparams"
    write_ours(path, {"w": np.ones(16, np.uint8)})
    data = path.read_bytes()
    at = data.index(b"\x8e\x10\0\0\0\0\0\0\0") + 1
    huge = data[:at] + (1 << 31).to_bytes(8, "little")
    huge = huge.replace(b"\x8a\x09\x10" + bytes(8), b"\x8a\x09" + (1 << 31).to_bytes(9, "little"))
    with path.open("wb") as stream:
        stream.write(huge)
        stream.seek(1 << 31, 1)
        stream.write(data[at + 8 + 16 :])
    opens_lightly(path, {"w", "w 别名"})


# -- cut off -----------------------------------------------------------------------------------------------------


def small(path: Path) -> Path:
    values = {"a": sample("float32", 2, 3), "名字": sample("bfloat16", 5), "t": sample("int64", 3, 2).t()}
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({name: value.contiguous() for name, value in values.items()}, path)
    elif path.name.startswith("paddle"):
        paddle.save(paddle.nn.Linear(2, 3).state_dict(), str(path), protocol=int(path.stem[-1]))
    elif path.suffix == ".pdparams":
        write_ours(path, {"a": np.ones((2, 3), np.float32), "b": np.zeros(5, np.int64)})
    else:
        torch.save(values, path, _use_new_zipfile_serialization=path.stem != "legacy")
    return path


@pytest.mark.parametrize(
    "name", ["m.bin", "legacy.bin", "m.safetensors", "ours.pdparams", "paddle2.pdparams", "paddle4.pdparams"]
)
def test_every_truncation_is_refused(tmp_path: Path, name: str) -> None:
    path = small(tmp_path / name)
    data = path.read_bytes()
    read_weights(path)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(Refused):
            read_weights(path)


@pytest.mark.parametrize("name", ["m.bin", "legacy.bin", "m.safetensors", "m.pdparams", "paddle2.pdparams"])
def test_a_file_that_shrinks_after_opening(tmp_path: Path, name: str) -> None:
    path = small(tmp_path / name)
    tensors = read_weights(path)
    path.write_bytes(path.read_bytes()[:80])
    last = max(tensors.values(), key=lambda tensor: tensor.start)
    with pytest.raises(Corrupt, match=r"ends in the middle of tensor"):
        last.read()


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (-1,)},
        {"offset": -1},
        {"strides": (-1,)},
        {"strides": (1, 1)},
        {"shape": (5,)},
        {"offset": 1},
        {"strides": (2,)},
        {"shape": (2**80,), "strides": (0,)},
        {"shape": (1 << 25,), "strides": (0,)},
        {"shape": (0, 1 << 50, 1 << 50), "strides": (0, 0, 0)},
        {"shape": (1,) * 33, "strides": (1,) * 33},
        {"shape": (1,), "strides": (2**80,)},
        {"name": "\ud800"},
    ],
)
def test_tensors_that_cannot_be(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {"name": "w", "dtype": "float32", "shape": (4,), "strides": (1,), "path": Path("m.bin")}
    Tensor(**good, start=0, length=16)
    with pytest.raises(UnsafeCheckpoint, match=r"m\.bin: tensor"):
        Tensor(**{**good, "start": 0, "length": 16, **change})
