"""A file that is written once, in order, and hashed meanwhile by other cores."""

from __future__ import annotations

import hashlib
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from pphub.checkpoint.tensor import Array

__all__ = ["Blocks", "HashedFile", "Written", "keep_memory"]

_BLOCK: Final = 1 << 20  # bytes turned, written and hashed at a time: as much as a processor keeps at hand
_AHEAD: Final = 32  # blocks that may be written and not hashed yet; they stay in memory
_STRIP: Final = 128  # columns
_GAP: Final = 64  # bytes
_KEPT: Final = 31 << 20  # bytes; the most that the allocator can be brought to


@dataclass(frozen=True, slots=True)
class Written:
    """Where an array's payload lies in the file, and what it hashes to.

    Attributes:
        offset: bytes from the start of the file.
        length: bytes.
        digest: complete once the file is finished.
    """

    offset: int
    length: int
    digest: Any

    @property
    def sha256(self) -> str:
        """Of the payload; ask when the file is finished."""
        return str(self.digest.hexdigest())


class Blocks(Protocol):
    """An array that is not in memory at once."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array; likewise ``dtype`` and ``nbytes``."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """See ``shape``."""

    @property
    def nbytes(self) -> int:
        """See ``shape``."""

    def blocks(self) -> Iterator[Array]:
        """The values in row-major order, piece by piece."""


class HashedFile:
    """Writes to a stream and hashes the whole, and each payload, in a thread each.

    Args:
        stream: open for writing.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._whole, self._payloads = _Hashing(), _Hashing()
        self._between = bytearray()  # not hashed yet: handing over takes longer than hashing a few bytes
        self.position = 0

    def write(self, data: bytes) -> None:
        """Append a few bytes, such as those between two arrays."""
        self._stream.write(data)
        self._between += data
        self.position += len(data)

    def _write_block(self, block: memoryview, digest: Any) -> None:
        """Append bytes of an array, which must not change any more; ``digest`` takes them as well."""
        self._hand_over()
        self._stream.write(block)
        self._whole.put(self._digest, block)
        self._payloads.put(digest, block)
        self.position += len(block)

    def _hand_over(self) -> None:
        if self._between:
            self._whole.put(self._digest, bytes(self._between))
            self._between.clear()

    def write_array(self, values: Array | Blocks) -> Written:
        """Append values, row-major; they must not change any more."""
        offset, digest = self.position, hashlib.sha256()
        if values.nbytes:
            for array in [values] if isinstance(values, np.ndarray) else values.blocks():
                for block in _blocks(array):
                    self._write_block(block, digest)
        return Written(offset, values.nbytes, digest)

    def finish(self) -> tuple[int, str]:
        """Returns the size in bytes and the sha256 of the whole; waits until all is hashed."""
        self._hand_over()
        self.stop()
        return self.position, self._digest.hexdigest()

    def stop(self) -> None:
        """End the threads; also when the file is given up."""
        self._whole.stop()
        self._payloads.stop()


class _Hashing:
    """A thread that feeds digests."""

    def __init__(self) -> None:
        self._blocks: queue.Queue[tuple[Any, bytes | memoryview] | None] = queue.Queue(_AHEAD)
        self._thread = threading.Thread(target=self._run, name="pphub-hash", daemon=True)
        self._thread.start()

    def put(self, digest: Any, data: bytes | memoryview) -> None:
        self._blocks.put((digest, data))

    def stop(self) -> None:
        if self._thread.is_alive():
            self._blocks.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            digest, data = block
            digest.update(data)


def _blocks(array: Array) -> Iterator[memoryview]:
    """The bytes of the values, row-major."""
    if array.ndim == 2 and array.flags.f_contiguous and not array.flags.c_contiguous:
        rows = max(1, _BLOCK // (array.shape[1] * array.itemsize))
        for start in range(0, array.shape[0], rows):
            yield _bytes(_turned(array[start : start + rows]))
        return
    view = _bytes(np.ascontiguousarray(array))
    for start in range(0, len(view), _BLOCK):
        yield view[start : start + _BLOCK]


def _turned(rows: Array) -> Array:
    """Rows of a transposed matrix, row-major; in strips, which is two to four times as fast as numpy's way."""
    height, width = rows.shape
    turned = np.empty(rows.shape, rows.dtype)
    # A strip's lines lie a power of two apart in most models, where they push each other out of the processor's
    # cache; with a gap between them they do not.
    spaced = np.empty((_STRIP, height + _GAP // rows.itemsize), rows.dtype)[:, :height]
    for start in range(0, width, _STRIP):
        strip = rows[:, start : start + _STRIP].T
        lines = spaced[: len(strip)]
        lines[...] = strip
        turned[:, start : start + _STRIP] = lines.T
    return turned


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def keep_memory() -> None:
    """Let the allocator use again what was freed, instead of giving it back to the system each time.

    New memory is filled with zeros first, which takes longer than to read a tensor into it. The GNU allocator keeps
    pieces up to the size of the largest that was ever freed; others take no notice.
    """
    np.empty(_KEPT, np.uint8)
