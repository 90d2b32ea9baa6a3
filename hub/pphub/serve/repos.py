"""Repositories, revisions and files of a folder on this disk, without a word of HTTP.

::

    DIR/bert/config.json              repository "bert", revision "main"
    DIR/org/bert/config.json          repository "org/bert", revision "main"
    DIR/org/bert@v1.0/config.json     the same repository, revision "v1.0"
    DIR/org/bert@refs%2Fpr%2F1/…      the same repository, revision "refs/pr/1"

A folder that directly holds a file is a repository; one that holds only folders is an organisation. The
commit of a revision is computed from its content: the same files give the same commit, on every machine.

Not served: names that begin with a dot (except ``.gitattributes``), names that are not UTF-8 or hold a
backslash or a control character, anything that is not a regular file, and **links that lead out of DIR**. A
link to something inside DIR is followed, even when its target is hidden: caches keep ``.blobs`` that way.

What a client asks for is compared with names found on the disk and never joined to a path, so that no
spelling of ``..`` leads anywhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from pphub.errors import FileNotInModel, ModelNotFound, RevisionNotFound
from pphub.serve.hashes import Hashes, HashMemo, is_lfs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import FileIO

__all__ = ["MAIN", "File", "Folder", "Library", "Repository", "Revision"]

MAIN: Final = "main"

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_UNSPEAKABLE: Final = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")  # surrogates: the name is not UTF-8
_REMEMBERED: Final = 256  # revisions; each is a few hundred bytes a file


@dataclass(frozen=True, slots=True)
class File:
    """One file of a revision, as it was when the revision was read."""

    path: str
    location: Path
    size: int
    mtime_ns: int
    hashes: Hashes

    @property
    def is_lfs(self) -> bool:
        """Whether git holds only a pointer to it."""
        return self.hashes.pointer_size is not None

    @property
    def etag(self) -> str:
        """What names the content: its sha256 in LFS, else its id in git."""
        return self.hashes.sha256 if self.is_lfs else self.hashes.oid

    def open(self) -> FileIO:
        """Open exactly the content that was hashed.

        Raises:
            FileNotInModel: the file was changed or removed since.
        """
        try:
            file = self.location.open("rb", buffering=0)
        except OSError as error:
            msg = f"{self.path} can no longer be read: {error.strerror}."
            raise FileNotInModel(msg) from error
        # Asked of the open file, so that nothing can come between the question and the reading.
        now = os.fstat(file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            file.close()
            raise FileNotInModel(f"{self.path} was changed while it was served.")
        return file


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder inside a revision; like git, only one that holds a file, at whatever depth."""

    path: str
    oid: str


