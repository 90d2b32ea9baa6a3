"""The command ``hub list``."""

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

from pphub.alignment.record import PROOF_FILE, describe_proof, proof_words, published_proof
from pphub.cli.places import find_layouts
from pphub.cli.printing import size_of
from pphub.select import Selection
from pphub.units import number_of, shown
from pphub_cache.layout import DEFAULT_REVISION

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

    from pphub_cache.care.inventory import Held
    from pphub_cache.care.tally import Kept, Model

__all__ = ["list_models"]

_SHORT: Final = 12  # of a commit
_NARROWEST: Final = 8  # columns of a cell that is cut
_GAP: Final = 2  # columns between two cells
_SHARED: Final = 4  # where in a row
_CONVERTED: Final = 5


def list_models(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from pphub_cache.care.tally import take_stock

    own, *shared = find_layouts()
    tally = take_stock(own, _is_whole)
    others = [model for layout in shared for model in take_stock(layout, _is_whole).models]
    models = sorted((*tally.models, *others), key=lambda model: (model.source, model.repo))
    held = [model for model in tally.models if model.snapshots]
    if arguments.json:
        total = {"models": len(held), "size": tally.size, "converted": tally.converted, "shared": len(others)}
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
    converted = f", and {size_of(tally.converted)} of conversions" if tally.converted else ""
    beneath = f"; and {number_of(len(others), 'model')} in shared caches" if others else ""
    print(f"{len(held)} models, {files} files, {size_of(tally.size)}{converted}{beneath}")
    return 0


def _is_whole(held: Held) -> bool:
    """Whether all is here that `hub download` would fetch, as far as the record tells."""
    without = [path for path, entry in held.files.items() if not entry["stored"]]
    return not without or _wanted(tuple(held.files)).isdisjoint(without)


@cache
def _wanted(paths: tuple[str, ...]) -> frozenset[str]:
    return frozenset(Selection().pick(paths))  # many models have the same file names


def _row(model: Model, *, is_shared: bool) -> tuple[str, ...]:
    states = sorted({kept.state for kept in model.snapshots} - {"whole"}) + ["shared"] * is_shared
    states += sorted(set(_alignments(model, proof_words)))
    return (
        shown(f"{model.source}:{model.repo}"),
        ", ".join(map(shown, _revisions(model))),
        str(model.files),
        size_of(model.size),
        size_of(model.shared) if model.shared else "-",
        size_of(model.converted) if model.conversions else "-",
        strftime("%Y-%m-%d", localtime(model.used)) if model.used is not None else "-",
        ", ".join(states),
    )


def _alignments(model: Model, describe: Callable[[Path], str | None]) -> Iterator[str]:
    """What is proved of its conversions, see ``hub align``, or its publisher says of it."""
    for folder in model.conversions:
        if os.path.lexists(f"{folder}/{PROOF_FILE}") and (proof := describe(Path(folder))):
            yield proof
    for kept in model.snapshots:
        # Asked as a string first: there may be ten thousand.
        if os.path.lexists(f"{kept.folder}/{PROOF_FILE}") and (
            proof := published_proof(Path(kept.folder), kept.contents, describe)
        ):
            yield proof


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
        "converted": bool(model.conversions),
        "aligned": list(_alignments(model, describe_proof)),
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
