"""Copies the small files of a model, of any size, in little memory."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

from pphub.checkpoint.tensor import file_size
from pphub.errors import Corrupt
from pphub.units import human_size
from pphub_cache.atomic import fsync_folder, share, temporary_beside

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_small", "copy_file"]

_MOST_BYTES: Final = 128 << 20  # the largest there is, a table of entities, has half of it
_BLOCK: Final = 1 << 20


def check_small(path: Path) -> None:
    """Check that a file is one, and no larger than those of a tokenizer are.

    Raises:
        FileNotInModel: there is none.
        Corrupt: it is something else, or far too large.
    """
    if (size := file_size(path)) > _MOST_BYTES:
        msg = f"{path.name} has {human_size(size)}, far more than a file of a tokenizer has"
        raise Corrupt(msg, hint="get it again from its source, or take it away if the model does not need it")


def copy_file(source: Path, target: Path, sha256: str) -> None:
    """Copy a file atomically and durably, block by block.

    Args:
        source: the file.
        target: its place, in a folder that exists.
        sha256: what its content hashed to when it was looked at first.

    Raises:
        Corrupt: its content has changed since, or was damaged.
        OSError: the disk says no.
    """
    digest = hashlib.sha256()
    temporary = temporary_beside(target)
    try:
        with source.open("rb") as original, temporary.open("wb") as copy:
            while block := original.read(_BLOCK):
                digest.update(block)
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
        if digest.hexdigest() != sha256:
            msg = f"{source.name} has the sha256 {digest.hexdigest()}, and had {sha256} before"
            raise Corrupt(msg, hint="convert again when nobody writes to it; `hub verify` looks at what is cached")
        share(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(target.parent)
