"""What is looked at after a process was killed."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["check_nothing_wrong", "result"]


def result(folder: Path) -> dict[str, bytes]:
    """All that a user of the folder would read."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".tmp")}


def check_nothing_wrong(home: Path, model: Mapping[str, bytes]) -> None:
    """What the cache would trust is true; ``model`` is what the hub has."""
    for blob in (home / "hub/blobs").rglob("*"):
        assert blob.is_dir() or hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    for record in (home / "hub").glob("snapshots/**/snapshot.json"):
        for path, entry in json.loads(record.read_bytes())["files"].items():
            assert entry["stored"]
            assert (record.parent / path).read_bytes() == model[path]
    for record in (home / "hub").glob("converted/[!.]*/conversion.json"):
        output = json.loads(record.read_bytes())["output"]
        content = (record.parent / output["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == output["sha256"]
