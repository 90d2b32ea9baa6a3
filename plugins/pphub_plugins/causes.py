"""What the hub clients' exceptions come from; they wrap those of their HTTP layers, which differ."""

from __future__ import annotations

__all__ = ["chain", "reason"]


def chain(error: BaseException) -> list[BaseException]:
    """An exception, what caused it, and so on."""
    found = [error]
    while inner := found[-1].__cause__ or found[-1].__context__:
        found.append(inner)
    return found


def reason(error: BaseException, limit: str) -> str:
    """The innermost cause in a few words, without URLs, which may be signed.

    Args:
        error: as it was caught.
        limit: the time that was given, in words.
    """
    causes = chain(error)
    if any("Timeout" in type(cause).__name__ for cause in causes):
        return f"no answer within {limit}"
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return f"{type(error).__name__} ({cause.strerror})"
    return type(error).__name__
