"""Sources are found by entry point; a bad one is named and the rest goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from pphub.errors import SourceNotInstalled
from pphub.registry import GROUP, find_sources, installed_sources, load_source
from pphub.source import Source

if TYPE_CHECKING:
    from pathlib import Path


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def test_ours_are_installed_and_are_sources() -> None:
    schemes = {info.scheme for info in installed_sources() if info.problem is None}
    assert {"hf", "ms", "bos", "file"} <= schemes
    for scheme in ("hf", "ms", "bos", "file"):
        source = load_source(scheme)
        assert isinstance(source, Source)
        assert source.name == scheme


def test_listing_imports_no_plugin() -> None:
    code = (
        "import sys; from pphub.registry import installed_sources; assert installed_sources();"
        "print([name for name in sys.modules if name.startswith('pphub_plugins')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_duplicates_and_bad_names_are_marked() -> None:
    infos = find_sources(
        [point("hf", "a:A"), point("hf", "b:B"), point("hf", "a:A"), point("X!", "c:C"), point("ms", "d:D")]
    )
    good = {info.scheme: info.target for info in infos if info.problem is None}
    assert good == {"hf": "a:A", "ms": "d:D"}
    bad = {info.target: info.problem for info in infos if info.problem}
    assert "already declares 'hf'" in str(bad["b:B"])
    assert "not a scheme" in str(bad["c:C"])
    assert len(infos) == 4


def test_an_unknown_source_is_one_clear_error() -> None:
    with pytest.raises(SourceNotInstalled, match=r"no source 'gopher' is installed; there are: .*hf") as caught:
        load_source("gopher")
    assert caught.value.exit_code == 3


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages of other people, as pip would leave them: one good plugin, several that are not."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "stranger.py").write_text(
        "from pphub.source import Listing\n"
        "class Good:\n"
        "    name = 'good'\n"
        "    def endpoint(self): return 'nowhere'\n"
        "    def list_files(self, repo, revision): return Listing('good', repo, 'main', 'c1', ())\n"
        "class NoSource: pass\n"
        "class Explodes:\n"
        "    def __init__(self): raise RuntimeError('no licence')\n",
        encoding="utf-8",
    )
    info = site / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[pphub.sources]\n"
        "good = stranger:Good\n"
        "nosource = stranger:NoSource\n"
        "explodes = stranger:Explodes\n"
        "gone = no_such_module:X\n"
        "hf = stranger:Good\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    return site


def test_hub_sources_names_the_culprits_and_goes_on(strangers: Path) -> None:
    output = subprocess.check_output([sys.executable, "-m", "pphub", "sources", "--json"], text=True)
    rows = {(row["scheme"], row["target"]): row["state"] for row in json.loads(output)}
    assert rows["good", "stranger:Good"] == "ready"
    assert rows["hf", "pphub_plugins.huggingface:HuggingFaceSource"] == "ready"
    assert "already declares 'hf'" in rows["hf", "stranger:Good"]
    assert "lacks list_files or endpoint" in rows["nosource", "stranger:NoSource"]
    assert "RuntimeError: no licence" in rows["explodes", "stranger:Explodes"]
    assert "stranger 1.0" in rows["gone", "no_such_module:X"]
    table = subprocess.check_output([sys.executable, "-m", "pphub", "sources"], text=True)
    assert len(table.splitlines()) == len(rows)


def test_what_a_plugin_returns_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    from pphub import obtain, resolve
    from pphub.errors import SourceUnavailable
    from pphub.source import Listing, RemoteFile

    payload = tmp_path / "payload"
    payload.write_bytes(b"{}")
    file = RemoteFile("config.json", 2, None, payload.as_uri())

    class Liar:
        name = "liar"
        answer: object = None

        def endpoint(self) -> str:
            return "nowhere"

        def list_files(self, repo: str, revision: str | None) -> Listing:
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer  # type: ignore[return-value]

    liar = Liar()
    answers: list[object] = [{"files": []}, None, SystemExit(5), RuntimeError("oops")]
    monkeypatch.setattr(resolve, "load_source", lambda _scheme: liar)
    for answer in answers:
        liar.answer = answer
        with pytest.raises(SourceUnavailable, match="the source 'liar'"):
            obtain.download("liar:org/model")
    # Neither another place on this disk, nor another source's name.
    liar.answer = Listing("hf", "../../../../escaped", "main", "c1", (file,))
    folder = obtain.download("liar:org/model")
    assert folder == home / "hub" / "snapshots" / "liar" / "org" / "model" / "c1"
    assert not list(tmp_path.rglob("escaped*"))
    assert obtain.download("liar:org/model", offline=True) == folder


def test_a_strangers_source_is_used_like_ours(strangers: Path) -> None:
    command = [sys.executable, "-m", "pphub", "plan", "good:some/model", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    document = json.loads(result.stdout)
    assert (document["source"], document["repo"], document["commit"]) == ("good", "some/model", "c1")
    # A broken plugin is an error only for those who ask for it.
    command = [sys.executable, "-m", "pphub", "plan", "explodes:some/model"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 3
    assert "stranger 1.0" in result.stderr
    assert "Traceback" not in result.stderr
