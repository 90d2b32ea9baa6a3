"""Reads again what is stored, and compares it with what the records say it is; what shared caches hold is only read."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

from pphub_cache.care.inventory import (
    CONVERSION_FILE,
    conversions,
    files_of,
    read_conversion,
    read_held,
    read_view,
    snapshots,
    views,
)
from pphub_cache.care.sweeping import SHA256
from pphub_cache.digest import sha256_of
from pphub_cache.layout import SNAPSHOT_FILE, Layout
from pphub_cache.lock import is_locked

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from pphub_cache.care.inventory import Conversion, Held, View

__all__ = [
    "Claim",
    "Finding",
    "Work",
    "check",
    "claim_in",
    "claim_of",
    "is_inside",
    "plan_again",
    "plan_check",
    "plan_folder",
]

_THREADS: Final = 2
_MOMENT: Final = 0.05  # seconds
_MOST_JSON: Final = 128 << 20  # bytes

Kind = Literal["damaged", "missing", "outdated"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a record says of one file.

    Attributes:
        home: the cache home that has the record; empty for a folder of the user's.
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
        conversions: those among what is read whose records can be read, and the cache homes that have them: what
            they were made of is for others to prove.
        snapshots: those among what is read.
    """

    claims: dict[tuple[int, int], list[Claim]] = field(default_factory=dict)
    size: int = 0
    findings: list[Finding] = field(default_factory=list)
    conversions: list[tuple[str, Conversion]] = field(default_factory=list)
    snapshots: list[Held] = field(default_factory=list)

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
                _plan_conversion(os.fspath(layout.home), conversion, work)
        for view in views(layout):
            if view.origin is not None and (wanted is None or view.origin in wanted):
                _plan_view(layout, view, view.origin, work)
    return work


def plan_folder(folder: Path) -> Work:
    """Look up what is to be read of a conversion in a folder of the user's; nothing when it has no record."""
    work = Work()
    if conversion := read_conversion(os.fspath(folder)):
        _plan_conversion("", conversion, work)
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
        record = claim_in(layout, held, SNAPSHOT_FILE, 0, "")
        work.findings.append(Finding(record, "damaged", "it cannot be read, so what the snapshot holds is not known"))
    work.snapshots.append(held)
    _plan_files(layout, held, held.stored(), work)


def claim_in(layout: Layout, held: Held, path: str, size: int | None, sha256: str) -> Claim:
    """What the record of a snapshot says of one of its files."""
    home = os.fspath(layout.home)
    return Claim(home, held.source, held.repo, held.commit, path, size, sha256, f"{held.folder}/{path}")


def _plan_files(layout: Layout, held: Held, files: Iterable[tuple[str, int, str]], work: Work) -> None:
    for path, size, sha256 in files:
        claim = claim_in(layout, held, path, size, sha256)
        if not is_inside(path) or not SHA256.fullmatch(sha256):
            work.findings.append(Finding(claim, "damaged", "the record does not say what it is"))
            continue
        _add(claim, work)
        # Where links cannot be made the snapshot has copies, and the blob is what they are mended from.
        with contextlib.suppress(OSError):
            blob = os.fspath(layout.blob(sha256))
            if not os.path.samefile(blob, claim.file):  # noqa: PTH121
                _add_file(replace(claim, file=blob), work)


def _plan_conversion(home: str, conversion: Conversion, work: Work) -> None:
    files = files_of(conversion)
    if files is None:  # it may have been removed since it was found, or removed and made anew
        now = read_conversion(conversion.folder)
        if now is None:
            return
        conversion, files = now, files_of(now)
    if files is None:
        record = claim_of(home, conversion, CONVERSION_FILE)
        work.findings.append(Finding(record, "damaged", "it cannot be read, so what the conversion holds is not known"))
        return
    work.conversions.append((home, conversion))
    for name, (size, sha256) in files.items():
        _add(claim_of(home, conversion, name, size, sha256), work)


def claim_of(home: str, conversion: Conversion, path: str, size: int | None = None, sha256: str = "") -> Claim:
    """What the record of a conversion says of one of its files."""
    source, repo, commit = min(conversion.origins, default=("", "", ""))
    return Claim(home, source, repo, commit, path, size, sha256, f"{conversion.folder}/{path}", conversion.key)


def _plan_view(layout: Layout, view: View, origin: tuple[str, str, str], work: Work) -> None:
    """The copies; what the links show is read where it is, and a view of what is gone is for prune, or a prepare."""
    if not os.path.isdir(view.shown):  # noqa: PTH112
        return
    for name, content in view.copies.items():
        if name == os.path.basename(name):  # noqa: PTH119
            size, sha256 = content or (None, None)
            file = f"{view.folder}/{name}"
            _add(Claim(os.fspath(layout.home), *origin, name, size, sha256, file, view=view.name), work)


def is_inside(path: str) -> bool:
    """Whether a path of a record stays within its folder."""
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
    """Whether the record still says so: another process may have removed the model, or made it anew."""
    layout = Layout(Path(claim.home))
    while claim.home and _is_at_work(layout, claim):
        time.sleep(_MOMENT)  # of what is being removed, the record goes last
    if os.path.exists(claim.file):  # noqa: PTH110
        return False
    if claim.view is not None:
        view = read_view(layout, claim.view)
        return view is not None and claim.path in view.copies
    if claim.conversion is not None:
        return os.path.lexists(f"{os.path.dirname(claim.file)}/{CONVERSION_FILE}")  # noqa: PTH120
    held = read_held(layout, claim.source, claim.repo, claim.commit)
    return held is not None and any(path == claim.path for path, _, _ in held.stored())


def _is_at_work(layout: Layout, claim: Claim) -> bool:
    """Whether somebody makes or removes the conversion or the view."""
    kind, key = ("view", claim.view) if claim.view is not None else ("converted", claim.conversion)
    try:
        return key is not None and is_locked(layout.lock(kind, key))
    except OSError:  # a home that may only be read
        return False


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
    size = os.path.getsize(file)  # noqa: PTH202
    if not file.endswith(".json"):
        return size > 0
    try:
        return size <= _MOST_JSON and isinstance(json.loads(Path(file).read_bytes()), dict)
    except (ValueError, RecursionError):
        return False
