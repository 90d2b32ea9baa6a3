"""``docs/architectures.md`` says what the rows of the matrix and the rules say."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from conftest import ROOT
from matrix import Row, all_rows
from pphub.conversion.rules import load_families

if TYPE_CHECKING:
    from types import ModuleType

FAMILIES = {family.name: family for family in load_families()}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("architectures", ROOT / "docs" / "architectures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "architectures.json").read_bytes())
    return found


def page() -> str:
    return (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date(script: ModuleType, figures: dict[str, Any]) -> None:
    rows = all_rows()
    assert script.render(rows, FAMILIES, figures) == page(), "run `make architectures`"
    assert script.main(["--check"]) == 0
    assert script.render(rows[1:], FAMILIES, figures) != page()
    assert script.main(["--chekc"]) == 2


def test_every_class_is_on_the_page_once() -> None:
    text = page()
    titles = re.findall(r"^## (\w+)$", text, re.MULTILINE)
    assert titles == sorted(FAMILIES)
    for name, section in zip(titles, re.split(r"^## \w+$", text, flags=re.MULTILINE)[1:], strict=True):
        listed = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", section, re.MULTILINE)
        assert {torch for torch, _ in listed} == set(FAMILIES[name].architectures)
        assert len(listed) == len(FAMILIES[name].architectures)
        for row in all_rows():
            if row.family == name and row.broken:
                assert row.broken.why in section
                assert row.broken.error in section
    classes = sum(len(family.architectures) for family in FAMILIES.values())
    assert f"**{classes} classes of {len(FAMILIES)} families**" in text


def test_differences_are_those_that_were_measured(script: ModuleType, figures: dict[str, Any]) -> None:
    row = next(row for row in all_rows() if str(row) == "bert-BertForMaskedLM")
    family = FAMILIES["bert"]

    def shown(row: Row, number: int = family.version) -> str:
        text = script.line(replace(family, version=number), row.torch_class, [row], figures["rows"])
        return str(text.split("|")[-2].strip())

    assert 0 < float(shown(row)) <= row.tolerance
    assert shown(replace(row, settings={**row.settings, "hidden_size": 32})) == "–"
    assert shown(replace(row, ask="plain")) == "–"
    assert shown(row, family.version + 1) == "–"
    allowed = {str(row): row.tolerance for row in all_rows()}
    for name, figure in figures["rows"].items():
        assert max(figure["safetensors"], figure["bin"]) <= allowed.get(name, 0), name
