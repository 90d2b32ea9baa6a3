"""Three hubs behind one name: the order, what moves on, what is told, and what never opens a socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import pphub
from conftest import ROOT
from hubs import Hub, cut, fill, small_model, stall, status
from pphub.errors import AccessDenied, Corrupt, ModelNotFound, NotCached, SourceUnavailable, UnsafeCheckpoint
from pphub.obtain import fetch, plan
from pphub.registry import installed_sources
from pphub_cache.progress import SilentProgress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "org/model"
OTHER = {**small_model(), "config.json": b'{"another": "content"}', "model.safetensors": b"other weights"}


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def hubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Hub, Hub]]:
    """Two hubs: one answers as Hugging Face, the other as ModelScope; other weights under the same name."""
    with Hub.open(tmp_path / "a", {NAME: small_model()}) as first, Hub.open(tmp_path / "b", {NAME: OTHER}) as second:
        monkeypatch.setenv("HF_ENDPOINT", first.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", second.url)
        monkeypatch.setenv("PPHUB_SOURCES", "hf,ms")
        yield first, second


def served_by(**options: Any) -> tuple[str, list[str]]:
    """Which source served the model, and what the user was told; the snapshot is of one source, whole."""
    progress = Notes()
    snapshot = fetch(NAME, progress=progress, **options)
    expected = {"hf": small_model(), "ms": OTHER}[snapshot.source]
    for path, file in snapshot.files.items():
        if file.stored:
            assert (snapshot.folder / path).read_bytes() == expected[path]
    record = json.loads((snapshot.folder / "snapshot.json").read_text(encoding="utf-8"))
    assert record["source"] == snapshot.source
    return snapshot.source, progress.notes


def test_the_first_that_has_it_serves_it(hubs: tuple[Hub, Hub]) -> None:
    assert served_by() == ("hf", [])
    assert hubs[1].count("/") == 0


def test_the_order_is_the_users(hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    assert served_by(source="ms")[0] == "ms"
    monkeypatch.setenv("PPHUB_SOURCES", " ms , hf,ms")
    assert served_by(refresh=True)[0] == "ms"
    assert hubs[0].count("/") == 0


def test_not_there_moves_on_silently(hubs: tuple[Hub, Hub], tmp_path: Path) -> None:
    fill(tmp_path / "b" / "only" / "here", OTHER)
    progress = Notes()
    assert fetch("only/here", progress=progress).source == "ms"
    assert progress.notes == []


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("/api/models/", status(403)),
        ("/api/models/", status(401, {"X-Error-Code": "GatedRepo"})),
        ("/api/models/", status(500)),
        ("/tree/", cut(40)),
        ("/tree/", status(200, body=b"<html>log in</html>")),
        # Listings of gated models are open; only the files are refused.
        ("/resolve/", status(403)),
        ("/resolve/", status(404)),
        ("/resolve/", status(503)),
        ("/resolve/", cut(10)),
        ("model.safetensors", status(200, body=b"not the weights")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hub_that_refuses_or_fails_is_passed_over(
    hubs: tuple[Hub, Hub], part: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pphub_cache.choice._FIRST_DELAY", 0.01)
    hubs[0].on(part, fault)
    source, notes = served_by()
    assert source == "ms"
    assert any("hf is passed over for ms" in note for note in notes) or "/resolve/" in part


def test_dead_at_connect_moves_on_within_seconds(hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    begin = time.monotonic()
    source, notes = served_by()
    assert source == "ms"
    assert time.monotonic() - begin < 23
    assert notes[0].startswith("hf is passed over for ms: http://127.0.0.1:9 could not be reached")


def test_silent_mid_listing_moves_on(hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pphub_plugins.huggingface.CONNECT_SECONDS", 0.5)
    hubs[0].on("/tree/", stall(20, 20))
    assert served_by()[0] == "ms"


def test_when_all_fail_one_error_tells_it_as_a_table(hubs: tuple[Hub, Hub]) -> None:
    hubs[0].on("/api/models/", status(403))
    hubs[1].on("/", status(500))
    with pytest.raises(AccessDenied) as caught:
        served_by()
    rows = [line.split() for line in caught.value.message.splitlines()[1:]]
    assert [row[:2] for row in rows] == [["hf", NAME], ["ms", NAME]]
    assert "gated or private" in caught.value.message
    assert "HTTP 500" in caught.value.message
    assert caught.value.message.count("→") == 2
    assert caught.value.hint


def test_the_class_of_the_error_is_what_helps_most(hubs: tuple[Hub, Hub]) -> None:
    with pytest.raises(ModelNotFound) as caught:
        fetch("no/where", progress=Notes())
    assert caught.value.exit_code == 1
    hubs[0].on("/api/models/", status(500))
    with pytest.raises(SourceUnavailable) as failed:
        fetch("no/where", progress=Notes())
    assert failed.value.exit_code == 3
    hubs[0].well()
    hubs[0].on("model.safetensors", status(200, body=b"x"))
    hubs[1].on("/", status(404))
    with pytest.raises(Corrupt) as wrong:
        served_by()
    assert wrong.value.exit_code == 4


def test_the_same_content_of_two_hubs_is_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub.open(tmp_path / "one", {NAME: small_model()}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
        first = fetch(NAME, source="hf", progress=Notes())
        asked = hub.count("model.safetensors")
        second = fetch(NAME, source="ms", progress=Notes())
        assert hub.count("model.safetensors") == asked == 1
    assert first.folder != second.folder
    assert (first.folder / "model.safetensors").samefile(second.folder / "model.safetensors")


# -- a cached name asks nobody -------------------------------------------------------------------------------


def test_a_cached_copy_of_any_source_wins(hubs: tuple[Hub, Hub]) -> None:
    served_by(source="ms")
    hubs[0].on("/", status(500))
    hubs[1].on("/", status(500))
    assert served_by()[0] == "ms"
    assert hubs[0].count("/") == 0


# The interpreter's own alarm: nothing gets past it, and no library can have kept the real function.
FORBIDDEN = """
import sys, os
def alarm(event, _arguments):
    if event.startswith("socket."):
        print("a socket was opened:", event, flush=True)
        os._exit(99)
