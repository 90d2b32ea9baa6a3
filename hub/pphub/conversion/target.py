"""The folder a conversion is written to: whose it is, and how it comes into place."""

from __future__ import annotations

import errno
import json
import shutil
import stat
from typing import TYPE_CHECKING, Final

from pphub.errors import UsageError
from pphub_cache.atomic import fsync_folder, write_json
from pphub_cache.digest import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RECORD_FILE", "check_target", "is_complete", "move_into_place", "read_record"]

RECORD_FILE: Final = "conversion.json"
_MOST_BYTES: Final = 256 << 20  # of a record; a hundred thousand tensors take about 50 million


def read_record(folder: Path) -> bytes:
    """The content of ``conversion.json``.

    Raises:
        OSError: there is none, or something else is in its place, such as a pipe, that could be waited for without end.
    """
    path = folder / RECORD_FILE
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
        raise OSError(errno.EINVAL, "it is no record, but something else, or far too large", str(path))
    return path.read_bytes()


def is_complete(folder: Path, key: str) -> bool:
    """Whether a folder holds this very conversion, whole.

    In the cache the record tells the sizes of all files. In a folder of the user's it tells none: a config that was
    edited since is the user's choice.
    """
    try:
        record = json.loads(read_record(folder))
        weights = record["output"]
        sizes = {**record.get("sizes", {}), weights["file"]: weights["size"]}
        return bool(
            record["key"] == key
            and all(_has(folder / name, sizes.get(name)) for name in {*record["files"], weights["file"]})
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _has(path: Path, size: int | None) -> bool:
    found = path.stat()
    return stat.S_ISREG(found.st_mode) and size in {None, found.st_size}


def check_target(source: Path, target: Path, *, keep_edits: bool) -> None:
    """Check that a folder may be written to.

    Args:
        source: the folder of the checkpoint.
        target: must not exist, be empty, or hold an earlier conversion.
        keep_edits: the target is the user's, so what was changed there since is not replaced.

    Raises:
        UsageError: the target is the source, or within it, or holds something else, or something that was changed.
    """
    if target.resolve() == source.resolve():
        msg = f"{target} is the folder of the checkpoint itself, which is never written to"
        raise UsageError(msg, hint="choose another --out folder")
    # In the cache the target is a place of its own, also where the user keeps the cache beside the model.
    if keep_edits and source.resolve() in target.resolve().parents:
        msg = f"{target} is within the folder of the checkpoint, which is never written to"
        raise UsageError(msg, hint="choose a folder for --out that is outside of it")
    if target.exists() and not target.is_dir():
        msg = f"{target} is a file"
        raise UsageError(msg, hint="choose a folder for --out")
    # In the cache nobody else's files are: a record that cannot be read is damage, and is mended.
    if keep_edits and target.is_dir() and any(target.iterdir()) and not _is_ours(target):
        msg = f"{target} holds files that are no conversion of pphub's"
        raise UsageError(msg, hint="choose an empty or new folder for --out")
    if keep_edits and (edited := _edited(target)):
        msg = f"{target} holds an earlier conversion, and {', '.join(edited)} was changed since"
        raise UsageError(msg, hint="choose another --out folder, or move what you changed away")


def _is_ours(target: Path) -> bool:
    try:
        record = json.loads(read_record(target))
        return bool(record["format"] == 1 and "key" in record and isinstance(record["files"], dict))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _edited(target: Path) -> list[str]:
    """The files of an earlier conversion that are no longer as they were written."""
    try:
        files = json.loads(read_record(target))["files"]
        return [
            name for name, sha256 in files.items() if (target / name).is_file() and sha256_of(target / name) != sha256
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def move_into_place(temporary: Path, target: Path) -> None:
    """By one rename where that is possible; into a folder that exists, file by file, touching no other file."""
    if not target.exists():
        try:
            temporary.rename(target)
        except OSError as error:
            key = json.loads((temporary / RECORD_FILE).read_bytes())["key"]
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST} or not is_complete(target, key):
                raise
            shutil.rmtree(temporary)  # where locks do not work, another process has just put the same here
        fsync_folder(target.parent)
        return
    # Ours, but not whole: what a kill leaves from here on is made again, and is not taken for somebody else's.
    write_json(target / RECORD_FILE, {"format": 1, "key": None, "files": {}})
    for path in sorted(temporary.iterdir(), key=lambda path: path.name == RECORD_FILE):  # the record last
        path.replace(target / path.name)
    temporary.rmdir()
    fsync_folder(target)
