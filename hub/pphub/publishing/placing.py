"""What may be replaced, and how it is: everything is whole before it is seen."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from pphub.errors import Corrupt, UsageError
from pphub.publishing.model import BUILT_IN
from pphub.publishing.tables import FORMAT, REGISTRY_FILE, table_contents
from pphub_cache.atomic import (
    fsync_folder,
    link_or_copy,
    make_folder,
    remove_leftovers,
    temporary_beside,
    write_bytes,
)
from pphub_cache.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pphub.publishing.model import File, Model

__all__ = ["check_places", "find_present", "put_files", "read_registry", "write_tables"]


def read_registry(root: Path) -> dict[str, Any]:
    """The registry of what is published in a folder; empty if nothing is.

    Raises:
        UsageError: what is there is not ours.
    """
    path = root / REGISTRY_FILE
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        if found["format"] == FORMAT and all(_is_record(each) for each in found["published"].values()):
            return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    msg = f"{path} is not a table that pphub wrote"
    raise UsageError(msg, hint="choose another folder for --to, or move the file away")


def _is_record(entry: Any) -> bool:
    """Whether it speaks of files in the layout; whoever wrote it, nothing else is touched."""
    return all(
        path.startswith("models/") and ".." not in path.split("/") and isinstance(each["sha256"], str)
        for path, each in entry["files"].items()
    )


# ------------------------------------------------------------------------------------------ what is there


def _former_files(former: Mapping[str, Any], model: Model) -> dict[str, str]:
    """Path from the root → sha256 of what was published under the name before."""
    files = former.get("published", {}).get(model.name, {"files": {}})["files"]
    return {path: each["sha256"] for path, each in files.items()}


def find_present(root: Path, former: Mapping[str, Any], model: Model) -> dict[str, str | None]:
    """Path from the root → sha256 of what is in the model's places; None for what is no file."""
    outside = {*model.built_in, *(path for path in _former_files(former, model) if path.startswith(f"{BUILT_IN}/"))}
    paths = {path for path in outside if os.path.lexists(root / path)}
    paths |= {f"{model.folder}/{path}".rstrip("/") for path in _walk(root / model.folder)}
    return {path: None if (root / path).is_symlink() else _sha256(root / path) for path in sorted(paths)}


