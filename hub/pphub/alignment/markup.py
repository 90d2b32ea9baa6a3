"""Markup that cannot be broken out of: whatever is not markup already is escaped when it becomes a part of it."""

from __future__ import annotations

from html import escape
from typing import Final

__all__ = ["Markup", "element", "joined", "readable"]

_LONGEST: Final = 2000
"""Characters of one text: a page is for people, and ``report.json`` has the rest."""


class Markup(str):
    """Text that is markup; only :func:`element` and :func:`joined` make it, and what ships with this package."""

    __slots__ = ()


def element(_name: str, *children: object, **attributes: object) -> Markup:
    """An element.

    Args:
        _name: of the element.
        children: markup as it is, None not at all, anything else as text.
        attributes: likewise; None leaves one out; an underscore stands for a dash, but for one at the end (``class_``).
    """
    known = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    start = "".join(f' {key}="{_child(value)}"' for key, value in known.items())
    return Markup(f"<{_name}{start}>{joined(*children)}</{_name}>")


def joined(*children: object) -> Markup:
    """Children without an element around them; as for :func:`element`."""
    return Markup("".join(_child(child) for child in children if child is not None))


def readable(text: str) -> str:
    """A text of which all can be seen: what is invisible, or turns around what follows, is shown as an escape."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return "".join(char if char.isprintable() else " " if char.isspace() else _escape(char) for char in cut)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _child(child: object) -> str:
    return child if isinstance(child, Markup) else escape(readable(str(child)))
