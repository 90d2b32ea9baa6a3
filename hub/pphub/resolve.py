"""Finds which repository, at which source, a name stands for: the cache first, then the sources in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pphub import settings
from pphub.errors import (
    AccessDenied,
    ModelNotFound,
    NotCached,
    PphubError,
    RevisionNotFound,
    SourceNotInstalled,
    SourceUnavailable,
)
from pphub.registry import installed_sources, load_source
from pphub.shortcuts import candidates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pphub.names import ModelRef
    from pphub.source import Listing
    from pphub_cache.store import Snapshot, Store

__all__ = ["ask", "find_cached", "list_remote", "resolve"]


@dataclass(frozen=True, slots=True)
class _Failure:
    source: str
    repo: str
    error: PphubError


def resolve(ref: ModelRef, store: Store, *, offline: bool, refresh: bool = False) -> Snapshot | Listing:
    """What a reference stands for.

    Args:
        ref: the parsed name.
        store: the cache to look in.
        offline: never ask a source.
        refresh: ask the sources even if the name is cached.

    Returns:
        The cached snapshot (which may lack files), or the listing of a source.

    Raises:
        ModelNotFound, RevisionNotFound, AccessDenied, SourceUnavailable: no source has it; the error tells
            what each of them said.
        NotCached: offline, and not in the cache.
    """
    if ref.kind != "name":
        folder = ref.path if ref.kind == "folder" else ref.path.parent
        return ask("file", str(folder), None)
    if (offline or not refresh) and (cached := find_cached(ref, store)):
        return cached
    if offline:
        msg = f"{ref} is not in the cache at {store.layout.home}, and the network is switched off"
        raise NotCached(msg, hint=f"when you are online: hub download {ref}")
    return list_remote(ref)


def find_cached(ref: ModelRef, store: Store) -> Snapshot | None:
    """The snapshot in the cache that a name stands for, or None; imports no plugin, opens no socket."""
    for source, repo in _places(ref):
        if snapshot := store.find(source, repo, ref.revision):
            return snapshot
    return None


def list_remote(ref: ModelRef) -> Listing:
    """Ask the sources in order, and each of them for every name the model may have there."""
    failures: list[_Failure] = []
    down: set[str] = set()
    for source, repo in _places(ref):
        if source in down:
            continue  # its other names would fail the same slow way
        try:
            return ask(source, repo, ref.revision)
        except (ModelNotFound, RevisionNotFound, AccessDenied) as error:
            failures.append(_Failure(source, repo, error))
        except SourceUnavailable as error:
            failures.append(_Failure(source, repo, error))
            down.add(source)
    raise _summary(ref, failures)


def ask(source: str, repo: str, revision: str | None) -> Listing:
    """Ask one source for one repository; what is wrong inside a plugin is told as its failure."""
    plugin = load_source(source)
    try:
        return plugin.list_files(repo, revision)
    except PphubError:
        raise
    except Exception as error:
        msg = f"the source {source!r} failed to list {repo}: {type(error).__name__}: {error}"
        raise SourceUnavailable(msg, hint="this is a fault of the plugin: see `hub sources` for its makers") from error


def _places(ref: ModelRef) -> Iterator[tuple[str, str]]:
    """Source and repository, in the order to try."""
    for source in (ref.scheme,) if ref.scheme else _sources():
        for repo in candidates(ref.name, source):
            yield source, repo


def _sources() -> tuple[str, ...]:
    """The configured order; of the default, only what is installed."""
    order = settings.source_order()
    if order != settings.DEFAULT_SOURCES:
        return order
    installed = {info.scheme for info in installed_sources() if info.problem is None}
    return tuple(source for source in order if source in installed)


def _summary(ref: ModelRef, failures: list[_Failure]) -> PphubError:
    """One error for all that was tried, of the class that helps most."""
    if not failures:
        msg = f"no source is installed that could be asked for {ref}"
        return SourceNotInstalled(msg, hint="see `hub sources`, or reinstall pphub")
    # A refusal says the model is there; a failure says it may be; both outweigh a plain no.
    for kind in (AccessDenied, SourceUnavailable, RevisionNotFound, ModelNotFound):
        chosen = [failure for failure in failures if isinstance(failure.error, kind)]
        if chosen:
            break
    if len(failures) == 1:
        return failures[0].error
    lines = [f"  {failure.source}: asked for {failure.repo}: {failure.error.message}" for failure in failures]
    return type(chosen[0].error)(f"no source has {ref}:\n" + "\n".join(lines), hint=chosen[0].error.hint)
