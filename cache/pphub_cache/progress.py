"""How long work tells of itself; apart from the transfer, which costs the import of an HTTP library."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "SilentProgress"]


class Progress(Protocol):
    """Told how a transfer goes; drawn by the command line."""

    def start(self, name: str, size: int | None) -> None:
        """A file begins; also called again when it begins anew."""

    def advance(self, count: int) -> None:
        """So many bytes more have arrived."""

    def finish(self) -> None:
        """The file is complete and verified."""

    def note(self, text: str) -> None:
        """Something the user should know: a retry, a wait."""


class SilentProgress:
    """Shows nothing."""

    def start(self, name: str, size: int | None) -> None:
        """Ignore."""

    def advance(self, count: int) -> None:
        """Ignore."""

    def finish(self) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""
