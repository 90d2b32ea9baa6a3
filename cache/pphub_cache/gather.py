"""Brings many contents into the store at once, each under its lock, each verified before it counts."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pphub.errors import StorageFailed
from pphub.source import RemoteFile
from pphub.units import human_size
from pphub_cache.atomic import explain_os_errors, make_folder
from pphub_cache.digest import sha256_of
from pphub_cache.line import Line, Stopped
from pphub_cache.lock import entry_lock
from pphub_cache.neighbours import find_copies, has_copies
from pphub_cache.offer import Offer, Places
from pphub_cache.partial import SMALL, collect, sweep
from pphub_cache.transfer import Fetched, fetch, fetch_small
from pphub_cache.web import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pphub_cache.progress import Progress
    from pphub_cache.store import Store

__all__ = ["Want", "gather"]

FILES_AT_ONCE: Final = 6  # more threads take the interpreter from each other


@dataclass(frozen=True, slots=True)
class Want:
    """A content that is wanted.

    Attributes:
        offer: the file of the listing, and how to ask for it.
        repo: the repository it is of, as its source calls it.
        places: where else it may be had.
        targets: where links to it are to be made.
        key: names the content, or, where no hash is promised, the place it is from.
        sha256: what the store calls the content, where that is known beforehand.
        paths: all names it has in the repository.
    """

    offer: Offer
    repo: str
    places: Places
    targets: tuple[Path, ...]
    key: str
    sha256: str | None
    paths: tuple[str, ...]

    @property
    def file(self) -> RemoteFile:
        """The file of the listing."""
        return self.offer.file


def content_key(file: RemoteFile, place: str) -> str:
    """One name for one content, whichever hub or revision it comes from, where a hash is promised."""
    if file.digest:
        return f"{file.digest.algorithm}-{file.digest.hex}"
    return f"unhashed-{hashlib.sha256(f'{place}/{file.path}'.encode()).hexdigest()}"


def gather(
    wants: Sequence[Want], store: Store, progress: Progress, inspect: Callable[[str, Path], None]
) -> dict[str, Fetched]:
    """Make sure that every content is in the store and linked; several files are under way at once.

    Args:
        wants: what is wanted, each key once.
        store: the cache to fill.
        progress: told how it goes.
        inspect: given the name and the place of each verified content; what it raises keeps the content out.

    Returns:
        Size and sha256 of each content, by key.

    Raises:
        PphubError: of the first that failed; the others are stopped, and go on from there the next time.
    """
    return _Gathering(wants, store, progress, inspect).run()


class _Gathering:
    def __init__(
        self, wants: Sequence[Want], store: Store, progress: Progress, inspect: Callable[[str, Path], None]
    ) -> None:
        self._store = store
        self._progress = progress
        self._inspect = inspect
        # The largest first: at the end nobody waits for a file that was begun last.
        self._left = deque(sorted(wants, key=lambda want: -(want.file.size or 0)))
        self._line = Line(progress)
        self._fetched: dict[str, Fetched] = {}
        self._partial = store.partial_keys()
        self._neighbours: dict[str, bool] = {}
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def run(self) -> dict[str, Fetched]:
        wants = list(self._left)
        self._progress.expect(len(wants), sum(want.file.size or 0 for want in wants))
        self._check_space(wants)
        threads = [
            threading.Thread(target=self._work, name="pphub-file", daemon=True)
            for _ in range(min(FILES_AT_ONCE, len(wants)))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():  # in turns of a second: on Windows, a join cannot be interrupted
                    thread.join(1.0)
        except BaseException:
            self._line.end()
            for thread in threads:  # what they have is written down, and none of them draws over what comes next
                thread.join(1.0)
            raise
        finally:
            self._line.web.close()
        if self._error is not None:
            raise self._error
        return self._fetched

    def _work(self) -> None:
        try:
            for want in self._wants():
                fetched = self._bring(want)
                with self._changed:
                    self._fetched[want.key] = fetched
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001  run() raises it
            with self._changed:
                self._error = self._error or error
            self._line.end()

    def _wants(self) -> Iterator[Want]:
        while not self._line.ended.is_set():
            try:
                yield self._left.popleft()
            except IndexError:
                return

    def _bring(self, want: Want) -> Fetched:
        """The content in the store, linked to where it is wanted."""
        file, store = want.file, self._store

        def wait(owner: str) -> None:
            self._progress.note(f"waiting for {file.path}: {owner}")

        failure = None
        if want.key not in self._partial and file.size is not None and file.size <= SMALL:
            # The lock of the snapshot is enough: at worst, two models fetch the same few bytes at the same time.
            try:
                if fetched := self._reuse(want) or self._fetch_small(want, file.size):
                    return fetched
            except Failed as error:
                if self._line.ended.is_set():
                    raise Stopped from None  # that is why it failed
                failure = error
        with entry_lock(store.layout.lock("blob", want.key), on_wait=wait) as alone:
            if (reused := self._reuse(want, held=want.key)) is None:
                return self._fetch(want, failure, alone=alone)
            if want.key in self._partial:
                sweep(store.layout.partial(want.key), alone=alone)
            return reused

    def _reuse(self, want: Want, held: str = "") -> Fetched | None:
        """The content that is in the store already, linked; None if it is not, or not known to be.

        Args:
            want: what is wanted.
            held: the key of the lock that is held, if any.
        """
        sha256 = want.sha256
        if sha256 is None or self._store.find_blob(sha256, want.file.size) is None:
            return None
        with self._guard(sha256, held):
            blob = self._store.find_blob(sha256, want.file.size)
            if blob is None:
                return None
            if not self._store.owns(blob) and sha256_of(blob) != sha256:
                self._progress.note(f"{blob} is damaged, and is not used; `hub verify` tells its owner more")
                return None
            self._check(want, blob)  # it may have come in by another name
            self._store.touch(blob)
            self._link(want, blob)
            size = blob.stat().st_size
        self._progress.skip(want.file.path, size)
        return Fetched(size, sha256)

    def _guard(self, sha256: str, held: str) -> contextlib.AbstractContextManager[object]:
        """The lock that `hub prune` holds while it removes a blob: from the look at one to the link to it."""
        key = f"sha256-{sha256}"
        return contextlib.nullcontext() if key == held else entry_lock(self._store.layout.lock("blob", key))

    def _fetch_small(self, want: Want, size: int) -> Fetched | None:
        """A content of a few bytes, linked; None if another cache on this disk may have it."""
        if want.file.digest is None or (self._has_neighbours(want.repo) and any(find_copies(want.repo, want.file))):
            return None
        fetched, content = fetch_small(want.file, size, want.offer, self._line)
        here = self._store.find_blob(fetched.sha256, size)  # perhaps it was, by another name
        if (
            here is not None
            and here.read_bytes() == content
            and (reused := self._reuse(replace(want, sha256=fetched.sha256)))
        ):
            return reused
        task = self._progress.start(want.file.path, size)
        place = self._store.layout.partial(want.key)
        blob = self._store.write_blob(content, fetched.sha256, place, lambda path: self._check(want, path))
        self._link(want, blob)
        task.advance(size)
        task.finish()
        return fetched

    def _has_neighbours(self, repo: str) -> bool:
        if repo not in self._neighbours:
            self._neighbours[repo] = has_copies(repo)
        return self._neighbours[repo]

    def _check(self, want: Want, content: Path) -> None:
        for path in want.paths:
            self._inspect(path, content)

    def _link(self, want: Want, blob: Path) -> None:
        for target in want.targets:
            self._store.link(target, blob)

    def _fetch(self, want: Want, failure: Failed | None, *, alone: bool) -> Fetched:
        """A content that is not in the store, as far as is known, fetched and linked; hold its lock."""
        file, store = want.file, self._store
        resumable = file.digest is not None or file.size is not None
        with collect(store.layout.partial(want.key), file.size, resumable=resumable, alone=alone) as partial:
            first, places = want.offer, want.places
            copies = [copy for copy in find_copies(want.repo, file) if not partial.done.count or _is(copy, want)]
            if copies:
                places = _CopiesFirst(copies[1:], want)
                first = _local(copies[0], file)
            if want.sha256 is not None and file.size is not None:
                store.expect(want.sha256, file.size)
            fetched = fetch(file, first, places, partial, self._line, failure)
            self._check(want, partial.content)
            with self._guard(fetched.sha256, want.key):
                self._link(want, store.keep_blob(partial.content, fetched.sha256))
        return fetched

    def _check_space(self, wants: Sequence[Want]) -> None:
        """A large download that cannot fit is not begun."""
        store = self._store
        needed = 0
        for want in wants:
            if want.file.size and not store.find_blob(want.sha256, want.file.size):
                here = store.size_of_partial(want.key) if want.key in self._partial else 0
                needed += max(0, want.file.size - here)
        folder = store.layout.hub
        with explain_os_errors("make the cache", folder):
            make_folder(folder)
            free = shutil.disk_usage(folder).free
        if needed > free:
            msg = f"the download needs {human_size(needed)}, and {folder} has {human_size(free)} free"
            raise StorageFailed(msg, hint="make room (`hub prune`, `hub remove`), or point PPNLP_HOME elsewhere")


def _is(copy: Path, want: Want) -> bool:
    """Whether a copy is the content: what is here already would be thrown away for another of the same size."""
    try:
        return want.sha256 is not None and sha256_of(copy) == want.sha256
    except OSError:
        return False


def _local(path: Path, file: RemoteFile) -> Offer:
    return Offer(
        "another cache on this disk", RemoteFile(file.path, file.size, file.digest, path.resolve().as_uri()), {}
    )


class _CopiesFirst:
    """Other copies on this disk, then the place that was asked for, then whatever comes after it."""

    def __init__(self, copies: list[Path], want: Want) -> None:
        self._offers = [*(_local(path, want.file) for path in copies), want.offer]
        self._places = want.places

    def renew(self, offer: Offer) -> Offer | None:
        return None if offer.file.url.startswith("file:") else self._places.renew(offer)

    def another(self) -> Offer | None:
        return self._offers.pop(0) if self._offers else self._places.another()
