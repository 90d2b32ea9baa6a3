"""What to do when a transfer fails: wait, ask the same place anew, or go on at another."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from pphub.errors import AccessDenied, Corrupt, FileNotInModel, PphubError, SourceUnavailable
from pphub.settings import without_password
from pphub_cache.line import Stopped

if TYPE_CHECKING:
    from pphub.source import RemoteFile
    from pphub_cache.line import Line
    from pphub_cache.offer import Offer, Places
    from pphub_cache.web import Failed

__all__ = ["Choice"]

_FIRST_DELAY: Final = 0.5  # seconds
_LONGEST_WAIT: Final = 120.0  # seconds a server may ask us to wait
_BUSY_ELSEWHERE: Final = 2.0  # seconds; asked to wait for longer, we rather go to another place
# How often to try where nothing comes of it. A silence has cost its time already, and another source may be waiting.
_TRIES: Final = {"silent": 1, "stalled": 2, "wrong": 2, "denied": 1, "gone": 1}
_OTHER_TRIES: Final = 3


class Choice:
    """Where to ask next, and how often."""

    def __init__(self, file: RemoteFile, first: Offer, places: Places, line: Line) -> None:
        self.offer = first
        self.in_parts = True
        self._file = file
        self._places = places
        self._line = line
        self._waiting: list[Offer] = []  # other places, to be tried in turn
        self._no_more = False
        self._failures = 0  # since the last that brought something
        self._wrong: dict[str, int] = {}
        self._served = False
        self._renewed = False
        self._first_problem: PphubError | None = None

    @property
    def is_remote(self) -> bool:
        """Whether it comes over a network."""
        return self.offer.file.url.startswith(("http:", "https:"))

    def after(self, failure: Failed, *, progressed: bool, at: int = 0) -> None:
        """Choose what to do after a failure, and wait if need be.

        Raises:
            PphubError: there is nothing left to try.
        """
        if progressed:
            self.worked()
        self._failures += 1
        problem = self._explain(failure)
        if self._renew(failure):
            return
        hopeless = failure.kind in {"denied", "gone"} or self._is_wrong_again(failure)
        patient = failure.kind == "busy" and (failure.retry_after or 0) <= _BUSY_ELSEWHERE
        patient = patient and self._failures < _OTHER_TRIES
        if not patient and (failure.kind != "wrong" or hopeless) and self._go_elsewhere(problem, at, drop=hopeless):
            return
        self._first_problem = self._first_problem or problem
        if hopeless or self._failures >= _TRIES.get(failure.kind, _OTHER_TRIES) * (1 + len(self._waiting)):
            raise self._first_problem if hopeless else problem
        self._wait(failure, problem)

    def worked(self) -> None:
        """What was asked for came, or a part of it."""
        self._failures, self._served, self._renewed = 0, True, False

    def _renew(self, failure: Failed) -> bool:
        """A URL that worked and is refused has probably expired."""
        if failure.kind not in {"denied", "gone"} or self._renewed or not self._served:
            return False
        self._renewed = True
        self._line.progress.note(f"{self._file.path}: {failure}; asking {self.offer.source} for a new address")
        offer = self._places.renew(self.offer)
        if offer is None:
            return False
        self.offer = offer
        return True

    def _is_wrong_again(self, failure: Failed) -> bool:
        """The second time a place sends wrong bytes is the last; a file of this disk does not get better."""
        if failure.kind != "wrong":
            return False
        key = self.offer.file.url
        self._wrong[key] = self._wrong.get(key, 0) + 1
        return self._wrong[key] >= _TRIES["wrong"] or key.startswith("file:")

    def _go_elsewhere(self, problem: PphubError, at: int, *, drop: bool) -> bool:
        if not self._waiting and not self._no_more:
            another = self._places.another()
            if another is None:
                self._no_more = True
            else:
                self._waiting.append(another)
        if not self._waiting or self._failures > _OTHER_TRIES * (1 + len(self._waiting)):
            return False
        self._first_problem = self._first_problem or problem
        if not drop:
            self._waiting.append(self.offer)
        self.offer = self._waiting.pop(0)
        where = f" at byte {at}" if at else ""
        self._line.progress.note(f"{problem.message}; {self.offer.source} has the same file and goes on{where}")
        return True

    def _wait(self, failure: Failed, problem: PphubError) -> None:
        delay = failure.retry_after
        if delay is not None and delay > _LONGEST_WAIT:
            msg = f"{problem.message}, and asks to wait for {delay:.0f} s"
            raise SourceUnavailable(msg, hint="try again later, or another source with --source")
        if delay is None:
            # Not at the same moment as everybody else who was cut off.
            delay = _FIRST_DELAY * 2 ** (self._failures - 1) * random.uniform(0.5, 1.0)  # noqa: S311
        self._line.progress.note(f"{problem.message}; trying again in {delay:.1f} s")
        if self._line.ended.wait(delay):
            raise Stopped

    def _explain(self, failure: Failed) -> PphubError:
        """The failure as the user should hear of it; signed URLs lose their secret."""
        path, where = self._file.path, without_password(self.offer.file.url)
        error: PphubError
        if failure.kind == "denied":
            gated = ": the model is gated" if failure.gated else ""
            hint = "log in, or set the token of this source; gated models must be accepted first"
            error = AccessDenied(f"access to {path} at {where} was refused{gated} ({failure})", hint=hint)
        elif failure.kind == "gone":
            hint = "the repository may have changed a moment ago: run the command again"
            error = FileNotInModel(f"{path} is listed but not at {where} ({failure})", hint=hint)
        elif failure.kind in {"wrong", "short"}:
            hint = "nothing was kept: try again later, or another source with --source"
            error = Corrupt(f"{path} from {where} is not what the source listed: {failure}", hint=hint)
        else:
            hint = "check the network and proxy, or try another source with --source"
            error = SourceUnavailable(f"the connection for {path} from {where} failed: {failure}", hint=hint)
        error.__cause__ = failure
        return error
