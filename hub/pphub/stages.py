"""Reports each stage of a name's way to the logger ``pphub``, with what came of it and how long it took."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Stage", "stage"]

_LOG = logging.getLogger("pphub")


class Stage:
    """A stage under way; set ``outcome`` to say in a few words what came of it."""

    def __init__(self) -> None:
        self.outcome = ""


@contextlib.contextmanager
def stage(name: str) -> Iterator[Stage]:
    """Time a stage and log it at level DEBUG when it ends well."""
    current = Stage()
    begin = time.perf_counter()
    yield current
    _LOG.debug("%-8s %7.3f s  %s", name, time.perf_counter() - begin, current.outcome)
