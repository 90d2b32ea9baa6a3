"""Numbers as people read them."""

from __future__ import annotations

__all__ = ["human_size", "number_of"]


def human_size(count: int) -> str:
    """Bytes with a unit: ``12.3 MiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def number_of(count: int, what: str) -> str:
    """A number of things, in the plural if need be."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
