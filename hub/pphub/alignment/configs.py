"""The two configs, key by key: what changes no answer in eval mode, such as dropout, shows only here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from pphub.checkpoint.folder import read_json
from pphub.conversion.config import DTYPE_KEYS, translate_config
from pphub.conversion.torch_config import read_paddle_config

if TYPE_CHECKING:
    from pphub.alignment.session import Subject

__all__ = ["compare_configs"]

_UNJUDGED: Final = frozenset(
    {"architectures", "model_type", "paddlenlp_version", "transformers_version", "_name_or_path", *DTYPE_KEYS}
)
"""Notes of the tools, and what is judged by the live models themselves."""
_HARMLESS: Final = frozenset(
    {"finetuning_task", "id2label", "initializer_factor", "initializer_range", "label2id", "task_specific_params"}
)
"""Names and start values: no output and no training of the model depends on them."""
_DROPOUT: Final = re.compile("dropout|pdrop")
_MISSING: Final = object()


def compare_configs(subject: Subject, live_torch: Any, live_paddle: Any) -> tuple[list[str], list[str]]:
    """Compare Paddle's config with what the rules make of torch's, for the keys that both say.

    Args:
        subject: the folders.
        live_torch: torch's live config, which knows the dropout that its file leaves to the defaults.
        live_paddle: likewise Paddle's.

    Returns:
        What fails, and what is only to be noted.

    Raises:
        ConversionFailed: torch's config is none that Paddle's classes can express.
    """
    request = subject.own
    rules = request.family
    torch = dict(translate_config(rules, request.architecture, read_json(subject.torch / "config.json")).values)
    paddle = read_paddle_config(subject.paddle)
    back = {target: key for key, target in rules.config.rename.items()}
    for key in sorted(torch.keys() ^ paddle.keys()):
        if _DROPOUT.search(key):
            values, live, name = (paddle, live_paddle, key) if key in torch else (torch, live_torch, back.get(key, key))
            if (value := getattr(live, name, _MISSING)) is not _MISSING:
                values[key] = value
    failures: list[str] = []
    notes: list[str] = []
    for key in sorted(torch.keys() & paddle.keys() - _UNJUDGED):
        left, right = torch[key], paddle[key]
        if left == right:
            continue
        text = f"{key} of the config is {_shown(left)} in torch and {_shown(right)} in Paddle"
        harmless = key in _HARMLESS and not (key == "id2label" and _count(left) != _count(right))
        (notes if harmless else failures).append(text)
    return failures, notes


def _count(labels: object) -> int | None:
    return len(labels) if isinstance(labels, dict) else None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
