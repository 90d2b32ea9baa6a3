"""Every error pphub raises.

::

    PphubError
    ├── InvalidName (ValueError)            the text is no model name, or contradicts itself
    ├── UsageError (ValueError)             options or settings that cannot be meant
    ├── NotFound (FileNotFoundError)        the answer is no
    │   ├── ModelNotFound                   no such model, folder or file
    │   ├── RevisionNotFound                the model exists, the revision does not
    │   ├── FileNotInModel                  the model exists, a needed file does not
    │   └── NotCached                       offline, and not in the cache
    ├── AccessDenied (PermissionError)      it exists, but not for you (gated, private, bad token)
    ├── SourceUnavailable (ConnectionError) a hub or the network failed
    │   └── SourceNotInstalled              no plugin, or a broken one, answers to that scheme
    ├── Refused (ValueError)                the bytes are not trusted
    │   ├── UnsafeCheckpoint                the file would run code, or reach where it must not
    │   └── Corrupt                         truncated, wrong hash, not what its name says
    ├── ConversionFailed (ValueError)       no rule for the architecture, or for a tensor
    ├── LoadFailed (ValueError)             the model cannot be filled from the checkpoint
    ├── MissingDependency (ImportError)     an optional package is not installed or does not import
    └── StorageFailed (OSError)             the disk said no

Each class knows the exit code of the command line: 1 the answer is no, 2 wrong usage, 3 a source or the
network failed, 4 refused as unsafe or corrupt.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AccessDenied",
    "ConversionFailed",
    "Corrupt",
    "FileNotInModel",
    "InvalidName",
    "LoadFailed",
    "MissingDependency",
    "ModelNotFound",
    "NotCached",
    "NotFound",
    "PphubError",
    "Refused",
    "RevisionNotFound",
    "SourceNotInstalled",
    "SourceUnavailable",
    "StorageFailed",
    "UnsafeCheckpoint",
    "UsageError",
]


class PphubError(Exception):
    """Base of all errors raised by pphub.

    Args:
        message: what happened and why, one or a few sentences.
        hint: what the reader can do about it; printed on a line of its own.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        # Both travel in args, so the error survives pickling between processes.
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, tuple[type[PphubError], str, str | None]]:
        return _rebuild, (type(self), self.message, self.hint)

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


def _rebuild(cls: type[PphubError], message: str, hint: str | None) -> PphubError:
    return cls(message, hint=hint)


class InvalidName(PphubError, ValueError):
    """The text is not a model name, or says two things at once."""

    exit_code = 2


class UsageError(PphubError, ValueError):
    """An option or a setting has a value that cannot be meant."""

    exit_code = 2


class NotFound(PphubError, FileNotFoundError):
    """What was asked for does not exist."""


class ModelNotFound(NotFound):
    """No source, folder or file answers to the name."""


class RevisionNotFound(NotFound):
    """The model exists; the branch, tag or commit does not."""


class FileNotInModel(NotFound):
    """The model exists; a file that is needed is not part of it."""


class NotCached(NotFound):
    """Offline, and the cache does not hold what was asked for."""


class AccessDenied(PphubError, PermissionError):
    """The source knows the model and refuses this user."""

    exit_code = 3


class SourceUnavailable(PphubError, ConnectionError):
    """A hub could not be reached, or answered with a failure of its own."""

    exit_code = 3


class SourceNotInstalled(SourceUnavailable):
    """No installed plugin provides the source, or the plugin does not import."""


class Refused(PphubError, ValueError):
    """The bytes were read and are not trusted."""

    exit_code = 4


class UnsafeCheckpoint(Refused):
    """The file asks for code to be run, or for memory outside itself."""


class Corrupt(Refused):
    """The file is truncated, has the wrong hash, or is not what its name says."""


class ConversionFailed(PphubError, ValueError):
    """There is no rule for the architecture, or a tensor is not known to the rules."""


class LoadFailed(PphubError, ValueError):
    """The checkpoint does not fill the model."""


class MissingDependency(PphubError, ImportError):
    """An optional package is not installed, or is installed and does not import."""


class StorageFailed(PphubError, OSError):
    """Writing to or reading from the local disk failed."""
