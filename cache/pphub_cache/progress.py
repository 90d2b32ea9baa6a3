"""How long work tells of itself; apart from the transfer, which costs the import of an HTTP library."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "SilentProgress", "SilentTask", "Task"]


class Task(Protocol):
    """One file or one conversion under way; safe to call from any thread, and each call is cheap."""

    def advance(self, count: int) -> None:
        """So many bytes more; negative when bytes are thrown away and come again."""

    def finish(self) -> None:
        """The file is complete and verified."""

    def stop(self) -> None:
        """The work ended without being complete: an error, Ctrl-C."""


class Progress(Protocol):
    """Told how a transfer or a conversion goes, by several threads at once; drawn by the command line."""

    def expect(self, files: int, size: int) -> None:
        """So many files and bytes in all are about to be fetched; called once a download, and begins a new total."""

    def start(self, name: str, size: int | None, done: int = 0) -> Task:
        """A file begins, of which `done` bytes are here already."""

    def skip(self, name: str, size: int) -> None:
        """A file of the expected is here already: it counts in the total, but not for the rate."""

    def note(self, text: str) -> None:
        """Something the user should know: a retry, a wait."""


class SilentTask:
    """Shows nothing."""

    def advance(self, count: int) -> None:
        """Ignore."""

    def finish(self) -> None:
        """Ignore."""

    def stop(self) -> None:
        """Ignore."""


class SilentProgress:
    """Shows nothing."""

    def expect(self, files: int, size: int) -> None:
        """Ignore."""

    def start(self, name: str, size: int | None, done: int = 0) -> Task:  # noqa: ARG002
        """Begin a task that shows nothing either."""
        return SilentTask()

    def skip(self, name: str, size: int) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""
