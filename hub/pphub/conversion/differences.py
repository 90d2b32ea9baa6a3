"""Says in words in what a converted folder is not what its conversion makes."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from pphub.checkpoint.folder import read_weights
from pphub.errors import PphubError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from pphub.checkpoint.tensor import Tensor

__all__ = ["file_problem", "is_equal", "record_problem", "weights_problem"]

_SHOWN: Final = 3
_LONGEST: Final = 80  # of a value that is shown
_MUCH: Final = 16 << 20  # bytes; a file that is so much larger is not looked into
_MISSING: Final = object()


def file_problem(path: Path, made: Path) -> str:
    """What is wrong with a small file, of which the right one is beside it; empty if nothing is."""
    if not path.is_file():
        return "it is gone"
    right = made.read_bytes()
    if (size := path.stat().st_size) > len(right) + _MUCH:
        return f"it has {size} bytes that are not the {len(right)} of the conversion"
    content = path.read_bytes()
    if content == right:
        return ""
    if path.suffix == ".json":
        try:
            found, expected = json.loads(content), json.loads(right)
            if isinstance(found, dict) and isinstance(expected, dict):
                return "; ".join(_some(list(_keys_problems(found, expected)))) or "it is written in another way"
        except (ValueError, RecursionError):
            return "it is not JSON"
    return f"it has {len(content)} bytes that are not the {len(right)} of the conversion"


def _keys_problems(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*expected, *found]):
        now, then = found.get(key, _MISSING), expected.get(key, _MISSING)
        if not is_equal(now, then):
            yield f"{key} is {_shown(now)}, and should be {_shown(then)}"


def weights_problem(path: Path, expected: Mapping[str, Any]) -> str:
    """What is wrong with a file of weights that is known to be wrong, tensor by tensor.

    Args:
        path: the file; it is read by name, since the places may have moved.
        expected: the record of the right one.
    """
    if not path.is_file():
        return "it is gone"
    try:
        found = read_weights(path)
        problems = list(_tensor_problems(found, expected["tensors"]))
    except PphubError as error:
        return f"it cannot be read: {error.message}"
    size = path.stat().st_size
    if size != expected["output"]["size"]:
        problems.append(f"it has {size} bytes, and should have {expected['output']['size']}")
    if not problems:
        problems += _place_problems(found, expected["tensors"])
    return "; ".join(_some(problems)) or "the bytes around its tensors are not those that pphub writes"


def _tensor_problems(found: Mapping[str, Tensor], entries: list[Mapping[str, Any]]) -> Iterator[str]:
    for entry in entries:
        name, tensor = entry["name"], found.get(entry["name"])
        if tensor is None:
            yield f"tensor {name} is missing"
        elif (tensor.dtype, list(tensor.shape)) != (entry["dtype"], entry["shape"]):
            should = f"{entry['dtype']} {entry['shape']}"
            yield f"tensor {name} is {tensor.dtype} {list(tensor.shape)}, and should be {should}"
        elif hashlib.sha256(tensor.read().tobytes()).hexdigest() != entry["sha256"]:
            made_of = ", ".join(entry["sources"]) or entry["operation"]
            yield f"tensor {name} has other values than those made of {made_of}"
    for name in sorted(found.keys() - _names(entries)):
        yield f"tensor {_shown(name)} is not of this model"


def _place_problems(found: Mapping[str, Tensor], entries: list[Mapping[str, Any]]) -> Iterator[str]:
    """Where the values are right, but two names share them that should not, or the other way round."""
    for entry in entries:
        tensor = found[entry["name"]]
        place = tensor.start + tensor.offset * tensor.itemsize
        if place != entry["offset"]:
            yield f"tensor {entry['name']} is at byte {place}, and should be at {entry['offset']}"


def record_problem(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """What is wrong with a record; empty if nothing is."""
    problems: list[str] = []
    for key in dict.fromkeys([*expected, *found]):
        if is_equal(found.get(key, _MISSING), expected.get(key, _MISSING)):
            continue
        if key == "tensors":
            problems += _entry_problems(found[key], expected[key])
        elif isinstance(found.get(key), dict) and isinstance(expected.get(key), dict):
            problems += [f"{key}: {problem}" for problem in _keys_problems(found[key], expected[key])]
        else:
            problems.append(f"{key} is not what the conversion gives")
    return "; ".join(_some(problems))


def _entry_problems(found: list[Any], expected: list[Any]) -> list[str]:
    entries = {str(entry["name"]): entry for entry in found if isinstance(entry, dict) and "name" in entry}
    problems = [f"tensor {_shown(name)} is not of this model" for name in sorted(entries.keys() - _names(expected))]
    for entry in expected:
        name = entry["name"]
        if name in entries:
            problems += [f"tensor {name}: {problem}" for problem in _keys_problems(entries[name], entry)]
        else:
            problems.append(f"tensor {name} is not in it")
    return problems or ["its tensors are in another order than in the file, or there twice"]


def _names(entries: Iterable[Mapping[str, Any]]) -> set[str]:
    return {entry["name"] for entry in entries}


def _some(problems: list[str]) -> list[str]:
    more = len(problems) - _SHOWN
    return problems if more <= 0 else [*problems[:_SHOWN], f"and {more} more"]


def is_equal(one: object, other: object) -> bool:
    """Whether two JSON values are the same: False is not 0, and what is not there is not null."""
    if one is _MISSING or other is _MISSING:
        return one is other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _shown(value: object) -> str:
    text = "not there" if value is _MISSING else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