sys.addaudithook(alarm)
"""


def run(code: str, **env: str) -> str:
    command = [sys.executable, "-c", FORBIDDEN + code]
    result = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


@pytest.mark.parametrize("switch", ["", "PPHUB_OFFLINE", "HF_HUB_OFFLINE"])
def test_cached_names_and_folders_open_no_socket_and_import_no_client(
    hubs: tuple[Hub, Hub], tmp_path: Path, switch: str
) -> None:
    fetch(NAME, progress=Notes())
    env = {switch: "1"} if switch else {}
    folder = str(tmp_path / "a" / "org" / "model")
    code = (
        f"import pphub\nfor name in ({NAME!r}, 'hf:{NAME}', {folder!r}): print(pphub.download(name))\n"
        "print([name for name in sys.modules if name.partition('.')[0] in"
        " {'huggingface_hub', 'modelscope_hub', 'httpx', 'pphub_plugins.huggingface'}])"
    )
    output = run(code, **env)
    assert output.splitlines()[-1] == "[]", output
    assert len(output.splitlines()) == 4


@pytest.mark.parametrize("switch", ["PPHUB_OFFLINE", "HF_HUB_OFFLINE", "--offline"])
def test_offline_asks_nobody(hubs: tuple[Hub, Hub], switch: str) -> None:
    arguments = ["download", "un/known", *([switch] if switch.startswith("-") else [])]
    env = {} if switch.startswith("-") else {switch: "1"}
    output = run(f"from pphub.cli import main; print('code', main({arguments!r}))", **env)
    assert "code 1" in output
    assert "not in the cache" in output
    assert "hub download un/known" in output
    assert "socket was opened" not in output
    assert hubs[0].count("/") == hubs[1].count("/") == 0


def test_a_partly_cached_model_says_what_is_missing(hubs: tuple[Hub, Hub]) -> None:
    pphub.download(NAME, include="config.json", progress=Notes())
    with pytest.raises(NotCached) as caught:
        pphub.download(NAME, offline=True)
    assert "  model.safetensors" in caught.value.message
    assert "config.json" not in caught.value.message
    assert "hub download hf:org/model@" in str(caught.value.hint)


# -- plans ---------------------------------------------------------------------------------------------------


def test_every_built_in_name_of_paddlenlp_has_a_plan_offline() -> None:
    from pphub_plugins.bos import BosSource

    table = json.loads((ROOT / "plugins/pphub_plugins/data/builtin_names.json").read_text(encoding="utf-8"))
    names = sorted(table["models"])
    assert len(names) >= 284
    assert all(BosSource().known_files(name) for name in names)
    for name in [*names, "ernie-1.0", "ernie-tiny", "ernie-3.0-medium-zh", "bert-wwm-chinese", "bert-base-uncased"]:
        outlook, wanted = plan(name, offline=True)
        assert ("bos", name) in outlook.places  # type: ignore[union-attr]
        assert "model_state.pdparams" in wanted, name
        assert {"config.json", "model_config.json"} & set(wanted), name


def test_plan_shows_where_a_name_would_be_looked_for() -> None:
    code = "from pphub.cli import main; main(['plan', 'bert-base-uncased', '--offline', '--json'])"
    document = json.loads(run(code))
    assert [(place["source"], place["repo"]) for place in document["candidates"]] == [
        ("hf", "google-bert/bert-base-uncased"),
        ("hf", "bert-base-uncased"),
        ("ms", "AI-ModelScope/bert-base-uncased"),
        ("ms", "google-bert/bert-base-uncased"),
        ("ms", "bert-base-uncased"),
        ("bos", "bert-base-uncased"),
    ]
    files = {file["path"]: file["url"] for file in document["files"]}
    assert files["model_state.pdparams"].endswith("/models/transformers/bert-base-uncased.pdparams")
    assert "made from the table" in files["config.json"]


def test_the_example_of_the_users_document_can_be_said_exactly_so(tmp_path: Path, monkeypatch: Any) -> None:
    """`hub download ZhipuAI/GLM130B`, which stands on ModelScope only."""
    with Hub.open(tmp_path / "ms", {"ZhipuAI/GLM130B": small_model()}) as hub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
        assert {info.scheme for info in installed_sources()} >= {"hf", "ms", "bos", "file"}
        result = subprocess.run(
            [sys.executable, "-m", "pphub", "download", "ZhipuAI/GLM130B"], capture_output=True, text=True, check=False
        )
    assert result.returncode == 0, result.stderr
    assert "/snapshots/ms/ZhipuAI/GLM130B/" in result.stdout


# -- what is cached in part ----------------------------------------------------------------------------------


def test_what_cannot_be_completed_is_taken_whole_from_another(hubs: tuple[Hub, Hub]) -> None:
    pphub.download(NAME, include="config.json", progress=Notes())
    hubs[0].on("/", status(503))
    assert served_by()[0] == "ms"
    # From here on the whole one is what the name stands for, online and off, though hf comes first.
    for options in ({}, {"offline": True}):
        assert served_by(**options)[0] == "ms"


def test_a_hostile_paddle_checkpoint_does_not_get_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """PaddleNLP would run it from the folder that a download hands out."""
    evil = f"cos\nsystem\n(Vtouch '{tmp_path / 'mark'}'\ntR.".encode()
    with Hub.open(tmp_path / "hub", {NAME: {"config.json": b"{}", "model_state.pdparams": evil}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(UnsafeCheckpoint, match=r"model_state\.pdparams: refused at byte .*os\.system"):
            pphub.download(NAME, source="hf", progress=Notes())
    assert not [path for path in home.rglob("*") if path.is_file() and path.read_bytes() == evil]
    assert not (tmp_path / "mark").exists()


def test_a_silent_store_is_not_waited_for_again_and_again(
    hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pphub_cache.web.READ_SECONDS", 0.5)
    hubs[0].on("/resolve/", stall(0, 5))
    begin = time.monotonic()
    assert served_by()[0] == "ms"
    assert hubs[0].count("/resolve/") <= 8  # each of the four files twice, all at the same time
    assert time.monotonic() - begin < 10
