"""A time limit for calls into libraries that have none."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["within"]

T = TypeVar("T")


def within(seconds: float, items: Callable[[], Iterator[T]]) -> Iterator[T]:
    """Yield what an iterator yields, and wait no longer than this for each item and for the end.

    The iterator runs in a thread of its own, since a blocked call cannot be ended from outside. A thread that was
    too slow is left behind: it ends by itself with its next item or error, tells nobody, and does not keep Python
    from exiting.

    Raises:
        TimeoutError: nothing came in time; what the iterator raises is raised as it is.
    """
    handed: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    left_behind = Event()

    def work() -> None:
        try:
            for item in items():
                if left_behind.is_set():
                    return
                handed.put((item, None))
        except BaseException as error:  # noqa: BLE001 - raised in the caller; nobody would see it here
            handed.put((None, error))
        else:
            handed.put((None, StopIteration()))

    Thread(target=work, name="pphub-within", daemon=True).start()
    try:
        while True:
            item, error = handed.get(timeout=seconds)
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    except Empty:
        msg = f"nothing within {seconds:g} s"
        raise TimeoutError(msg) from None
    finally:
        left_behind.set()
