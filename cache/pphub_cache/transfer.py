"""Brings one content to this disk, verified on the way, from whichever of its places delivers.

What has arrived is never asked for again: a place that fails or falls silent is left at its byte, and it, or another
that offers the same hash, goes on from there.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pphub.errors import PphubError
from pphub.settings import without_password
from pphub_cache.atomic import explain_os_errors
from pphub_cache.choice import Choice
from pphub_cache.digest import Follower, Hasher
from pphub_cache.line import Line, Stopped
from pphub_cache.web import Body, Failed

if TYPE_CHECKING:
    from io import FileIO

    from pphub.source import RemoteFile
    from pphub_cache.offer import Offer, Places
    from pphub_cache.partial import Partial
    from pphub_cache.progress import Task

__all__ = ["Fetched", "fetch", "fetch_small"]

PIECE: Final = 16 << 20
"""Bytes one of several connections fetches at a time."""

_CHUNK: Final = 1 << 20  # bytes between two notes in the ledger: what a kill may cost
_BIG: Final = 4 << 20  # from this size on, hashing has a thread of its own
_LONG: Final = 64 << 20  # from this size on, what has arrived is synced now and then
_SYNC_SECONDS: Final = 5.0  # of a transfer may be lost in a power cut
_PROGRESS: Final = 64 << 10  # a try that brings so many bytes was no failure


@dataclass(frozen=True, slots=True)
class Fetched:
    """What arrived: size in bytes and sha256 of the content."""

    size: int
    sha256: str


def fetch_small(file: RemoteFile, size: int, offer: Offer, line: Line) -> tuple[Fetched, bytes]:
    """A content of a few bytes, asked for once and verified in memory.

    Args:
        file: what was promised.
        size: bytes it must have.
        offer: where to ask.
        line: shared with the other transfers.

    Raises:
        Failed: it did not come, or not right; :func:`fetch` knows what to do about it.
        Stopped: ``line`` was ended.
    """
    if line.ended.is_set():
        raise Stopped
    body = line.web.get(offer.file.url, offer.headers)
    blocks = []
    left = size
    try:
        if body.head.start or (body.head.total is not None and body.head.total != size):
            raise Failed("wrong", _wrong_size(size, body.head.total or 0) + _suspicion(body.read()))
        while block := body.read():
            blocks.append(block)
            left -= len(block)
            if left < 0:
                raise Failed("wrong", f"more than the {size} bytes listed{_suspicion(blocks[0])}")
    except BaseException:
        body.close(whole=False)
        raise
    body.close(whole=True)
    content = b"".join(blocks)
    if left:
        raise Failed("short", f"expected {size} bytes, got {len(content)}{_suspicion(content)}")
    hasher = Hasher(file.digest, size)
    hasher.update(content)
    if mismatch := hasher.mismatch():
        raise Failed("wrong", mismatch + _suspicion(content))
    return Fetched(size, hasher.sha256), content


def fetch(
    file: RemoteFile, first: Offer, places: Places, partial: Partial, line: Line, failure: Failed | None = None
) -> Fetched:
    """Collect a content in ``partial``, which nobody else writes to, and verify size and hash.

    Args:
        file: what was promised.
        first: where to ask first.
        places: where else.
        partial: what is here already, and where the rest goes.
        line: shared with the other transfers.
        failure: how a first try ended.

    Raises:
        AccessDenied, FileNotInModel: the source says no.
        SourceUnavailable: it cannot be reached, or keeps failing.
        Corrupt: what arrives is not what the listing promised.
        StorageFailed: the disk says no.
        Stopped: ``line`` was ended.
    """
    return _Transfer(file, first, places, partial, line).run(failure)


@dataclass(slots=True, eq=False)
class _Claim:
    """A range that one connection fetches: from ``start``, now at ``at``, to ``end`` (None: to the last byte)."""

    start: int
    end: int | None
    at: int


class _Transfer:
    def __init__(self, file: RemoteFile, first: Offer, places: Places, partial: Partial, line: Line) -> None:
        self._file = file
        self._partial = partial
        self._line = line
        self._choice = Choice(file, first, places, line)
        self._claims: list[_Claim] = []
        self._helpers: list[threading.Thread] = []
        self._problem: PphubError | None = None
        self._whole = False  # no parts can be had: what is here already goes by
        self._best = partial.done.count
        self._follower = self._follow()
        self._task: Task = line.progress.start(file.path, file.size, partial.done.count)

    def _follow(self) -> Follower:
        follower = Follower(self._partial, Hasher(self._file.digest, self._file.size))
        if self._file.size is None or self._file.size >= _BIG:
            follower.start()
        return follower

    def run(self, failure: Failed | None) -> Fetched:
        try:
            if failure is not None:
                self._choice.after(failure, progressed=False)
            while True:
                self._receive()
                try:
                    fetched = self._verify()
                except Failed as wrong:
                    self._begin_again()
                    self._best = 0
                    self._choice.after(wrong, progressed=False)
                else:
                    self._task.finish()
                    return fetched
        except BaseException:
            self._task.stop()
            raise
        finally:
            self._follower.stop()

    def _receive(self) -> None:
        """Until no byte is missing."""
        syncer = _Syncer(self._partial) if self._file.size is None or self._file.size > _LONG else None
        try:
            while claim := self._take():
                self._try(claim)
        except BaseException:
            self._line.end()  # one file that cannot be had ends them all
            raise
        finally:
            self._leave_helpers()
            if syncer:
                syncer.stop()

    def _try(self, claim: _Claim) -> None:
        offer = self._choice.offer
        try:
            self._stream(claim, offer)
        except Failed as failure:
            if self._line.ended.is_set():
                raise Stopped from None  # that is why the connection broke
            self._release(claim)
            self._whole = failure.kind == "parts"  # the next time it may know again how to send parts
            if self._whole:
                self._choice.in_parts = False
            # What was thrown away and comes again is no progress.
            best, self._best = self._best, max(self._best, self._partial.done.count)
            self._choice.after(failure, progressed=self._best - best >= _PROGRESS, at=claim.at)
        else:
            self._choice.worked()
        finally:
            self._release(claim)

    # ---------------------------------------------------------------------------------------- who fetches what

    def _take(self, *, helper: bool = False) -> _Claim | None:
        """The next bytes that are missing and that nobody fetches.

        A helper ends when there are none; the first connection stays until the others are done.
        """
        partial = self._partial
        while True:
            with partial.changed:
                if self._line.ended.is_set():
                    raise Stopped
                if self._problem:
                    raise self._problem
                if helper and not self._choice.in_parts:
                    return None
                if gap := self._gap():
                    start, end = gap
                    if helper or self._helpers:
                        end = start + PIECE if end is None else min(end, start + PIECE)
                    claim = _Claim(start, end, start)
                    self._claims.append(claim)
                    return claim
                if (share := self._share_of_slowest()) is not None:
                    self._claims.append(share)
                    return share
                if helper or not self._claims:
                    return None
                partial.changed.wait(0.5)

    def _share_of_slowest(self) -> _Claim | None:
        """Half of what another connection still has to fetch, so that the last piece does not wait for a slow one."""
        if not self._choice.in_parts:
            return None
        left = [(claim.end - claim.at, claim) for claim in self._claims if claim.end is not None]
        most, slowest = max(left, key=lambda pair: pair[0], default=(0, None))
        if slowest is None or slowest.end is None or most < 2 * _CHUNK:
            return None
        end, slowest.end = slowest.end, slowest.at + most // 2
        return _Claim(slowest.end, end, slowest.end)

    def _gap(self) -> tuple[int, int | None] | None:
        if self._file.size is None and self._claims:
            return None
        taken = type(self._partial.done)(self._partial.done)
        for claim in self._claims:
            taken.add(claim.start, self._end_of(claim))
        gaps = taken.gaps(self._partial.size)
        return gaps[0] if gaps else None

    def _end_of(self, claim: _Claim) -> int:
        return claim.at + 1 if claim.end is None else claim.end

    def _release(self, claim: _Claim) -> None:
        with self._partial.changed:
            if claim in self._claims:
                self._claims.remove(claim)
            self._partial.changed.notify_all()

    def _consider_help(self, claim: _Claim) -> None:
        """Let more connections fetch pieces where that makes the whole faster."""
        size = self._partial.size
        if size is None or claim.end is None or not self._choice.in_parts or not self._choice.is_remote:
            return
        for _ in range(self._line.lanes.room(size - self._partial.done.count)):
            with self._partial.changed:
                # Up to here is mine; what comes after is for everybody.
                claim.end = min(claim.end, claim.at + PIECE)
                helper = threading.Thread(target=self._help, name="pphub-piece", daemon=True)
                self._helpers.append(helper)
            helper.start()

    def _help(self) -> None:
        """Fetch pieces on another connection; a failure ends it, and the first connection sees to what is left."""
        try:
            while (claim := self._take(helper=True)) is not None:
                try:
                    self._stream(claim, self._choice.offer, helper=True)
                finally:
                    self._release(claim)
                if self._line.lanes.room(0) < 0:
                    return
        except (Failed, Stopped):
            self._line.lanes.refuse_more()
        except PphubError as error:
            self._problem = error
        finally:
            with self._partial.changed:
                self._helpers.remove(threading.current_thread())
                self._partial.changed.notify_all()

    def _leave_helpers(self) -> None:
        with self._partial.changed:
            while self._helpers:  # at the end of the line they are woken, and end at once
                if self._line.ended.is_set():
                    self._line.web.abort()
                self._partial.changed.wait(0.5)

    # ------------------------------------------------------------------------------------------- bytes

    def _stream(self, claim: _Claim, offer: Offer, *, helper: bool = False) -> None:
        """Fetch a claim on one connection; what arrived before a failure is kept."""
        key = without_password(offer.file.url)
        partial = self._partial
        whole_rest = claim.end == partial.size
        lanes = self._line.lanes
        lanes.enter()
        try:
            body = self._line.web.get(
                offer.file.url,
                offer.headers,
                start=0 if self._whole else claim.at,
                end=None if whole_rest or self._whole else claim.end,
                validator=partial.validators.get(key),
            )
            try:
                skip = self._check(body, claim, key, helper=helper)
                if body.head.validator:
                    partial.mark(key, body.head.validator)
                with partial.open() as stream:
                    whole = self._copy(body, claim, stream, skip, helper=helper)
            except BaseException:
                body.close(whole=False)
                raise
            body.close(whole=whole)
        finally:
            lanes.leave()

    def _check(self, body: Body, claim: _Claim, key: str, *, helper: bool) -> int:
        """How many bytes at the start of the body are here already; raises Failed if it cannot be the content."""
        head, size, known = body.head, self._partial.size, self._partial.validators.get(key)
        if head.start == 0 and head.total is not None and size is not None and head.total != size:
            raise Failed("wrong", _wrong_size(size, head.total) + _suspicion(body.read()))
        if head.total is not None and size is not None and head.total != size:
            raise Failed("wrong", _wrong_size(size, head.total))
        same = known is None or head.validator is None or head.validator == known
        here = self._partial.done.count > 0
        # Without a hash nobody could tell at the end, so the server must say that it is the same.
        if head.start == claim.at and (self._file.digest or not here or (known and head.validator == known)):
            return 0
        if helper:
            raise Failed("broken", "it sent another part of the file than it was asked for")
        self._choice.in_parts = False
        if same and head.start == 0 and (self._file.digest or known):
            with self._partial.changed:  # it ignores ranges: what is here goes by, and all gaps are filled at once
                claim.end = self._partial.size
            return claim.at
        # Not what the first bytes were of; or without a hash nobody could tell at the end.
        self._begin_again()
        if head.start:
            raise Failed("broken", "the content has changed in the middle of the transfer")
        claim.start, claim.at, claim.end = 0, 0, self._partial.size
        return 0

    def _copy(self, body: Body, claim: _Claim, stream: FileIO, skip: int, *, helper: bool) -> bool:
        """Write what arrives; returns whether the body was read to its end."""
        partial = self._partial
        stream.seek(claim.at)
        noted, noted_at = claim.at, time.monotonic()
        try:
            while block := body.read():
                if self._line.ended.is_set():
                    raise Stopped
                if skip:
                    dropped = min(skip, len(block))
                    skip -= dropped
                    block = block[dropped:]
                room = len(block) if claim.end is None else claim.end - claim.at
                if len(block) > room and claim.end == partial.size:
                    suspicion = _suspicion(self._first_bytes() or block)
                    if not helper:
                        noted = claim.at = 0
                        self._begin_again()  # this is another content
                    raise Failed("wrong", f"more than the {partial.size} bytes listed{suspicion}")
                with explain_os_errors(f"write {self._file.path}", partial.folder):
                    _write_all(stream, block[:room])
                claim.at += min(len(block), room)
                if len(block) > room:  # the rest was given to others meanwhile
                    return False
                if claim.at - noted >= _CHUNK or (claim.at > noted and time.monotonic() - noted_at > 0.25):
                    self._note(noted, claim.at)
                    noted, noted_at = claim.at, time.monotonic()
                    if not helper:
                        self._consider_help(claim)
                if claim.at == claim.end != partial.size:
                    return body.head.length == claim.at - body.head.start
        finally:
            self._note(noted, claim.at)
        if claim.end is None:
            partial.size = claim.at
        elif claim.at < claim.end:
            suspicion = _suspicion(self._first_bytes())
            raise Failed("short", f"expected {partial.size} bytes, got {claim.at}{suspicion}")
        return True

    def _note(self, start: int, end: int) -> None:
        if end > start:
            new = self._partial.add(start, end)
            self._line.lanes.moved(end - start)
            self._task.advance(new)

    # ------------------------------------------------------------------------------------------- verifying

    def _verify(self) -> Fetched:
        self._follower.finish()
        hasher, size = self._follower.hasher, self._partial.front
        if self._file.size is not None and size != self._file.size:
            raise Failed("wrong", f"expected {self._file.size} bytes, got {size}")
        if mismatch := hasher.mismatch():
            raise Failed("wrong", mismatch + _suspicion(self._first_bytes()))
        return Fetched(size, hasher.sha256)

    def _first_bytes(self) -> bytes:
        with explain_os_errors("read a download", self._partial.folder), self._partial.content.open("rb") as stream:
            return stream.read(64)

    def _begin_again(self) -> None:
        """Throw away what is here."""
        self._choice.in_parts = False
        self._leave_helpers()
        self._follower.stop()
        self._follower.finish()
        self._task.advance(-self._partial.done.count)
        self._partial.restart()
        self._partial.size = self._file.size
        self._follower = self._follow()


class _Syncer:
    """Makes what has arrived durable now and then, so that a transfer can be gone on with after a power cut."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pphub-sync", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(_SYNC_SECONDS):
            try:
                self._partial.sync()
            except PphubError:
                return  # whoever writes next meets the same, and tells

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


def _write_all(stream: FileIO, data: bytes) -> None:
    """A full disk takes a part of the data first, and complains only when it is given the rest."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def _wrong_size(size: int, found: int) -> str:
    return f"more than the {size} bytes listed" if found > size else f"expected {size} bytes, got {found}"


def _suspicion(start: bytes) -> str:
    return "; it looks like a web page, perhaps a login" if start.lstrip()[:5].lower() in {b"<!doc", b"<html"} else ""
