"""What a file hashes to, computed once for as long as the file stays as it is."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["HashMemo", "Hashes", "is_lfs", "lfs_pointer"]

_CHUNK: Final = 1 << 20
_LFS_SIZE: Final = 10 << 20
_LFS_SUFFIXES: Final = (
    ".7z", ".arrow", ".bin", ".bz2", ".ckpt", ".ftz", ".gguf", ".gz", ".h5", ".joblib", ".mlmodel",
    ".model", ".msgpack", ".npy", ".npz", ".onnx", ".ot", ".parquet", ".pb", ".pdiparams", ".pdparams",
    ".pickle", ".pkl", ".pt", ".pth", ".rar", ".safetensors", ".tar", ".tflite", ".tgz", ".wasm", ".xz",
    ".zip", ".zst",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hashes:
    """The hashes of one file.

    Attributes:
        oid: the id git gives the file: of its content, or of its pointer where the content is in LFS.
        sha256: of the content.
        pointer_size: the length of the LFS pointer, or None for a file that git holds itself.
    """

    oid: str
    sha256: str
    pointer_size: int | None


def is_lfs(path: str, size: int) -> bool:
    """Whether a hub would keep the file in LFS: it is large, or its suffix says that it is binary."""
    return size >= _LFS_SIZE or path.lower().endswith(_LFS_SUFFIXES)


def lfs_pointer(sha256: str, size: int) -> bytes:
    """The text that git holds in place of an LFS file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


class HashMemo:
    """Hashes by file and time of change; a file that two threads ask for is read by one of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # One entry a file: the hashes of what it was before are of no use to anybody.
        self._known: dict[tuple[Path, bool], tuple[tuple[int, int], Future[Hashes]]] = {}

    def of(self, location: Path, *, size: int, mtime_ns: int, lfs: bool) -> Hashes:
        """The hashes of the file, read now unless it was read before and has not changed.

        Raises:
            OSError: the file is gone, or cannot be read.
        """
        key, stamp = (location, lfs), (size, mtime_ns)
        with self._lock:
            known = self._known.get(key)
            if known is not None and known[0] == stamp:
                future, mine = known[1], False
            else:
                future, mine = Future(), True
                self._known[key] = (stamp, future)
        if mine:
            self._compute(key, size, future)
        return future.result()

    def _compute(self, key: tuple[Path, bool], size: int, future: Future[Hashes]) -> None:
        location, lfs = key
        try:
            future.set_result(_lfs_hashes(location, size) if lfs else _git_hashes(location, size))
        except BaseException as error:
            with self._lock:
                known = self._known.get(key)
                if known is not None and known[1] is future:  # the next to ask tries again
                    del self._known[key]
            future.set_exception(error)  # for those who wait for this reading
            raise


def _git_hashes(location: Path, size: int) -> Hashes:
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    sha256 = hashlib.sha256()
    for chunk in _chunks(location):
        blob.update(chunk)
        sha256.update(chunk)
    return Hashes(blob.hexdigest(), sha256.hexdigest(), None)


def _lfs_hashes(location: Path, size: int) -> Hashes:
    # Gigabytes are not hashed twice: the id follows from the sha256.
    sha256 = hashlib.sha256()
    for chunk in _chunks(location):
        sha256.update(chunk)
    pointer = lfs_pointer(sha256.hexdigest(), size)
    oid = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer, usedforsecurity=False).hexdigest()
    return Hashes(oid, sha256.hexdigest(), len(pointer))


def _chunks(location: Path) -> Iterator[bytes]:
    with location.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            yield chunk
