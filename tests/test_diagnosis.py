"""A set of packages in which PaddleNLP does not import is told by name, with the command that mends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pphub.diagnosis import diagnose, mending_command

if TYPE_CHECKING:
    from pathlib import Path


def install(folder: Path, name: str, version: str) -> None:
    """What pip leaves of a package, as far as its version goes."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(text, encoding="utf-8")


def env(first: Path, *more: str) -> str:
    command = [sys.executable, "-m", "pphub", "env", *more]
    found = {**os.environ, "PYTHONPATH": str(first)}
    return subprocess.check_output(command, env=found, text=True)


def test_the_set_that_is_tested_is_fine(tmp_path: Path) -> None:
    assert diagnose() == ()
    assert mending_command(()) == ""
    assert json.loads(env(tmp_path, "--json"))["paddlenlp"] == {"imports": True, "problems": [], "command": None}
    assert "PaddleNLP cannot" not in env(tmp_path)


def test_each_package_that_does_not_fit_is_named_and_one_command_mends_them(tmp_path: Path) -> None:
    for name, version in (("huggingface_hub", "2.1.0"), ("numpy", "2.4.0"), ("aistudio_sdk", "0.3.1")):
        install(tmp_path, name, version)
    said = env(tmp_path)
    for text in ("huggingface-hub 2.1.0, not", "numpy 2.4.0, not", "aistudio-sdk 0.3.1, not aistudio-sdk==0.2.6"):
        assert f"PaddleNLP cannot be used: {text}" in said
    command = said.splitlines()[-1]
    assert command.startswith("this mends it: pip install ")
    for text in ("'huggingface-hub<2,>=0.36'", "'numpy<2,>=1.26'", "'aistudio-sdk==0.2.6'"):
        assert text in command
    assert "paddlepaddle" not in command
    found = json.loads(env(tmp_path, "--json"))["paddlenlp"]
    assert (found["imports"], len(found["problems"])) == (False, 3)
    assert found["command"] == command.removeprefix("this mends it: ")


@pytest.mark.parametrize("version", [(3, 10), (3, 13)])
def test_another_python_needs_another_environment(monkeypatch: pytest.MonkeyPatch, version: Any) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    misfits = diagnose()
    assert [misfit.package for misfit in misfits] == ["python"]
    assert mending_command(misfits).startswith("python3.12 -m venv .venv && ")


BROKEN = """
import pphub
try:
    pphub.AutoConfig.from_pretrained({folder!r})
except pphub.errors.MissingDependency as error:
    print(str(error))
"""


def test_loading_says_what_does_not_fit(tmp_path: Path) -> None:
    """As with huggingface_hub 2: a name that PaddleNLP imports is not there, and the version says why."""
    install(tmp_path / "site", "aistudio_sdk", "0.3.1")
    (tmp_path / "site" / "aistudio_sdk").mkdir()
    (tmp_path / "site" / "aistudio_sdk" / "__init__.py").touch()
    (tmp_path / "m").mkdir()
    config = {"architectures": ["BertModel"], "model_type": "bert"}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    code = BROKEN.format(folder=str(tmp_path / "m"))
    found = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    said = subprocess.check_output([sys.executable, "-W", "ignore", "-c", code], env=found, text=True)
    assert "paddlenlp is installed but does not import: " in said
    assert "aistudio-sdk 0.3.1, not aistudio-sdk==0.2.6" in said
    assert "hint: pip install 'aistudio-sdk==0.2.6'" in said
