"""Who is at work: the names by which processes sign what they have not finished."""

from __future__ import annotations

import os
import re
import socket
import sys

__all__ = ["host_name", "is_alive"]


def host_name() -> str:
    """The name of this machine, as it can be part of a file name without a dot."""
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
