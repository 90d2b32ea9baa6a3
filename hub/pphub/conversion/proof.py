"""Proves a conversion once more: makes it again from its inputs, and compares every byte with what is there.

Nothing is taken from the record but where the inputs are and what was asked for. The small files are written again to a
temporary folder; of the weights each tensor is made in memory, in turn, and compared in its place in the file. Needs
neither torch nor paddle.
"""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from pphub.conversion.differences import file_problem, is_equal, record_problem, weights_problem
from pphub.conversion.dtypes import FLOATS
from pphub.conversion.job import RECORD_FILE, make_job, make_key, plan_job, write_folder
from pphub.conversion.rules import load_families
from pphub.conversion.target import read_record
from pphub.conversion.weights import stream_weights
from pphub.errors import ConversionFailed, FileNotInModel, PphubError, StorageFailed
from pphub.select import is_weights
from pphub_cache.care.inventory import snapshots
from pphub_cache.digest import sha256_of
from pphub_cache.store import CachedFile, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import BinaryIO

    from pphub.conversion.family import Side
    from pphub.conversion.job import Job, Written
    from pphub.conversion.moves import Plan
    from pphub_cache.care.inventory import Held
    from pphub_cache.layout import Layout

__all__ = ["Difference", "Inputs", "Proof", "Verdict", "prove"]

Verdict = Literal["proved", "differs", "outdated", "changed", "unproved"]

_CONVERTERS: Final = range(1, 100)  # of all versions there have been, and some that may come
_ATTEMPTS: Final = 3
_MADE_BY: Final = ("key", "pphub", "rules")


@dataclass(frozen=True, slots=True)
class Difference:
    """A file of a conversion that is not what the conversion makes; ``problem`` says in words what it is instead."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of it.

    Attributes:
        verdict: ``proved``: the inputs give these very bytes. ``differs``: they give others. ``outdated``: they give
            others, and the record says that other rules, or another version, made it. ``changed``: the inputs are no
            longer what they were. ``unproved``: the inputs are gone, or there are no rules any more.
        reason: why it could not be proved, or what it was made with, if not with the rules of today.
        differences: what is not as it should be.
    """

    verdict: Verdict
    reason: str = ""
    differences: tuple[Difference, ...] = ()


