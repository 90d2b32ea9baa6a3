"""The kinds of modules that rule files know: which parameters each has, and what becomes of them."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["KINDS", "Parameter"]


class Parameter(NamedTuple):
    """One parameter of a module.

    Attributes:
        torch: the ends its name may have in torch; the first is written.
        paddle: the end of its name in Paddle.
        transpose: whether Paddle's values are torch's, transposed.
        axis: the axis of torch's tensor along which the outputs lie.
        is_bias: whether a module may be without it.
    """

    torch: tuple[str, ...]
    paddle: str
    transpose: bool = False
    axis: int = 0
    is_bias: bool = False


_SAME: Final = Parameter((".weight",), ".weight")
_BIAS: Final = Parameter((".bias",), ".bias", is_bias=True)
_NORM: Final = (Parameter((".weight", ".gamma"), ".weight"), Parameter((".bias", ".beta"), ".bias", is_bias=True))

KINDS: Final[dict[str, tuple[Parameter, ...]]] = {
    "linear": (Parameter((".weight",), ".weight", transpose=True), _BIAS),
    "conv1d": (Parameter((".weight",), ".weight", axis=1), _BIAS),
    "conv": (_SAME, _BIAS),
    "norm": _NORM,
    "batch_norm": (*_NORM, Parameter((".running_mean",), "._mean"), Parameter((".running_var",), "._variance")),
    "embedding": (_SAME,),
    "tensor": (Parameter(("",), ""),),
    "matrix": (Parameter(("",), "", transpose=True),),
}
