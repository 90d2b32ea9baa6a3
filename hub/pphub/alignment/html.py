"""``report.html``: the report for people, in one file that asks nobody for anything.

A pure function of the document that ``report.json`` holds; :mod:`pphub.alignment.report` says what is in it. There is
no script in the page, and its policy forbids the browser to run or load any, whatever a model calls itself.
"""

from __future__ import annotations

import math
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from pphub.alignment.markup import Markup, element, joined
from pphub.alignment.plots import curve_plot, finite, histogram_plot, layer_plot, power
from pphub.units import number_of
from pphub_cache.atomic import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["REPORT_PAGE", "report_page", "write_html"]

REPORT_PAGE: Final = "report.html"

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MOST_ROWS: Final = 300  # of one table; the others are in report.json
_FEW_ROWS: Final = 10  # that are shown without being asked for
_SAMPLES: Final = 12  # of a curve, in the table beside it


def write_html(document: Mapping[str, Any], path: Path) -> None:
    """Write the page.

    Args:
        document: what :func:`pphub.alignment.report.report_document` makes, or ``report.json`` holds.
        path: the file.

    Raises:
        StorageFailed: it cannot be written.
    """
    write_bytes(path, report_page(document).encode())


def report_page(document: Mapping[str, Any]) -> str:
    """The page as text.

    Args:
        document: as for :func:`write_html`.
    """
    style = Markup((files("pphub.alignment") / "report.css").read_text(encoding="utf-8"))
    head = element(
        "head",
        # These three have no end.
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        element("title", f"{'Aligned' if document['passed'] else 'Not aligned'}: {_short(document['name'], 80)}"),
        element("style", style),
    )
    stages = document["stages"]
    body = element(
        "body",
        element("header", element("h1", element("bdi", document["name"])), _verdict(document)),
        element(
            "main",
            _stage_table(stages),
            *(_stage(number, each) for number, each in enumerate(stages)),
            _sides(document),
        ),
        _footer(document),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


# ------------------------------------------------------------------------------------------ the whole


def _verdict(document: Mapping[str, Any]) -> Markup:
    stages, passed = document["stages"], bool(document["passed"])
    by_status = {status: [each["name"] for each in stages if each["status"] == status] for status in _WORDS}
    said = [f"{len(by_status['passed'])} of {number_of(len(stages), 'stage')} passed"]
    said += [
        f"{_WORDS[status]}: {', '.join(names)}" for status, names in by_status.items() if names and status != "passed"
    ]
    word = "Passed" if passed else "Failed"
    claim = (
        "the Paddle model gives what the torch model gives"
        if passed and "forward" in by_status["passed"]
        else "nothing of this was about what is in the models, since forward was not run"
        if passed
        else "it is not shown that the Paddle model gives what the torch model gives"
    )
    lines = [element("p", element("strong", word), f": {claim}. {'; '.join(said)}.", class_=f"verdict {word.lower()}")]
    lines += [element("p", element("strong", "Void: ", class_="failed"), problem) for problem in document["problems"]]
    if document["options"].get("given_by_user"):
        lines.append(element("p", "The tolerance was given by the user, in place of the project's."))
    return joined(*lines)


_WORDS: Final = {"passed": "passed", "failed": "failed", "skipped": "skipped"}


def _stage_table(stages: Sequence[Mapping[str, Any]]) -> Markup:
    labels = ("Mean difference", "Max difference", "Allowed (mean, max)", "Worst element", "Inputs")
    heads = [element("th", text, scope="col", role="columnheader") for text in ("Stage", "Result", *labels)]
    rows = []
    for number, stage in enumerate(stages):
        link = element("a", stage["name"], href=f"#stage-{number}")
        figures = (element("span", _figure(stage[which]), class_="figure") for which in ("mean", "max"))
        cells = (*figures, _held(stage), _where(stage["worst"]))
        named = zip(labels, (*cells, stage["inputs"] or "–"), strict=True)
        rows.append(
            element(
                "tr",
                element("th", link, element("div", stage["title"], class_="quiet"), scope="row", role="rowheader"),
                element("td", _status(stage), role="cell"),
                *(element("td", cell, data_label=label, role="cell") for label, cell in named),
                role="row",
            )
        )
    caption = element("caption", "Absolute differences between torch and Paddle; the largest of all arrays of a stage")
    head = element("thead", element("tr", *heads, role="row"), role="rowgroup")
    # Roles are said, since a table that is laid out as cards is none to some browsers.
    return element("table", caption, head, element("tbody", *rows, role="rowgroup"), class_="cards", role="table")


def _sides(document: Mapping[str, Any]) -> Markup:
    sides = document["sides"]
    keys = ("framework", "version", "library", "class", "folder", "device")
    rows = [[key, *(sides[side][key] or "–" for side in ("torch", "paddle"))] for key in keys]
    rows.append(["files (sha256)", *(_files(sides[side]["files"]) for side in ("torch", "paddle"))])
    tokenizers = [_files(document["tokenizer"].get(side, {})) for side in ("torch", "paddle")]
    rows.append(["tokenizer (sha256)", *tokenizers])
    more = [
        _details("Machine and packages", _table(("What", "Value"), _flat(document["environment"]))),
        _details("Options of the run", _table(("What", "Value"), _flat(document["options"]))),
    ]
    return element(
        "section",
        element("h2", "Environment"),
        _table(("", "torch", "Paddle"), rows, "The two sides, as they were loaded"),
        *more,
    )


def _files(named: Mapping[str, str]) -> Markup:
    return joined(*(element("div", name, ": ", element("code", sha256)) for name, sha256 in named.items()))


def _footer(document: Mapping[str, Any]) -> Markup:
    recorded = document["recorded"]
    proof = f" The proof is recorded in {recorded}." if recorded else ""
    when = f"Made {document['created']} in {finite(document['seconds']):.0f} s."
    return element("footer", element("p", f"{when}{proof} All figures in full are in report.json.", class_="quiet"))


# ------------------------------------------------------------------------------------------ one stage


def _stage(number: int, stage: Mapping[str, Any]) -> Markup:
    facts: list[Markup | None] = [element("p", _status(stage), f" – {stage['title']}")]
    facts += [element("p", element("strong", "Why: "), stage["reason"])] if stage["reason"] else []
    facts += [element("p", "Inputs: ", stage["inputs"])] if stage["inputs"] else []
    facts += [element("p", "Allowed: ", stage["tolerance"]["rule"], _by_user(stage["tolerance"]))]
    facts += (
        [element("p", "The first module that diverges: ", element("code", stage["first"]))] if stage["first"] else []
    )
    facts += [element("p", note) for note in stage["notes"]]
    shown = [
        _parameters(stage["parameters"]),
        _layers(stage),
        *(_curve(each) for each in stage["curves"]),
        _histogram(stage),
    ]
    title = element("h2", f"Stage {stage['name']}")
    return element("section", title, *facts, *shown, _arrays(stage), id=f"stage-{number}")


def _parameters(found: Mapping[str, Any] | None) -> Markup | None:
    if found is None:
        return None
    count = len(found["unequal"])
    total = number_of(found["compared"], "parameter")
    text = f"{found['compared'] - count} of {total} are equal, {found['elements']:,} numbers in all."
    lists = {
        "Without a counterpart in torch": found["unread"],
        "No place for in Paddle": found["unused"],
        "Only in torch's checkpoint": found["torch_only"],
        "Only in Paddle's checkpoint": found["paddle_only"],
        "In neither checkpoint": found["neither"],
        "Not proved": found["unproved"],
    }
    unequal = None
    if count:
        named = "1 parameter that differs" if count == 1 else f"{count} parameters that differ"
        unequal = _details(named, _differences(found["unequal"]), opened=count <= _FEW_ROWS)
    return joined(
        element("h3", "Parameters"),
        element("p", text),
        unequal,
        *(element("p", f"{what}: {', '.join(map(str, names[:_MOST_ROWS]))}") for what, names in lists.items() if names),
    )


def _layers(stage: Mapping[str, Any]) -> Markup | None:
    layers = stage["layers"]
    if not layers:
        return None
    rows = [
        [each["torch"], each["paddle"], each["question"], *_figures(each["difference"]), each["note"] or "–"]
        for each in layers
    ]
    table = _details(
        f"As a table ({len(rows)} rows)", _table(("torch", "Paddle", "Inputs", "Mean", "Max", "Result", "Note"), rows)
    )
    compared = [each["difference"] for each in layers if each["difference"] is not None]
    if not compared:
        return joined(element("h3", "Layers"), element("p", "No layer's output could be compared."), table)
    largest = max(
        (finite(each["max"]) for each in compared), key=lambda value: math.inf if math.isnan(value) else value
    )
    failed = sum(not each["passed"] for each in compared)
    found = f"the largest of all is {_figure(largest)}, {failed} out of tolerance"
    label = f"Largest difference of each layer's output; {found}"
    allowed = finite(stage["tolerance"]["max"])
    plot = layer_plot(layers, allowed, label)
    if plot is None:
        return joined(element("h3", "Layers"), element("p", "The outputs of all layers are equal."), table)
    limit = f" The dashed line is what is allowed of values up to 1 ({allowed:g})." if allowed else ""
    text = f"{label}. On a logarithmic scale; a cross is out of tolerance.{limit}"
    return joined(element("h3", "Layers"), _framed(plot, text, table))


def _curve(curve: Mapping[str, Any]) -> Markup | None:
    steps, torch, paddle = curve["steps"], curve["torch"], curve["paddle"]
    gaps = [abs(finite(one) - finite(other)) for one, other in zip(torch, paddle, strict=True)]
    if not gaps:
        return None
    at = max(range(len(gaps)), key=lambda number: math.inf if math.isnan(gaps[number]) else gaps[number])
    apart = f"furthest apart at step {steps[at]}, by {_figure(gaps[at])}" if any(gaps) else "equal at every step"
    label = f"{curve['name']} at each step, torch and Paddle: {apart}"
    plot = curve_plot(curve, label)
    chosen = sorted({*range(0, len(steps), max(len(steps) // _SAMPLES, 1)), len(steps) - 1, at})
    sides = [side for side in ("torch", "paddle", "formula") if curve[side]]
    rows = [
        [steps[number], *(_digits(curve[side][number]) for side in sides), _figure(gaps[number])] for number in chosen
    ]
    heads = ("Step", *(_SIDE_NAMES[side] for side in sides), "Difference")
    what = "As a table" if len(rows) == len(steps) else f"As a table ({len(rows)} of {len(steps)} steps)"
    table = _details(what, _table(heads, rows))
    title = element("h3", f"{str(curve['name'])[:1].upper()}{str(curve['name'])[1:]}")
    return joined(title, _framed(plot, f"{label}.", table) if plot is not None else table)


_SIDE_NAMES: Final = {"torch": "torch", "paddle": "Paddle", "formula": "Formula"}


def _histogram(stage: Mapping[str, Any]) -> Markup | None:
    found = stage["histogram"]
    edges = found["edges"]
    total = found["zero"] + found["below"] + found["above"] + sum(found["counts"])
    if not total:
        return None
    title = element("h3", "How many elements differ by how much")
    label = f"Histogram of the absolute differences of {total:,} elements, {found['zero']:,} of which are equal"
    plot = histogram_plot(found, label)
    if plot is None:
        return joined(title, element("p", f"All {total:,} elements are equal."))
    rows = [["0", found["zero"]], [f"below {power(edges[0])}", found["below"]]]
    rows += [
        [f"{power(low)} to {power(high)}", count]
        for low, high, count in zip(edges, edges[1:], found["counts"], strict=False)
        if count
    ]
    rows += [[f"above {power(edges[-1])}", found["above"]]]
    table = _details("As a table", _table(("Difference", "Elements"), [[name, f"{count:,}"] for name, count in rows]))
    return joined(title, _framed(plot, f"{label}; both scales are logarithmic.", table))


def _arrays(stage: Mapping[str, Any]) -> Markup | None:
    found = stage["differences"]
    if not found:
        return None
    # What failed is what one looks for.
    ordered = sorted(found, key=lambda each: bool(each["passed"]))
    return _details(
        f"{number_of(len(found), 'compared array')}", _differences(ordered), opened=stage["status"] == "failed"
    )


def _differences(found: Sequence[Mapping[str, Any]]) -> Markup:
    heads = ("Array", "Shape", "Mean", "Max", "Result", "Allowed (mean, max)", "Worst element")
    rows = [
        [
            each["name"],
            _index(each["shape"]),
            *_figures(each),
            _allowed(each["tolerance"]),
            each["problem"] or _element(each["worst"]),
        ]
        for each in found
    ]
    return _table(heads, rows)


# ------------------------------------------------------------------------------------------ parts


def _table(heads: Sequence[object], rows: Sequence[Sequence[object]], caption: str | None = None) -> Markup:
    """A table that scrolls by itself where it is wider than the page."""
    head = element("thead", element("tr", *(element("th", text, scope="col") for text in heads)))
    body = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in cells))
        for first, *cells in rows[:_MOST_ROWS]
    ]
    rest = len(rows) - len(body)
    more = element("p", f"… and {rest} more, in report.json", class_="quiet") if rest > 0 else None
    title = element("caption", caption) if caption else None
    table = element("table", title, head, element("tbody", *body))
    return joined(
        element("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption or heads[0]), more
    )


def _framed(plot: Markup, text: str, table: Markup) -> Markup:
    return element("figure", element("div", plot, class_="scroll"), element("figcaption", text), table)


def _details(summary: str, content: Markup, *, opened: bool = False) -> Markup:
    return element("details", element("summary", summary), content, open="" if opened else None)


def _status(stage: Mapping[str, Any]) -> Markup:
    status = str(stage["status"])
    kind = f"figure {_WORDS.get(status, '')}"
    return element("strong", {"passed": "✓ ", "failed": "✗ "}.get(status, ""), status, class_=kind)


def _figures(difference: Mapping[str, Any] | None) -> Iterable[object]:
    if difference is None:
        return "–", "–", "not compared"
    word = "passed" if difference["passed"] else "failed"
    figures = (element("span", _figure(difference[which]), class_="figure") for which in ("mean", "max"))
    return *figures, element("strong", word, class_=f"figure {word}")


def _figure(value: object) -> str:
    if value is None:
        return "–"
    number = finite(value)
    return "0" if number == 0 else f"{number:.2e}"


def _digits(value: object) -> str:
    return f"{finite(value):.9g}"


def _allowed(tolerance: Mapping[str, Any]) -> str:
    mean, largest = finite(tolerance["mean"]), finite(tolerance["max"])
    return f"{mean:g}, {largest:g}{_by_user(tolerance)}" if mean or largest else "0: equal"


def _held(stage: Mapping[str, Any]) -> Markup:
    """What is allowed, and what was held against it."""
    scaled = stage["scaled"]
    held = f"scaled: {', '.join(map(_figure, scaled))}" if scaled else None
    return joined(element("span", _allowed(stage["tolerance"]), class_="figure"), element("div", held, class_="quiet"))


def _by_user(tolerance: Mapping[str, Any]) -> str:
    return " (given by the user)" if tolerance["given_by_user"] else ""


def _where(worst: Mapping[str, Any] | None) -> object:
    if worst is None:
        return "–"
    return joined(worst["name"], element("div", worst["problem"] or _element(worst["worst"]), class_="quiet"))


def _element(worst: Mapping[str, Any] | None) -> str:
    if worst is None:
        return "–"
    return f"at {_index(worst['index'])}: torch {_digits(worst['torch'])}, Paddle {_digits(worst['paddle'])}"


def _index(numbers: Iterable[object]) -> str:
    return f"[{', '.join(map(str, numbers))}]"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[list[object]]:
    rows: list[list[object]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            rows += _flat(value, f"{name}: ")
        else:
            rows.append(
                [name, ", ".join(map(str, value)) if isinstance(value, list) else "–" if value is None else value]
            )
    return rows


def _short(text: object, length: int) -> str:
    return str(text) if len(str(text)) <= length else f"{str(text)[:length]}…"
