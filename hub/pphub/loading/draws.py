"""Builds a model without the random numbers that its checkpoint replaces.

PaddleNLP's classes draw a start value for every parameter, most of them twice: when the parameter is made, and in
``_init_weights``, which does other things as well and so must run. Here it all runs, and only the drawing itself does
not: Paddle's kernels of random numbers give memory that nobody has touched, which costs nothing, and putting that into
a parameter is passed over. What was passed over is noted; parameters that the checkpoint does not fill get it for real.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

__all__ = ["Draws", "without_draws"]

# Paddle's kernels of random numbers, and the place of the dtype among their arguments; the shape is the first.
_KERNELS: Final = {"gaussian": 4, "uniform": 1, "truncated_gaussian_random": 6}

_PAGES: Final = 1 << 16
"""Bytes from which on memory is asked of the system."""

_FREE: Final = "_pphub_was_not_drawn"
"""An attribute of tensors that should hold random numbers."""

_current = threading.local()


@dataclass(slots=True)
class _Parameter:
    """What was done to one parameter.

    Attributes:
        alive: the parameter, unless the class has given it up since.
        draw: draws its first value; None if that was no random number.
        constant: whether its first value was a constant.
        version: counts the changes made in place; as it was after that.
        written: whether a constructor put something else into it.
        calls: the calls of ``_init_weights`` that set it, by number.
        skipped: whether something was passed over.
    """

    alive: weakref.ref[Any]
    draw: Callable[[], object] | None = None
    constant: bool = False
    version: int = 0
    written: bool = False
    calls: list[int] = field(default_factory=list)
    skipped: bool = False

    def can_be_made_up(self, parameter: Any) -> bool:
        """Whether all that was done to it is known, and can be done again."""
        return (self.draw is not None or self.constant) and not (
            self.written or parameter.inplace_version != self.version
        )


class Draws:
    """What one build has passed over."""

    def __init__(self) -> None:
        self._parameters: dict[int, _Parameter] = {}
        self._calls: list[tuple[Callable[[Any], object], Any]] = []
        self._active = False  # whether random numbers are passed over right now
        self._call: int | None = None
        self._passed = 0

    # -- while the model is built, from the stand-ins below

    def draw(self, shape: object, dtype: object) -> Any:
        """Memory that nobody has touched in the place of random numbers; None where they must be real."""
        if not self._active or not isinstance(shape, (list, tuple)):
            return None
        import paddle
        from paddle.base.data_feeder import convert_dtype

        if not all(type(size) is int for size in shape):
            return None
        tensor = paddle.Tensor(_untouched(shape, np.dtype(convert_dtype(dtype))), zero_copy=True)
        setattr(tensor, _FREE, True)
        self._passed += 1
        return tensor

    def initialize(self, initializer: Any, parameter: Any, start: Callable[[], object]) -> object:
        """What an initializer does to a new parameter, which is to call ``start``."""
        from paddle.nn.initializer import Constant

        before, self._active, passed = self._active, True, self._passed
        try:
            answer = start()
        finally:
            self._active = before
        entry = self._entry(parameter)
        entry.version = parameter.inplace_version
        if self._passed > passed:
            entry.draw, entry.skipped = start, True
        else:
            entry.constant = isinstance(initializer, Constant)
        return answer

    def call(self, function: Callable[[Any], object], layer: Any) -> object:
        """What a function that was given to ``Layer.apply`` does to a layer."""
        before = self._active, self._call
        self._active, self._call = True, len(self._calls)
        self._calls.append((function, layer))
        try:
            return function(layer)
        finally:
            self._active, self._call = before

    def set_value(self, parameter: Any, value: object) -> bool:
        """Note that a parameter is set; returns whether that is to be passed over."""
        free = getattr(value, _FREE, False) and (list(parameter.shape), parameter.dtype) == _kind(value)
        entry = self._entry(parameter)
        if self._call is None:
            entry.written = True
        elif self._call not in entry.calls:
            entry.calls.append(self._call)
        entry.skipped = entry.skipped or free
        return free

    # -- when the model is built

    def make_up(self, filled: Iterable[object], fresh: Iterable[object]) -> bool:
        """Draw for real what the checkpoint does not fill.

        Args:
            filled: the parameters that it does fill, later: what they hold is of no interest.
            fresh: the others that the user is told of.

        Returns:
            False where more was done to one of them than is known here: the model is to be built anew.
        """
        known = {id(parameter) for parameter in filled}
        left = [
            (parameter, entry)
            for key, entry in self._parameters.items()
            if entry.skipped and key not in known and (parameter := entry.alive()) is not None
        ]
        left += [(parameter, self._entry(parameter)) for parameter in fresh]
        if not all(entry.can_be_made_up(parameter) for parameter, entry in left):
            return False
        for entry in {id(entry): entry for _, entry in left}.values():
            if entry.draw is not None:
                entry.draw()
        for number in sorted({number for _, entry in left for number in entry.calls}):
            function, layer = self._calls[number]
            if getattr(layer, "_is_initialized", False):  # else PaddleNLP takes it for done
                layer._is_initialized = False
            function(layer)
        return True

    def _entry(self, parameter: Any) -> _Parameter:
        entry = self._parameters.get(id(parameter))
        if entry is None or entry.alive() is not parameter:  # ids are used again
            entry = self._parameters[id(parameter)] = _Parameter(weakref.ref(parameter))
        return entry


def _untouched(shape: Sequence[int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Zeros; the system gives memory for large ones when it is touched, which it hardly ever is."""
    size = math.prod(shape)
    if size * dtype.itemsize < _PAGES:
        return np.zeros(shape, dtype)
    # Not from numpy: of memory that was used before, the allocator would have to make zeros.
    pages = mmap.mmap(-1, size * dtype.itemsize, access=mmap.ACCESS_COPY)
    return np.frombuffer(pages, dtype, size).reshape(shape)


