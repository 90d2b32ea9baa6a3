"""The commands that care for the cache: list, remove, verify and prune."""

from __future__ import annotations

import json
import shutil
import unicodedata
from datetime import datetime, timezone
from functools import cache
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
    from pphub_cache.care.verifying import Claim, Finding
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

    tally = take_stock(Layout(settings.home()), _is_whole)
    if arguments.json:
        _print_models(tally.models, {"models": len(tally.models), "size": tally.size, "converted": tally.converted})
        return 0
    if not tally.models:
        if not arguments.quiet:
            print("the cache is empty")
        return 0
    rows = [_row(model) for model in tally.models]
    if arguments.quiet:
        _print_table(rows)
        return 0
    _print_table([("MODEL", "REVISIONS", "FILES", "SIZE", "SHARED", "CONVERTED", "LAST USED", ""), *rows])
    files = sum(model.files for model in tally.models)
    converted = f", and {_size(tally.converted)} of conversions" if tally.converted else ""
    print(f"{len(rows)} models, {files} files, {_size(tally.size)}{converted}")
    return 0


def _is_whole(held: Held) -> bool:
    """Whether all is here that `hub download` would fetch, as far as the record tells."""
    without = [path for path, entry in held.files.items() if not entry["stored"]]
    return not without or _wanted(tuple(held.files)).isdisjoint(without)


@cache
def _wanted(paths: tuple[str, ...]) -> frozenset[str]:
    return frozenset(Selection().pick(paths))  # many models have the same file names


def _row(model: Model) -> tuple[str, ...]:
    states = sorted({kept.state for kept in model.snapshots} - {"whole"})
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


def _find(layout: Layout, name: str) -> Doomed:
    """What the cache has of a name; of several places, the one that a download offline would take."""
    from pphub.names import parse
    from pphub.resolve import find_cached
    from pphub_cache.care.removing import find_doomed
    from pphub_cache.store import Store

    ref = parse(name)
    if ref.kind != "name":
        msg = f"{name} is a {ref.kind} on this disk, not a model of the cache"
        raise UsageError(msg, hint=f"if the cache has a model of that name, write its source too, as in hf:{name}")
    cached = find_cached(ref, Store(layout.home), Selection())
    chosen = [(cached.source, cached.repo)] if cached else _places(ref)
    for source, repo in chosen:
        if found := find_doomed(layout, source, repo, ref.revision):
            return found
    msg = f"{ref} is not in the cache at {layout.home}"
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

    layout = Layout(settings.home())
    # All names are looked up before anything goes.
    doomed = {
        (found.source, found.repo, found.refs): found for found in (_find(layout, name) for name in arguments.names)
    }
    note = _progress(arguments).note
    done = [
        remove(layout, one, dry_run=arguments.dry_run, note=lambda owner: note(f"waiting: {owner}"))
        for one in doomed.values()
    ]
    if arguments.json:
        freed = sum(one.freed for one in done)
        _print_json({"removed": [_removed_document(one) for one in done], "freed": freed, "dry_run": arguments.dry_run})
        return 0
    for one in done:
        _print_removed(one, "would remove" if arguments.dry_run else "removed", quiet=arguments.quiet)
    return 0


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
    from pphub_cache.care.verifying import check, plan_check, set_aside

    layout = Layout(settings.home())
    wanted = None
    if arguments.name is not None:
        found = _find(layout, arguments.name)
        wanted = {(held.source, held.repo, held.commit) for held in found.snapshots}
    progress = _progress(arguments)
    work = plan_check(layout, wanted)
    task = progress.start("stored files", work.size)
    try:
        findings = check(layout, work, task.advance)
    except BaseException:
        task.stop()
        raise
    task.finish()
    lost: list[Claim] = []
    if findings and (arguments.quarantine or arguments.refetch):
        lost = set_aside(layout, findings, lambda owner: progress.note(f"waiting: {owner}"))
    failures = _refetch(lost, progress) if arguments.refetch else {}
    if arguments.json:
        _print_json(
            {
                "files": work.files,
                "size": work.size,
                "bad": [_finding_document(finding) for finding in findings],
                "quarantined": [_claim_document(claim) for claim in lost],
                "failed": [{**_place(place), "message": error.message} for place, error in failures.items()],
            }
        )
    else:
        _print_findings(arguments, findings, lost, failures)
        if not arguments.quiet:
            print(f"{work.files} files, {_size(work.size)}: {_number(len(findings), 'file')} damaged or missing")
    return 1 if failures or (findings and not arguments.refetch) else 0


def _refetch(lost: Iterable[Claim], progress: Progress) -> dict[tuple[str, str, str], PphubError]:
    """Download again what is no longer stored; returns what could not be, by source, repository and commit."""
    from glob import escape

    import pphub

    places: dict[tuple[str, str, str], list[str]] = {}
    for claim in lost:
        places.setdefault((claim.source, claim.repo, claim.commit), []).append(claim.path)
    failures = {}
    for (source, repo, commit), paths in places.items():
        # Of a snapshot whose record is gone it is not known what it held: the usual files, then.
        include = None if SNAPSHOT_FILE in paths else [escape(path) for path in paths]
        try:
            pphub.download(repo, commit, source, include=include, progress=progress)
        except PphubError as error:
            failures[source, repo, commit] = error
    return failures


def _print_findings(
    arguments: argparse.Namespace,
    findings: Iterable[Finding],
    lost: Iterable[Claim],
    failures: dict[tuple[str, str, str], PphubError],
) -> None:
    for finding in findings:
        claim = finding.claim
        kind = "conversion of " if claim.conversion else ""
        print(f"{finding.kind}  {kind}{_model(claim)}  {_shown(claim.path)}: {finding.problem}")
        if claim.conversion and (arguments.quarantine or arguments.refetch):
            print("  set aside; it is made again when it is needed")
    for claim in lost:
        error = failures.get((claim.source, claim.repo, claim.commit))
        outcome = "set aside"
        if arguments.refetch:
            outcome = f"not fetched again: {error.message}" if error else "fetched again, right"
        print(f"{_model(claim)}  {_shown(claim.path)}: {outcome}")


def _model(claim: Claim) -> str:
    return _shown(f"{claim.source}:{claim.repo}@{claim.commit[:_SHORT]}")


def _finding_document(finding: Finding) -> dict[str, Any]:
    document = {**_claim_document(finding.claim), "conversion": finding.claim.conversion}
    return {**document, "kind": finding.kind, "problem": finding.problem}


def _claim_document(claim: Claim) -> dict[str, Any]:
    return {**_place((claim.source, claim.repo, claim.commit)), "path": claim.path}


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
