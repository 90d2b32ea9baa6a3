"""The two configs, key by key: what changes no answer in eval mode, such as dropout, shows only here."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from pphub.checkpoint.folder import open_checkpoint, read_json
from pphub.conversion.config import DTYPE_KEYS, translate_config
from pphub.conversion.dtypes import FLOATS
from pphub.conversion.sizes import lookup, put
from pphub.conversion.torch_config import read_paddle_config
from pphub.errors import ConversionFailed
from pphub.loading import import_paddlenlp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pphub.alignment.session import Subject
    from pphub.conversion.moves import Request

__all__ = ["compare_configs"]

_NOTES: Final = frozenset({"architectures", "paddlenlp_version", "transformers_version", "_name_or_path"})
"""Of the tools; the first has a judgement of its own."""
_UNJUDGED: Final = frozenset({*_NOTES, "model_type", *DTYPE_KEYS})
"""Likewise; those of a config within the config have no other judgement."""
_HARMLESS: Final = frozenset(
    {"finetuning_task", "id2label", "initializer_factor", "initializer_range", "label2id", "task_specific_params"}
)
"""Names and start values: no output and no training of the model depends on them."""
_UNFILLED: Final = frozenset({"prefix", "return_dict", "tokenizer_class", "use_cache"})
"""What the libraries leave to different defaults and no number depends on: judged where both files say it."""
_DROPOUT: Final = re.compile("dropout|pdrop")
_MISSING: Final = object()


def compare_configs(subject: Subject, live_torch: Any, live_paddle: Any) -> tuple[list[str], list[str]]:
    """Compare Paddle's config with what the rules make of torch's, for the keys that either says.

    Args:
        subject: the folders.
        live_torch: torch's live config, which knows what its file leaves to the defaults.
        live_paddle: likewise Paddle's.

    Returns:
        What fails, and what is only to be noted.

    Raises:
        ConversionFailed: torch's config is none that Paddle's classes can express.
    """
    request = subject.own
    config = read_json(subject.torch / "config.json")
    torch = translate_config(request.family, request.architecture, config).values
    paddle = read_paddle_config(subject.paddle)
    failures, notes = _compare_classes(request, torch, paddle, (config.get("model_type"), _type_of(live_paddle)))
    failed, noted = _compare_dtypes(subject, torch, paddle)
    failures, notes = [*failures, *failed], [*notes, *noted]
    torch, paddle = _flat(torch), _flat(paddle)
    for key in sorted(torch.keys() | paddle.keys()):
        inner, _, name = key.rpartition(".")
        stated = key in torch and key in paddle
        if name in (_NOTES if inner else _UNJUDGED) or (name in _UNFILLED and not stated):
            continue
        left = torch[key] if key in torch else _torch_default(request, config, live_torch, key)
        right = paddle[key] if key in paddle else _default(live_paddle, key)
        if left is _MISSING or right is _MISSING or left == right:
            continue
        if name in DTYPE_KEYS and left in (None, "float32") and right in (None, "float32"):  # which is the default
            continue
        text = f"{key} of the config is {_shown(left)} in torch and {_shown(right)} in Paddle"
        harmless = name in _HARMLESS and not (name == "id2label" and _count(left) != _count(right))
        # A null of one file says little against what the other leaves to its library.
        vague = not stated and torch.get(key, paddle.get(key)) is None and not _DROPOUT.search(name)
        (notes if harmless or vague else failures).append(text)
    return failures, notes


def _flat(config: Mapping[str, object]) -> dict[str, object]:
    """With the keys of the configs within it, such as text_config.hidden_size."""
    found: dict[str, object] = {}
    for key, value in config.items():
        if key.endswith("_config") and isinstance(value, dict):
            found |= {f"{key}.{inner}": each for inner, each in _flat(value).items()}
        else:
            found[key] = value
    return found


def _default(live: Any, key: str) -> object:
    """What a live config says for a key that its file lacks, as a file would say it."""
    value = live
    try:
        for part in key.split("."):
            value = value.get(part, _MISSING) if isinstance(value, dict) else getattr(value, part, _MISSING)
        return json.loads(json.dumps(value))  # where tuples are lists, and the numbers of labels texts
    except (TypeError, ValueError):  # there is none, or one that no file could say
        return _MISSING


def _torch_default(request: Request, config: Mapping[str, object], live: Any, key: str) -> object:
    """Likewise torch's, for a key of Paddle's, in Paddle's words."""
    name = next((old for old, new in request.family.config.rename.items() if new == key), key)
    value = _default(live, name)
    if value is _MISSING:
        return _MISSING
    values = dict(config)
    put(values, name, value)
    try:
        return lookup(translate_config(request.family, request.architecture, values).values, key, _MISSING)
    except ConversionFailed:
        return value


