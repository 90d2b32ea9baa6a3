"""Puts tensors of a checkpoint into parameters: by mapping the file where that is possible, else by copying.

A mapping is private: its pages are those of the file, shared by all processes that load it, until one writes to a
page and gets a copy of its own. What was mapped stays while any tensor uses it, whatever becomes of the file's name.
But the file itself must never change: only files that nobody may write to are mapped, as those in the cache are.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import stat
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pphub.checkpoint.pdparams import ALIGNMENT
from pphub.checkpoint.tensor import DTYPES, contiguous_strides
from pphub.conversion.dtypes import FLOATS, cast
from pphub.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pphub.checkpoint.tensor import Array, Tensor

__all__ = ["Files", "fill"]

_LOG: Final = logging.getLogger("pphub")


class Files:
    """The weight files of a model, as they are before they are read.

    Args:
        paths: the files.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._before: dict[Path, os.stat_result] = {}
        for path in paths:
            with contextlib.suppress(OSError):  # the reader tells
                self._before[path] = path.stat()
        self._mapped: dict[Path, mmap.mmap | None] = {}

    def map(self, path: Path) -> mmap.mmap | None:
        """A file, whole, as private memory; None where it must be copied, which is told at debug level.

        Raises:
            LoadFailed: it is another file than it was.
        """
        if path not in self._mapped:
            self._mapped[path] = self._map(path)
        return self._mapped[path]

    def _map(self, path: Path) -> mmap.mmap | None:
        before = self._before.get(path)
        if before is None or stat.S_IMODE(before.st_mode) & 0o222:
            _LOG.debug("%s is copied into memory: others may write to it, so it cannot be mapped", path)
            return None
        try:
            with path.open("rb") as stream:
                same = _identity(os.fstat(stream.fileno())) == _identity(before)
                pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY) if same else None
        except (OSError, ValueError) as error:
            _LOG.debug("%s is copied into memory: mapping it fails: %s", path, error)
            return None
        if pages is None:
            raise _replaced(path)
        return pages

    def check(self, path: Path) -> None:
        """Check that a file that was copied is still the one that was looked through.

        Raises:
            LoadFailed: it is another.
        """
        before = self._before.get(path)
        try:
            same = before is None or _identity(path.stat()) == _identity(before)
        except OSError:  # what was read is gone, or another
            same = False
        if not same:
            raise _replaced(path)


def _replaced(path: Path) -> LoadFailed:
    msg = f"{path} was replaced while it was being read"
    return LoadFailed(msg, hint="load the model again")


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def fill(parameters: Mapping[str, Any], pairs: Mapping[str, Tensor], files: Files) -> None:
    """Give each parameter the values of its tensor.

    Args:
        parameters: by name, of the shapes that the tensors have.
        pairs: name → tensor.
        files: where the tensors are.

    Raises:
        LoadFailed: a file was replaced meanwhile.
        Corrupt: a file is shorter than it was.
    """
    copied = []
    for name, tensor in pairs.items():
        parameter = parameters[name]
        array = _mapped(parameter, tensor, files)
        if array is None:
            array = _read(parameter, tensor)
            copied.append(name)
        _bind(parameter, array)
    for path in {pairs[name].path for name in copied}:
        files.check(path)
    if copied:
        _LOG.debug("%d of %d tensors are copied into memory: %s", len(copied), len(pairs), ", ".join(copied[:5]))


def _mapped(parameter: Any, tensor: Tensor, files: Files) -> Array | None:
    """The values where they lie in the file; None if they do not lie there as Paddle wants them."""
    start = tensor.start + tensor.offset * tensor.itemsize
    as_it_is = (
        tensor.dtype == _dtype(parameter)
        and not tensor.pieces
        and tensor.strides == contiguous_strides(tensor.shape)
        and start % ALIGNMENT == 0  # as in memory of Paddle's own
    )
    pages = files.map(tensor.path) if as_it_is and tensor.size else None
    if pages is None:
        return None
    flat = np.frombuffer(pages, DTYPES[tensor.dtype], tensor.size, start)
    return flat.reshape(tuple(parameter.shape))


def _read(parameter: Any, tensor: Tensor) -> Array:
    array, target = tensor.read(), _dtype(parameter)
    if tensor.dtype in FLOATS and target in FLOATS:
        array = cast(array, tensor.dtype, target)
    elif tensor.dtype != target:
        array = array.astype(DTYPES[target])
    return np.ascontiguousarray(array).reshape(tuple(parameter.shape))


def _bind(parameter: Any, array: Array) -> None:
    import paddle

    if not parameter.place.is_cpu_place():
        parameter.set_value(array)
        return
    paddle.Tensor(array, zero_copy=True)._share_buffer_to(parameter)


def _dtype(parameter: Any) -> str:
    return str(parameter.dtype).removeprefix("paddle.")