def _kind(tensor: Any) -> tuple[list[int], object]:
    return list(tensor.shape), tensor.dtype


class _Switch:
    """Puts the stand-ins in place for the first of the builds under way in all threads, and takes the last's away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._originals: list[tuple[object, str, object]] = []

    def on(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                for owner, name, stand_in in _stand_ins():
                    self._originals.append((owner, name, getattr(owner, name)))
                    setattr(owner, name, stand_in)

    def off(self) -> None:
        with self._lock:
            self._users -= 1
            while not self._users and self._originals:
                setattr(*self._originals.pop())


_switch = _Switch()


@contextlib.contextmanager
def without_draws() -> Iterator[Draws]:
    """Pass over random numbers in models that this thread builds meanwhile; other threads notice nothing."""
    before, draws = _draws(), Draws()
    try:
        _switch.on()
        _current.draws = draws
        yield draws
    finally:
        _current.draws = before
        _switch.off()


def _stand_ins() -> Iterator[tuple[object, str, object]]:
    """What is replaced while a model is built; each does as before where the thread builds none."""
    import paddle
    from paddle.nn.initializer.initializer import Initializer

    for name, place in _KERNELS.items():
        if hasattr(paddle._C_ops, name):
            yield paddle._C_ops, name, _kernel(getattr(paddle._C_ops, name), place)
    yield paddle._C_ops, "cast", _cast(paddle._C_ops.cast)  # half precision is drawn in float32
    yield Initializer, "__call__", _initialize(Initializer.__call__)
    yield paddle.nn.Layer, "apply", _apply(paddle.nn.Layer.apply)
    yield paddle.Tensor, "set_value", _set_value(paddle.Tensor.set_value)


def _draws() -> Draws | None:
    return getattr(_current, "draws", None)


def _kernel(original: Callable[..., Any], place: int) -> Callable[..., Any]:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        draws = _draws()
        free = None
        if draws is not None and len(args) > place and kwargs.get("out") is None:
            free = draws.draw(args[0], args[place])
        return original(*args, **kwargs) if free is None else free

    return kernel


def _cast(original: Callable[..., Any]) -> Callable[..., Any]:
    def cast(x: Any, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        draws = _draws()
        free = draws.draw(list(x.shape), dtype) if draws is not None and hasattr(x, _FREE) else None
        return original(x, dtype, *args, **kwargs) if free is None else free

    return cast


def _initialize(original: Callable[..., Any]) -> Callable[..., Any]:
    def initialize(self: Any, param: Any, block: Any = None) -> Any:
        draws = _draws()
        if draws is None:
            return original(self, param, block)
        alive = weakref.ref(param)  # what is noted keeps no parameter alive
        return draws.initialize(self, param, lambda: original(self, alive(), block))

    return initialize


def _apply(original: Callable[..., Any]) -> Callable[..., Any]:
    def apply(self: Any, fn: Any) -> Any:
        draws = _draws()
        if draws is None:
            return original(self, fn)
        for layer in self.children():
            layer.apply(fn)
        draws.call(fn, self)
        return self

    return apply


def _set_value(original: Callable[..., Any]) -> Callable[..., Any]:
    def set_value(self: Any, value: Any) -> Any:
        draws = _draws()
        if draws is not None and draws.set_value(self, value):
            return None
        return original(self, value)

    return set_value
