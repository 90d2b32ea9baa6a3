"""The commands that care for the cache: list, remove, verify and prune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pphub.cli.listing import list_models
from pphub.cli.places import find_held, find_layouts, home_of
from pphub.cli.printing import print_json, progress_of, size_of
from pphub.cli.verifying import verify
from pphub.errors import NotCached
from pphub.units import number_of, shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pphub_cache.care.removing import Doomed, Removed
    from pphub_cache.layout import Layout

__all__ = ["run_care"]


def run_care(arguments: argparse.Namespace) -> int:
    """Run one of the four commands; returns the exit code."""
    return _COMMANDS[arguments.command](arguments)


def _remove(arguments: argparse.Namespace) -> int:
    from pphub_cache.care.removing import remove

    layouts = find_layouts()
    layout = layouts[0]
    # All names are looked up before anything goes.
    doomed = {
        (found.source, found.repo, found.refs, found.origins): found
        for found in (find_held(layouts, name) for name in arguments.names)
    }
    for found in doomed.values():
        _check_here(layouts, found)
    note = progress_of(arguments).note
    done = [
        remove(layout, one, dry_run=arguments.dry_run, note=lambda owner: note(f"waiting: {owner}"))
        for one in doomed.values()
    ]
    if arguments.json:
        freed = sum(one.freed for one in done)
        print_json({"removed": [_removed_document(one) for one in done], "freed": freed, "dry_run": arguments.dry_run})
        return 0
    for one, found in zip(done, doomed.values(), strict=True):
        _print_removed(one, "would remove" if arguments.dry_run else "removed", quiet=arguments.quiet)
        if found.shared and not arguments.quiet:
            print(f"  the model stays in the shared cache {home_of(layouts, found.shared[0].folder)}")
    return 0


def _check_here(layouts: list[Layout], found: Doomed) -> None:
    if not found.is_here:
        home = home_of(layouts, found.shared[0].folder)
        msg = f"{found.source}:{found.repo} is only in the shared cache {home}, which is never changed from here"
        raise NotCached(msg, hint=f"its owner can remove it: PPNLP_HOME={home} hub remove {found.source}:{found.repo}")


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
    parts = [number_of(len(removed.commits), "snapshot")]
    if removed.conversions:
        parts.append(number_of(removed.conversions, "conversion"))
    print(f"{verb} {shown(f'{removed.source}:{removed.repo}')}: {', '.join(parts)}, {size_of(removed.freed)}")
    if removed.left and not quiet:
        print(f"  {size_of(removed.left)} stay: other models have them too, or somebody is using them")


def _prune(arguments: argparse.Namespace) -> int:
    from pphub_cache.care.cleaning import clean

    done = clean(find_layouts()[0], dry_run=arguments.dry_run)
    if arguments.json:
        print_json({"removed": dict(done.removed), "freed": done.freed, "dry_run": arguments.dry_run})
        return 0
    if not done.removed:
        print("there is nothing to remove")
        return 0
    parts = [number_of(count, kind.removesuffix("s")) for kind, count in done.removed.items()]
    print(f"{'would remove' if arguments.dry_run else 'removed'} {', '.join(parts)}: {size_of(done.freed)}")
    return 0


_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "list": list_models,
    "prune": _prune,
    "remove": _remove,
    "verify": verify,
}
