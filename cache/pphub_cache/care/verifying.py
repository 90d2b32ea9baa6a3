"""Reads again what is stored, and compares it with what the records say it is; what shared caches hold is only read."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

from pphub_cache.atomic import explain_os_errors, move
from pphub_cache.care.inventory import (
    CONVERSION_FILE,
    VIEW_FILE,
    VIEW_FOLDER,
    conversions,
    files_of,
    read_held,
    read_view,
    snapshots,
    views,
)
from pphub_cache.care.sweeping import SHA256, delete_file
from pphub_cache.digest import sha256_of
from pphub_cache.layout import SNAPSHOT_FILE, Layout
from pphub_cache.lock import entry_lock
from pphub_cache.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from pphub_cache.care.inventory import Conversion, Held, View

__all__ = ["Claim", "Finding", "Work", "check", "plan_again", "plan_check", "set_aside"]

_THREADS: Final = 2

Kind = Literal["damaged", "missing"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a record says of one file.

    Attributes:
        home: the cache home that has the record.
        commit: of a conversion or a view, that of its input.
        size: None where the record does not tell.
        sha256: None for a file that may be changed, and must only be a JSON object, if its name says so, or not empty.
        file: where it is.
        conversion: the key, of a file of a conversion.
        view: the name, of a file of a view.
    """

    home: str
    source: str
    repo: str
    commit: str
    path: str
    size: int | None
    sha256: str | None
    file: str
    conversion: str | None = None
    view: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One file that is not what its record says; ``problem`` says in words what it is instead."""

    claim: Claim
    kind: Kind
    problem: str


@dataclass(slots=True)
class Work:
    """What is to be read: each content once, whatever the number of its names.

    Attributes:
        claims: device and inode → what the records say of it.
        size: bytes in all.
        findings: what is known without reading.
    """

    claims: dict[tuple[int, int], list[Claim]] = field(default_factory=dict)
    size: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def files(self) -> int:
        """How many contents there are."""
        return len(self.claims)


def plan_check(layouts: Iterable[Layout], wanted: Collection[tuple[str, str, str]] | None) -> Work:
    """Look up what is to be read; opens the records, and no file of a model.

    Args:
        layouts: the cache, and the shared ones.
        wanted: source, repository and commit of each snapshot; None for all there is.
    """
    work = Work()
    for layout in layouts:
        for held in snapshots(layout):
            if wanted is None or (held.source, held.repo, held.commit) in wanted:
                _plan_snapshot(layout, held, work)
        for conversion in conversions(layout):
            if wanted is None or conversion.origins & set(wanted):
                _plan_conversion(layout, conversion, work)
        for view in views(layout):
            if view.origin is not None and (wanted is None or view.origin in wanted):
                _plan_view(layout, view, view.origin, work)
    return work


def plan_again(layout: Layout, claims: Iterable[Claim]) -> Work:
    """Look up what is to be read of files that were bad, and should be right by now."""
    work = Work()
    for claim in claims:
        if claim.view is not None:
            view = read_view(layout, claim.view)
            if view is not None and view.origin is not None:
                _plan_view(layout, view, view.origin, work)
            continue
        held = read_held(layout, claim.source, claim.repo, claim.commit)
        if held is None:
            work.findings.append(Finding(claim, "missing", "it is gone"))
        elif claim.path == SNAPSHOT_FILE:
            _plan_snapshot(layout, held, work)
        else:
            stored = {path: [(path, size, sha256)] for path, size, sha256 in held.stored()}
            if claim.path not in stored:
                work.findings.append(Finding(claim, "missing", "it is not stored"))
            _plan_files(layout, held, stored.get(claim.path, []), work)
    return work


def _plan_snapshot(layout: Layout, held: Held, work: Work) -> None:
    if held.state == "damaged":
        record = _claim(layout, held, SNAPSHOT_FILE, 0, "")
        work.findings.append(Finding(record, "damaged", "it cannot be read, so what the snapshot holds is not known"))
    _plan_files(layout, held, held.stored(), work)


def _claim(layout: Layout, held: Held, path: str, size: int | None, sha256: str) -> Claim:
    home = os.fspath(layout.home)
    return Claim(home, held.source, held.repo, held.commit, path, size, sha256, f"{held.folder}/{path}")


def _plan_files(layout: Layout, held: Held, files: Iterable[tuple[str, int, str]], work: Work) -> None:
    for path, size, sha256 in files:
        claim = _claim(layout, held, path, size, sha256)
        if not _is_inside(path) or not SHA256.fullmatch(sha256):
            work.findings.append(Finding(claim, "damaged", "the record does not say what it is"))
            continue
        _add(claim, work)
        # Where links cannot be made the snapshot has copies, and the blob is what they are mended from.
        with contextlib.suppress(OSError):
            blob = os.fspath(layout.blob(sha256))
            if not os.path.samefile(blob, claim.file):  # noqa: PTH121
                _add_file(replace(claim, file=blob), work)


def _plan_conversion(layout: Layout, conversion: Conversion, work: Work) -> None:
    home, (source, repo, commit) = os.fspath(layout.home), min(conversion.origins, default=("", "", ""))
    files = files_of(conversion)
    if files is None:
        path = f"{conversion.folder}/{CONVERSION_FILE}"
        record = Claim(home, source, repo, commit, CONVERSION_FILE, 0, "", path, conversion.key)
        work.findings.append(Finding(record, "damaged", "it cannot be read, so what the conversion holds is not known"))
        return
    for name, (size, sha256) in files.items():
        file = f"{conversion.folder}/{name}"
        _add(Claim(home, source, repo, commit, name, size, sha256, file, conversion.key), work)


def _plan_view(layout: Layout, view: View, origin: tuple[str, str, str], work: Work) -> None:
    """The copies; what the links show is read where it is, and a view of what is gone is for prune, or a prepare."""
    if not os.path.isdir(view.shown):  # noqa: PTH112
        return
    for name, content in view.copies.items():
        if name == os.path.basename(name):  # noqa: PTH119
            size, sha256 = content or (None, None)
            file = f"{view.folder}/{name}"
            _add(Claim(os.fspath(layout.home), *origin, name, size, sha256, file, view=view.name), work)


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and not path.startswith("/")


def _add(claim: Claim, work: Work) -> None:
    try:
        _add_file(claim, work)
    except OSError as error:
        _add_problem(claim, error, work.findings)


def _add_file(claim: Claim, work: Work) -> None:
    status = os.stat(claim.file)  # noqa: PTH116
    claims = work.claims.setdefault((status.st_dev, status.st_ino), [])
    if not claims:
        work.size += status.st_size
    claims.append(claim)


def _add_problem(claim: Claim, error: OSError, findings: list[Finding]) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        findings.append(Finding(claim, "damaged", f"it cannot be read: {error.strerror or error}"))
    elif _is_claimed(claim):
        findings.append(Finding(claim, "missing", "it is gone"))


def _is_claimed(claim: Claim) -> bool:
    """Whether the record still says so: another process may have removed the model."""
    layout = Layout(Path(claim.home))
    if claim.view is not None:
        view = read_view(layout, claim.view)
        return view is not None and claim.path in view.copies
    if claim.conversion is not None:
        return os.path.lexists(f"{os.fspath(layout.converted(claim.conversion))}/{CONVERSION_FILE}")
    held = read_held(layout, claim.source, claim.repo, claim.commit)
    return held is not None and any(path == claim.path for path, _, _ in held.stored())


def check(work: Work, on_bytes: Callable[[int], None]) -> list[Finding]:
    """Read everything and say what is wrong; opens no socket and writes nothing.

    Args:
        work: from :func:`plan_check`.
        on_bytes: told how many bytes more have been read; called by one thread at a time.
    """
    guard = threading.Lock()
    stopped = False

    def count(number: int) -> None:
        with guard:
            if stopped:
                raise InterruptedError  # nobody waits for the rest of a large file
            on_bytes(number)

    findings = list(work.findings)
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for found in pool.map(lambda claims: _check_file(claims, count), work.claims.values()):
                findings += found
        except BaseException:  # Ctrl-C
            stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(findings, key=lambda one: (one.claim.source, one.claim.repo, one.claim.commit, one.claim.path))


def _check_file(claims: list[Claim], count: Callable[[int], None]) -> list[Finding]:
    """Read one content, and compare it with all that is said of it."""
    findings: list[Finding] = []
    file = claims[0].file
    try:
        status = os.stat(file)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            return [Finding(claim, "damaged", "it is a folder, or something else that is no file") for claim in claims]
        size = status.st_size
        right_size = [claim for claim in claims if claim.size in {size, None}]
        sha256 = sha256_of(Path(file), on_bytes=count) if right_size else ""
        sound = all(claim.sha256 is not None for claim in claims) or _is_sound(file)
    except OSError as error:
        for claim in claims:
            _add_problem(claim, error, findings)
        return findings
    for claim in claims:
        if claim.sha256 is None:
            if sound:
                continue
            problem = "it is no JSON object" if file.endswith(".json") else "it is empty"
        elif claim.size not in {size, None}:
            problem = f"it has {size} bytes, and should have {claim.size}"
        elif claim.sha256 != sha256:
            problem = f"its sha256 is {sha256}, and should be {claim.sha256}"
        else:
            continue
        findings.append(Finding(claim, "damaged", problem))
    return findings


def _is_sound(file: str) -> bool:
    """Whether a file that PaddleNLP may have written anew is of any use."""
    content = Path(file).read_bytes()
    if not file.endswith(".json"):
        return bool(content)
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False


def set_aside(layout: Layout, findings: Iterable[Finding], on_wait: Callable[[str], None]) -> list[Claim]:
    """Move what is bad to ``hub/quarantine`` and mend the records, so that it counts as not stored.

    A conversion is moved whole, since it is made again; a blob is taken out of every model that has it; of a view, of
    which a link leads nowhere then, :func:`pphub.view.show_by_name` makes another.

    Args:
        layout: the cache.
        findings: what is bad in it, and not in a shared one.
        on_wait: told whom it waits for.

    Returns:
        The files that are no longer stored, of all models; the path of a record stands for a whole snapshot.

    Raises:
        StorageFailed: the disk says no.
    """
    bad: dict[tuple[str, str, str], set[str]] = {}
    blobs: set[str] = set()
    records: list[Claim] = []
    for finding in findings:
        claim = finding.claim
        if claim.conversion is not None:
            with entry_lock(layout.lock("converted", claim.conversion), on_wait=on_wait):
                _quarantine(layout, layout.converted(claim.conversion))
        elif claim.view is not None:
            with entry_lock(layout.lock("view", claim.view), on_wait=on_wait):
                _set_aside_copy(layout, claim)
        elif claim.path == SNAPSHOT_FILE:
            records.append(claim)
        elif _is_blob(layout, claim):
            blobs.add(claim.sha256 or "")
        else:
            bad.setdefault((claim.source, claim.repo, claim.commit), set()).add(claim.path)
    lost = [claim for claim in records if _set_aside_record(layout, claim, on_wait)]
    for held in snapshots(layout):
        paths = bad.get((held.source, held.repo, held.commit), set())
        if paths or any(sha256 in blobs for _, _, sha256 in held.stored()):
            lost += _mend(layout, held, paths, blobs, on_wait)
    for sha256 in blobs:
        with entry_lock(layout.lock("blob", f"sha256-{sha256}"), on_wait=on_wait):
            _quarantine(layout, layout.blob(sha256))
    return lost


def _is_blob(layout: Layout, claim: Claim) -> bool:
    """Whether the file that is bad is the blob itself, not a copy of it or a link to another."""
    try:
        return os.path.samefile(claim.file, layout.blob(claim.sha256 or ""))  # noqa: PTH121
    except (OSError, ValueError):
        return False


def _set_aside_copy(layout: Layout, claim: Claim) -> None:
    """What the link shows, or what is there in its place."""
    file = Path(claim.file)
    own = file.parent / VIEW_FOLDER
    shown = Path(os.path.realpath(file))
    # Where links cannot be made, the copies are in the folder itself.
    linked = (file.parent / VIEW_FILE).is_symlink()
    _quarantine(layout, shown if linked and shown.is_relative_to(os.path.realpath(own)) else file)


def _set_aside_record(layout: Layout, claim: Claim, on_wait: Callable[[str], None]) -> bool:
    with entry_lock(layout.lock("snapshot", f"{claim.source}/{claim.repo}/{claim.commit}"), on_wait=on_wait):
        now = read_held(layout, claim.source, claim.repo, claim.commit)
        if now is None or now.state != "damaged":
            return False
        _quarantine(layout, Path(claim.file))
    return True


def _mend(
    layout: Layout, held: Held, paths: Collection[str], blobs: Collection[str], on_wait: Callable[[str], None]
) -> list[Claim]:
    """Say in the record that files are not stored, then take them away."""
    store = Store(layout.home)
    lost = []
    with entry_lock(layout.lock("snapshot", held.key), on_wait=on_wait):
        snapshot = store.read(held.source, held.repo, held.commit)
        if snapshot is None:
            return []
        files = dict(snapshot.files)
        for path, file in snapshot.files.items():
            if file.stored and (path in paths or file.sha256 in blobs):
                promised = file.promised or file.verified
                files[path] = replace(file, sha256=None, verified=None, stored=False, promised=promised)
                lost.append(_claim(layout, held, path, file.size, file.sha256 or ""))
        store.record(replace(snapshot, files=files))
        for claim in lost:
            if not _is_inside(claim.path):
                continue
            copied = not os.path.islink(claim.file) and claim.sha256 not in blobs  # noqa: PTH114
            with explain_os_errors("remove a link", Path(held.folder)):
                way = _in_the_way(held.folder, claim.path)
                if way is not None or (copied and os.path.isfile(claim.file)):  # noqa: PTH113
                    _quarantine(layout, Path(way or claim.file))
                else:
                    delete_file(claim.file)
    return lost


def _in_the_way(folder: str, path: str) -> str | None:
    """A folder in the place of a file, or something else in the place of a folder around it."""
    place = folder
    for part in PurePosixPath(path).parts[:-1]:
        place = f"{place}/{part}"
        if os.path.lexists(place) and not os.path.isdir(place):  # noqa: PTH112
            return place
    file = f"{folder}/{path}"
    return file if os.path.isdir(file) and not os.path.islink(file) else None  # noqa: PTH112, PTH114


def _quarantine(layout: Layout, path: Path) -> None:
    """Move a file or a folder aside, under a name that is not taken; one that is gone is no error."""
    target = layout.hub / "quarantine" / f"{path.name}.{secrets.token_hex(4)}"
    if os.path.lexists(path):
        move(path, target)
