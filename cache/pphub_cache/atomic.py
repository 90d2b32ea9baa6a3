"""Writes that are either whole or not there, also after a kill or a power cut."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from typing import TYPE_CHECKING

from pphub.errors import PphubError, StorageFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = [
    "explain_os_errors",
    "fsync_folder",
    "link_or_copy",
    "temporary_beside",
    "write_bytes",
    "write_json",
]


@contextlib.contextmanager
def explain_os_errors(what: str, where: Path) -> Iterator[None]:
    """Turn an OSError of the disk into one StorageFailed that says what could not be done."""
    try:
        yield
    except PphubError:  # some of ours are OSErrors too, and already say what happened
        raise
    except OSError as error:
        msg = f"could not {what} in {where}: {error.strerror or error}"
        raise StorageFailed(msg, hint="check free space and permissions, or point PPNLP_HOME elsewhere") from error


def temporary_beside(path: Path) -> Path:
    """A fresh name in the folder of ``path``, so that a rename onto it never crosses file systems."""
    return path.with_name(f".{path.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file atomically and durably; parents are made."""
    with explain_os_errors(f"write {path.name}", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path)
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON document for people and programs: UTF-8, indented, one newline at the end."""
    write_bytes(path, (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode())


def fsync_folder(folder: Path) -> None:
    """Make a rename in the folder durable; where folders cannot be opened (Windows) there is nothing to do."""
    flags = getattr(os, "O_DIRECTORY", None)
    if flags is None:
        return
    descriptor = os.open(folder, os.O_RDONLY | flags)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse; the rename is still atomic
        pass
    finally:
        os.close(descriptor)


def link_or_copy(target: Path, link: Path) -> None:
    """Make ``link`` show the content of ``target``: relative symlink, else hard link, else copy; atomic."""
    with explain_os_errors(f"link {link.name}", link.parent):
        link.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(link)
        try:
            _link(target, temporary)
            temporary.replace(link)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _link(target: Path, link: Path) -> None:
    with contextlib.suppress(OSError, NotImplementedError):
        link.symlink_to(os.path.relpath(target, link.parent))
        return
    with contextlib.suppress(OSError, NotImplementedError):
        link.hardlink_to(target)
        return
    shutil.copyfile(target, link)
