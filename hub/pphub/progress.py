"""Shows how long work goes: bars on a terminal, one line a file when piped, nothing when asked to be quiet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pphub_cache.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from typing import TextIO

    from tqdm import tqdm
    from typing_extensions import Never

__all__ = ["BarProgress", "LineProgress", "choose_progress"]


class BarProgress:
    """One bar a file, drawn by tqdm on standard error."""

    def __init__(self) -> None:
        self._bar: tqdm[Never] | None = None

    def start(self, name: str, size: int | None) -> None:
        """Begin a bar; a bar that is not finished is closed."""
        from tqdm import tqdm

        self.finish()
        self._bar = tqdm(total=size, desc=name, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr)

    def advance(self, count: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(count)

    def finish(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def note(self, text: str) -> None:
        """Write a line above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr)  # noqa: T201  this is the command line's voice


class LineProgress:
    """One line a file, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line = ""

    def start(self, name: str, size: int | None) -> None:
        """Remember the file."""
        self._line = f"{name} ({size} bytes)" if size is not None else name

    def advance(self, count: int) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say that the file is done."""
        self.note(self._line)

    def note(self, text: str) -> None:
        """Write a line."""
        print(text, file=self._stream)


def choose_progress(*, quiet: bool = False) -> Progress:
    """Bars on a terminal, lines when piped, silence when quiet."""
    if quiet:
        return SilentProgress()
    return BarProgress() if sys.stderr.isatty() else LineProgress(sys.stderr)