def _walk(folder: Path) -> list[str]:
    """All that is below a folder, and the folder itself if it is none."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return [""]
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*")]


def _sha256(path: Path) -> str | None:
    return sha256_of(path) if path.is_file() else None


def check_places(
    root: Path,
    former: Mapping[str, Any],
    registry: Mapping[str, Any],
    model: Model,
    present: Mapping[str, str | None],
) -> None:
    """Refuse to replace what is neither as it was written here, nor as it is about to be written.

    Args:
        root: the folder.
        former: its registry.
        registry: the one that is to be.
        model: what is to be published.
        present: from :func:`find_present`.

    Raises:
        UsageError: something of somebody else's is in the way.
    """
    for other in former.get("published", {}):
        if model.name != other and (model.name == other.split("/")[0] or other == model.name.split("/")[0]):
            msg = f"{model.name} and {other}, which is published here, cannot be in one folder: one is inside the other"
            raise UsageError(msg, hint="choose another --to folder, or another name with --as")
    allowed: dict[str, set[str | None]] = {path: {sha256} for path, sha256 in _former_files(former, model).items()}
    for path, file in model.places().items():
        allowed.setdefault(path, set()).add(file.sha256)
    foreign = _foreign_tables(root, former, registry)
    foreign += [path for path, sha256 in present.items() if sha256 not in allowed.get(path, ())]
    foreign += _foreign_link(root, model, allowed)
    if foreign:
        shown = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        msg = f"{root} holds what pphub did not publish there, or what was changed since: {shown}"
        raise UsageError(msg, hint="move it away, or choose another --to folder or another name with --as")


def _foreign_tables(root: Path, former: Mapping[str, Any], registry: Mapping[str, Any]) -> list[str]:
    # After a kill a table may be ahead of the registry.
    before, after = table_contents(former) if former else {}, table_contents(registry)
    return [
        name
        for name in after
        if os.path.lexists(root / name)
        and (not (root / name).is_file() or (root / name).read_bytes() not in (before.get(name), after[name]))
    ]


def _foreign_link(root: Path, model: Model, allowed: Mapping[str, set[str | None]]) -> list[str]:
    link = root / model.name
    if not os.path.lexists(link) or _leads(link) == _target(model):
        return []
    if link.is_symlink() or not link.is_dir():
        return [model.name]
    # Where links to folders cannot be made, it is a folder of links to files, or of copies.
    return [
        f"{model.name}/{path.name}"
        for path in link.iterdir()
        if _sha256(path) not in allowed.get(f"{model.folder}/{path.name}", ())
    ]


# ------------------------------------------------------------------------------------------ putting it there


def put_files(root: Path, model: Model, present: Mapping[str, str | None]) -> None:
    """Write what is not there, and make the link; :func:`check_places` has been asked.

    Args:
        root: the folder.
        model: what is published.
        present: from :func:`find_present`.

    Raises:
        Corrupt: a file changed meanwhile.
    """
    wanted = {path: file.sha256 for path, file in model.places().items()}
    make_folder(root)
    remove_leftovers(root / "publish")
    if present != wanted:
        staged = temporary_beside(root / "publish")
        try:
            _fill(staged, model)
            _move(staged, root, model)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        for path in present.keys() - wanted.keys():  # a second name that it does not have any more
            (root / path).unlink(missing_ok=True)
    _link(root, model)


def _fill(staged: Path, model: Model) -> None:
    folder = staged / "files"
    make_folder(folder)
    for name, file in model.files.items():
        _copy(file, folder / name)
    fsync_folder(folder)
    for number, name in enumerate(model.built_in.values()):
        second = staged / str(number)
        try:
            second.hardlink_to(folder / name)  # the same bytes take no room
        except (OSError, NotImplementedError):
            _copy(model.files[name], second)


def _copy(file: File, target: Path) -> None:
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(target.open("wb"))
        if file.content is not None:
            pieces: Iterable[bytes] = (file.content,)
        else:
            original = stack.enter_context(file.origin.open("rb"))
            pieces = iter(lambda: original.read(1 << 20), b"")
        for piece in pieces:
            digest.update(piece)
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
    if digest.hexdigest() != file.sha256:
        msg = f"{file.origin} changed while it was published"
        raise Corrupt(msg, hint="try again when nobody writes to it")


def _move(staged: Path, root: Path, model: Model) -> None:
    """By renames: of the folder, which is whole before and after, and of each second name."""
    folder = root / model.folder
    make_folder(folder.parent)
    if folder.exists():
        folder.rename(staged / "former")
    try:
        (staged / "files").rename(folder)
    except BaseException:
        if (staged / "former").exists():
            (staged / "former").rename(folder)
        raise
    for number, path in enumerate(model.built_in):
        make_folder((root / path).parent)
        (staged / str(number)).replace(root / path)
    fsync_folder(folder.parent)


def _link(root: Path, model: Model) -> None:
    """``DIR/NAME``: for clients of the other protocols of ``hub serve``."""
    link = root / model.name
    if _leads(link) == _target(model):
        return
    make_folder(link.parent)
    if link.is_dir():
        shutil.rmtree(link)  # check_places has seen that all in it is ours
    try:
        link.symlink_to(_target(model), target_is_directory=True)
    except (OSError, NotImplementedError):
        for name in model.files:
            link_or_copy(root / model.folder / name, link / name)


def _target(model: Model) -> str:
    return os.path.join(*([os.pardir] * model.name.count("/")), *model.folder.split("/"))  # noqa: PTH118  for a link


def _leads(link: Path) -> str | None:
    return os.fspath(link.readlink()) if link.is_symlink() else None


def write_tables(root: Path, registry: Mapping[str, Any]) -> None:
    """Write the tables that are not as they should be, the registry last."""
    for name, content in table_contents(registry).items():
        if not (root / name).is_file() or (root / name).read_bytes() != content:
            write_bytes(root / name, content)
