"""Finds the weights of a model folder and opens them, whatever their format."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pphub.checkpoint.json_text import MAX_JSON_BYTES, parse_json
from pphub.checkpoint.pdparams import read_pdparams
from pphub.checkpoint.safetensors import read_safetensors
from pphub.checkpoint.state_dict import wrapping
from pphub.checkpoint.tensor import file_size
from pphub.checkpoint.torch_legacy import read_torch_legacy
from pphub.checkpoint.torch_zip import read_torch_zip
from pphub.errors import Corrupt, FileNotInModel, UnsafeCheckpoint
from pphub.select import weight_files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pphub.checkpoint.tensor import Tensor

__all__ = [
    "is_paddle",
    "open_checkpoint",
    "open_wrapped",
    "read_config",
    "read_json",
    "read_weights",
    "without_prefix",
]

_CONFIG_FILES: Final = ("config.json", "model_config.json")  # the second is PaddleNLP's before 2.5
_SHARD: Final = re.compile(r"[\w.-]+")
# What is found under the names of weights, by where its mark stands.
_FOREIGN: Final = (
    (0, b"version https://git-lfs", "a pointer of Git LFS to the file, and not the file", "fetch it with git lfs pull"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it, and use the checkpoint in it"),
    (257, b"ustar", "a tar archive", "unpack it, and use the checkpoint in it; torch 0.1 wrote such files itself"),
    (0, b"\x89HDF", "an HDF5 file, as Keras writes them", "use the weights of torch or Paddle of the same model"),
    (0, b"GGUF", "a GGUF file of llama.cpp", "use the weights of torch or Paddle of the same model"),
)
_HEAD_BYTES: Final = 262
_CTRANSLATE2: Final = re.compile(rb"[\x02-\x0f]\0\0\0(?P<length>.)\0(?P<name>\w+)\0", re.DOTALL)
_ONNX: Final = re.compile(rb"\x08[\x01-\x1f]\x12(?P<length>[\x01-\x7f])(?P<name>[\w .-]+)", re.DOTALL)


def is_paddle(names: Iterable[str]) -> bool:
    """Whether the chosen weight files are Paddle's own."""
    return any(name.endswith((".pdparams", ".pdparams.index.json")) for name in names)


def open_checkpoint(folder: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors of one checkpoint, whole or in shards.

    What torch's DataParallel and compile put before all names is left out.

    Args:
        folder: the model folder.
        names: its weight files, as :func:`pphub.select.weight_files` chose them.

    Raises:
        FileNotInModel: there are no weights, or a shard is missing.
        UnsafeCheckpoint, Corrupt: a file is refused; see the readers.
    """
    tensors = open_wrapped(folder, names)
    return without_prefix(tensors, wrapping(tensors))


def open_wrapped(folder: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    """As :func:`open_checkpoint`, by the names that are in the files."""
    if not names:
        _check_places(folder)
        msg = f"{folder} holds no weights: no model.safetensors, pytorch_model.bin or model_state.pdparams"
        raise FileNotInModel(msg, hint="download the model again without --include and --exclude, or check the path")
    index = next((name for name in names if name.endswith(".index.json")), None)
    if index is None:
        if len(names) > 1:
            msg = f"{folder} holds several weight files and no index that tells their parts: {', '.join(names)}"
            raise FileNotInModel(msg, hint="keep one of them, or the index.json that belongs to them")
        return read_weights(folder / names[0])
    return _open_shards(folder, index)


def _check_places(folder: Path) -> None:
    """Refuse what has the name of weights, and is no file: sources pass over it."""
    for path in sorted(folder.iterdir()):
        if weight_files([path.name]) and not path.is_file():
            file_size(path)


def without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors by shorter names, also in themselves."""
    if not prefix:
        return tensors
    bare = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return {name: replace(tensor, name=name) for name, tensor in bare.items()}


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of one file; the format is told by its name and its first bytes."""
    file_size(path)
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    for at, mark, what, hint in _FOREIGN:
        if head.startswith(mark, at):
            msg = f"{path.name} is {what}"
            raise Corrupt(msg, hint=hint)
    if model := _foreign_model(head):
        msg = f"{path.name} is {model}"
        raise Corrupt(msg, hint="use the weights of torch or Paddle of the same model")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix == ".pdparams":
        return read_pdparams(path)
    if head.startswith(b"PK"):
        return read_torch_zip(path)
    if head.startswith(b"\x80"):
        return read_torch_legacy(path)
    msg = f"{path.name} is no checkpoint of torch: it starts with {head[:4]!r}"
    raise Corrupt(msg, hint="the file is truncated or damaged, or a web page; get it again from its source")


def _foreign_model(head: bytes) -> str | None:
    """Formats without a mark of their own, told by a name and its length."""
    # A version in 4 bytes, the length of a text in 2, the text and a zero that counts.
    if (found := _CTRANSLATE2.match(head)) and found["length"][0] == len(found["name"]) + 1:
        return "a model of CTranslate2"
    # Field 1, the version, and field 2, the program that wrote it.
    if (found := _ONNX.match(head)) and len(found["name"]) >= found["length"][0]:
        return "an ONNX model"
    return None


def _open_shards(folder: Path, index: str) -> dict[str, Tensor]:
    weight_map = read_json(folder / index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        msg = f"{index} has no weight_map"
        raise Corrupt(msg, hint="get it again from its source")
    shards: dict[str, dict[str, Tensor]] = {}
    tensors: dict[str, Tensor] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard) or shard.startswith("."):
            shown = repr(shard[:80]) if isinstance(shard, str) else f"a {type(shard).__name__}"
            msg = f"{index} points to {shown}, which is no file beside it"
            raise UnsafeCheckpoint(msg)
        if shard not in shards:
            shards[shard] = read_weights(folder / shard)
        if name not in shards[shard]:
            msg = f"{index} says that {name[:80]!r} is in {shard}, but it is not"
            raise Corrupt(msg, hint="get the files again from their source")
        tensors[name] = shards[shard][name]
    for shard, held in shards.items():
        if twice := next((name for name in held if weight_map.get(name, shard) != shard), None):
            # A library that reads whole shards takes the one it reads last.
            msg = f"{twice[:80]!r} is in {shard} as well, and {index} says that it is in {weight_map[twice]}"
            raise Corrupt(msg, hint="get the files again from their source")
    return tensors


def read_json(path: Path) -> dict[str, object]:
    """A JSON object from a file of the model.

    Raises:
        FileNotInModel: there is no such file.
        Corrupt: it is not JSON, or not an object.
    """
    if file_size(path) > MAX_JSON_BYTES:
        msg = f"{path} is far too large for what it should be"
        raise Corrupt(msg)
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        msg = f"{path} {error}"
        raise Corrupt(msg, hint="the file is damaged, or a web page; get it again from its source") from error


def read_config(folder: Path) -> dict[str, object]:
    """The config of a Paddle model folder, of today's or the legacy name."""
    for name in _CONFIG_FILES:
        if (folder / name).is_file():
            return read_json(folder / name)
    msg = f"there is no config.json in {folder}"
    raise FileNotInModel(msg, hint="a model folder needs one; download the model again, or check the path")
