"""Hashes of contents."""

from __future__ import annotations

import hashlib
import threading
import zlib
from typing import TYPE_CHECKING, Final, Protocol

from pphub.errors import Corrupt, PphubError
from pphub_cache.atomic import explain_os_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pphub.source import Digest
    from pphub_cache.partial import Partial

__all__ = ["CHUNK", "Follower", "Hasher", "Hashing", "sha256_of"]

CHUNK: Final = 1 << 20
"""Bytes of a download that are read at a time."""

_BLOCK: Final = 1 << 20  # of a file: between two of them, other threads may keep this one waiting


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


class Follower:
    """Hashes a content while it is written, as far as it is there without a gap.

    It reads what has just been written from memory, so a second core hashes while the first one receives, whatever
    the order in which the bytes come.
    """

    def __init__(self, partial: Partial, hasher: Hasher) -> None:
        self._partial = partial
        self.hasher = hasher
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin in a thread; without it, all is hashed by :meth:`finish`."""
        self._thread = threading.Thread(target=self._guard, name="pphub-hash", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Hash to the end of what is there; raises what went wrong."""
        self.stop()
        if self._thread is None:
            self._follow()
        else:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """No more bytes will come."""
        self._done.set()
        with self._partial.changed:
            self._partial.changed.notify_all()

    def _guard(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # noqa: BLE001  finish() raises it
            self._error = error

    def _follow(self) -> None:
        partial = self._partial
        with explain_os_errors("read a download", partial.folder), partial.content.open("rb", buffering=0) as stream:
            buffer = memoryview(bytearray(CHUNK))
            at = 0
            while True:
                with partial.changed:
                    while (ready := partial.front - at) < CHUNK and not self._done.is_set():
                        partial.changed.wait()
                if ready <= 0:
                    return
                count = stream.readinto(buffer[: min(ready, CHUNK)])
                if not count:
                    return  # shorter than it should be: the hash will tell
                self.hasher.update(buffer[:count])
                at += count


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
    buffer = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
            on_bytes(count)
    return digest.hexdigest()


class _Stopped(Exception):
    """Nobody asks for the hash any more."""


class Hashing:
    """Hashes files in a thread, beside whatever is done meanwhile; at the end of a ``with`` block it stops.

    Args:
        folder: where they are.
        known: path → sha256, or None for those to hash.
    """

    def __init__(self, folder: Path, known: Mapping[str, str | None]) -> None:
        self._folder = folder
        self._states = {path: self._state(path) for path in known}  # before anything is read
        self._found = {path: sha256 or "" for path, sha256 in known.items()}
        self._known = {path for path, sha256 in known.items() if sha256}
        self._error: PphubError | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="pphub-inputs", daemon=True)
        if not all(self._found.values()):
            self._thread.start()

    def _run(self) -> None:
        try:
            for path in [path for path, sha256 in self._found.items() if not sha256]:
                with explain_os_errors(f"read {path}", self._folder):
                    self._found[path] = sha256_of(self._folder / path, on_bytes=self._go_on)
        except PphubError as error:
            self._error = error
        except _Stopped:
            pass

    def _go_on(self, _count: int) -> None:
        if self._stopped:
            raise _Stopped

    def __enter__(self) -> Hashing:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True

    @property
    def is_running(self) -> bool:
        """Whether there are files left to hash."""
        return self._thread.is_alive()

    def result(self) -> dict[str, str]:
        """Path → sha256.

        Raises:
            StorageFailed: a file cannot be read.
        """
        if self.is_running:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return dict(self._found)

    def changed(self) -> list[str]:
        """The paths where something else is by now, or another content.

        Raises:
            StorageFailed: as :meth:`result`.
        """
        found = self.result()
        return [path for path, state in self._states.items() if self._is_changed(path, state, found[path])]

    def _is_changed(self, path: str, before: tuple[int, ...], sha256: str) -> bool:
        now = self._state(path)
        if now == before:
            return False
        # In the cache, another process may put the same content there; and a further link to a file is no change.
        same_file = now[:-1] == before[:-1]
        return not now or not (path in self._known or same_file) or sha256_of(self._folder / path) != sha256

    def _state(self, path: str) -> tuple[int, ...]:
        """What changes with a file, at the last with anything about it; empty if there is none."""
        try:
            stat = (self._folder / path).stat()
        except OSError:
            return ()
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
