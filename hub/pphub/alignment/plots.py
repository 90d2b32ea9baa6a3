"""Plots of a report as inline SVG; each is None where there is nothing to plot.

Colours and strokes are classes of ``report.css``, so that they follow the reader's light or dark scheme. No series is
told by its colour alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from pphub.alignment.markup import Markup, element, joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["curve_plot", "finite", "histogram_plot", "layer_plot", "power"]

_WIDTH: Final = 520
_LEFT: Final = 60
_RIGHT: Final = 508
_NAMES: Final = 176  # where the names of layers end
_ROW: Final = 20
_MOST_ROWS: Final = 80
_NAME_LENGTH: Final = 24
_MARKS: Final = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0Z",
    "M-3.5,-3.5h7v7h-7Z",
    "M0,-4.5L4.5,3.5H-4.5Z",
    "M0,-5L5,0L0,5L-5,0Z",
)
_CROSS: Final = "M-4,-4L4,4M-4,4L4,-4"
_POINTS: Final = 400  # places across a curve
_SMALLEST: Final = 1e-290  # beyond these, what is computed from a number is none
_LARGEST: Final = 1e290
_FEW: Final = 30  # points that are each marked


def finite(value: object) -> float:
    """A number of a report, where those that JSON does not have are texts."""
    return float(value) if isinstance(value, (int, float, str)) else math.nan


def _drawn(value: object) -> float:
    """The number, or infinity if no scale has room for it."""
    number = finite(value)
    return math.inf if abs(number) > _LARGEST else number


def power(exponent: float) -> str:
    """A power of ten in a few characters: ``1e-6``, ``3e-6``, ``10``."""
    if exponent in (0, 1, 2):
        return f"{10**exponent:g}"
    return f"{10**exponent:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def layer_plot(layers: Sequence[Mapping[str, Any]], allowed: float, label: str) -> Markup | None:
    """The largest difference of each layer's output, a row a layer and a mark a question, on a logarithmic scale.

    Args:
        layers: of a stage.
        allowed: the largest difference that is allowed of values around 1, or 0.
        label: what the picture is, for those who do not see it.
    """
    shown = [each for each in layers if each["difference"] is not None]
    if len({each["torch"] for each in shown}) > _MOST_ROWS:
        shown = [each for each in shown if each["kind"] == "layer"]
    values = [finite(each["difference"]["max"]) for each in shown]
    powers = [math.log10(value) for value in values if 0 < value < math.inf]
    if not powers and all(value == 0 for value in values):
        return None
    limit = [math.log10(allowed)] if allowed > 0 else []
    low, high = _decades([*powers, *limit])
    # In the order in which torch ran them, which what could not be compared keeps as well.
    names = {str(each["torch"]) for each in shown}
    rows = list(dict.fromkeys(str(each["torch"]) for each in layers if str(each["torch"]) in names))
    questions = list(dict.fromkeys(str(each["question"]) for each in shown))
    top = 24 + 18 * len(questions)
    bottom = top + _ROW * len(rows)

    def across(exponent: float) -> float:
        return _NAMES + 48 + (exponent - low) / (high - low) * (_RIGHT - 28 - _NAMES - 48)

    def place(value: float) -> float:
        if value == 0:
            return _NAMES + 10
        return across(math.log10(value)) if value < math.inf else _RIGHT - 8

    parts = [_legend(number, question) for number, question in enumerate(questions)]
    apart = math.ceil((high - low) / 6)  # as many names as there is room for
    for exponent in range(low, high + 1):
        name = power(exponent) if (high - exponent) % apart == 0 else ""
        parts.append(_vertical(across(exponent), top, bottom, name))
    if 0 in values:
        parts.append(_vertical(place(0), top, bottom, "0"))
    parts += [_line(across(exponent), top - 4, across(exponent), bottom, "limit") for exponent in limit]
    for number, name in enumerate(rows):
        y = top + _ROW * (number + 0.5)
        parts.append(_text(_NAMES, y + 4, _shortened(name), "end", name))
    for each, value in zip(shown, values, strict=True):
        question = questions.index(str(each["question"]))
        y = top + _ROW * (rows.index(str(each["torch"])) + 0.5) + 3 * (question % 3 - 1) * (len(questions) > 1)
        bad = not each["difference"]["passed"]
        title = f"{each['torch']}, {each['question']}: {each['difference']['max']}"
        parts.append(_mark(place(value), y, question, title, bad=bad))
    return _picture(bottom + 26, label, *parts)


def curve_plot(curve: Mapping[str, Any], label: str) -> Markup | None:
    """Both sides' numbers at each step, laid over each other, and the formula's.

    Args:
        curve: of a stage.
        label: as for :func:`layer_plot`.
    """
    steps = [finite(step) for step in curve["steps"]]
    sides = {side: [_drawn(value) for value in curve[side]] for side in ("formula", "torch", "paddle") if curve[side]}
    values = [value for side in sides.values() for value in side if math.isfinite(value)]
    if not steps or not values:
        return None
    top, bottom = 30, 230
    ticks, digits = _ticks(min(values), max(values))
    low, high = min(ticks[0], *values), max(ticks[-1], *values)
    first, last = min(steps), max(steps)

    def place(step: float, value: float) -> tuple[float, float]:
        x = _LEFT + 10 + (step - first) / ((last - first) or 1) * (_RIGHT - _LEFT - 20)
        return x, bottom - (value - low) / (high - low) * (bottom - top)

    parts: list[Markup] = []
    for tick in ticks:
        y = place(first, tick)[1]
        parts += [_line(_LEFT, y, _RIGHT, y, "grid"), _text(_LEFT - 4, y + 4, f"{tick:.{digits}g}", "end")]
    for number, (side, numbers) in enumerate(sides.items()):
        x = _LEFT + 110 * number
        parts += [_line(x, 14, x + 26, 14, side), _text(x + 32, 18, {"paddle": "Paddle"}.get(side, side), "start")]
        points = list(zip(steps, numbers, strict=True))
        for run in _runs(_thinned(points)):
            path = Markup(" ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in run)))
            parts.append(element("polyline", points=path, class_=side))
            if len(points) <= _FEW or len(run) == 1:
                parts += [_dot(*place(*point), side) for point in run]
    parts += [_text(place(step, low)[0], bottom + 18, f"{step:g}", "middle") for step in dict.fromkeys((first, last))]
    parts.append(_text((_LEFT + _RIGHT) / 2, bottom + 18, "step", "middle"))
    return _picture(bottom + 26, label, *parts)


def histogram_plot(histogram: Mapping[str, Any], label: str) -> Markup | None:
    """How many elements differ by how much, both on logarithmic scales.

    Args:
        histogram: of a stage.
        label: as for :func:`layer_plot`.
    """
    counts, edges = [int(count) for count in histogram["counts"]], [float(edge) for edge in histogram["edges"]]
    outer = {"below": int(histogram["below"]), "above": int(histogram["above"])}
    filled = [number for number, count in enumerate(counts) if count]
    if not filled and not any(outer.values()):
        return None
    inner = range(filled[0], filled[-1] + 1) if filled else range(0)
    bars = [("0", int(histogram["zero"])), (f"<{power(edges[0])}", outer["below"])]
    bars += [(power(edges[number]), counts[number]) for number in inner]
    bars += [(f">{power(edges[-1])}", outer["above"])] * bool(outer["above"])
    top, bottom = 14, 210
    highest = math.ceil(math.log10(max(count for _, count in bars)))
    step = (_RIGHT - _LEFT) / len(bars)

    def height(exponent: float) -> float:
        return (exponent + 0.5) / (highest + 0.5) * (bottom - top)  # a single element can be seen

    parts: list[Markup] = [_line(_LEFT, bottom, _RIGHT, bottom, "grid")]
    for exponent in range(highest + 1):
        y = bottom - height(exponent)
        parts += [_line(_LEFT, y, _RIGHT, y, "grid"), _text(_LEFT - 4, y + 4, power(exponent), "end")]
    for number, (name, count) in enumerate(bars):
        tall = height(math.log10(count)) if count else 0.0
        x = _LEFT + step * number
        title = element("title", f"{name}: {count}")
        bar = {"x": f"{x + 1:.1f}", "y": f"{bottom - tall:.1f}", "width": f"{step - 2:.1f}", "height": f"{tall:.1f}"}
        parts.append(element("rect", title, class_="bar", **bar))
        # The start of a bin is at its left side; what has no bin is named in the middle.
        if not 2 <= number < 2 + len(inner):
            parts.append(_text(x + step / 2, bottom + (16 if number != 1 else 30), name, "middle"))
        elif edges[inner[number - 2]] % 1 == 0:
            parts.append(_text(x, bottom + 16, name, "middle"))
    return _picture(bottom + 38, label, *parts)


# ------------------------------------------------------------------------------------------ parts


def _picture(height: float, label: str, *parts: Markup) -> Markup:
    return element("svg", *parts, viewBox=f"0 0 {_WIDTH} {height:g}", role="img", aria_label=label)


def _text(x: float, y: float, text: str, anchor: str, whole: str | None = None) -> Markup:
    title = element("title", whole) if whole is not None else None
    return element("text", title, text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return element("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=kind)


def _vertical(x: float, top: float, bottom: float, name: str) -> Markup:
    return joined(_line(x, top, x, bottom, "grid"), _text(x, bottom + 16, name, "middle"))


def _mark(x: float, y: float, question: int, title: str, *, bad: bool) -> Markup:
    path, kind = (_CROSS, "mark bad") if bad else (_MARKS[question % len(_MARKS)], f"mark q{question % len(_MARKS)}")
    return element("path", element("title", title), d=path, transform=f"translate({x:.1f},{y:.1f})", class_=kind)


def _legend(number: int, question: str) -> Markup:
    y = 14 + 18 * number
    text = question if len(question) <= 70 else f"{question[:69]}…"
    return joined(_mark(12, y, number, question, bad=False), _text(24, y + 4, text, "start"))


def _dot(x: float, y: float, side: str) -> Markup:
    return element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4 if side == "torch" else 2, class_=f"dot {side}")


def _shortened(name: str) -> str:
    """The end of a name, which tells more than its beginning."""
    return name if len(name) <= _NAME_LENGTH else f"…{name[1 - _NAME_LENGTH :]}"


# ------------------------------------------------------------------------------------------ scales


def _decades(powers: Sequence[float]) -> tuple[int, int]:
    """Whole powers of ten around all, at least one apart."""
    low, high = math.floor(min(powers, default=0)), math.ceil(max(powers, default=1))
    return (low, high) if low < high else (low, low + 1)


def _ticks(low: float, high: float) -> tuple[list[float], int]:
    """A few round numbers from one number to another, and how many digits tell them apart."""
    size = max(abs(low), abs(high))
    if high - low <= max(size * 1e-12, _SMALLEST):  # all the same
        half = size / 2 if size > _SMALLEST else 0.5
        low, high = low - half, high + half
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    numbers = range(math.floor(low / step), math.ceil(high / step) + 1)
    ticks = [number * step for number in numbers]
    digits = math.ceil(math.log10(max(abs(tick) for tick in ticks) / step)) + 1
    return ticks, min(max(digits, 2), 15)


_Point = tuple[float, float]


def _thinned(points: list[_Point]) -> list[_Point]:
    """As many points as can be seen: of each place the first, the lowest and the highest, so that no spike is lost."""
    if len(points) <= _POINTS:
        return points
    size = math.ceil(len(points) / _POINTS)
    kept: list[_Point] = []
    for start in range(0, len(points), size):
        group = points[start : start + size]
        numbers = [point for point in group if math.isfinite(point[1])]
        odd = [point for point in group if not math.isfinite(point[1])][:1]
        ends = {numbers[0], min(numbers, key=_value), max(numbers, key=_value)} if numbers else set()
        kept += sorted([*ends, *odd])
    return kept


def _value(point: _Point) -> float:
    return point[1]


def _runs(points: list[_Point]) -> Iterator[list[_Point]]:
    """The points between those that are no numbers."""
    run: list[_Point] = []
    for point in points:
        if math.isfinite(point[1]):
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run
