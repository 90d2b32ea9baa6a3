"""What the transfers of one download share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pphub_cache.lanes import Lanes
from pphub_cache.web import Web

if TYPE_CHECKING:
    from pphub_cache.progress import Progress

__all__ = ["Line", "Stopped"]


class Stopped(Exception):
    """The download was given up from outside."""


class Line:
    """What the transfers of one download share: connections, their number, and the end of it all."""

    def __init__(self, progress: Progress) -> None:
        self.web = Web(connections=32)
        self.lanes = Lanes()
        self.progress = progress
        self.ended = threading.Event()

    def end(self) -> None:
        """Make every transfer stop at once; what they have is kept."""
        self.ended.set()
        self.web.abort()
