"""Decides which files of a repository are wanted; a pure function of the names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["WEIGHT_PATTERNS", "Selection", "is_weights", "weight_files", "weight_formats"]

WEIGHT_PATTERNS: Final = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.pdparams", "*.index.json")
"""Names of weights, and of the indices of shards."""

# Config, tokenizer, custom code (kept as files, never run), licence and model card.
_SMALL_SUFFIXES: Final = frozenset(
    {
        ".json",
        ".txt",
        ".model",
        ".py",
        ".md",
        ".jinja",
        ".yaml",
        ".yml",
        ".tiktoken",
        ".vocab",
        ".bpe",
        ".spm",
    }
)
_SMALL_NAMES: Final = frozenset({"LICENSE", "NOTICE"})
_FOREIGN_FOLDERS: Final = frozenset(
    {"onnx", "openvino", "coreml", "tf", "flax", "gguf", "tensorrt", "original", "runs"}
)

# One format, whole: the first of these that the repository has. A Paddle file needs no conversion.
# Compiled by `re` when they are used, since every command imports this.
_WEIGHTS: Final = (
    r"model_state\.pdparams",
    r"model_state-\d+-of-\d+\.pdparams|model_state\.pdparams\.index\.json",
    r"model\.safetensors",
    r"model-\d+-of-\d+\.safetensors|model\.safetensors\.index\.json",
    r"pytorch_model\.bin",
    r"pytorch_model-\d+-of-\d+\.bin|pytorch_model\.bin\.index\.json",
    r"[^/]+\.pdparams",
    r"[^/]+\.safetensors",
    r"[^/]+\.(bin|pt|pth)",
)
_NAMED: Final = 6  # of these; the others have names that no library looks for
_ANY_WEIGHTS_INDEX: Final = r"[^/]+\.(safetensors|bin|pdparams)\.index\.json"


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user asked for.

    Attributes:
        include: shell patterns; when given, they replace the default choice.
        exclude: shell patterns taken away from either.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def leaves_out(self, path: str) -> bool:
        """Whether the user does not want to hear of the file."""
        return _matches(path, self.exclude)

    def pick(self, paths: Iterable[str]) -> tuple[str, ...]:
        """The wanted paths, in the order given."""
        return _pick(self, tuple(paths))


@lru_cache(maxsize=64)
def _pick(selection: Selection, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Remembered, since a cached model is picked from the same files again and again."""
    # Excluded first: without the safetensors, the .bin is the one format there is.
    paths = tuple(path for path in paths if not selection.leaves_out(path))
    if selection.include:
        chosen = {path for path in paths if _matches(path, selection.include)}
    else:
        weights = set(weight_files(paths))
        chosen = {path for path in paths if path in weights or _is_small(path)}
    return tuple(path for path in paths if path in chosen)


def is_weights(path: str) -> bool:
    """Whether a file is named like weights of any format, or like an index of them."""
    return any(fnmatchcase(path, pattern) for pattern in WEIGHT_PATTERNS)


def weight_files(paths: Iterable[str]) -> tuple[str, ...]:
    """The files of the one weight format that is preferred, at the top of the repository; may be empty."""
    top = [path for path in paths if "/" not in path]
    for pattern in _WEIGHTS:
        found = tuple(path for path in top if re.fullmatch(pattern, path))
        if any(not path.endswith(".json") for path in found):
            return found
    return ()


def weight_formats(paths: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The files of each weight format that a library would load by itself, in our order; one of them is usual."""
    top = [path for path in paths if "/" not in path]
    found = [tuple(path for path in top if re.fullmatch(pattern, path)) for pattern in _WEIGHTS[:_NAMED]]
    return tuple(names for names in found if any(not name.endswith(".json") for name in names))


def _is_small(path: str) -> bool:
    parts = PurePosixPath(path).parts
    if any(part.lower() in _FOREIGN_FOLDERS or part.startswith(".") for part in parts[:-1]):
        return False
    if re.fullmatch(_ANY_WEIGHTS_INDEX, path):
        return False  # comes with its shards, or not at all
    return PurePosixPath(path).suffix in _SMALL_SUFFIXES or parts[-1] in _SMALL_NAMES


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) or path.startswith(f"{pattern.rstrip('/')}/") for pattern in patterns)