class _Answer(Exception):
    """Ends the search for one; never leaves this module."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.proof = Proof(verdict, reason)
        if verdict == "differs":
            self.proof = Proof(verdict, "", (Difference(RECORD_FILE, reason),))


@dataclass(frozen=True, slots=True)
class _Record:
    """What a record says that is needed to do the same again; ``inputs`` are paths and their sha256."""

    whole: dict[str, Any]
    key: str
    origin: tuple[str, str, str]
    inputs: dict[str, str]
    rules: str
    made_by: str
    to: Side
    dtype: str | None


class Inputs:
    """Finds the inputs of conversions: in the caches by their content, or in the folder that was converted.

    Args:
        layouts: the caches.
        is_read: whether a file of a snapshot was read in this run, and is what the record says; others are hashed.
    """

    def __init__(self, layouts: Iterable[Layout], is_read: Callable[[Held, str], bool] = lambda _held, _path: False):
        self._layouts = tuple(layouts)
        self._is_read = is_read
        self._held: dict[tuple[str, str], dict[str, Held]] | None = None  # by path and sha256, then by folder

    def find(self, record: _Record) -> Snapshot:
        """The files that were converted, and no others.

        Raises:
            FileNotInModel: they are gone.
        """
        source, repo, commit = record.origin
        if source == "file":
            folder = Path(repo)
            files = {path: CachedFile(path, None, None, None, stored=True) for path in record.inputs}
        else:
            held = self._holding(record)
            folder = Path(held.folder)
            known = {path: record.inputs[path] if self._is_read(held, path) else None for path in record.inputs}
            files = {path: CachedFile(path, None, known[path], None, stored=True) for path in record.inputs}
        if missing := [path for path in record.inputs if not (folder / path).is_file()]:
            msg = f"{', '.join(missing)} of {folder} is gone"
            raise FileNotInModel(msg)
        return Snapshot(folder, source, repo, "", commit, files)

    def _holding(self, record: _Record) -> Held:
        """The snapshot that was converted, or another one that has the same files."""
        if self._held is None:
            self._held = {}
            for held in (held for layout in self._layouts for held in snapshots(layout)):
                for path, _, sha256 in held.stored():
                    self._held.setdefault((path, sha256), {})[held.folder] = held
        first, *others = (self._held.get(file, {}) for file in record.inputs.items())
        found = [held for folder, held in first.items() if all(folder in other for other in others)]
        if not found:
            source, repo, commit = record.origin
            msg = f"{source}:{repo}@{commit[:12]} is not in the cache, or not with the files that were converted"
            raise FileNotInModel(msg)
        return min(found, key=lambda held: (held.source, held.repo, held.commit) != record.origin)


def prove(
    folder: Path, inputs: Inputs, key: str | None = None, on_bytes: Callable[[int], None] = lambda _count: None
) -> Proof:
    """Make a conversion again in memory, and compare.

    Args:
        folder: with ``conversion.json``; only read.
        inputs: where inputs are looked for.
        key: what the conversion must be filed under; None for a folder that is not in the cache.
        on_bytes: told how many bytes more have been compared.

    Raises:
        StorageFailed: the disk says no.
        OSError: likewise; or another process has taken the conversion away.
    """
    for attempt in range(_ATTEMPTS):
        content = read_record(folder)
        try:
            proof = _prove(folder, content, inputs, key, on_bytes)
        except FileNotFoundError:  # another process removes the inputs, or the conversion
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        if proof.verdict == "proved" or read_record(folder) == content:
            break  # else another process has just made it anew
    return proof


def _prove(folder: Path, content: bytes, inputs: Inputs, key: str | None, on_bytes: Callable[[int], None]) -> Proof:
    try:
        record = _parse(content)
        _check_key(record, key)
        job, plan = plan_job(_job(record, inputs))
    except _Answer as answer:
        return answer.proof
    except ConversionFailed as error:
        if not any(family.digest == record.rules for family in load_families()):
            return Proof("unproved", f"there are no rules for it any more: {error.message}")
        return _Answer("differs", f"by the same rules its inputs cannot be converted: {error.message}").proof
    except StorageFailed:
        raise
    except PphubError as error:
        return _Answer("differs", f"its inputs cannot be converted: {error.message}").proof
    return _compare(folder, record, job, plan, on_bytes, in_cache=key is not None)


# -- what the record says ------------------------------------------------------------------------------------------


def _parse(content: bytes) -> _Record:
    """What is needed of a record; of what it says nothing is taken for granted."""
    try:
        whole = json.loads(content)
        options, inputs = whole["options"], whole["inputs"]
        (origin,) = {(one["source"], one["repo"], one["commit"]) for one in inputs}
        files = {one["file"]: one["sha256"] for one in inputs}
        texts = [*origin, *files, *files.values(), whole["key"], whole["rules"]["sha256"], options["to"]]
        dtype = options["dtype"]
        made_by = _maker(whole)
        sound = (
            all(isinstance(text, str) for text in texts)
            and options["to"] in {"paddle", "torch"}
            and (dtype is None or dtype in FLOATS)
            and all(_is_inside(path) for path in files)
            and isinstance(whole["files"], dict)
            and isinstance(whole["tensors"], list)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _Answer("differs", "it does not say what was converted, or how") from error
    if not sound:
        raise _Answer("differs", "what it says of the conversion makes no sense")
    return _Record(whole, whole["key"], origin, files, whole["rules"]["sha256"], made_by, options["to"], dtype)


def _maker(record: Mapping[str, Any]) -> str:
    rules = record["rules"]
    version = f"{rules['version']} ({rules['sha256'][:8]})"
    return f"pphub {record['pphub']} and version {version} of the rules for {rules['family']}"


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and not path.startswith("/") and "\\" not in path and "\0" not in path


def _check_key(record: _Record, key: str | None) -> None:
    """The key is made of the inputs: who names others, to keep these from being looked at, would have to change it."""
    made = (make_key(record.inputs, record.rules, record.dtype, record.to, number) for number in _CONVERTERS)
    if record.key not in made or key not in {None, record.key}:
        raise _Answer("differs", "its key is not that of the inputs, rules and options it names")


def _job(record: _Record, inputs: Inputs) -> Job:
    try:
        snapshot = inputs.find(record)
        files = {path: file.sha256 or sha256_of(snapshot.folder / path) for path, file in snapshot.files.items()}
    except (FileNotInModel, FileNotFoundError) as error:
        reason = error.message if isinstance(error, PphubError) else f"{error.filename} is gone"
        raise _Answer("unproved", f"its inputs are missing: {reason}") from error
    if files == record.inputs:
        known = {path: replace(file, sha256=files[path]) for path, file in snapshot.files.items()}
        job = make_job(replace(snapshot, files=known), record.dtype, record.to)
        files = job.inputs
    if files != record.inputs:
        paths = sorted({path for path, _ in files.items() ^ record.inputs.items()})
        raise _Answer("changed", f"its inputs are others by now: {', '.join(paths)} of {snapshot.folder}")
    return job


# -- what the conversion makes -------------------------------------------------------------------------------------


def _compare(
    folder: Path, record: _Record, job: Job, plan: Plan, on_bytes: Callable[[int], None], *, in_cache: bool
) -> Proof:
    is_the_same = False

    def compare(path: Path) -> Written:
        nonlocal is_the_same
        with _open(folder / path.name) as stream:
            comparison = _Comparison(stream, on_bytes)
            sink = cast("BinaryIO", comparison)
            made = stream_weights(plan, sink, path, record.to, record.dtype, lambda _count: None)
            is_the_same = comparison.is_the_same()
        return made

    with tempfile.TemporaryDirectory(prefix="pphub-proof-") as temporary:
        made = Path(temporary)
        weights = write_folder(job, plan, made, compare, with_sizes="sizes" in record.whole)
        expected = json.loads((made / RECORD_FILE).read_bytes())
        others = [path for path in sorted(made.iterdir()) if path.name != RECORD_FILE]
        problems = {path.name: file_problem(folder / path.name, path) for path in others}
    if not is_the_same:
        problems[weights.name] = weights_problem(folder / weights.name, expected)
    if in_cache:  # a folder of the user's may hold anything
        problems |= dict.fromkeys(_foreign(folder, expected), "it is not of this conversion, and might be loaded")
    as_today = all(is_equal(record.whole[name], expected[name]) for name in _MADE_BY)
    left_out = () if as_today else _MADE_BY
    said, right = ({name: each[name] for name in each if name not in left_out} for each in (record.whole, expected))
    problems[RECORD_FILE] = record_problem(said, right)
    differences = tuple(Difference(name, problem) for name, problem in problems.items() if problem)
    reason = "" if as_today else _other_maker(record.made_by, _maker(expected))
    if not differences:
        return Proof("proved", reason)
    return Proof("differs" if as_today else "outdated", reason, differences)


def _other_maker(then: str, now: str) -> str:
    if then == now:
        return f"made with {then}, in another way than that of today, with which it is compared"
    return f"made with {then}; it is compared with what {now} make"


def _foreign(folder: Path, expected: Mapping[str, Any]) -> list[str]:
    """Other weights beside these, which PaddleNLP might prefer."""
    return sorted(
        path.name for path in folder.iterdir() if is_weights(path.name) and path.name not in expected["files"]
    )


class _Comparison(io.RawIOBase):
    """Stands in for the file that would be written: what would be, is compared with what is there.

    Args:
        stream: the file that is there.
        on_bytes: told how many bytes more have been compared.
    """

    def __init__(self, stream: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self._stream = stream
        self._on_bytes = on_bytes
        self._equal = True

    def write(self, data: Any) -> int:
        """Compare the next bytes; after a difference the rest no longer counts."""
        if self._equal:
            self._equal = self._stream.read(len(data)) == bytes(data)
        self._on_bytes(len(data))
        return len(data)

    def is_the_same(self) -> bool:
        """Whether all was equal, and the file ends here."""
        return self._equal and not self._stream.read(1)


def _open(path: Path) -> BinaryIO:
    """The file; an empty one where there is none."""
    return path.open("rb") if path.is_file() else io.BytesIO()
