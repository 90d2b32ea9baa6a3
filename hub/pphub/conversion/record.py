"""``conversion.json``: what a conversion did, such that it can be checked and undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pphub
from pphub.conversion.sizes import lookup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pphub.conversion.config import TranslatedConfig
    from pphub.conversion.moves import Drop, Plan, Request

__all__ = ["make_record"]


def make_record(
    request: Request,
    plan: Plan,
    config: TranslatedConfig,
    original: Mapping[str, object] | None,
    written: list[dict[str, object]],
    about: Mapping[str, object],
) -> dict[str, object]:
    """The record of a conversion.

    Args:
        request: rules, classes and direction.
        plan: what became of each tensor.
        config: the translated config.
        original: torch's config, whole, from which a conversion back restores what Paddle's has no place for.
        written: an entry for each tensor of the output.
        about: ``key``, ``inputs``, ``dtype``, ``output``, ``files``; ``sizes``, in the cache; ``tokenizer``, where
            files of it were made; and ``prefix``, where all names of the checkpoint had one that was left out.
    """
    family, architecture = request.family, request.architecture
    notes: dict[str, object] = {
        "renamed": dict(config.renamed),
        "left_out": dict(config.left_out),
        "replaced": dict(config.replaced),
        "added": dict(config.added),
    }
    if original is not None:
        notes["original"] = dict(original)
    return {
        "format": 1,
        "key": about["key"],
        "pphub": pphub.__version__,
        "inputs": about["inputs"],
        "rules": {"family": family.name, "version": family.version, "sha256": family.digest},
        "options": {"to": request.to, "dtype": about["dtype"]},
        "architecture": {"torch": architecture, "paddle": family.architectures[architecture]},
        "output": about["output"],
        "files": about["files"],
        **{part: about[part] for part in ("sizes", "tokenizer", "prefix") if part in about},
        "tensors": written,
        "dropped": [_dropped(drop) for drop in plan.drops],
        "absent": _absent(request, plan),
        **_epsilon(request, config),
        "config": notes,
    }


def _dropped(drop: Drop) -> dict[str, object]:
    tensor = drop.tensor
    entry: dict[str, object] = {
        "name": tensor.name,
        "reason": drop.reason,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
    }
    return entry if drop.value is None else {**entry, "value": drop.value}


def _epsilon(request: Request, config: TranslatedConfig) -> dict[str, object]:
    """What the loader sets in all layer norms, since Paddle's classes do not."""
    key = request.family.epsilon
    value = lookup(config.values, key) if key and request.to == "paddle" else None
    return {"epsilon": value} if isinstance(value, (int, float)) else {}


def _absent(request: Request, plan: Plan) -> list[str]:
    """Modules of Paddle's base model that the torch class does not have, and this checkpoint does not hold."""
    cores = [core for move in plan.moves for core in move.cores]
    modules = request.family.absent.get(request.architecture, ())
    return [module for module in modules if not any(core.startswith(f"{module}.") for core in cores)]
