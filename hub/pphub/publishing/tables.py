"""The tables beside what is published, each a pure function of the registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pphub.conversion.job import WEIGHTS_FILE
from pphub.publishing.model import as_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pphub.publishing.model import Model

__all__ = ["FORMAT", "REGISTRY_FILE", "TABLES", "table_contents", "with_model"]

REGISTRY_FILE: Final = "registry.json"
_NAMES_FILE: Final = "names.toml"
_SUMS_FILE: Final = "SHA256SUMS"
TABLES: Final = (_NAMES_FILE, _SUMS_FILE, REGISTRY_FILE)
FORMAT: Final = 1


def with_model(former: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """The registry with one more model, or with another one in its place."""
    registry: dict[str, Any] = {"format": FORMAT}
    entries = {"models": model.entry, "by_name": _by_name(model), "published": _published(model)}
    for part, entry in entries.items():
        others = {name: each for name, each in former.get(part, {}).items() if name != model.name}
        registry[part] = dict(sorted((others | ({model.name: entry} if entry is not None else {})).items()))
    registry["shortcuts"] = _shortcuts(registry["published"])
    return registry


def _by_name(model: Model) -> dict[str, Any] | None:
    """What PaddleNLP takes for the config of a name of its own, and looks for in place of a file's name."""
    if model.entry is None:
        return None
    config = {key: value for key, value in model.config.items() if key not in {"architectures", "model_type"}}
    names = {name: path.rpartition("/")[2] for path, name in model.built_in.items() if name != WEIGHTS_FILE}
    return {"config": config, "files": names}


def _published(model: Model) -> dict[str, Any]:
    places = sorted(model.places().items())
    return {
        "folder": model.folder,
        "files": {path: {"size": file.size, "sha256": file.sha256} for path, file in places},
    }


def _shortcuts(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The last part of each name, or all of it where two would be called the same."""
    names = list(names)
    ends = [name.rpartition("/")[2] for name in names]
    return {
        (end if ends.count(end) == 1 else name): {"bos": name} for name, end in sorted(zip(names, ends, strict=True))
    }


def table_contents(registry: Mapping[str, Any]) -> dict[str, bytes]:
    """The tables as they are written, in this order."""
    lines = [
        f"{json.dumps(short, ensure_ascii=False)} = {{ bos = {json.dumps(repos['bos'], ensure_ascii=False)} }}"
        for short, repos in registry.get("shortcuts", {}).items()
    ]
    files = {path: each for one in registry.get("published", {}).values() for path, each in one["files"].items()}
    sums = [f"{each['sha256']}  {path}" for path, each in sorted(files.items())]
    head = "# Short names of what is published here: lines for $PPNLP_HOME/hub/names.toml."
    return {
        _NAMES_FILE: "".join(f"{line}\n" for line in [head, *lines]).encode(),
        _SUMS_FILE: "".join(f"{line}\n" for line in sums).encode(),
        REGISTRY_FILE: as_json(registry),
    }