@dataclass(frozen=True)
class Revision:
    """The content of a repository under one name, read once and not changed any more."""

    repo: str
    name: str
    commit: str
    files: tuple[File, ...]

    @cached_property
    def tree(self) -> Mapping[str, File | Folder]:
        """Files and folders by path, in the order of their paths."""
        below: dict[str, list[File]] = {}
        for file in self.files:
            for end in (i for i, char in enumerate(file.path) if char == "/"):
                below.setdefault(file.path[:end], []).append(file)
        found: dict[str, File | Folder] = {path: Folder(path, _digest(inner)) for path, inner in below.items()}
        found.update((file.path, file) for file in self.files)
        return dict(sorted(found.items()))

    @property
    def changed_ns(self) -> int:
        """When the newest file was written."""
        return max((file.mtime_ns for file in self.files), default=0)

    def file(self, path: str) -> File:
        """The file at that path.

        Raises:
            FileNotInModel: there is none.
        """
        found = self.tree.get(path)
        if not isinstance(found, File):
            raise FileNotInModel(f"{self.repo} at {self.name} has no file {path}.")
        return found

    def below(self, path: str, *, recursive: bool) -> list[File | Folder]:
        """What is in a folder, or in the whole revision for the path ``""``.

        Raises:
            FileNotInModel: there is no such folder.
        """
        if path and not isinstance(self.tree.get(path), Folder):
            raise FileNotInModel(f"{self.repo} at {self.name} has no folder {path}.")
        prefix = f"{path}/" if path else ""
        inner = (entry for entry in self.tree.values() if entry.path.startswith(prefix))
        return [entry for entry in inner if recursive or "/" not in entry.path[len(prefix) :]]


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository and the folders of its revisions; ``main`` comes first."""

    id: str
    revisions: Mapping[str, Path]


class Library:
    """The repositories of a folder. Read anew for every question, except for the hashes.

    Args:
        root: the folder.

    Raises:
        ModelNotFound: there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            what = "is not a folder" if root.exists() else "does not exist"
            raise ModelNotFound(
                f"{root} {what}, so there is nothing to serve.",
                hint="name a folder that holds repositories: DIR/<name>/… or DIR/<org>/<name>/…",
            )
        self.root = root.resolve()
        self._memo = HashMemo()
        self._lock = threading.Lock()
        self._remembered: OrderedDict[tuple[str, str], Revision] = OrderedDict()

    def repositories(self) -> list[Repository]:
        """All repositories, by id."""
        found = []
        for name, folder in self._folders(self.root).items():
            if "@" in name:
                continue
            if self._holds_a_file(folder):
                found.append(name)
            else:
                inner = self._folders(folder).items()
                found += [f"{name}/{n}" for n, f in inner if "@" not in n and self._holds_a_file(f)]
        return [self.repository(repo) for repo in sorted(found)]

    def repository(self, repo: str) -> Repository:
        """The repository of that id.

        Raises:
            ModelNotFound: there is none.
        """
        *org, name = repo.split("/")
        folders = self._folders(self.root)
        if org:
            parent = folders.get(org[0]) if len(org) == 1 else None
            folders = self._folders(parent) if parent and not self._holds_a_file(parent) else {}
        if "@" in repo or name not in folders or not self._holds_a_file(folders[name]):
            raise ModelNotFound(f"There is no repository {repo}.")
        revisions = {MAIN: folders[name]}
        for sibling, folder in folders.items():
            base, _, revision = sibling.partition("@")
            if base == name and revision:
                revisions.setdefault(unquote(revision), folder)
        return Repository(repo, revisions)

    def revision(self, repo: str, revision: str) -> Revision:
        """Read one revision.

        Args:
            repo: the id of the repository.
            revision: a branch or tag, or the commit that one of them is at.

        Raises:
            ModelNotFound: there is no such repository.
            RevisionNotFound: it has no such revision.
        """
        repository = self.repository(repo)
        if revision in repository.revisions:
            return self._read(repository, revision)
        if _COMMIT.fullmatch(revision):
            for name in repository.revisions:
                read = self._read(repository, name)
                if read.commit == revision:
                    return read
        raise RevisionNotFound(f"{repo} has no revision {revision}.")

    def file(self, repo: str, revision: str, path: str) -> tuple[File, Revision]:
        """One file, and the revision that it was found in.

        A client that fetches a snapshot asks for each file by commit. Those are answered from memory: a
        commit names its content for ever, so it is enough that the one file has not changed.

        Raises:
            ModelNotFound: there is no such repository.
            RevisionNotFound: it has no such revision.
            FileNotInModel: the revision has no such file.
        """
        with self._lock:
            remembered = self._remembered.get((repo, revision))
        if remembered is not None and revision not in self.repository(repo).revisions:
            file = remembered.file(path)
            if _is_unchanged(file):
                return file, remembered
        found = self.revision(repo, revision)
        return found.file(path), found

    def _read(self, repository: Repository, name: str) -> Revision:
        folder = repository.revisions[name]
        files = tuple(sorted(self._files(folder, "", (folder,)), key=lambda file: file.path))
        read = Revision(repository.id, name, _digest(files), files)
        with self._lock:
            self._remembered[(read.repo, read.commit)] = read
            self._remembered.move_to_end((read.repo, read.commit))
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return read

    def _files(self, folder: Path, prefix: str, chain: tuple[Path, ...]) -> Iterator[File]:
        for name, location, status in self._entries(folder):
            path = prefix + name
            if stat.S_ISREG(status.st_mode):
                file = self._file(path, location, status)
                if file is not None:
                    yield file
            elif not any(parent.is_relative_to(location) for parent in chain):  # a link back up has no end
                yield from self._files(location, f"{path}/", (*chain, location))

    def _file(self, path: str, location: Path, status: os.stat_result) -> File | None:
        size, mtime_ns = status.st_size, status.st_mtime_ns
        try:
            hashes = self._memo.of(location, size=size, mtime_ns=mtime_ns, lfs=is_lfs(path, size))
        except FileNotFoundError:  # removed since the folder was listed
            return None
        return File(path, location, size, mtime_ns, hashes)

    def _entries(self, folder: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
        """The files and folders that may be served: name, real location and status."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):  # removed since its parent was listed
            return
        for entry in entries:
            hidden = entry.name.startswith(".")
            if (hidden and entry.name != ".gitattributes") or _UNSPEAKABLE.search(entry.name):
                continue
            location = Path(entry.path)
            if entry.is_symlink():
                location = Path(os.path.realpath(entry.path))
                if not location.is_relative_to(self.root):
                    continue
            try:
                status = location.stat()
            except OSError:  # a link to nothing, or removed by now
                continue
            is_folder = stat.S_ISDIR(status.st_mode) and not hidden
            if is_folder or stat.S_ISREG(status.st_mode):
                yield entry.name, location, status

    def _folders(self, folder: Path) -> dict[str, Path]:
        try:
            entries = list(self._entries(folder))
        except PermissionError:  # a `lost+found` beside the repositories is no reason to serve none of them
            return {}
        return {name: location for name, location, status in entries if stat.S_ISDIR(status.st_mode)}

    def _holds_a_file(self, folder: Path) -> bool:
        try:
            return any(stat.S_ISREG(status.st_mode) for _, _, status in self._entries(folder))
        except PermissionError:
            return False


def _digest(files: tuple[File, ...] | list[File]) -> str:
    lines = "".join(f"{file.path}\0{file.hashes.oid}\n" for file in files)
    return hashlib.sha1(lines.encode(), usedforsecurity=False).hexdigest()


def _is_unchanged(file: File) -> bool:
    try:
        now = file.location.stat()
    except OSError:
        return False
    return (now.st_size, now.st_mtime_ns) == (file.size, file.mtime_ns)
