"""Short names, and what each hub calls the model; the table is ``data/shortcuts.toml``."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from pphub.toml import parse_toml

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["candidates", "load_shortcuts"]


@lru_cache(maxsize=1)
def load_shortcuts() -> Mapping[str, Mapping[str, str]]:
    """The table: short name → source → repository."""
    table = parse_toml((files("pphub") / "data" / "shortcuts.toml").read_text(encoding="utf-8"))
    return {name: dict(repos) for name, repos in table.items()}


def candidates(name: str, source: str) -> tuple[str, ...]:
    """What to ask a source for, first to last: what it calls the model, then the name as typed.

    The second is for mirrors and private hubs, which may keep a model under its short name.
    """
    if "/" in name:
        return (name,)
    mapped = load_shortcuts().get(name, {}).get(source)
    return (mapped, name) if mapped and mapped != name else (name,)
