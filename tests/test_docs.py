"""The documents are true: what the tutorial tells a reader to type is typed here."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of every fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_tutorial_runs_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    (tmp_path / ".cache").symlink_to(ROOT / ".cache")
    script = ["set -e", f"PATH='{Path(sys.executable).parent}':$PATH"]
    for language, content in blocks((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")):
        script += [f"python -W ignore - <<'EOF'\n{content}EOF" if language == "python" else content]
    text = "\n".join(script)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        text = text.replace("8808", str(free.getsockname()[1]))
    # The server needs a moment that a reader takes anyway; the last command is meant to fail.
    assert "hub serve models --port" in text
    text = text.replace("export HF_ENDPOINT", "sleep 2; export HF_ENDPOINT")
    assert text.rstrip().endswith("online")
    lines = text.rstrip().splitlines()
    lines[-1] = f"set +e; {lines[-1].partition('#')[0]}; echo last=$?"
    result = subprocess.run(
        ["bash", "-c", "\n".join(lines)], cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("last=1\n")
    assert "dropped: embeddings.position_ids" in result.stdout
    assert (tmp_path / "minilm-paddle" / "model_state.pdparams").is_file()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_readme_opens_with_the_two_commands(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    language, content = blocks(text)[0]
    assert language == "sh"
    assert [line.split("#")[0].strip() for line in content.strip().splitlines()] == ["make demo", "make test"]
    assert "OUTPUT" not in text


def test_hub_commands_in_the_documents_exist() -> None:
    from pphub.cli import build_parser

    (actions,) = (action for action in build_parser()._actions if action.dest == "command")
    known = set(actions.choices or ())
    for document in DOCUMENTS:
        for _, content in blocks(document.read_text(encoding="utf-8")):
            for command in re.findall(r"^hub ([a-z]+)", content, re.MULTILINE):
                assert command in known, f"{document.name}: hub {command}"


def test_variables_in_the_readme_are_read() -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for top in ("hub", "plugins") for path in (ROOT / top).rglob("*.py")
    )
    for name in re.findall(r"`((?:PPNLP|PPHUB|HF)_[A-Z_]+)`", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert name in source, name
