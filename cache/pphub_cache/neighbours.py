"""What the user already has in the caches of the hubs' own clients; read only, and believed only by hash."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pphub.source import RemoteFile

__all__ = ["find_copies", "has_copies"]


def find_copies(repo: str, file: RemoteFile) -> Iterator[Path]:
    """Files that may have the content, because another client put the same file of a repository of this name there.

    Args:
        repo: ``ORG/NAME``; models have the same name at most hubs.
        file: what is wanted; without a hash nothing is offered, since nobody could tell whether it is right.
    """
    if file.digest is None or file.size is None:
        return
    for path in (*_of_huggingface(repo, file), *_of_modelscope(repo, file)):
        try:
            if path.is_file() and path.stat().st_size == file.size:
                yield path
        except OSError:
            continue


def has_copies(repo: str) -> bool:
    """Whether another client has put anything there for a repository of this name."""
    folders = [_huggingface_folder(repo), *_modelscope_folders(repo)]
    return any(map(os.path.isdir, folders))  # which is false, too, of what may not be looked at


def _of_huggingface(repo: str, file: RemoteFile) -> Iterator[Path]:
    """huggingface_hub calls a blob by the hash its hub tells: sha256, or git's."""
    if file.digest is not None:
        yield _huggingface_folder(repo) / "blobs" / file.digest.hex


def _huggingface_folder(repo: str) -> Path:
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    folder = Path(cache).expanduser() if cache else _huggingface_home() / "hub"
    return folder / f"models--{repo.replace('/', '--')}"


def _huggingface_home() -> Path:
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache).expanduser() if cache else _user() / ".cache") / "huggingface"


def _of_modelscope(repo: str, file: RemoteFile) -> Iterator[Path]:
    """modelscope keeps files under their names, in folders that changed with its versions."""
    snapshots, *folders = _modelscope_folders(repo)
    with contextlib.suppress(OSError):  # there is none, or it is another user's
        for revision in sorted(os.listdir(snapshots)):  # noqa: PTH208  names
            yield snapshots / revision / file.path
    for folder in folders:
        yield folder / file.path


def _modelscope_folders(repo: str) -> list[Path]:
    cache = os.environ.get("MODELSCOPE_CACHE")
    base = Path(cache).expanduser() if cache else _user() / ".cache" / "modelscope"
    owner, _, name = repo.rpartition("/")
    old = [models / owner / name.replace(".", "___") for models in (base / "models", base / "hub/models", base / "hub")]
    return [base / "models" / repo.replace("/", "--") / "snapshots", *old]


def _user() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a process may have no home
        return Path(os.sep)
