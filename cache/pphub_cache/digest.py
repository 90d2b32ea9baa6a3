"""Hashes of contents."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Final, Protocol

from pphub.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pphub.source import Digest

__all__ = ["CHUNK", "Hasher", "sha256_of"]

CHUNK: Final = 1 << 20
"""Bytes read at a time."""


class Hasher:
    """Hashes a stream once for both purposes: the store's name (sha256) and the source's promise.

    Args:
        promised: what the source says the content hashes to, or None.
        size: the size in bytes; a git object id starts with it, so it must be known for ``git-sha1``.

    Raises:
        Corrupt: a git object id is promised and no size.
    """

    def __init__(self, promised: Digest | None, size: int | None) -> None:
        self._promised = promised
        self._sha256 = hashlib.sha256()
        self._other = _begin(promised, size)

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._sha256.update(data)
        if self._other is not None:
            self._other.update(data)

    @property
    def sha256(self) -> str:
        """The hash of all bytes so far."""
        return self._sha256.hexdigest()

    def mismatch(self) -> str | None:
        """None when the content is what was promised (or nothing was), else both hashes in words."""
        if self._promised is None:
            return None
        found = self.sha256 if self._other is None else self._other.hexdigest()
        if found == self._promised.hex:
            return None
        return f"expected {self._promised.algorithm} {self._promised.hex}, got {found}"


class _Running(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def _begin(promised: Digest | None, size: int | None) -> _Running | None:
    """The hash that is kept beside sha256, or None when that is the one promised."""
    algorithm = promised.algorithm if promised is not None else "sha256"
    if algorithm == "sha256":
        return None
    if algorithm == "md5":
        return hashlib.md5(usedforsecurity=False)
    if algorithm == "crc32":
        return _Crc32()
    if size is None:
        msg = "the source lists a git object id without a size, and it can only be checked with one"
        raise Corrupt(msg, hint="tell the makers of the source; see `hub sources`")
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def sha256_of(path: Path, *, on_bytes: Callable[[int], None] = lambda _count: None) -> str:
    """The sha256 of a file, read once."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()
