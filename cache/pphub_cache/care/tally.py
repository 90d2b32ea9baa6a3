"""What each model of the cache takes up, and how much of that it shares."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from pphub_cache.care.inventory import conversions, refs, snapshots

if TYPE_CHECKING:
    from collections.abc import Callable

    from pphub_cache.care.inventory import Held
    from pphub_cache.layout import Layout

__all__ = ["Kept", "Model", "Tally", "take_stock"]

_FOLDERS: Final = "file"  # the source of what was converted from a folder elsewhere: a model without snapshots


@dataclass(slots=True)
class Kept:
    """One snapshot of a model.

    Attributes:
        folder: where it is.
        state: ``whole``; ``incomplete``, when files that a download would fetch are not here; ``damaged``, when its
            record cannot be read.
        contents: sha256 → size in bytes of what is stored.
        files: how many files are stored.
        shared: bytes that other snapshots hold too.
        used: when it was last used, in seconds since 1970; None when that is not known.
    """

    commit: str
    folder: str
    state: Literal["whole", "incomplete", "damaged"]
    contents: dict[str, int]
    files: int
    used: float | None
    shared: int = 0

    @property
    def size(self) -> int:
        """Bytes on disk; what it holds twice counts once."""
        return sum(self.contents.values())


@dataclass(slots=True)
class Model:
    """One repository of one source.

    Attributes:
        home: the cache home that has it.
        refs: revision → commit.
        size: bytes of all its snapshots; what several hold counts once.
        shared: bytes of these that other models hold too.
        conversions: their folders.
        converted: their bytes.
    """

    home: str
    source: str
    repo: str
    snapshots: list[Kept] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)
    size: int = 0
    shared: int = 0
    conversions: list[str] = field(default_factory=list)
    converted: int = 0

    @property
    def files(self) -> int:
        """How many files are stored."""
        return sum(kept.files for kept in self.snapshots)

    @property
    def used(self) -> float | None:
        """When it was last used, in seconds since 1970; None when that is not known."""
        return max((kept.used for kept in self.snapshots if kept.used is not None), default=None)


@dataclass(frozen=True, slots=True)
class Tally:
    """All models, in order of their names, and the bytes of all: what several hold counts once."""

    models: tuple[Model, ...]
    size: int
    converted: int


def take_stock(layout: Layout, is_whole: Callable[[Held], bool]) -> Tally:
    """Add up what the records say; reads them once, and no file of a model.

    Args:
        layout: the cache.
        is_whole: whether a recorded snapshot has all that a download would fetch.
    """
    models: dict[tuple[str, str], Model] = {}
    holders: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    for held in snapshots(layout):
        model = models.setdefault((held.source, held.repo), Model(str(layout.home), held.source, held.repo))
        stored = [(entry["sha256"], entry["size"]) for entry in held.files.values() if entry["stored"]]
        contents = dict(stored)
        holders.update(contents.keys())
        sizes |= contents
        model.snapshots.append(Kept(held.commit, held.folder, _state(held, is_whole), contents, len(stored), held.used))
    for ref in refs(layout):
        if ref.commit and (ref.source, ref.repo) in models:
            models[ref.source, ref.repo].refs[ref.revision] = ref.commit
    for model in models.values():
        _add_up(model, holders)
    converted = 0
    for conversion in conversions(layout):
        size = conversion.weights[1] if conversion.weights else 0
        converted += size
        for place in {origin[:2] for origin in conversion.origins}:
            if place[0] == _FOLDERS:
                models.setdefault(place, Model(str(layout.home), *place))
            if known := models.get(place):
                known.conversions.append(conversion.folder)
                known.converted += size
    return Tally(tuple(models[place] for place in sorted(models)), sum(sizes.values()), converted)


def _state(held: Held, is_whole: Callable[[Held], bool]) -> Literal["whole", "incomplete", "damaged"]:
    if held.state == "damaged":
        return "damaged"
    return "whole" if held.state == "recorded" and is_whole(held) else "incomplete"


def _add_up(model: Model, holders: Counter[str]) -> None:
    """Fill in what the model shares."""
    for kept in model.snapshots:
        kept.shared = sum([size for sha256, size in kept.contents.items() if holders[sha256] > 1])
    if len(model.snapshots) == 1:
        model.size, model.shared = kept.size, kept.shared
        return
    contents: dict[str, int] = {}
    own: Counter[str] = Counter()
    for kept in model.snapshots:
        contents |= kept.contents
        own.update(kept.contents.keys())
    model.snapshots.sort(key=lambda kept: kept.commit)
    model.size = sum(contents.values())
    model.shared = sum(size for sha256, size in contents.items() if holders[sha256] > own[sha256])
