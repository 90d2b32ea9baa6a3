"""The commands that care for the cache: list, remove, verify and prune."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from time import localtime, strftime
from typing import TYPE_CHECKING, Any, Final

from pphub import settings
from pphub.cli.commands import _shown, _size
from pphub.errors import NotCached, PphubError, UsageError
from pphub.select import Selection
from pphub_cache.layout import DEFAULT_REVISION, SNAPSHOT_FILE, Layout

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

    from pphub.names import ModelRef
    from pphub_cache.care.inventory import Held
    from pphub_cache.care.removing import Doomed, Removed
    from pphub_cache.care.tally import Kept, Model
    from pphub_cache.care.verifying import Claim, Finding, Work
    from pphub_cache.progress import Progress

__all__ = ["run_care"]

_SHORT: Final = 12  # of a commit
_NARROWEST: Final = 8  # columns of a cell that is cut
_GAP: Final = 2  # columns between two cells
_SHARED: Final = 4  # where in a row
_CONVERTED: Final = 5


def run_care(arguments: argparse.Namespace) -> int:
    """Run one of the four commands; returns the exit code."""
    return _COMMANDS[arguments.command](arguments)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


# ------------------------------------------------------------------------------------------------ list


def _list(arguments: argparse.Namespace) -> int:
    from pphub_cache.care.tally import take_stock

    own, *shared = _layouts()
    tally = take_stock(own, _is_whole)
    others = [model for layout in shared for model in take_stock(layout, _is_whole).models]
    models = sorted((*tally.models, *others), key=lambda model: (model.source, model.repo))
    if arguments.json:
        total = {"models": len(tally.models), "size": tally.size, "converted": tally.converted, "shared": len(others)}
        _print_models(models, total)
        return 0
    if not models:
        if not arguments.quiet:
            print("the cache is empty")
        return 0
    rows = [_row(model, is_shared=model.home != str(own.home)) for model in models]
    if arguments.quiet:
        _print_table(rows)
        return 0
    _print_table([("MODEL", "REVISIONS", "FILES", "SIZE", "SHARED", "CONVERTED", "LAST USED", ""), *rows])
    files = sum(model.files for model in tally.models)
    converted = f", and {_size(tally.converted)} of conversions" if tally.converted else ""
    beneath = f"; and {_number(len(others), 'model')} in shared caches" if others else ""
    print(f"{len(tally.models)} models, {files} files, {_size(tally.size)}{converted}{beneath}")
    return 0


def _layouts() -> list[Layout]:
    """The cache, and the shared ones, which are only read; what their owners keep to themselves is passed over."""
    homes = [settings.home(), *filter(_is_readable, settings.shared_homes())]
    return [Layout(home) for home in dict.fromkeys(homes)]


def _is_readable(home: Path) -> bool:
    hub = home / "hub"
    parts = [path for path in (hub / "snapshots", hub / "refs", hub / "converted") if os.path.lexists(path)]
    return all(os.access(path, os.R_OK | os.X_OK) for path in (hub, *parts))


def _is_whole(held: Held) -> bool:
    """Whether all is here that `hub download` would fetch, as far as the record tells."""
    without = [path for path, entry in held.files.items() if not entry["stored"]]
    return not without or _wanted(tuple(held.files)).isdisjoint(without)


@cache
def _wanted(paths: tuple[str, ...]) -> frozenset[str]:
    return frozenset(Selection().pick(paths))  # many models have the same file names


def _row(model: Model, *, is_shared: bool) -> tuple[str, ...]:
    states = sorted({kept.state for kept in model.snapshots} - {"whole"}) + ["shared"] * is_shared
    return (
        _shown(f"{model.source}:{model.repo}"),
        ", ".join(map(_shown, _revisions(model))),
        str(model.files),
        _size(model.size),
        _size(model.shared) if model.shared else "-",
        _size(model.converted) if model.conversions else "-",
        strftime("%Y-%m-%d", localtime(model.used)) if model.used is not None else "-",
        ", ".join(states),
    )


def _revisions(model: Model) -> Iterator[str]:
    """The names that stand for its snapshots; a commit without one is shown itself."""
    here = {kept.commit for kept in model.snapshots}
    named = {revision: commit for revision, commit in model.refs.items() if revision != DEFAULT_REVISION}
    default = model.refs.get(DEFAULT_REVISION)
    if default is not None and default not in named.values():
        named["(default)"] = default
    yield from sorted(revision for revision, commit in named.items() if commit in here and commit != revision)
    yield from sorted(commit[:_SHORT] for commit in here - set(named.values()))


def _print_table(rows: list[tuple[str, ...]]) -> None:
    """Numbers to the right; where a terminal is too narrow, less is told and names are cut."""
    # Piped, nothing is cut, unless COLUMNS says so.
    room = shutil.get_terminal_size((1_000_000, 24)).columns
    widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    for column in (_CONVERTED, _SHARED):
        if 2 * _NARROWEST + sum(widths[2:]) + _GAP * len(widths[1:]) > room:
            rows = [row[:column] + row[column + 1 :] for row in rows]
            del widths[column]
    spare = room - sum(widths) - _GAP * len(widths[1:])
    for column in (1, 0):
        if spare < 0:
            narrower = min(widths[column], max(_NARROWEST, widths[column] + spare))
            spare += widths[column] - narrower
            widths[column] = narrower
    form = (" " * _GAP).join(["{}", "{}", *(f"{{:>{width}}}" for width in widths[2:-1]), "{}"])
    for row in rows:
        print(form.format(_cut(row[0], widths[0]), _cut(row[1], widths[1]), *row[2:]).rstrip())


def _columns(text: str) -> int:
    """How wide a terminal shows it: a Chinese character takes two columns."""
    return len(text) if text.isascii() else sum(1 + (unicodedata.east_asian_width(c) in "FW") for c in text)


def _cut(text: str, width: int) -> str:
    """A name in so many columns."""
    if text.isascii() and len(text) <= width:
        return text.ljust(width)
    if _columns(text) > width:
        while _columns(text) > width - 3:
            text = text[:-1]
        text += "..."
    return text + " " * (width - _columns(text))


def _print_models(models: Iterable[Model], total: dict[str, int]) -> None:
    """One model a line: of ten thousand, indented JSON takes longer to write than the cache to read."""
    lines = ",\n".join(json.dumps(_model_document(model)) for model in models)
    print(f'{{"models": [\n{lines}\n], "total": {json.dumps(total)}}}')


def _model_document(model: Model) -> dict[str, Any]:
    return {
        "home": model.home,
        "source": model.source,
        "repo": model.repo,
        "revisions": model.refs,
        "files": model.files,
        "size": model.size,
        "shared": model.shared,
        "used": _iso(model.used),
        "converted": model.conversions > 0,
        "converted_size": model.converted,
        "snapshots": [_snapshot_document(kept) for kept in model.snapshots],
    }


def _snapshot_document(kept: Kept) -> dict[str, Any]:
    return {
        "commit": kept.commit,
        "state": kept.state,
        "files": kept.files,
        "size": kept.size,
        "shared": kept.shared,
        "used": _iso(kept.used),
    }


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


# ------------------------------------------------------------------------------------------------ names


def _find(layouts: list[Layout], name: str) -> Doomed:
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


# ------------------------------------------------------------------------------------------------ remove


def _remove(arguments: argparse.Namespace) -> int:
    from pphub_cache.care.removing import remove

    layouts = _layouts()
    layout = layouts[0]
    # All names are looked up before anything goes.
    doomed = {
        (found.source, found.repo, found.refs, found.origins): found
        for found in (_find(layouts, name) for name in arguments.names)
    }
    for found in doomed.values():
        _check_here(layouts, found)
    note = _progress(arguments).note
    done = [
        remove(layout, one, dry_run=arguments.dry_run, note=lambda owner: note(f"waiting: {owner}"))
        for one in doomed.values()
    ]
    if arguments.json:
        freed = sum(one.freed for one in done)
        _print_json({"removed": [_removed_document(one) for one in done], "freed": freed, "dry_run": arguments.dry_run})
        return 0
    for one, found in zip(done, doomed.values(), strict=True):
        _print_removed(one, "would remove" if arguments.dry_run else "removed", quiet=arguments.quiet)
        if found.shared and not arguments.quiet:
            print(f"  the model stays in the shared cache {_home_of(layouts, found.shared[0].folder)}")
    return 0


def _check_here(layouts: list[Layout], found: Doomed) -> None:
    if not found.is_here:
        home = _home_of(layouts, found.shared[0].folder)
        msg = f"{found.source}:{found.repo} is only in the shared cache {home}, which is never changed from here"
        raise NotCached(msg, hint=f"its owner can remove it: PPNLP_HOME={home} hub remove {found.source}:{found.repo}")


def _home_of(layouts: list[Layout], path: str) -> str | None:
    """The shared cache that a path leads to, by whatever links."""
    real = Path(os.path.realpath(path))
    homes = [layout.home for layout in layouts[1:]]
    return next((str(home) for home in homes if real.is_relative_to(os.path.realpath(home))), None)


def _removed_document(removed: Removed) -> dict[str, Any]:
    return {
        "source": removed.source,
        "repo": removed.repo,
        "commits": removed.commits,
        "revisions": removed.revisions,
        "conversions": removed.conversions,
        "views": removed.views,
        "files": removed.files,
        "freed": removed.freed,
        "left": removed.left,
    }


def _print_removed(removed: Removed, verb: str, *, quiet: bool) -> None:
    parts = [_number(len(removed.commits), "snapshot")]
    if removed.conversions:
        parts.append(_number(removed.conversions, "conversion"))
    print(f"{verb} {_shown(f'{removed.source}:{removed.repo}')}: {', '.join(parts)}, {_size(removed.freed)}")
    if removed.left and not quiet:
        print(f"  {_size(removed.left)} stay: other models have them too, or somebody is using them")


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


# ------------------------------------------------------------------------------------------------ verify


def _verify(arguments: argparse.Namespace) -> int:
    from pphub_cache.care.verifying import plan_again, plan_check, set_aside

    layouts = _layouts()
    layout = layouts[0]
    wanted = None
    if arguments.name is not None:
        found = _find(layouts, arguments.name)
        wanted = found.origins | {(held.source, held.repo, held.commit) for held in found.shared}
    progress = _progress(arguments)
    work = plan_check(layouts, wanted)
    findings = _read(work, "stored files", progress)
    here = [finding for finding in findings if finding.claim.home == str(layout.home)]
    lost: list[Claim] = []
    shown: list[Claim] = []
    if here and (arguments.quarantine or arguments.refetch):
        lost = set_aside(layout, here, lambda owner: progress.note(f"waiting: {owner}"))
    failures = _refetch(lost, progress) if arguments.refetch else {}
    if here and (arguments.quarantine or arguments.refetch):
        shown = _show_again(layout, here, progress)
    fetched = [claim for claim in lost if _place_of(claim) not in failures] if arguments.refetch else []
    still = _read(plan_again(layout, [*fetched, *shown]), "files fetched again", progress) if fetched or shown else []
    if arguments.json:
        _print_json(
            {
                "files": work.files,
                "size": work.size,
                "bad": [_finding_document(finding) for finding in findings],
                "quarantined": [_claim_document(claim) for claim in lost],
                "failed": [{**_place(place), "message": error.message} for place, error in failures.items()],
                "still_bad": [_finding_document(finding) for finding in still],
            }
        )
    else:
        for finding in findings:
            _print_finding(arguments, layouts, finding, is_shown=finding.claim in shown)
        _print_lost(arguments, layouts, lost, failures, still)
        if not arguments.quiet:
            print(f"{work.files} files, {_size(work.size)}: {_number(len(findings), 'file')} damaged or missing")
    done = arguments.refetch and not failures and not still and len(here) == len(findings)
    return 0 if done or not findings else 1


def _read(work: Work, what: str, progress: Progress) -> list[Finding]:
    from pphub_cache.care.verifying import check

    task = progress.start(what, work.size)
    try:
        findings = check(work, task.advance)
    except BaseException:
        task.stop()
        raise
    task.finish()
    return findings


def _show_again(layout: Layout, findings: Iterable[Finding], progress: Progress) -> list[Claim]:
    """Make the views of which something was set aside anew; returns what should be right now."""
    from pphub.view import show_by_name
    from pphub_cache.care.inventory import read_view

    claims = [finding.claim for finding in findings if finding.claim.view is not None]
    for name in sorted({claim.view for claim in claims if claim.view is not None}):
        view = read_view(layout, name)
        if view is None or view.origin is None or not Path(view.shown).is_dir():
            claims = [claim for claim in claims if claim.view != name]  # what it showed was set aside as well
            continue
        source, repo, commit = view.origin
        show_by_name(layout.home, name, Path(view.shown), source=source, repo=repo, commit=commit, note=progress.note)
    return claims


def _refetch(lost: Iterable[Claim], progress: Progress) -> dict[tuple[str, str, str], PphubError]:
    """Download again what is no longer stored; returns what could not be, by source, repository and commit."""
    from glob import escape

    import pphub

    places: dict[tuple[str, str, str], list[str]] = {}
    for claim in lost:
        places.setdefault(_place_of(claim), []).append(claim.path)
    failures = {}
    for (source, repo, commit), paths in places.items():
        # Of a snapshot whose record is gone it is not known what it held: the usual files, then.
        include = None if SNAPSHOT_FILE in paths else [escape(path) for path in paths]
        try:
            pphub.download(repo, commit, source, include=include, progress=progress)
        except PphubError as error:
            failures[source, repo, commit] = error
    return failures


def _print_finding(arguments: argparse.Namespace, layouts: list[Layout], finding: Finding, *, is_shown: bool) -> None:
    claim = finding.claim
    kind = "conversion of " if claim.conversion else f"models/{_shown(claim.view)}, from " if claim.view else ""
    print(f"{finding.kind}  {kind}{_model(claim)}  {_shown(claim.path)}: {finding.problem}")
    if claim.home != str(layouts[0].home):
        print(f"  {_advice(claim.home)}")
    elif is_shown:
        print("  set aside, and made again")
    elif (claim.conversion or claim.view) and (arguments.quarantine or arguments.refetch):
        print("  set aside; it is made again when it is needed")


def _advice(home: str) -> str:
    return f"it is in the shared cache {home}, which its owner must mend: PPNLP_HOME={home} hub verify --refetch"


def _print_lost(
    arguments: argparse.Namespace,
    layouts: list[Layout],
    lost: Iterable[Claim],
    failures: dict[tuple[str, str, str], PphubError],
    still: Iterable[Finding],
) -> None:
    bad: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in still:
        bad.setdefault(_place_of(finding.claim), []).append(finding)
        if finding.claim.view is not None:
            print(f"models/{_shown(finding.claim.view)}  {_shown(finding.claim.path)}: still bad: {finding.problem}")
    for claim in lost:
        error = failures.get(_place_of(claim))
        wrong = [one for one in bad.get(_place_of(claim), []) if claim.path in {SNAPSHOT_FILE, one.claim.path}]
        outcome = "set aside"
        if error is not None:
            outcome = f"not fetched again: {error.message}"
        elif wrong:
            outcome = f"fetched again, and still bad: {wrong[0].problem}"
        elif arguments.refetch:
            outcome = "fetched again, right"
        print(f"{_model(claim)}  {_shown(claim.path)}: {outcome}")
        if wrong and (home := _home_of(layouts, wrong[0].claim.file)):
            print(f"  {_advice(home)}")


def _model(claim: Claim) -> str:
    return _shown(f"{claim.source}:{claim.repo}@{claim.commit[:_SHORT]}")


def _finding_document(finding: Finding) -> dict[str, Any]:
    document = {**_claim_document(finding.claim), "conversion": finding.claim.conversion}
    document |= {"home": finding.claim.home, "view": finding.claim.view}
    return {**document, "kind": finding.kind, "problem": finding.problem}


def _claim_document(claim: Claim) -> dict[str, Any]:
    return {**_place(_place_of(claim)), "path": claim.path}


def _place_of(claim: Claim) -> tuple[str, str, str]:
    return claim.source, claim.repo, claim.commit


def _place(place: tuple[str, str, str]) -> dict[str, Any]:
    return {"source": place[0], "repo": place[1], "commit": place[2]}


# ------------------------------------------------------------------------------------------------ prune


def _prune(arguments: argparse.Namespace) -> int:
    from pphub_cache.care.cleaning import clean

    done = clean(Layout(settings.home()), dry_run=arguments.dry_run)
    if arguments.json:
        _print_json({"removed": dict(done.removed), "freed": done.freed, "dry_run": arguments.dry_run})
        return 0
    if not done.removed:
        print("there is nothing to remove")
        return 0
    parts = [_number(count, kind.removesuffix("s")) for kind, count in done.removed.items()]
    print(f"{'would remove' if arguments.dry_run else 'removed'} {', '.join(parts)}: {_size(done.freed)}")
    return 0


def _progress(arguments: argparse.Namespace) -> Progress:
    from pphub.progress import choose_progress

    return choose_progress(quiet=arguments.quiet or arguments.json)


_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "list": _list,
    "prune": _prune,
    "remove": _remove,
    "verify": _verify,
}
