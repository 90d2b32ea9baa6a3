"""Where the commands that care for the cache look: the cache and the shared ones, and a name in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pphub import settings
from pphub.errors import NotCached, UsageError
from pphub.select import Selection
from pphub_cache.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pphub.names import ModelRef
    from pphub_cache.care.removing import Doomed

__all__ = ["find_held", "find_layouts", "home_of"]


def find_layouts() -> list[Layout]:
    """The cache, and the shared ones, which are only read; what their owners keep to themselves is passed over.

    Raises:
        UsageError: the cache's home is no folder.
    """
    homes = [settings.home(), *filter(_is_readable, settings.shared_homes())]
    return [Layout(home) for home in dict.fromkeys(homes)]


def _is_readable(home: Path) -> bool:
    hub = home / "hub"
    parts = [path for path in (hub / "snapshots", hub / "refs", hub / "converted") if os.path.lexists(path)]
    return all(os.access(path, os.R_OK | os.X_OK) for path in (hub, *parts))


def find_held(layouts: list[Layout], name: str) -> Doomed:
    """What the cache has of a name; of several places, the one that a download offline would take.

    What is in a shared cache only counts as found, but after all that is here.
    """
    from pphub.names import parse
    from pphub.resolve import find_cached
    from pphub_cache.care.removing import find_doomed
    from pphub_cache.store import Store

    ref = parse(name)
    if ref.kind != "name":
        msg = f"{name} is a {ref.kind} on this disk, not a model of the cache"
        raise UsageError(msg, hint=f"if the cache has a model of that name, write its source too, as in hf:{name}")
    own, *shared = layouts
    homes = tuple(layout.home for layout in shared)
    stores = [Store(own.home), Store(own.home, homes)] if shared else [Store(own.home)]
    cached = next(filter(None, (find_cached(ref, store, Selection()) for store in stores)), None)
    chosen = [(cached.source, cached.repo)] if cached else _places(ref)
    found = [one for place in chosen if (one := find_doomed(own, *place, ref.revision, shared))]
    if found:
        return next((one for one in found if one.is_here), found[0])
    msg = f"{ref} is not in the cache at {own.home}"
    raise NotCached(msg, hint="see `hub list`")


def _places(ref: ModelRef) -> Iterator[tuple[str, str]]:
    """Where a name that is not whole may be: a download that was cut off, a record that cannot be read."""
    from pphub.shortcuts import candidates

    for source in (ref.scheme,) if ref.scheme else settings.source_order():
        for repo in candidates(ref.name, source):
            yield source, repo


def home_of(layouts: list[Layout], path: str) -> str | None:
    """The shared cache that a path leads to, by whatever links."""
    real = Path(os.path.realpath(path))
    homes = [layout.home for layout in layouts[1:]]
    return next((str(home) for home in homes if real.is_relative_to(os.path.realpath(home))), None)
