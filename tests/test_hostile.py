"""Every file of the corpus is refused: by its own error, quickly, in little memory, and without a trace."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import subprocess
import sys
import time
import tracemalloc
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import pytest
import torch

import hostile
from pphub.checkpoint import pdparams, unpickle
from pphub.checkpoint.folder import open_checkpoint, read_weights
from pphub.errors import PphubError, Refused
from samples import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS = 1.0
PEAK = 100 << 20
PICKLES = hostile.pickles()
PDPARAMS = hostile.pdparams()
ZIPS = hostile.zips()
OLD = hostile.old_files()
SAFETENSORS = hostile.safetensors_files()
INDEXES = hostile.indexes()


@pytest.fixture(autouse=True)
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What a payload would create; that nothing did is checked here, once for all."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "MARK"
    yield path
    assert not path.exists(), "a payload was run"


def refused(read: Callable[[], object], says: str) -> None:
    in_time(read, says)
    in_memory(read, PEAK)


def in_time(read: Callable[[], object], says: str, most: float = SECONDS) -> None:
    seconds = []
    for _ in range(3):  # the machine may be busy with something else
        start = time.process_time()
        with pytest.raises(Refused) as caught:
            read()
        seconds.append(time.process_time() - start)
        if seconds[-1] < most:
            break
    assert min(seconds) < most
    error = caught.value
    assert error.exit_code == 4
    assert re.search(says, str(error)), str(error)
    assert len(str(error)) < 800
    assert str(error).replace("\n", "").isprintable()


def in_memory(read: Callable[[], object], most: int) -> None:
    tracemalloc.start()
    with pytest.raises(Refused):
        read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < most, f"{peak >> 20} MB"


def refused_bytes(path: Path, data: bytes, says: str) -> None:
    path.write_bytes(data)
    refused(lambda: read_weights(path), says)


def test_the_corpus_is_large() -> None:
    assert len(PICKLES) >= 200
    assert len(PDPARAMS) + len(ZIPS) + len(OLD) + len(SAFETENSORS) + len(INDEXES) >= 350


FLOODS = [title for title, trick in PICKLES.items() if trick.says == hostile.FLOOD]
TRICKS = [title for title in PICKLES if title not in FLOODS]


@pytest.mark.parametrize("title", TRICKS)
def test_pickle_in_pdparams(tmp_path: Path, mark: Path, title: str) -> None:
    trick = PICKLES[title]
    refused_bytes(tmp_path / "model_state.pdparams", trick.make(mark), trick.says)


@pytest.mark.parametrize("title", FLOODS)
def test_flood_of_opcodes(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch, title: str) -> None:
    path = tmp_path / "model_state.pdparams"
    path.write_bytes(PICKLES[title].make(mark))
    in_time(lambda: read_weights(path), hostile.FLOOD, 2 * SECONDS)  # half a second on a machine at rest
    # Counting the memory of a million steps takes many seconds; a tenth of them must do with a tenth of it.
    monkeypatch.setattr(unpickle, "_MAX_STEPS", unpickle._MAX_STEPS // 10)
    in_memory(lambda: read_weights(path), PEAK // 10)


@pytest.mark.parametrize("title", TRICKS)
def test_pickle_in_torch(tmp_path: Path, mark: Path, title: str) -> None:
    trick = PICKLES[title]
    refused_bytes(tmp_path / "pytorch_model.bin", hostile.torch_zip(trick.make(mark)), says_in_torch(title))


def says_in_torch(title: str) -> str:
    """Where torch's pickles may hold more than paddle's, something else is wrong with the file."""
    looser = {"BINPERSID", "REDUCE with wrong arguments", "key large", "key large and negative"}
    return "" if title in looser else PICKLES[title].says


@pytest.mark.parametrize("title", TRICKS)
@pytest.mark.parametrize("place", range(5))
def test_pickle_in_old_torch(tmp_path: Path, mark: Path, place: int, title: str) -> None:
    """In each of the five pickles; the first is any pickle that is called .bin."""
    trick = PICKLES[title].make(mark)
    good = [hostile.pickled(hostile.MAGIC), hostile.pickled(1001), hostile.pickled(hostile.MACHINE)]
    good += [hostile.state(), hostile.pickled([])]
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"".join([*good[:place], trick, *good[place + 1 :]]))
    in_time(lambda: read_weights(path), says_in_torch(title) if place == 3 else "")


@pytest.mark.parametrize("title", PDPARAMS)
def test_pdparams(tmp_path: Path, title: str) -> None:
    refused_bytes(tmp_path / "model_state.pdparams", *PDPARAMS[title])


@pytest.mark.parametrize("title", ZIPS)
def test_torch_zip(tmp_path: Path, title: str) -> None:
    refused_bytes(tmp_path / "pytorch_model.bin", *ZIPS[title])


@pytest.mark.parametrize("title", OLD)
def test_old_torch(tmp_path: Path, title: str) -> None:
    refused_bytes(tmp_path / "pytorch_model.bin", *OLD[title])


@pytest.mark.parametrize("title", SAFETENSORS)
def test_safetensors(tmp_path: Path, title: str) -> None:
    refused_bytes(tmp_path / "model.safetensors", *SAFETENSORS[title])


@pytest.mark.parametrize("title", INDEXES)
def test_index(tmp_path: Path, title: str) -> None:
    content, says = INDEXES[title]
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "folder.safetensors").mkdir()
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "zero.safetensors").symlink_to("/dev/zero")
    (folder / "loop.safetensors").symlink_to("loop.safetensors")
    (folder / "config.json").write_text("{}")
    good = hostile.safetensors({"w": hostile.entry()})
    for path in (tmp_path / "model.safetensors", folder / "model.safetensors"):
        path.write_bytes(good)
    name = "model.safetensors.index.json"
    (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    refused(lambda: open_checkpoint(folder, (name,)), says)


def test_what_the_corpus_is_built_from_is_sound(tmp_path: Path) -> None:
    """Else a file might be refused for a slip of ours."""
    for name, data in (
        ("m.bin", hostile.torch_zip()),
        ("old.bin", hostile.old_torch()),
        ("m.safetensors", hostile.safetensors({"w": hostile.entry()})),
        ("m.pdparams", hostile.program(b"}", hostile.text("w"), hostile.array(), b"s")),
    ):
        (tmp_path / name).write_bytes(data)
        [tensor] = read_weights(tmp_path / name).values()
        assert tensor.read().nbytes in {8, 16}


_LOADER = """
import io, json, pickle, sys, warnings
warnings.simplefilter("ignore")
import torch
for path, kind in json.load(sys.stdin):
    try:
        with open(path, "rb") as stream:
            pickle.load(stream) if kind == "pickle" else torch.load(stream, weights_only=False)
    except BaseException:
        pass
