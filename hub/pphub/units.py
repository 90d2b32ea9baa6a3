"""Numbers, sizes and names as people read them."""

from __future__ import annotations

from typing import Final

__all__ = ["human_size", "number_of", "plain", "shown"]

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def human_size(*counts: float) -> str:
    """Bytes in the unit of the last: ``12.3 MiB``, ``0.5/12.3 MiB``."""
    power = 0
    while counts[-1] >= 1024 ** (power + 1) and power + 1 < len(_UNITS):
        power += 1
    digits = 1 if power else 0
    return "/".join(f"{count / 1024**power:.{digits}f}" for count in counts) + f" {_UNITS[power]}"


def number_of(count: int, what: str) -> str:
    """A number of things, in the plural if need be."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def shown(name: str) -> str:
    """A hub's name for a file or model; one that would steer the terminal is shown in quotes."""
    return name if name.isprintable() else repr(name)


def plain(text: str) -> str:
    """A text for people, without what would steer the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)
