"""Writes a sentencepiece model: a message of Protocol Buffers with pieces, their scores, and a few settings.

The numbers of the fields are those of ``sentencepiece_model.proto``; what is left out has its default there.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CONTROL", "NORMAL", "UNKNOWN", "UNUSED", "Piece", "model_bytes"]

NORMAL: Final = 1
UNKNOWN: Final = 2
CONTROL: Final = 3
"""Never found in a text."""
UNUSED: Final = 5

_UNIGRAM: Final = 1
_NONE: Final = (1 << 64) - 1  # -1: there is no such token

Piece = tuple[str, float, int]
"""Text, score, type."""


def model_bytes(pieces: Iterable[Piece], charsmap: bytes, *, dummy_prefix: bool) -> bytes:
    """The file.

    Args:
        pieces: in the order of their ids, one of them UNKNOWN.
        charsmap: the table by which characters are replaced, as sentencepiece has compiled it.
        dummy_prefix: whether a text is begun with a space.
    """
    body = bytearray()
    count = unknown = 0
    name = ""
    for text, score, kind in pieces:
        body += _bytes(1, _bytes(1, text.encode()) + _key(2, 5) + struct.pack("<f", score) + _number(3, kind))
        if kind == UNKNOWN:
            unknown, name = count, text
        count += 1
    # A piece for the beginning, the end or padding is told by its type; their ids here are for those who train.
    trainer = _number(3, _UNIGRAM) + _number(4, count) + _number(40, unknown) + _bytes(45, name.encode())
    trainer += b"".join(_number(field, _NONE) for field in (41, 42, 43))
    normalizer = _bytes(2, charsmap) + _number(3, int(dummy_prefix)) + _number(4, 1) + _number(5, 1)
    return bytes(body + _bytes(2, trainer) + _bytes(3, normalizer))


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _number(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value
