"""TOML on Python 3.10 (tomli) and later (tomllib)."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["TOMLDecodeError", "parse_toml"]

TOMLDecodeError = tomllib.TOMLDecodeError


def parse_toml(text: str) -> dict[str, Any]:
    """Parse a TOML document; TOMLDecodeError, a ValueError, when it is none."""
    return tomllib.loads(text)
