"""``report.html``: what it says, what it must not do, and that no name or label breaks out of it."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pphub.alignment.compare import compare
from pphub.alignment.html import report_page, write_html
from pphub.alignment.report import report_document, write_report
from pphub.alignment.values import (
    Curve,
    LayerDifference,
    Parameters,
    Report,
    SideInfo,
    StageResult,
    Tolerance,
)

if TYPE_CHECKING:
    from pathlib import Path

TOLERANCE = Tolerance(1e-6, 1e-5)
SHA256 = "0123456789abcdef" * 4
VOCABULARY = "456789abcdef0123" * 4


def difference(name: str, gap: float, size: int = 100) -> Any:
    """Two arrays so far apart, compared as an alignment does."""
    torch = np.linspace(-1, 1, size, dtype=np.float64)
    paddle = torch.copy()
    paddle[size // 2] += gap
    return compare(name, torch, paddle, TOLERANCE)


def layer(order: int, gap: float, **more: Any) -> LayerDifference:
    name = f"encoder.layer.{order}"
    return LayerDifference(order, name, name, "layer", "made-up inputs", difference(name, gap), **more)


def stage(name: str = "forward", **more: Any) -> StageResult:
    facts = {"rows": "A1", "title": "outputs", "status": "passed", "reason": "", "inputs": "ids [4, 64]"}
    return StageResult(name=name, tolerance=TOLERANCE, seconds=1.0, **{**facts, **more})


def report(*stages: StageResult, **more: Any) -> Report:
    torch = SideInfo("torch", "2.13", "transformers 5", "BertModel", "/models/a", {"model.bin": SHA256}, "cpu")
    paddle = replace(
        torch, framework="paddle", kind="BertModel of Paddle", files={"model_state.pdparams": SHA256[::-1]}
    )
    environment = {"python": "3.11", "packages": {"numpy": "1.26.4"}}
    options = {"mean": 1e-6, "given_by_user": False, "tasks": ["sst2"], "data": None}
    facts: dict[str, Any] = {"name": "org/tiny", "created": "2026-01-31T12:00:00+00:00", "seconds": 2.0, **more}
    return Report(torch=torch, paddle=paddle, stages=stages, environment=environment, options=options, **facts)


class Page(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(found: Report) -> Page:
    page = Page(report_page(report_document(found)))
    assert page.open == []
    return page


def labels(page: Page) -> list[str]:
    """What the plots are called."""
    return [str(attributes["aria-label"]) for attributes in page.all("svg")]


def full() -> Report:
    layers = tuple(layer(order, gap) for order, gap in enumerate((0, 2e-7, 4e-6)))
    curve = Curve("loss", (1, 2, 3), (0.7, 0.5, 0.4), (0.7, 0.5000001, 0.4))
    forward = stage(differences=(difference("last_hidden_state", 3e-6),), layers=layers)
    tokenizer = {"torch": {"vocab.txt": VOCABULARY}, "paddle": {"vocab.txt": VOCABULARY[::-1]}}
    backward = stage("backward", curves=(curve,), parameters=Parameters(7, 1234, (), (), ()))
    return report(forward, backward, tokenizer=tokenizer)


def test_what_a_reader_looks_for() -> None:
    page = page_of(full())
    assert "Passed: the Paddle model gives what the torch model gives. 2 of 2 stages passed." in page.text
    for text in ("3.00e-06", "at [50]: torch", "7 of 7 parameters are equal", SHA256, SHA256[::-1], "ids [4, 64]"):
        assert text in page.text
    for text in (
        "2.13",
        "transformers 5",
        "BertModel of Paddle",
        "/models/a",
        "numpy",
        "1.26.4",
        "report.json",
        VOCABULARY,
    ):
        assert text in page.text
    assert page.all("html") == [{"lang": "en"}]


def test_each_plot_says_what_it_shows_and_has_its_table() -> None:
    page = page_of(full())
    layers, forward, loss = labels(page)
    assert "the largest of all is 4.00e-06, 0 out of tolerance" in layers
    assert "Histogram of the absolute differences of 400 elements" in forward
    assert "furthest apart at step 2, by 1.00e-07" in loss
    assert len(page.all("figure")) == len(page.all("figcaption")) == 3
    assert [each["role"] for each in page.all("svg")] == ["img"] * 3
    assert page.text.count("As a table") == 3


def test_a_failure_is_the_first_thing_one_sees() -> None:
    bad = difference("logits", 0.5)
    layers = (layer(0, 0), layer(1, 0.25))
    failed = stage(
        status="failed",
        reason="logits are off",
        differences=(difference("fine", 0), bad),
        layers=layers,
        first="layer.1",
    )
    page = page_of(report(failed, stage("data", status="skipped", reason="no tokenizer"), problems=("one framework",)))
    start = page.text.index("Failed: it is not shown that")
    assert "0 of 2 stages passed; failed: forward; skipped: data." in page.text[start:]
    assert "Void: one framework" in page.text
    assert "The first module that diverges: layer.1" in page.text
    assert "Why: logits are off" in page.text
    assert "Why: no tokenizer" in page.text
    arrays = page.text[page.text.index("2 compared arrays") :]
    assert arrays.index("logits") < arrays.index("fine")
    assert [each for each in page.all("details") if "open" in each]
    crosses = [each for each in page.all("path") if "bad" in str(each["class"])]
    assert len(crosses) == 1


def test_parameters_that_differ() -> None:
    """A few are shown at once; many would push all else off the screen."""
    for count, opened in ((1, True), (50, False)):
        unequal = tuple(difference(f"weight {number}", 1.0) for number in range(count))
        page = page_of(report(stage(status="failed", parameters=Parameters(60, 1234, unequal, ("a", "b"), ("c",)))))
        assert f"{60 - count} of 60 parameters are equal" in page.text
        assert ("open" in page.all("details")[0]) is opened
        assert f"weight {count - 1}" in page.text
        assert "Without a counterpart in torch: a, b" in page.text
        assert "No place for in Paddle: c" in page.text


def test_no_plots_where_there_is_nothing_to_plot() -> None:
    equal = stage(differences=(difference("ids", 0),), layers=(layer(0, 0),))
    nothing = stage("data", status="skipped", curves=(Curve("loss", (), (), ()),))
    uncompared = stage("loss", layers=(LayerDifference(0, "a", "a", "layer", "q", None, "laid out otherwise"),))
    page = page_of(report(equal, nothing, uncompared))
    assert page.all("svg") == []
    assert "The outputs of all layers are equal." in page.text
    assert "All 200 elements are equal." in page.text
    assert "No layer's output could be compared." in page.text
    assert "laid out otherwise" in page.text
    assert page_of(report()).all("svg") == []


def test_numbers_that_are_none() -> None:
    """They are told, and break no plot; what could be compared beside them is drawn."""
    array = np.array([1.0, math.nan])
    void = compare("logits", array, np.array([1.0, 1.0]), TOLERANCE)
    layers = (replace(layer(0, 0), difference=void), layer(1, 1e-7))
    broken = Curve("loss", (1, 2, 3, 4), (0.5, math.nan, 0.25, math.inf), (0.5, 0.5, 0.25, 0.25), (math.nan,) * 4)
    lost = Curve("gone", (1, 2), (math.nan, math.inf), (math.nan, math.nan))
    same = Curve("constant", (5,), (3e-5,), (3e-5,))
    failed = stage(status="failed", differences=(void,), layers=layers, curves=(broken, lost, same))
    page = page_of(report(failed))
    assert "torch has nan at [1]" in page.text
    assert any("the largest of all is nan, 1 out of tolerance" in label for label in labels(page))
    assert not any(label.startswith("gone") for label in labels(page))
    assert any(label.startswith("constant") for label in labels(page))
    for _, attributes in page.elements:
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "d", "points", "transform", "height", "width"):
            assert not any(word in str(attributes.get(name, "")) for word in ("nan", "inf"))


@pytest.mark.parametrize("value", [0.0, 1e-45, 5e-324, 3e-5, 1.0, 1e30, -1e30, 1.7e308])
def test_curves_of_all_sizes(value: float) -> None:
    for second in (value, value * (1 + 1e-7), 0.0):
        page = page_of(report(stage(curves=(Curve("c", (0, 1), (value, second), (value, value)),))))
        for attributes in page.all("polyline"):
            points = [point.split(",") for point in str(attributes["points"]).split()]
            assert all(0 <= float(x) <= 520 and 0 <= float(y) <= 260 for x, y in points)


def test_a_long_curve_keeps_its_spikes() -> None:
    steps = tuple(range(20_000))
    torch = tuple(9.0 if step == 12_345 else 1.0 for step in steps)
    page = page_of(report(stage(curves=(Curve("loss", steps, torch, (1.0,) * len(steps)),))))
    assert "furthest apart at step 12345, by 8.00e+00" in labels(page)[0]
    lines = [str(attributes["points"]).split() for attributes in page.all("polyline")]
    heights = [sorted({point.split(",")[1] for point in line}) for line in lines]
    assert [len(each) for each in heights] == [2, 1]
    assert all(len(line) < 1500 for line in lines)


def test_very_many_layers_and_arrays() -> None:
    layers = tuple(layer(order, 1e-7) for order in range(120))
    inner = tuple(replace(each, kind="module", torch=f"{each.torch}.inner") for each in layers)
    arrays = tuple(difference(f"gradient {number}", 1e-7) for number in range(1000))
    page = page_of(report(stage(layers=layers + inner, differences=arrays)))
    rows = [attributes for attributes in page.all("path") if "mark" in str(attributes["class"])]
    assert len(rows) == len(layers) + 1  # and one in the legend
    assert "… and 700 more, in report.json" in page.text


HOSTILE = [
    "<script>alert(1)</script>",
    "</style></title></svg><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' autofocus onfocus='alert(1)",
    "<!-- ]]> --><svg/onload=alert(1)>",
    "&lt;b&gt; &amp; &#60;",
    "javascript:alert(1)",
    "\x00\x1b[31m\x9b\ud800",
    "left\u202etnemngila\u202c",
    "模型 ✓ Passed",
]


def hostile_report(text: str) -> Report:
    """A report in which every text is this one."""
    shown = replace(difference(text, 1e-6), name=text)
    void = replace(compare(text, np.zeros(2), np.zeros(3), TOLERANCE), problem=text)
    layers = tuple(LayerDifference(n, text * (n + 1), text, "layer", text, shown, text) for n in range(2))
    each = StageResult(
        text, text, text, "failed", text, text, TOLERANCE, 1.0, (shown, void), layers,
        Parameters(1, 1, (shown,), (text,), (text,)), (Curve(text, (1, 2), (1, 2), (1, 2), (1, 2)),), text, (text,),
    )  # fmt: skip
    side = SideInfo(text, text, text, text, text, {text: text}, text)
    facts = {text: text, "packages": {text: text}, "tasks": [text], "given_by_user": True}
    return Report(text, side, side, (each,), facts, facts, text, 1.0, (text,), text)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_breaks_out(text: str) -> None:
    plain = page_of(hostile_report("plain"))
    page = page_of(hostile_report(text))

    def skeleton(of: Page) -> list[tuple[str, list[str]]]:
        return [(name, sorted(attributes)) for name, attributes in of.elements]

    assert skeleton(page) == skeleton(plain)
    for name, attributes in page.elements:
        assert not any(attribute.startswith("on") for attribute in attributes)
        for attribute in ("href", "class", "id", "style"):
            assert attribute != "style" or attribute not in attributes
            value = attributes.get(attribute) or ""
            assert text not in value, (name, attribute)
    assert all(char.isprintable() or char == "\n" for char in page.text)


def test_characters_that_nobody_sees_are_shown() -> None:
    page = page_of(hostile_report("a\u202eb\x00c\ud800d e\tf"))
    assert "a\\u202eb\\x00c\\ud800d e f" in page.text
    assert len(report_page(report_document(hostile_report("x" * 1_000_000)))) < 1_000_000


def test_it_asks_nobody_for_anything() -> None:
    text = report_page(report_document(full()))
    page = Page(text)
    names = {name for name, _ in page.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "image", "use", "base", "form", "video"}
    for _, attributes in page.elements:
        assert not attributes.keys() & {"src", "srcset", "xlink:href", "data", "action", "style"}
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in text
    assert "@import" not in text
    (policy,) = [str(each["content"]) for each in page.all("meta") if each.get("http-equiv")]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline';")


def test_links_lead_to_what_is_there() -> None:
    page = page_of(full())
    targets = [str(attributes["href"])[1:] for attributes in page.all("a")]
    found = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert targets == found
    assert len(set(found)) == 2


def colours(css: str) -> dict[str, str]:
    pairs = (part.split(":") for part in css.replace("{", ";").replace("}", ";").split(";") if part.strip()[:2] == "--")
    return {name.strip(): value.strip() for name, value in pairs}


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_light_and_dark_can_both_be_read() -> None:
    """Text at least 4.5 to 1 against what it stands on."""
    text = report_page(report_document(full()))
    light, dark = text.split("@media (prefers-color-scheme: dark)")[:2]
    for css in (light, dark.partition("* {")[0]):
        found = colours(css)
        assert len(found) == 11
        for ink, ground in itertools.product(
            ("--ink", "--quiet", "--good", "--bad", "--torch", "--paddle", "--third", "--fourth"),
            ("--paper", "--panel"),
        ):
            bright, deep = sorted((luminance(found[ink]), luminance(found[ground])), reverse=True)
            assert (bright + 0.05) / (deep + 0.05) >= 4.5, (ink, ground)


def test_the_same_report_gives_the_same_file(tmp_path: Path) -> None:
    """Also from ``report.json``, read again."""
    document = report_document(full())
    write_html(document, tmp_path / "sub" / "report.html")
    again = json.loads(json.dumps(document))
    assert (tmp_path / "sub" / "report.html").read_text(encoding="utf-8") == report_page(again)


def test_it_is_written_beside_the_report(tmp_path: Path) -> None:
    path = write_report(full(), tmp_path / "out")
    assert {each.name for each in path.parent.iterdir()} == {"report.json", "report.html"}
    document = json.loads(path.read_text(encoding="utf-8"))
    assert (tmp_path / "out/report.html").read_text(encoding="utf-8") == report_page(document)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_a_browser_shows_it(tmp_path: Path) -> None:
    """From a file, with hostile names in it: no script runs, and the title is what it should be."""
    path = tmp_path / "report.html"
    write_html(report_document(hostile_report("</title><script>document.title = 'run'</script>")), path)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command += ["--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "<title>Not aligned: &lt;/title&gt;&lt;script&gt;" in shown
    page = Page(shown)
    assert page.all("script") == []
    assert len(page.all("svg")) == 3


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
@pytest.mark.parametrize("width", [1100, 800])
def test_the_summary_of_a_failed_run_is_no_wider_than_the_page(tmp_path: Path, width: int) -> None:
    """A browser measures it: long names of arrays and inputs are broken, and the figures stay whole."""
    name = "encoder.layers.3.self_attn.q_proj.weight(torch:encoder.layer.3.attention.self.query.weight)"
    failed = stage(status="failed", reason="out of tolerance", differences=(difference(name, 1.0),), inputs="i" * 90)
    page = report_page(report_document(report(failed)))
    script = "<script>document.title = document.documentElement.scrollWidth - innerWidth</script></body>"
    page = re.sub(r"<meta http-equiv=[^>]*>", "", page).replace("</body>", script)
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command += [f"--window-size={width},900", "--dump-dom", (tmp_path / "report.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    (wider,) = re.findall("<title>(-?[0-9]+)</title>", shown)
    assert int(wider) <= 0
