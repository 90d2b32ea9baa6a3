"""Finds the weights in a checkpoint that may hold more than them, as those of a training run do.

The rule, at each level of dicts within dicts:

1. If exactly one of the keys of ``WRAPPERS`` holds a dict with tensors, the weights are in there, and the rule is
   applied to it. What stands beside it (a step, a loss, an optimizer's state) is left out.
2. Else, if only the dict itself holds tensors, it is the weights; other values in it are left out.
3. Else, if only one dict within it holds tensors, under whatever key, the weights are in there.

An optimizer's state (a key that starts with ``optim``, or is ``opt`` or ``opt_state``) never counts. In all other
cases the file is refused, with a list of what it holds: a wrong choice would be a wrong model. Two keys of the same
dict count as one.

The names may have a prefix, since what was trained was within something else. It is left out where all names have it,
again and again: one of ``WRAPPED`` always; one of ``OFTEN_WRAPPED`` where the rules of the model's family know none of
the names as they are, since there are models whose own names begin with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pphub.checkpoint.unpickle import kind_of
from pphub.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["OFTEN_WRAPPED", "WRAPPED", "WRAPPERS", "find_state_dict", "wrapping"]

WRAPPERS: Final = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "params",
    "weights",
)
"""The keys under which training programs put the weights."""

WRAPPED: Final = ("module.", "_orig_mod.")
"""What torch puts before every name: DataParallel, compile."""

OFTEN_WRAPPED: Final = ("model.", "net.", "network.", "base_model.model.")
"""What programs put before every name, such as those of Lightning, which call the model as they like, and peft."""

_MAX_DEPTH: Final = 4
_SHOWN: Final = 6
_SAVE_ALONE: Final = "save the model's weights alone, as a dict of names and tensors"


def find_state_dict(label: str, root: object, is_tensor: Callable[[object], bool]) -> dict[str, object]:
    """The dict of the weights, whose keys are their names; it may hold other values, too.

    Args:
        label: names the file in messages.
        root: what the file holds.
        is_tensor: whether a value is a tensor.

    Raises:
        Corrupt: there are no weights, or several that could be meant, or a tensor whose name is no text.
    """
    if type(root) is not dict:
        msg = f"{label} holds {kind_of(root)}, not the dict of a checkpoint"
        raise Corrupt(msg, hint=_SAVE_ALONE)
    search = _Search(label, is_tensor)
    chosen = search.choose(root)
    for name, value in chosen.items():
        if type(name) is not str and is_tensor(value):
            msg = f"{label} has the key {name} of type {type(name).__name__} among its names"
            raise Corrupt(msg, hint=_SAVE_ALONE)
    return {name: value for name, value in chosen.items() if type(name) is str}


def wrapping(names: Collection[str], is_known: Callable[[str], bool] | None = None) -> str:
    """The prefix of all names that is to be left out; empty if there is none.

    Args:
        names: of the tensors.
        is_known: whether the rules know a name; None where there are no rules, and only what is safe is left out.
    """
    prefix = ""
    for _ in range(_MAX_DEPTH):
        bare = [name[len(prefix) :] for name in names]
        known = is_known is None or any(map(is_known, bare))
        found = next((each for each in WRAPPED + ((), OFTEN_WRAPPED)[not known] if _have(bare, each)), None)
        if found is None:
            break
        prefix += found
    return prefix


def _have(names: Collection[str], prefix: str) -> bool:
    return bool(names) and all(name.startswith(prefix) and name != prefix for name in names)


class _Search:
    def __init__(self, label: str, is_tensor: Callable[[object], bool]) -> None:
        self._label = label
        self._is_tensor = is_tensor
        # By id, since a dict may stand in thousands of places; all live as long as the root. And by depth.
        self._seen: dict[tuple[int, int], bool] = {}

    def choose(self, root: dict[object, object]) -> dict[object, object]:
        """Apply the rule down to the dict of the weights."""
        current = root
        for depth in range(_MAX_DEPTH, 0, -1):
            inner = {
                key: value
                for key, value in current.items()
                if type(value) is dict and not _is_optimizer(key) and self._holds(value, depth - 1)
            }
            itself = any(map(self._is_tensor, current.values()))
            known = {key: value for key, value in inner.items() if key in WRAPPERS}
            candidates = list({id(value): value for value in (known or inner).values()}.values())
            if len(candidates) + (itself and not known) != 1:
                raise self._refusal(current, list(known or inner), itself=itself and not known)
            if not candidates:
                return current
            current = candidates[0]
        msg = f"{self._label} holds dicts within dicts, too deep for a checkpoint"
        raise Corrupt(msg, hint=_SAVE_ALONE)

    def _holds(self, value: dict[object, object], depth: int) -> bool:
        """Whether there are tensors in a dict, or in dicts within it."""
        place = (id(value), depth)
        if place not in self._seen:
            self._seen[place] = any(map(self._is_tensor, value.values())) or (
                depth > 0
                and any(
                    type(item) is dict and not _is_optimizer(key) and self._holds(item, depth - 1)
                    for key, item in value.items()
                )
            )
        return self._seen[place]

    def _refusal(self, current: dict[object, object], found: list[object], *, itself: bool) -> Corrupt:
        if found:
            beside = " and beside them" if itself else ""
            msg = f"{self._label} holds several sets of tensors, in {_listed(current, found)}{beside}; which is meant?"
        else:
            msg = f"{self._label} holds no tensors, but {_listed(current, list(current))}"
        return Corrupt(msg, hint=_SAVE_ALONE)


def _is_optimizer(key: object) -> bool:
    return type(key) is str and (key.startswith("optim") or key in {"opt", "opt_state"})


def _listed(values: dict[object, object], keys: list[object]) -> str:
    shown = [f"{str(key)[:40]!r} ({kind_of(values[key])})" for key in keys[:_SHOWN]]
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return (", ".join(shown) or "nothing at all") + more
