"""A folder of links to a model's files, and beside them what its tokenizer lacks.

For a model that is not converted, or of which only the tokenizer is wanted: its own folder is never written to.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from pphub.tokenizer.derive import VERSION, derive_files
from pphub_cache.atomic import link_or_copy, write_bytes, write_json
from pphub_cache.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pphub_cache.layout import Layout
    from pphub_cache.store import Snapshot

__all__ = ["DERIVED_FILE", "complete_folder"]

DERIVED_FILE: Final = "derived.json"
"""What was made, in a folder that is no conversion."""


def complete_folder(
    snapshot: Snapshot, names: Collection[str], weights: Collection[str], layout: Layout, family_class: str | None
) -> Path:
    """Make the folder, if it is not there.

    Args:
        snapshot: the model.
        names: files at its top, without weights, among which :func:`lacks_vocabulary` found no vocabulary.
        weights: files to be shown as well.
        layout: of the cache.
        family_class: as for :func:`derive_files`.

    Returns:
        A folder of the cache.

    Raises:
        ConversionFailed, Corrupt: as :func:`derive_files`.
        StorageFailed: the disk says no.
    """
    key = _key(snapshot, names, weights, family_class)
    folder = layout.converted(f"view-{key}")
    linked = [*names, *weights]
    if _is_whole(folder, linked):
        return folder
    derived = derive_files(snapshot.folder, names, family_class)
    for name in linked:
        if name not in derived.files:
            link_or_copy(snapshot.folder / name, folder / name)
    for name, content in derived.files.items():
        write_bytes(folder / name, content)
    files = {name: {"size": len(content), "sha256": _hash(content)} for name, content in derived.files.items()}
    origin = {"source": snapshot.source, "repo": snapshot.repo, "commit": snapshot.commit}
    write_json(folder / DERIVED_FILE, {"format": 1, **origin, "tokenizer": derived.record(), "files": files})
    return folder


def _key(snapshot: Snapshot, names: Collection[str], weights: Collection[str], family_class: str | None) -> str:
    """Where the files are and what is in those that are small: a folder of the user's may have others tomorrow."""
    contents = {name: snapshot.files[name].sha256 or sha256_of(snapshot.folder / name) for name in names}
    parts = [str(snapshot.folder), snapshot.commit, VERSION, family_class, contents, sorted(weights)]
    return _hash(json.dumps(parts, sort_keys=True).encode())[:40]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_whole(folder: Path, linked: Collection[str]) -> bool:
    try:
        record = json.loads((folder / DERIVED_FILE).read_bytes())
        sizes = {name: entry["size"] for name, entry in record["files"].items()}
        return all((folder / name).stat().st_size == size for name, size in sizes.items()) and all(
            (folder / name).is_file() for name in linked
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
