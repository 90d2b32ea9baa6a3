"""What is on this disk already; imports nothing that could reach further."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pphub import settings
from pphub.names import parse
from pphub.resolve import find_cached
from pphub.select import Selection
from pphub_cache.store import Store

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["cached_path"]


def cached_path(name: str | os.PathLike[str], revision: str | None = None, source: str | None = None) -> Path | None:
    """The folder of a model that is on this disk, whole, or None.

    Args:
        name: as for :func:`pphub.download`.
        revision: branch, tag or commit; None for what the default stood for when it was last asked.
        source: the scheme of the one source to look under.

    Raises:
        InvalidName, ModelNotFound: see :func:`pphub.names.parse`.
    """
    ref = parse(str(name), source=source, revision=revision)
    if ref.kind != "name":
        return ref.path if ref.kind == "folder" else ref.path.parent
    selection = Selection()
    snapshot = find_cached(ref, Store(settings.home(), settings.shared_homes()), selection)
    if snapshot is None or snapshot.missing(selection.pick(snapshot.files)):
        return None
    return snapshot.folder
