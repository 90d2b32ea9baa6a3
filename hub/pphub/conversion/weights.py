"""Writes what a plan says, tensor by tensor: read, turned, cast, written."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pphub.checkpoint.hashed_file import keep_memory
from pphub.checkpoint.pdparams import PdparamsWriter
from pphub.checkpoint.safetensors_writer import SafetensorsWriter
from pphub.checkpoint.tensor import DTYPES
from pphub.conversion.dtypes import after_cast, cast
from pphub.conversion.moves import Made, Move
from pphub.conversion.streamed import stream
from pphub.errors import StorageFailed
from pphub.units import human_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from pphub.checkpoint.hashed_file import Blocks, Written
    from pphub.checkpoint.tensor import Array
    from pphub.conversion.family import Side
    from pphub.conversion.moves import Plan
    from pphub_cache.progress import Progress

__all__ = ["TORCH_FILE", "WEIGHTS_FILE", "stream_weights", "write_weights"]

WEIGHTS_FILE: Final = "model_state.pdparams"
TORCH_FILE: Final = "model.safetensors"
_SYNC_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class _Payload:
    """One tensor of the output; in memory at once are only small ones."""

    names: tuple[str, ...]
    sources: tuple[str, ...]
    rule: str
    operation: str
    dtype: str
    array: Array | Blocks


def write_weights(
    plan: Plan, path: Path, to: Side, dtype: str | None, progress: Progress
) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Write a weights file.

    Args:
        plan: what becomes of each tensor.
        path: the file, which is written from its start.
        to: which side's format it is.
        dtype: cast floating tensors to this; None keeps each as it is.
        progress: told how many bytes have been read.

    Returns:
        For the record: an entry for each name, and one for the file.

    Raises:
        StorageFailed: there is no room.
    """
    needed, free = sum(move.nbytes for move in plan.moves), shutil.disk_usage(path.parent).free
    if needed > free:
        msg = f"the converted model needs {human_size(needed)}, and {path.parent.parent} has {human_size(free)} free"
        raise StorageFailed(msg, hint="make room (`hub prune`, `hub remove`), or choose another place with --out")
    keep_memory()
    task = progress.start(path.name, needed)
    try:
        with path.open("wb", buffering=1 << 16) as stream:
            _reserve(stream.fileno(), needed)
            with _syncing(stream.fileno()):
                written = stream_weights(plan, stream, path, to, dtype, task.advance)
            stream.truncate()
            os.fsync(stream.fileno())
    except BaseException:
        task.stop()
        raise
    task.finish()
    return written


def _reserve(descriptor: int, size: int) -> None:
    """Take the room at once, where the system can: a file that does not grow is written and synced faster."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise


@contextlib.contextmanager
def _syncing(descriptor: int) -> Iterator[None]:
    """Let the disk write while there is more to come, so that the last sync has little to wait for."""
    ended = threading.Event()

    def run() -> None:
        with contextlib.suppress(OSError):  # the last sync meets the same, and tells
            while not ended.wait(_SYNC_SECONDS):
                os.fsync(descriptor)

    thread = threading.Thread(target=run, name="pphub-sync", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def stream_weights(
    plan: Plan, stream: BinaryIO, path: Path, to: Side, dtype: str | None, on_bytes: Callable[[int], None]
) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Write what belongs into a weights file to a stream; the same plan gives the same bytes.

    Args:
        plan: as for :func:`write_weights`; likewise ``to``, ``dtype`` and what is returned.
        stream: open for writing; each byte is written once, in order.
        path: its name is that of the file, for the record; its folder is for scratch files.
        to: see ``plan``.
        dtype: see ``plan``.
        on_bytes: told how many bytes more have been read.
    """
    steps = _in_order(plan, to, dtype)
    entries: list[dict[str, object]] = []
    places: list[Written] = []
    writer = _PaddleFile(stream) if to == "paddle" else _TorchFile(stream, steps, dtype)
    try:
        for step in steps:
            for payload in _payloads(step, to, dtype, path.parent):
                place = writer.add(payload)
                entries += _entries(payload)
                places += [place] * len(payload.names)
            if isinstance(step, Move):
                on_bytes(step.nbytes)
        size, sha256 = writer.finish()
    finally:
        writer.stop()
    for entry, place in zip(entries, places, strict=True):  # what was hashed meanwhile is known now
        entry |= {"offset": place.offset, "length": place.length, "sha256": place.sha256}
    return entries, {"file": path.name, "size": size, "sha256": sha256}


def _in_order(plan: Plan, to: Side, dtype: str | None) -> list[Move | Made]:
    """Paddle's in the source's order; in a safetensors file larger elements come first, so that each is aligned."""
    steps: list[Move | Made] = [*plan.moves, *plan.made]
    if to == "torch":
        steps.sort(key=lambda step: -DTYPES[_target(step, dtype)].itemsize)
    return steps


def _target(step: Move | Made, dtype: str | None) -> str:
    return after_cast(step.tensors[0].dtype if isinstance(step, Move) else step.dtype, dtype)


def _payloads(step: Move | Made, to: Side, dtype: str | None, scratch: Path) -> Iterator[_Payload]:
    target = _target(step, dtype)
    if isinstance(step, Made):
        array = cast(step.read(), step.dtype, target)
        yield _Payload(step.names, (), step.rule, f"made: {step.value}", target, array)
        return
    for part, values in enumerate(_values(step, target, scratch)):
        for names in _sharing(step.outputs[part], to):
            yield _Payload(names, step.sources, step.rule, step.operation.describe(part), target, values)


def _values(move: Move, target: str, scratch: Path) -> Iterator[Array | Blocks]:
    if (streamed := stream(move, target, scratch)) is not None:
        yield from streamed
        return
    for array in move.read():
        yield cast(array, move.tensors[0].dtype, target)


def _sharing(names: tuple[str, ...], to: Side) -> list[tuple[str, ...]]:
    """The names that have one payload: in a safetensors file each has its own."""
    return [names] if to == "paddle" else [(name,) for name in names]


def _entries(payload: _Payload) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "sources": list(payload.sources),
            "rule": payload.rule,
            "operation": payload.operation,
            "dtype": payload.dtype,
            "shape": list(payload.array.shape),
        }
        for name in payload.names
    ]


class _PaddleFile:
    """``model_state.pdparams``."""

    def __init__(self, stream: BinaryIO) -> None:
        self._writer = PdparamsWriter(stream)

    def add(self, payload: _Payload) -> Written:
        return self._writer.add(payload.names, payload.dtype, payload.array)

    def finish(self) -> tuple[int, str]:
        return self._writer.finish()

    def stop(self) -> None:
        self._writer.stop()


class _TorchFile:
    """``model.safetensors``."""

    def __init__(self, stream: BinaryIO, steps: list[Move | Made], dtype: str | None) -> None:
        entries = []
        for step in steps:
            parts = (
                zip(step.outputs, step.shapes, strict=True) if isinstance(step, Move) else [(step.names, step.shape)]
            )
            entries += [(name, _target(step, dtype), shape) for names, shape in parts for name in names]
        self._writer = SafetensorsWriter(stream, entries)

    def add(self, payload: _Payload) -> Written:
        return self._writer.add(payload.names[0], payload.dtype, payload.array)

    def finish(self) -> tuple[int, str]:
        return self._writer.finish()

    def stop(self) -> None:
        self._writer.stop()
