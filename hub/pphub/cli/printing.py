"""What the commands share: how sizes and JSON are shown, and what progress is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pphub.units import human_size

if TYPE_CHECKING:
    import argparse

    from pphub_cache.progress import Progress

__all__ = ["print_json", "progress_of", "size_of"]


def print_json(value: object) -> None:
    """Print the one document of ``--json``."""
    print(json.dumps(value, indent=2))  # in ASCII: no terminal or pipe makes anything else of it


def size_of(count: int | None) -> str:
    """A number of bytes, or that it is not known."""
    return "?" if count is None else human_size(count)


def progress_of(arguments: argparse.Namespace) -> Progress:
    """What the options ask for."""
    from pphub.progress import choose_progress

    return choose_progress(quiet=arguments.quiet or arguments.json)