def _compare_classes(
    request: Request, torch: Mapping[str, object], paddle: Mapping[str, object], types: tuple[object, ...]
) -> tuple[list[str], list[str]]:
    """The class that Paddle's config names, by which the libraries choose what they build, and the model's type."""
    family, architecture = request.family, request.architecture
    failures: list[str] = []
    notes: list[str] = []
    wanted = family.architectures[architecture]
    # A base model holds no head, and says nothing of one.
    bases = () if architecture in family.bases else family.bases
    listed = paddle.get("architectures")
    named = listed[-1] if isinstance(listed, list) and listed else listed
    if not named:
        notes.append(f"Paddle's config has no architectures; by the rules it is {wanted}")
    elif not any(_is_class(named, each) for each in (wanted, *(family.architectures[base] for base in bases))):
        failures.append(
            f"architectures of Paddle's config names {_shown(named)}; torch's {architecture} is {wanted} there"
        )
    found, expected = paddle.get("model_type"), torch["model_type"]
    if found is None:
        notes.append(f"Paddle's config has no model_type; by the rules it is {expected!r}")
    elif found not in (expected, family.model_types[0], *types):
        failures.append(f"model_type of the config is {_shown(expected)} in torch and {_shown(found)} in Paddle")
    return failures, notes


def _is_class(named: object, wanted: str) -> bool:
    """By its name, or another that PaddleNLP has for it, such as GPTLMHeadModel for GPTForCausalLM."""
    if named == wanted or not isinstance(named, str):
        return named == wanted
    found = getattr(import_paddlenlp(), named, None)
    return found is not None and found is getattr(import_paddlenlp(), wanted, None)


def _type_of(live_paddle: Any) -> object:
    """What PaddleNLP itself writes for models of the class."""
    return getattr(type(live_paddle), "model_type", None)


def _compare_dtypes(
    subject: Subject, torch: Mapping[str, object], paddle: Mapping[str, object]
) -> tuple[list[str], list[str]]:
    """The dtype that Paddle's config has the libraries load: in single precision all this is proved."""
    said = _dtype(paddle.get(DTYPE_KEYS[0], paddle.get(DTYPE_KEYS[1])))  # PaddleNLP asks for torch's key first
    if said in {None, "float32"}:  # single precision holds every half one exactly
        return [], []
    tensors = open_checkpoint(subject.paddle, subject.paddle_weights).values()
    held = sorted({tensor.dtype for tensor in tensors if tensor.dtype in FLOATS})
    is_torchs = said == _dtype(torch.get(DTYPE_KEYS[1]))
    if held == [said] or (said in held and is_torchs):
        return [], []
    text = f"the dtype of Paddle's config is {said}, in which it is loaded, and its weights are {' and '.join(held)}"
    return ([], [f"{text}; so it is in torch"]) if is_torchs else ([text], [])


def _dtype(value: object) -> str | None:
    return None if value is None else str(value).rpartition(".")[2]


def _count(labels: object) -> int | None:
    return len(labels) if isinstance(labels, dict) else None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
