"""Parses JSON from files that are not trusted, within bounds."""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = ["MAX_JSON_BYTES", "MAX_VALUES", "parse_json"]

MAX_JSON_BYTES: Final = 12 << 20
MAX_VALUES: Final = 600_000  # a tensor of a safetensors header takes about ten


def parse_json(data: bytes, *, strict: bool = False, most_values: int = MAX_VALUES) -> dict[str, Any]:
    """A JSON object in UTF-8.

    Args:
        data: the text.
        strict: refuse a byte order mark, and names that stand in an object twice.
        most_values: how many numbers, texts, lists and objects there may be.

    Raises:
        ValueError: it is something else, or far larger than a file beside a model is. The message completes
            the name of the file.
    """
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > most_values:
        msg = "is far too large for what it should be"
        raise ValueError(msg)
    try:
        text = data.decode("utf-8" if strict else "utf-8-sig")
        value = json.loads(text, object_pairs_hook=_no_repeats if strict else None)
    except RecursionError as error:
        msg = "is nested too deeply"
        raise ValueError(msg) from error
    except ValueError as error:
        msg = f"is not JSON: {error}"
        raise ValueError(msg) from error
    if not isinstance(value, dict):
        msg = f"holds a JSON {type(value).__name__}, not an object"
        raise ValueError(msg)  # noqa: TRY004 - the text is wrong, not a type of ours
    return value


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        msg = "a name stands in it twice"
        raise ValueError(msg)
    return result
