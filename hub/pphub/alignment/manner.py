"""How each class is asked and what its answer means: the knowledge in ``manners.toml``, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pphub.toml import parse_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Manner", "manner_of"]


@dataclass(frozen=True, slots=True)
class Manner:
    """How a class of transformers, and the Paddle class its model becomes, are asked.

    Attributes:
        ask: what they are asked; a key of :data:`pphub.alignment.asking.KINDS`.
        padded: whether they are also asked with padding and an attention mask.
        pad: whether torch's class refuses several texts at once where its config names no padding token.
        names: torch's keyword → Paddle's, where they differ; None where Paddle has none for it.
        mask_axes: 4 where Paddle's class wants a mask of [batch, 1, 1, length].
        paddle: further keywords for Paddle's class.
        load: keywords to build Paddle's class with.
        texts: how many texts must be asked at once, at the least.
        outputs: torch's field and the index among Paddle's arrays; None for all arrays of both in order.
    """

    ask: str = "ids"
    padded: bool = True
    pad: bool = False
    names: Mapping[str, str | None] = field(default_factory=dict)
    mask_axes: int = 2
    paddle: Mapping[str, Any] = field(default_factory=dict)
    load: Mapping[str, Any] = field(default_factory=dict)
    texts: int = 1
    outputs: tuple[tuple[str, int], ...] | None = None


def manner_of(torch_class: str) -> Manner:
    """How a class is asked: what all patterns that fit its name say, the later ones first, its own name before all."""
    found: dict[str, Any] = {}
    for pattern, values in sorted(_table().items(), key=lambda entry: "*" not in entry[0]):
        if fnmatchcase(torch_class, pattern):
            found |= values
    if "names" in found:
        found["names"] = {name: target or None for name, target in found["names"].items()}
    if "outputs" in found:
        found["outputs"] = tuple((str(name), int(index)) for name, index in found["outputs"])
    return Manner(**found)


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, Any]]:
    return parse_toml((files("pphub.alignment") / "manners.toml").read_text(encoding="utf-8"))
