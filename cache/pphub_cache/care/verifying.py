"""Reads again what is stored, and compares it with what the records say it is."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

from pphub_cache.atomic import explain_os_errors, move
from pphub_cache.care.inventory import CONVERSION_FILE, conversions, read_held, snapshots
from pphub_cache.care.sweeping import SHA256, delete_file
from pphub_cache.digest import sha256_of
from pphub_cache.layout import SNAPSHOT_FILE
from pphub_cache.lock import entry_lock
from pphub_cache.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from pphub_cache.care.inventory import Conversion, Held
    from pphub_cache.layout import Layout

__all__ = ["Claim", "Finding", "Work", "check", "plan_check", "set_aside"]

_THREADS: Final = 2

Kind = Literal["damaged", "missing"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a record says of one file; of a conversion, the commit is that of its input and the key is set."""

    source: str
    repo: str
    commit: str
    path: str
    size: int
    sha256: str
    file: str
    conversion: str | None = None


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


def plan_check(layout: Layout, wanted: Collection[tuple[str, str, str]] | None) -> Work:
    """Look up what is to be read; opens the records, and no file of a model.

    Args:
        layout: the cache.
        wanted: source, repository and commit of each snapshot; None for all there is.
    """
    work = Work()
    for held in snapshots(layout):
        if wanted is None or (held.source, held.repo, held.commit) in wanted:
            _plan_snapshot(layout, held, work)
    for conversion in conversions(layout):
        if wanted is None or conversion.origins & set(wanted):
            _plan_conversion(layout, conversion, work)
    return work


def _plan_snapshot(layout: Layout, held: Held, work: Work) -> None:
    if held.state == "damaged":
        record = Claim(held.source, held.repo, held.commit, SNAPSHOT_FILE, 0, "", f"{held.folder}/{SNAPSHOT_FILE}")
        work.findings.append(Finding(record, "damaged", "it cannot be read, so what the snapshot holds is not known"))
    for path, size, sha256 in held.stored():
        claim = Claim(held.source, held.repo, held.commit, path, size, sha256, f"{held.folder}/{path}")
        if not _is_inside(path) or not SHA256.fullmatch(sha256):
            work.findings.append(Finding(claim, "damaged", "the record does not say what it is"))
            continue
        _add(layout, claim, work)
        # Where links cannot be made the snapshot has copies, and the blob is what they are mended from.
        with contextlib.suppress(OSError):
            blob = os.fspath(layout.blob(sha256))
            if not os.path.samefile(blob, claim.file):  # noqa: PTH121
                _add_file(replace(claim, file=blob), work)


def _plan_conversion(layout: Layout, conversion: Conversion, work: Work) -> None:
    source, repo, commit = min(conversion.origins, default=("", "", ""))
    if conversion.weights is None:
        path = f"{conversion.folder}/{CONVERSION_FILE}"
        record = Claim(source, repo, commit, CONVERSION_FILE, 0, "", path, conversion.key)
        work.findings.append(Finding(record, "damaged", "it cannot be read, so what the conversion holds is not known"))
        return
    name, size, sha256 = conversion.weights
    _add(layout, Claim(source, repo, commit, name, size, sha256, f"{conversion.folder}/{name}", conversion.key), work)


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and not path.startswith("/")


def _add(layout: Layout, claim: Claim, work: Work) -> None:
    try:
        _add_file(claim, work)
    except OSError as error:
        _add_problem(layout, claim, error, work.findings)


def _add_file(claim: Claim, work: Work) -> None:
    status = os.stat(claim.file)  # noqa: PTH116
    claims = work.claims.setdefault((status.st_dev, status.st_ino), [])
    if not claims:
        work.size += status.st_size
    claims.append(claim)


def _add_problem(layout: Layout, claim: Claim, error: OSError, findings: list[Finding]) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        findings.append(Finding(claim, "damaged", f"it cannot be read: {error.strerror or error}"))
    elif _is_claimed(layout, claim):
        findings.append(Finding(claim, "missing", "it is gone"))


def _is_claimed(layout: Layout, claim: Claim) -> bool:
    """Whether the record still says so: another process may have removed the model."""
    if claim.conversion is not None:
        return os.path.lexists(f"{os.fspath(layout.converted(claim.conversion))}/{CONVERSION_FILE}")
    held = read_held(layout, claim.source, claim.repo, claim.commit)
    return held is not None and any(path == claim.path for path, _, _ in held.stored())


def check(layout: Layout, work: Work, on_bytes: Callable[[int], None]) -> list[Finding]:
    """Read everything and say what is wrong; opens no socket and writes nothing.

    Args:
        layout: the cache.
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
            for found in pool.map(lambda claims: _check_file(layout, claims, count), work.claims.values()):
                findings += found
        except BaseException:  # Ctrl-C
            stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(findings, key=lambda one: (one.claim.source, one.claim.repo, one.claim.commit, one.claim.path))


def _check_file(layout: Layout, claims: list[Claim], count: Callable[[int], None]) -> list[Finding]:
    """Read one content, and compare it with all that is said of it."""
    findings: list[Finding] = []
    file = claims[0].file
    try:
        size = os.stat(file).st_size  # noqa: PTH116
        right_size = [claim for claim in claims if claim.size == size]
        sha256 = sha256_of(Path(file), on_bytes=count) if right_size else ""
    except OSError as error:
        for claim in claims:
            _add_problem(layout, claim, error, findings)
        return findings
    for claim in claims:
        if claim.size != size:
            problem = f"it has {size} bytes, and should have {claim.size}"
        elif claim.sha256 != sha256:
            problem = f"its sha256 is {sha256}, and should be {claim.sha256}"
        else:
            continue
        findings.append(Finding(claim, "damaged", problem))
    return findings


def set_aside(layout: Layout, findings: Iterable[Finding], on_wait: Callable[[str], None]) -> list[Claim]:
    """Move what is bad to ``hub/quarantine`` and mend the records, so that it counts as not stored.

    A conversion is moved whole, since it is made again; a blob is taken out of every model that has it.

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
        elif claim.path == SNAPSHOT_FILE:
            records.append(claim)
        elif _is_blob(layout, claim):
            blobs.add(claim.sha256)
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
        return os.path.samefile(claim.file, layout.blob(claim.sha256))  # noqa: PTH121
    except (OSError, ValueError):
        return False


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
                place = f"{held.folder}/{path}"
                lost.append(Claim(held.source, held.repo, held.commit, path, file.size or 0, file.sha256 or "", place))
        store.record(replace(snapshot, files=files))
        for claim in lost:
            if not _is_inside(claim.path):
                continue
            copied = not os.path.islink(claim.file) and claim.sha256 not in blobs  # noqa: PTH114
            with explain_os_errors("remove a link", Path(held.folder)):
                if copied and os.path.isfile(claim.file):  # noqa: PTH113
                    _quarantine(layout, Path(claim.file))
                else:
                    delete_file(claim.file)
    return lost


def _quarantine(layout: Layout, path: Path) -> None:
    """Move a file or a folder aside, under a name that is not taken; one that is gone is no error."""
    target = layout.hub / "quarantine" / f"{path.name}.{secrets.token_hex(4)}"
    if os.path.lexists(path):
        move(path, target)
