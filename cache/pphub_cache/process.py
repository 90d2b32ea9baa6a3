"""Who is at work, and since when the machine is up: what processes sign with what they have not finished."""

from __future__ import annotations

import functools
import os
import re
import sys
from pathlib import Path
from typing import Final

__all__ = ["boot_id", "host_name", "is_alive", "new_owner"]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def host_name() -> str:
    """The name of this machine, as it can be part of a file name without a dot."""
    import socket  # takes a while, and most commands sign nothing

    return re.sub(r"[^0-9A-Za-z-]", "_", socket.gethostname())[:60]


def is_alive(pid: int) -> bool | None:
    """Whether a process of this machine is running; None where that cannot be asked."""
    if sys.platform == "win32":
        return None  # to ask would end it
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # another user's
    return True


def new_owner() -> str:
    """A name for what this process is about to make."""
    return f"{host_name()}-{os.getpid()}-{os.urandom(4).hex()}"


@functools.cache
def boot_id() -> str | None:
    """What tells this run of the machine from the one before a power cut; None where that is not known."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None
