"""How many connections at once: decided by what more of them bring, not by a guess."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lanes", "Pace"]

MAX_CONNECTIONS: Final = 16
_WINDOW: Final = 0.4  # seconds a rate is measured over
_SETTLE: Final = 0.15  # seconds a new connection is given to get going
_GAIN: Final = 1.2  # so much faster must twice the connections be
_WORTH: Final = 1.0  # seconds of work left, below which nothing is tried
_AGAIN: Final = 15.0  # seconds until more connections are tried again


class Pace:
    """Doubles the number of connections as long as that makes the whole faster; a pure function of what it is told.

    Args:
        now: seconds.
    """

    def __init__(self, now: float) -> None:
        self.target = 1
        self._before: tuple[float, int] | None = None  # rate and number of connections, while more are being tried
        self._begin(now + _SETTLE, 0)

    def _begin(self, now: float, moved: int) -> None:
        self._since = now
        self._moved = moved

    def update(self, now: float, moved: int, left: int, connections: int) -> int:
        """How many connections there should be.

        Args:
            now: seconds.
            moved: bytes since the start.
            left: bytes that are still to come.
            connections: how many there are.
        """
        if now < self._since:
            self._moved = moved
            return self.target
        if now - self._since < _WINDOW:
            return self.target
        rate = (moved - self._moved) / (now - self._since)
        if self._before is not None and rate < _GAIN * self._before[0]:
            self.target = self._before[1]
            self._before = None
            self._begin(now + _AGAIN, moved)
        elif self.target <= connections < MAX_CONNECTIONS and left > rate * _WORTH:
            self._before = (rate, connections)
            self.target = min(MAX_CONNECTIONS, 2 * connections)
            self._begin(now + _SETTLE, moved)
        else:
            self._before = None
            self._begin(now, moved)
        return self.target


class Lanes:
    """The connections of one download, counted; safe to call from its threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pace = Pace(clock())
        self._moved = 0
        self._open = 0
        self._refused_until = 0.0

    def moved(self, count: int) -> None:
        """So many bytes have arrived."""
        with self._lock:
            self._moved += count

    def enter(self) -> None:
        """A connection more."""
        with self._lock:
            self._open += 1

    def leave(self) -> None:
        """A connection less."""
        with self._lock:
            self._open -= 1

    def room(self, left: int) -> int:
        """How many connections more there should be, or, negative, fewer; ``left`` bytes are still to come."""
        with self._lock:
            now = self._clock()
            target = self._pace.update(now, self._moved, left, self._open)
            return (min(target, self._open) if now < self._refused_until else target) - self._open

    def refuse_more(self) -> None:
        """One of the additional connections failed; for a while there are no new ones."""
        with self._lock:
            self._refused_until = self._clock() + _AGAIN