"""


def test_the_corpus_is_live(tmp_path: Path) -> None:
    """The ordinary loaders do create the marks, each in a folder of its own."""
    live = [(title, kind) for title, trick in PICKLES.items() if trick.live for kind in ("pickle", "torch", "old")]
    assert len(live) >= 100
    jobs, marks = [], {}
    for number, (title, kind) in enumerate(live):
        folder = tmp_path / str(number)
        folder.mkdir()
        marks[title, kind] = folder / "MARK"
        data = PICKLES[title].make(folder / "MARK")
        made = {"pickle": lambda data: data, "torch": hostile.torch_zip, "old": hostile.old_torch}[kind](data)
        (folder / "file").write_bytes(made)
        jobs.append((str(folder / "file"), kind))
    done = subprocess.run([sys.executable, "-c", _LOADER], input=json.dumps(jobs), text=True, check=True, timeout=60)
    assert done.returncode == 0
    assert [key for key, path in marks.items() if not path.exists()] == []


@pytest.mark.parametrize("name", ["m.bin", "old.bin", "m.safetensors", "m.pdparams", "2.pdparams", "parts.pdparams"])
@pytest.mark.parametrize("seed", range(3))
def test_mutations_end_in_tensors_or_in_our_errors(tmp_path: Path, name: str, seed: int) -> None:
    good = {
        "m.bin": hostile.torch_zip(),
        "old.bin": hostile.old_torch(),
        "2.pdparams": pickle.dumps({"w": np.arange(200, dtype="u1")}, 2),
        "parts.pdparams": pickle.dumps(
            {
                "a": np.ones(2),
                "b": np.ones(1),
                "UnpackBigParamInfor@@": {"w": {"OriginShape": (3,), "slices": ["a", "b"]}},
            },
            2,
        ),
        "m.safetensors": hostile.safetensors({"w": hostile.entry(), "__metadata__": {"format": "pt"}}),
        "m.pdparams": hostile.program(b"}", hostile.text("w"), hostile.array(), b"s"),
    }[name]
    path, chance = tmp_path / name, random.Random(seed)
    deadline = time.monotonic() + 1
    for _ in range(400):
        path.write_bytes(mutate(good, chance))
        try:
            for tensor in read_weights(path).values():
                tensor.read()
        except PphubError:
            pass
        if time.monotonic() > deadline:
            break


class OnlyArrays(pickle.Unpickler):
    """What paddle.load does, but it fails when anything is named that our reader does not know."""

    def find_class(self, module: str, name: str) -> Any:
        assert f"{module} {name}" in pdparams._NAMES
        return super().find_class(module, name)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_agrees_with_what_our_guard_lets_through(tmp_path: Path, protocol: int) -> None:
    """A downloaded .pdparams is checked by our reader and may then be loaded by paddle: they must see the same."""
    table = {"StructuredToParameterName@@": {"a": "linear_0.w_0"}}
    values = {"a": np.ones((2, 3), "f4"), "b": np.asfortranarray(np.eye(2)), "c": ("name", np.zeros(2, "u2")), **table}
    good, chance, path = pickle.dumps(values, protocol), random.Random(protocol), tmp_path / "m.pdparams"
    agreed = 0
    for _ in range(1500):
        data = mutate(good, chance)
        path.write_bytes(data)
        try:
            ours = {name: tensor.read() for name, tensor in read_weights(path).items()}
        except PphubError:
            continue
        try:
            loaded = OnlyArrays(BytesIO(data), encoding="latin1").load()
        except (ValueError, TypeError, OverflowError, pickle.UnpicklingError):
            continue  # it is even stricter
        theirs = {name: value for name, value in loaded.items() if isinstance(value, (np.ndarray, tuple))}
        assert set(theirs) == set(ours)
        for name, value in theirs.items():
            array = value[1] if isinstance(value, tuple) else value
            assert (array.dtype, array.shape, array.tobytes()) == (
                ours[name].dtype,
                ours[name].shape,
                ours[name].tobytes(),
            )
        agreed += 1
    assert agreed > 50


def test_texts_of_python_2_are_those_that_paddle_and_torch_read(tmp_path: Path) -> None:
    old = hostile.old_text("é".encode())
    one, two = (hostile.array(data=hostile.raw_bytes(np.array(pair, "<f4").tobytes())) for pair in ([1, 2], [3, 4]))
    path = tmp_path / "m.pdparams"
    path.write_bytes(hostile.program(b"}(", hostile.text("Ã©"), two, old, one, b"u"))
    loaded = paddle.load(str(path), return_numpy=True)
    assert {name: value.tolist() for name, value in loaded.items()} == {"Ã©": [1, 2]}
    assert {name: tensor.read().tolist() for name, tensor in read_weights(path).items()} == {
        name: value.tolist() for name, value in loaded.items()
    }
    path = tmp_path / "m.bin"
    path.write_bytes(hostile.torch_zip(b"\x80\x02}" + old + hostile.tensor() + b"s."))
    assert list(read_weights(path)) == list(torch.load(path, weights_only=True)) == ["é"]


def test_what_the_ordinary_unpickler_takes_for_other_numbers() -> None:
    """The corpus has them, and they are refused there; what is accepted is the same for both."""
    assert pickle.loads(b"I010\n.") == 8
    assert pickle.loads(b"I-0\n.") is False
    assert pickle.loads(b"I01\n.") is True
    for line in (b"L010L\n.", b"I7L\n.", b"(l}p5\ng5L\n."):
        with pytest.raises((ValueError, pickle.UnpicklingError)):
            pickle.loads(line)
    for line in (b"I0\n.", b"I-10\n.", b"I00\n.", b"I01\n.", b"L12L\n.", b"L-3\n.", b"I99999999999999999999\n."):
        ours = unpickle.Unpickler(BytesIO(line), len(line), "m", {}).load()
        assert (type(ours), ours) == (type(pickle.loads(line)), pickle.loads(line))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_torch_agrees_with_what_we_read(tmp_path: Path, zipped: bool) -> None:
    """Of a file that is damaged or bent, torch and we may read the same or nothing, and never something else."""
    stream = BytesIO()
    values = {"a": torch.arange(12.0).reshape(3, 4)[:, 1:3], "b": torch.ones(2, dtype=torch.int64), "n": 5}
    torch.save({"state_dict": values, "step": 7}, stream, _use_new_zipfile_serialization=zipped)
    good, chance, path = stream.getvalue(), random.Random(zipped), tmp_path / "m.bin"
    agreed = 0
    for _ in range(2500):
        data = mutate(good, chance)
        path.write_bytes(data)
        try:
            ours = {name: tensor.read() for name, tensor in read_weights(path).items()}
        except PphubError:
            continue
        try:
            theirs = torch.load(path, weights_only=True)
        except (RuntimeError, ValueError, TypeError, pickle.UnpicklingError, EOFError, LookupError, AttributeError):
            continue  # it is even stricter
        for inner in [value for value in theirs.values() if isinstance(value, dict)]:
            theirs |= inner
        theirs = {name: raw(value) for name, value in theirs.items() if isinstance(value, torch.Tensor)}
        assert {name: array.tobytes() for name, array in ours.items()} == theirs
        agreed += 1
    assert agreed > 50


def mutate(data: bytes, chance: random.Random) -> bytes:
    """A few random changes: of a bit, a byte, a number; a piece taken out, doubled or moved."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(changed) or 1)
        match chance.randrange(7):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                changed[at : at + 4] = chance.choice((bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80"))
            case 3:
                changed[at : at + 8] = chance.choice((bytes(8), b"\xff" * 8, b"\0\0\0\0\0\0\0\x80"))
            case 4:
                del changed[at : at + chance.randrange(1, 20)]
            case 5:
                changed[at:at] = changed[at : at + chance.randrange(1, 20)]
            case _:
                piece = changed[at : at + chance.randrange(1, 20)]
                to = chance.randrange(len(changed) or 1)
                changed[to : to + len(piece)] = piece
    return bytes(changed)
