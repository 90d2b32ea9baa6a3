"""What torch, safetensors and paddle write, our readers read, bit for bit; what our writer writes, paddle loads."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import pytest
import safetensors.torch
import torch

from conftest import MINILM, MINILM_BIN
from pphub.checkpoint.folder import open_checkpoint, read_json, read_weights
from pphub.checkpoint.pdparams import PdparamsWriter, Written, read_pdparams
from pphub.checkpoint.safetensors import read_safetensors
from pphub.checkpoint.tensor import DTYPES, Tensor
from pphub.checkpoint.torch_zip import read_torch_zip
from pphub.errors import ConversionFailed, Corrupt, FileNotInModel, Refused, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = sorted(DTYPES)
Values = dict[str, Any]


def sample(dtype: str, *shape: int) -> Any:
    """A torch tensor whose bits vary; floats include infinities, nan and -0."""
    count = int(np.prod(shape)) * DTYPES[dtype].itemsize
    bits = np.random.default_rng(count + 1).integers(0, 256, count, np.uint8)
    if dtype == "bool":
        bits &= 1
    return torch.from_numpy(bits).view(getattr(torch, dtype)).reshape(shape)


def raw(value: Any) -> bytes:
    """The bytes of a torch tensor, row-major."""
    return bytes(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def check(tensors: dict[str, Tensor], values: Values) -> None:
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


# -- torch -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_every_dtype_and_protocol(tmp_path: Path, protocol: int) -> None:
    values = {f"层.{dtype}": sample(dtype, 3, 5) for dtype in NAMES}
    path = saved(tmp_path / "pytorch_model.bin", values, pickle_protocol=protocol)
    check(read_torch_zip(path), values)


def test_torch_views(tmp_path: Path) -> None:
    base = sample("float32", 4, 6, 8)
    values = {
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
    }
    check(read_torch_zip(saved(tmp_path / "m.bin", values)), values)


def test_torch_ties_are_seen_by_identity(tmp_path: Path) -> None:
    base = sample("float32", 4, 6)
    values = {"a": base, "b": base, "view": base.view(4, 6), "t": base.t(), "row": base[1], "copy": base.clone()}
    tensors = read_torch_zip(saved(tmp_path / "m.bin", values))
    check(tensors, values)
    same = [name for name in values if tensors[name].identity == tensors["a"].identity]
    assert same == ["a", "b", "view"]


@pytest.mark.parametrize("protocol", [2, 4])
def test_torch_modules_parameters_and_attributes(tmp_path: Path, protocol: int) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    state = module.state_dict()
    assert hasattr(state, "_metadata")
    check(read_torch_zip(saved(tmp_path / "m.bin", state, pickle_protocol=protocol)), state)
    marked = torch.nn.Parameter(torch.ones(2))
    marked.note = "kept by _rebuild_parameter_with_state"
    values = OrderedDict(module.named_parameters(), marked=marked)
    check(read_torch_zip(saved(tmp_path / "m.bin", values, pickle_protocol=protocol)), values)


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


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: torch.ones(3, dtype=torch.complex64), "ComplexFloatStorage"),
        (lambda: torch.ones(3, dtype=torch.complex128), "ComplexDoubleStorage"),
        (lambda: torch.ones(3).to(torch.float8_e4m3fn), "newer dtype, such as fp8"),
        (lambda: torch.ones(3, dtype=torch.uint16), "unsigned integer"),
        (lambda: torch.ones(3).to_sparse(), "sparse tensor"),
        (lambda: torch.ones(3, device="meta"), "meta tensor"),
    ],
)
def test_torch_dtypes_that_are_not_supported_are_named(tmp_path: Path, make: Callable[[], Any], why: str) -> None:
    path = saved(tmp_path / "m.bin", {"w": make()})
    with pytest.raises(Corrupt, match=rf"m\.bin: refused at byte \d+: it holds a.* {why}.*not supported"):
        read_torch_zip(path)


@pytest.mark.filterwarnings("ignore:.*quantiz.*")
def test_torch_quantized_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.bin", {"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)})
    with pytest.raises(Corrupt, match="a quantized tensor, which is not supported"):
        read_torch_zip(path)


def test_torch_old_format_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.bin", {"w": torch.ones(2)}, _use_new_zipfile_serialization=False)
    with pytest.raises(ConversionFailed, match="old format of torch"):
        read_weights(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_torchscript_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(UnsafeCheckpoint, match="TorchScript archive, which is a program"):
        read_weights(path)


def test_torch_root_that_is_no_dict(tmp_path: Path) -> None:
    for value, why in (([torch.ones(1)], "a list"), (torch.ones(1), "a View"), ({"a": 1}, "no tensors")):
        with pytest.raises(Corrupt, match=why):
            read_torch_zip(saved(tmp_path / "m.bin", value))
    with pytest.raises(Corrupt, match="the key 7 of type int"):
        read_torch_zip(saved(tmp_path / "m.bin", {7: torch.ones(1)}))


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
    safetensors.torch.save_file({"w": torch.ones(2).to(torch.float8_e4m3fn)}, path)
    with pytest.raises(Corrupt, match="'w' has the dtype 'F8_E4M3', which is not supported"):
        read_safetensors(path)


def test_safetensors_gigantic_file_opens_without_reading_it(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 29], "data_offsets": [0, 1 << 31]}}).encode()
    path = tmp_path / "model.safetensors"
    with path.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + (1 << 31))
    opens_lightly(path, {"w"})


# -- shards ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_go_by_the_index(tmp_path: Path, suffix: str) -> None:
    values = {f"w{i}": sample("float32", i + 1) for i in range(4)}
    write = safetensors.torch.save_file if suffix == "safetensors" else torch.save
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
    values = {f"层.{dtype}": sample(dtype, 3, 5) for dtype in NAMES}
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


def check_paddle(path: Path, values: dict[str, np.ndarray[Any, Any]]) -> None:
    tensors = read_pdparams(path)
    assert set(tensors) == set(values)
    assert all(same(tensors[name].read(), values[name]) for name in values)


@pytest.mark.parametrize("protocol", [3, 4])
def test_what_paddle_saves(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "m.pdparams"
    layer = paddle.nn.Linear(5, 3)
    paddle.save(layer.state_dict(), str(path), protocol=protocol)
    assert b"StructuredToParameterName@@" in path.read_bytes()
    check_paddle(path, {"weight": layer.weight.numpy(), "bias": layer.bias.numpy()})
    # A dict of another shape is written as pairs (name of the tensor, array), made by calling `tuple`.
    nested = {"w": layer.weight, "more": {"b": layer.bias}}
    paddle.save(nested, str(path), protocol=protocol)
    assert b"builtins" in path.read_bytes()
    with pytest.raises(Corrupt, match="'more' is a dict, and no array"):
        read_pdparams(path)
    path.write_bytes(pickle.dumps({"w": ("linear_0.w_0", layer.weight.numpy())}, protocol))
    check_paddle(path, {"w": layer.weight.numpy()})


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pickled_arrays(tmp_path: Path, protocol: int) -> None:
    path, values = tmp_path / "m.pdparams", arrays()
    values["column-major"] = np.asfortranarray(values["large"])
    values["steps"] = values["large"][::3, ::2]
    values["same again"] = values["large"]
    path.write_bytes(pickle.dumps(values, protocol))
    check_paddle(path, values)
    tensors = read_pdparams(path)
    assert tensors["large"].identity == tensors["same again"].identity


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


def test_paddle_protocol_2_and_split_arrays_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "m.pdparams"
    for shape in ((2, 3), (300, 70)):
        paddle.save({"w": np.ones(shape, np.float32)}, str(path), protocol=2)
        with pytest.raises(
            Corrupt, match=r"protocol 2, whose bytes do not lie whole[\s\S]*save it again with protocol=4"
        ):
            read_pdparams(path)
    parts = {"w@@.0": np.ones(2), "UnpackBigParamInfor@@": {"w": {"OriginShape": (2,), "slices": ["w@@.0"]}}}
    path.write_bytes(pickle.dumps(parts, 3))
    with pytest.raises(Corrupt, match=r"arrays in parts[\s\S]*save it again with protocol=4"):
        read_pdparams(path)


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


# -- real checkpoints --------------------------------------------------------------------------------------------


def test_real_checkpoints_agree(tmp_path: Path) -> None:
    safe = read_weights(MINILM / "model.safetensors")
    torched = read_weights(MINILM_BIN / "pytorch_model.bin")
    assert set(torched) - set(safe) <= {"embeddings.position_ids"}
    theirs = safetensors.torch.load_file(MINILM / "model.safetensors")
    check(safe, theirs)
    loaded = torch.load(MINILM_BIN / "pytorch_model.bin", weights_only=True)
    check(torched, dict(loaded))
    common = set(safe) & set(torched)
    assert len(common) > 100
    assert all(same(safe[name].read(), torched[name].read()) for name in common)


# -- cut off -----------------------------------------------------------------------------------------------------


def small(path: Path) -> Path:
    values = {"a": sample("float32", 2, 3), "名字": sample("bfloat16", 5), "t": sample("int64", 3, 2).t()}
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({name: value.contiguous() for name, value in values.items()}, path)
    elif path.name == "paddle.pdparams":
        paddle.save(paddle.nn.Linear(2, 3).state_dict(), str(path))
    elif path.suffix == ".pdparams":
        write_ours(path, {"a": np.ones((2, 3), np.float32), "b": np.zeros(5, np.int64)})
    else:
        torch.save(values, path)
    return path


@pytest.mark.parametrize("name", ["m.bin", "m.safetensors", "ours.pdparams", "paddle.pdparams"])
def test_every_truncation_is_refused(tmp_path: Path, name: str) -> None:
    path = small(tmp_path / name)
    data = path.read_bytes()
    read_weights(path)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(Refused):
            read_weights(path)


@pytest.mark.parametrize("name", ["m.bin", "m.safetensors", "m.pdparams"])
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
