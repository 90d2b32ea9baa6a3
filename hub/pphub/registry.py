"""Finds sources by the entry-point group ``pphub.sources``.

Listing reads package metadata only; a plugin is imported when a request needs it. A plugin that is broken or
declared twice is named and left out, and the others go on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from pphub.errors import SourceNotInstalled
from pphub.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "SourceInfo", "find_sources", "installed_sources", "load_source"]

GROUP = "pphub.sources"

_SCHEME = re.compile(r"[a-z][a-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """A declared source, before anything of it is imported.

    Attributes:
        scheme: the name it is declared under.
        target: ``module:Class``.
        package: the distribution that declares it, with its version.
        problem: why it cannot be used, or None.
    """

    scheme: str
    target: str
    package: str
    problem: str | None = None


def find_sources(points: Iterable[EntryPoint]) -> tuple[SourceInfo, ...]:
    """Turn entry points into source infos, sorted by scheme, with duplicates and bad names marked."""
    infos: dict[str, SourceInfo] = {}
    declared = [(point.name, package != _own_package(), package, point) for point, package in _with_packages(points)]
    for name, _, package, point in sorted(declared, key=lambda entry: entry[:3]):
        info = SourceInfo(name, point.value, package)
        if not _SCHEME.fullmatch(point.name):
            reason = "its name is not a scheme: two or more of a-z, 0-9, _ and -, a letter first"
            infos[f"{point.name} ({point.value})"] = SourceInfo(info.scheme, info.target, info.package, reason)
        elif point.name not in infos:
            infos[point.name] = info
        elif infos[point.name].target != info.target:
            first = infos[point.name]
            reason = f"{first.package} already declares {point.name!r}; that one is used"
            infos[f"{point.name} ({point.value})"] = SourceInfo(info.scheme, info.target, info.package, reason)
    return tuple(infos.values())


def _with_packages(points: Iterable[EntryPoint]) -> Iterator[tuple[EntryPoint, str]]:
    packages: dict[int, str] = {}  # to read what a distribution is called takes milliseconds
    for point in points:
        if point.dist is None:
            yield point, "unknown package"
            continue
        if id(point.dist) not in packages:
            about = point.dist.metadata
            packages[id(point.dist)] = f"{about['Name']} {about['Version']}"
        yield point, packages[id(point.dist)]


def _own_package() -> str:
    from pphub import __version__

    return f"pphub {__version__}"


@lru_cache(maxsize=1)
def installed_sources() -> tuple[SourceInfo, ...]:
    """Every source declared by an installed package; imports none of them. Read once a process."""
    from importlib.metadata import entry_points  # not at the top: what is cached needs no source

    return find_sources(entry_points(group=GROUP))


@cache
def load_source(scheme: str) -> Source:
    """Import the source declared under a scheme and return an instance.

    Raises:
        SourceNotInstalled: nothing declares it, or it does not import or is no source.
    """
    usable = {info.scheme: info for info in installed_sources() if info.problem is None}
    if scheme not in usable:
        msg = f"no source {scheme!r} is installed; there are: {', '.join(usable) or 'none'}"
        raise SourceNotInstalled(msg, hint="see `hub sources`, and check the spelling")
    from importlib.metadata import EntryPoint

    info = usable[scheme]
    try:
        plugin = EntryPoint(info.scheme, info.target, GROUP).load()()
    except Exception as error:
        msg = f"the source {scheme!r} ({info.target} of {info.package}) does not load: {type(error).__name__}: {error}"
        raise SourceNotInstalled(msg, hint=f"reinstall or remove {info.package}") from error
    if not isinstance(plugin, Source):
        msg = f"the source {scheme!r} ({info.target} of {info.package}) is no source: it lacks list_files or endpoint"
        raise SourceNotInstalled(msg, hint=f"tell the makers of {info.package}")
    return plugin
