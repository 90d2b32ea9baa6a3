"""Finds which repository, at which source, a name stands for: the cache first, then the sources in order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pphub import settings
from pphub.errors import (
    AccessDenied,
    Corrupt,
    FileNotInModel,
    ModelNotFound,
    NotCached,
    NotFound,
    PphubError,
    RevisionNotFound,
    SourceNotInstalled,
    SourceUnavailable,
)
from pphub.registry import installed_sources, load_source
from pphub.shortcuts import candidates
from pphub.source import Listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pphub.names import ModelRef
    from pphub.select import Selection
    from pphub_cache.store import Snapshot, Store

__all__ = ["Search", "ask", "find_cached", "find_local", "places"]

# What outweighs what where several sources fail. A refusal says that the model is there, and wrong bytes that somebody
# tampers. A plain no weighs less, and a hub that could not be reached says nothing, unless it is the first: then the
# others' no is no answer.
_WEIGHT = (AccessDenied, Corrupt, RevisionNotFound, FileNotInModel, ModelNotFound, SourceUnavailable, PphubError)


def find_local(
    ref: ModelRef, store: Store, selection: Selection, *, offline: bool, refresh: bool = False
) -> Snapshot | Listing | None:
    """What a reference stands for, as far as this disk knows; opens no socket.

    Args:
        ref: the parsed name.
        store: the cache to look in.
        selection: what is wanted of the model.
        offline: the cache is all there is.
        refresh: pass over the cache where the sources can be asked.

    Returns:
        The cached snapshot (which may lack files), the listing of a folder, or None: the sources must be asked.

    Raises:
        NotCached: offline, and not in the cache.
    """
    if ref.kind != "name":
        folder = ref.path if ref.kind == "folder" else ref.path.parent
        return ask("file", str(folder), None)
    if (offline or not refresh) and (cached := find_cached(ref, store, selection)):
        return cached
    if offline:
        msg = f"{ref} is not in the cache at {store.layout.home}, and the network is switched off"
        raise NotCached(msg, hint=f"when you are online: hub download {ref}")
    return None


def find_cached(ref: ModelRef, store: Store, selection: Selection) -> Snapshot | None:
    """The snapshot in the cache that a name stands for, or None; imports no plugin, opens no socket.

    Of several, the first that holds all that is wanted; else the first.
    """
    first = None
    # Whether a source is still installed makes no difference to what is here.
    for source in (ref.scheme,) if ref.scheme else settings.source_order():
        for repo in candidates(ref.name, source):
            for snapshot in store.find(source, repo, ref.revision):
                if not snapshot.missing(selection.pick(snapshot.files)):
                    return snapshot
                first = first or snapshot
    return first


def places(ref: ModelRef) -> Iterator[tuple[str, str]]:
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


@dataclass(frozen=True, slots=True)
class _Failure:
    source: str
    repo: str
    error: PphubError


class Search:
    """Asks the sources in order, one at a time, for as long as the caller needs another listing.

    Args:
        ref: the parsed name.
        tell: told, in a line, of a source that refused or failed and is passed over.
    """

    def __init__(self, ref: ModelRef, tell: Callable[[str], None] = lambda _line: None) -> None:
        self._ref = ref
        self._tell = tell
        self._failures: list[_Failure] = []
        self._told = 0

    def listings(self) -> Iterator[Listing]:
        """The listings of the sources that have the model; a source is asked when the next one is wanted."""
        down: set[str] = set()
        for source, repo in places(self._ref):
            if source in down:
                continue  # its other names would fail the same slow way
            try:
                listing = ask(source, repo, self._ref.revision)
            except (NotFound, AccessDenied, Corrupt) as error:
                self.passed_over(source, repo, error)
            except SourceUnavailable as error:
                self.passed_over(source, repo, error)
                down.add(source)
            else:
                yield listing

    def passed_over(self, source: str, repo: str, error: PphubError) -> None:
        """Remember why a source does not serve, also when only its files showed it."""
        failure = _Failure(source, repo, error)
        if not any(
            (other.source, other.repo, str(other.error)) == (source, repo, str(error)) for other in self._failures
        ):
            self._failures.append(failure)

    def tell_why(self, chosen: str) -> None:
        """Where a source is to serve although one before it refused or failed, the user learns of it."""
        # A client that is not installed is news only to those who asked for its source.
        asked_for = settings.source_order() != settings.DEFAULT_SOURCES
        silent = (NotFound,) if asked_for else (NotFound, SourceNotInstalled)
        for failure in self._failures[self._told :]:
            if not isinstance(failure.error, silent):
                self._tell(f"{failure.source} is passed over for {chosen}: {failure.error.message}")
        self._told = len(self._failures)

    def error(self) -> PphubError:
        """One error for all that was tried, of the class that helps most."""
        if not self._failures:
            msg = f"there is no source that could be asked for {self._ref}"
            hint = "see `hub sources`, and whether the name is one of your own, which only the sources it lists know"
            return SourceNotInstalled(msg, hint=hint)
        if len(self._failures) == 1:
            return self._failures[0].error
        # A source that is not installed is a failure only where nothing else was asked.
        weighed = [failure for failure in self._failures if not isinstance(failure.error, SourceNotInstalled)]
        chosen = min(weighed or self._failures, key=lambda failure: _weight(failure.error))
        if weighed and isinstance(weighed[0].error, SourceUnavailable) and isinstance(chosen.error, NotFound):
            chosen = weighed[0]
        msg = f"no source could serve {self._ref}:\n{_table(self._failures)}"
        return type(chosen.error)(msg, hint=chosen.error.hint)


def _weight(error: PphubError) -> int:
    return next(rank for rank, kind in enumerate(_WEIGHT) if isinstance(error, kind))


def _table(failures: list[_Failure]) -> str:
    """Source, what was asked, what came back, and what to do, a line each."""
    sources = max(len(failure.source) for failure in failures)
    repos = max(len(failure.repo) for failure in failures)
    lines = []
    for failure in failures:
        advice = f" → {failure.error.hint}" if failure.error.hint else ""
        lines.append(f"  {failure.source:{sources}}  {failure.repo:{repos}}  {failure.error.message}{advice}")
    return "\n".join(lines)


def ask(source: str, repo: str, revision: str | None) -> Listing:
    """Ask one source for one repository; what is wrong inside a plugin is told as its failure."""
    plugin = load_source(source)
    hint = "this is a fault of the plugin: see `hub sources` for its makers"
    try:
        listing: object = plugin.list_files(repo, revision)
    except PphubError:
        raise
    except (Exception, SystemExit) as error:
        msg = f"the source {source!r} failed to list {repo}: {type(error).__name__}: {error}"
        raise SourceUnavailable(msg, hint=hint) from error
    if not isinstance(listing, Listing):
        msg = f"the source {source!r} returned a {type(listing).__name__} for {repo}, which is no listing"
        raise SourceUnavailable(msg, hint=hint)
    # Under the names it was asked by: they were checked, and no plugin may speak for another.
    return replace(listing, source=source, repo=repo)
