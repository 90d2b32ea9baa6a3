"""The command ``hub`` as a user runs it: in a process of its own, against a hub on loopback."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import berts
from conftest import MINILM, MINILM_BIN, ROOT
from pphub.serve import Server, build_app

if TYPE_CHECKING:
    from collections.abc import Iterator

HUB = Path(sys.executable).with_name("hub")


def hub(*arguments: str | Path, check: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command; its exit code must be ``check``, and no library's traceback may show."""
    command = [str(HUB), *map(str, arguments)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **env}, stdin=subprocess.DEVNULL
    )
    assert result.returncode == check, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    if check:
        assert result.stderr.startswith(("hub: ", "usage: ")) or "--json" in arguments
        assert len(result.stderr.splitlines()) <= 12
    return result


def last_line(result: subprocess.CompletedProcess[str]) -> Path:
    path = Path(result.stdout.splitlines()[-1])
    assert path.is_absolute()
    assert path.is_dir()
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of repositories: a small BERT under two names, a tag of it, and a gated one."""
    root = tmp_path_factory.mktemp("库 one")
    settings = berts.config()
    berts.write_bin(root / "org" / "tiny", settings, berts.state(settings))
    berts.write_bin(root / "org" / "tiny@v1", settings, berts.state(settings, seed=1))
    berts.write_bin(root / "google-bert" / "bert-base-uncased", settings, berts.state(settings))
    shutil.copytree(root / "org" / "tiny", root / "org" / "gated")
    return root


@pytest.fixture(scope="module")
def server(library: Path) -> Iterator[Server]:
    app = build_app(library)

    async def with_a_gate(scope: Any, receive: Any, send: Any) -> None:
        if "/gated" in scope["path"] and b"authorization" not in dict(scope["headers"]):
            headers = [(b"x-error-code", b"GatedRepo"), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, send)

    with Server(app=with_a_gate) as running:
        yield running


@pytest.fixture
def online(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    return server.url


# -- the main job --------------------------------------------------------------------------------------------


def test_download_convert_prepare_path(online: str, tmp_path: Path, home: Path) -> None:
    hub("path", "org/tiny", check=1)
    folder = last_line(hub("download", "org/tiny"))
    assert home in folder.parents
    assert {path.name for path in folder.iterdir()} >= {"pytorch_model.bin", "config.json", "snapshot.json"}
    assert last_line(hub("path", "org/tiny")) == folder
    assert last_line(hub("path", "hf:org/tiny@main")) == folder
    # From here on the network is gone.
    assert last_line(hub("download", "org/tiny", HF_ENDPOINT="http://127.0.0.1:9")) == folder
    converted = last_line(hub("convert", "org/tiny", "--out", tmp_path / "out 目录", "--offline"))
    names = {path.name for path in converted.iterdir()}
    assert names == {"model_state.pdparams", "config.json", "vocab.txt", "tokenizer_config.json", "conversion.json"}
    prepared = last_line(hub("prepare", "org/tiny", "--offline"))
    assert (prepared / "model_state.pdparams").read_bytes() == (converted / "model_state.pdparams").read_bytes()


def test_a_shortcut_is_looked_up(online: str) -> None:
    folder = last_line(hub("download", "bert-base-uncased"))
    record = json.loads((folder / "snapshot.json").read_text(encoding="utf-8"))
    assert (record["source"], record["repo"], record["revision"]) == ("hf", "google-bert/bert-base-uncased", "main")
    assert last_line(hub("path", "bert-base-uncased", "--source", "hf")) == folder


def test_leaving_out_one_format_takes_the_other(tmp_path: Path) -> None:
    berts.save_transformers(tmp_path / "hub" / "org" / "two", "BertModel")
    (tmp_path / "hub" / "org" / "two" / "pytorch_model.bin").write_bytes(b"the other format")
    with Server(tmp_path / "hub") as server:
        result = hub("plan", "org/two", "--exclude", "*.safetensors", "--json", HF_ENDPOINT=server.url)
    assert "pytorch_model.bin" in {file["path"] for file in json.loads(result.stdout)["files"]}


def test_a_folder_without_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "none of the wanted files" in hub("download", tmp_path / "empty", check=1).stderr
    berts.write_config(tmp_path / "m", berts.config())
    hub("download", tmp_path / "m", "--include", "*.nope", "--local-dir", tmp_path / "copy", check=1)
    assert not (tmp_path / "copy").exists()


def test_revisions(online: str) -> None:
    main, tag = last_line(hub("download", "org/tiny")), last_line(hub("download", "org/tiny@v1"))
    assert main != tag
    assert last_line(hub("download", "org/tiny", "--revision", tag.name)) == tag
    assert last_line(hub("path", "org/tiny@v1")) == tag
    assert last_line(hub("path", "org/tiny")) == main


def test_include_exclude_and_local_dir(online: str, tmp_path: Path) -> None:
    result = hub("download", "org/tiny", "--include", "*.json", "--exclude", "tok*", "--local-dir", tmp_path / "copy")
    assert last_line(result) == tmp_path / "copy"
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["config.json"]
    assert not (tmp_path / "copy" / "config.json").is_symlink()
    offline = hub("download", "org/tiny", "--offline", check=1)
    assert "pytorch_model.bin" in offline.stderr
    assert "hint: when you are online: hub download hf:org/tiny@" in offline.stderr


def test_plan_fetches_nothing(online: str, home: Path) -> None:
    document = json.loads(hub("plan", "org/tiny", "--json").stdout)
    files = {file["path"]: file for file in document["files"]}
    assert files.keys() == {"pytorch_model.bin", "config.json", "vocab.txt", "tokenizer_config.json"}
    assert files["pytorch_model.bin"]["hash"].startswith("sha256:")
    assert files["config.json"]["hash"].startswith("git-sha1:")
    assert document["bytes_to_fetch"] == sum(file["size"] for file in files.values())
    assert not any(path.is_file() for path in home.rglob("*"))
    assert "to fetch" in hub("plan", "org/tiny").stdout
    hub("download", "org/tiny", "--include", "vocab.txt")
    partly = json.loads(hub("plan", "org/tiny", "--json", "--offline").stdout)
    hashes = {file["path"]: file["hash"] for file in partly["files"]}
    assert hashes["pytorch_model.bin"] == files["pytorch_model.bin"]["hash"]
    assert hashes["config.json"] == files["config.json"]["hash"]
    hub("download", "org/tiny")
    assert json.loads(hub("plan", "org/tiny", "--json", "--offline").stdout)["bytes_to_fetch"] == 0


def test_json_everywhere_is_one_document(online: str) -> None:
    for command in ("download", "prepare", "path", "convert"):
        assert Path(json.loads(hub(command, "org/tiny", "--json").stdout)["path"]).is_dir()
    for command in ("env", "sources"):
        assert json.loads(hub(command, "--json").stdout)
    error = json.loads(hub("download", "org/nope", "--json", check=1).stdout)
    assert error["error"] == "ModelNotFound"
    assert error["message"]


def test_progress_is_lines_when_piped_and_nothing_when_quiet(online: str, tmp_path: Path) -> None:
    loud = hub("download", "org/tiny", PPNLP_HOME=str(tmp_path / "a"))
    assert "pytorch_model.bin (" in loud.stderr
    assert "\r" not in loud.stderr
    assert len(loud.stdout.splitlines()) == 1
    assert hub("download", "org/tiny", "-q", PPNLP_HOME=str(tmp_path / "b")).stderr == ""


# -- bad input: one clear error, the right exit code ----------------------------------------------------------


def test_unknown_name(online: str) -> None:
    assert "there is no model org/nope at http://127.0.0.1" in hub("download", "org/nope", check=1).stderr


def test_unknown_revision(online: str) -> None:
    assert "org/tiny at http://127.0.0.1" in hub("download", "org/tiny@v9", check=1).stderr
    assert "has no revision 'v9'" in hub("download", "org/tiny", "--revision", "v9", check=1).stderr


def test_gated_without_and_with_token(online: str) -> None:
    refused = hub("download", "org/gated", check=3)
    assert "gated or private" in refused.stderr
    assert "HF_TOKEN" in refused.stderr
    last_line(hub("download", "org/gated", HF_TOKEN="hf_secret"))
    assert "hf_secret" not in hub("env", HF_TOKEN="hf_secret").stdout


def test_unreachable_hub() -> None:
    result = hub("download", "org/tiny", check=3)
    assert "http://127.0.0.1:9 could not be reached" in result.stderr


def test_folder_without_weights(tmp_path: Path) -> None:
    berts.write_config(tmp_path / "m", berts.config())
    assert "holds no weights" in hub("convert", tmp_path / "m", check=1).stderr
    assert "no folder or file" in hub("convert", tmp_path / "nowhere", check=1).stderr


def test_truncated_checkpoints(tmp_path: Path) -> None:
    for source, name in ((MINILM, "model.safetensors"), (MINILM_BIN, "pytorch_model.bin")):
        folder = tmp_path / name
        shutil.copytree(source, folder)
        with (folder / name).open("r+b") as stream:
            stream.truncate(40_000_000)
        result = hub("convert", folder, check=4)
        assert name in result.stderr
        assert "hint: " in result.stderr


def test_config_that_is_not_json(tmp_path: Path) -> None:
    settings = berts.config()
    berts.write_bin(tmp_path / "m", settings, berts.state(settings))
    (tmp_path / "m" / "config.json").write_text("<html>", encoding="utf-8")
    assert "config.json is not JSON" in hub("convert", tmp_path / "m", check=4).stderr


def test_architecture_without_rules(tmp_path: Path) -> None:
    berts.write_bin(tmp_path / "m", {"architectures": ["MambaModel"]}, {})
    assert "config.json names 'MambaModel'" in hub("convert", tmp_path / "m", check=1).stderr


def test_paddlenlp_not_installed(tmp_path: Path) -> None:
    """The finder that would find it is told not to, which is what an environment without it does."""
    berts.write_config(tmp_path / "m", berts.config())
    code = (
        "import sys, importlib.machinery as m; find = m.PathFinder.find_spec\n"
        "m.PathFinder.find_spec = lambda name, *rest: None if name == 'paddlenlp' else find(name, *rest)\n"
        "import pphub, pphub.errors\n"
        "try:\n    pphub.AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "except pphub.errors.MissingDependency as error:\n    print(error, isinstance(error, ImportError))"
    )
    output = subprocess.check_output([sys.executable, "-c", code, str(tmp_path / "m")], text=True)
    assert "'paddlenlp', which is not installed" in output
    assert "pip install 'pphub[paddle]'" in output
    assert output.endswith("True\n")


def test_a_checkpoint_that_would_run_a_command_is_refused(tmp_path: Path) -> None:
    """A real pytorch_model.bin whose pickle was replaced by one that calls os.system."""
    settings = berts.config()
    model = berts.write_bin(tmp_path / "m", settings, berts.state(settings))
    mark = tmp_path / "mark"
    evil = f"cos\nsystem\n(Vtouch '{mark}'\ntR.".encode()
    with zipfile.ZipFile(model / "pytorch_model.bin") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(model / "pytorch_model.bin", "w") as archive:
        for name, data in records.items():
            archive.writestr(name, evil if name.endswith("data.pkl") else data)
    result = hub("convert", model, check=4)
    assert "os.system" in result.stderr
    assert "pytorch_model.bin" in result.stderr
    assert not mark.exists()
    # The same file does run it elsewhere, so the test can fail.
    code = "import torch, sys; torch.load(sys.argv[1], weights_only=False)"
    subprocess.run([sys.executable, "-c", code, str(model / "pytorch_model.bin")], capture_output=True, check=False)
    assert mark.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["download"],
        ["download", ""],
        ["download", "a/b/c"],
        ["download", "https://example.org/x"],
        ["download", "hf:org/tiny@v1", "--revision", "v2"],
        ["download", "gopher:x", "--source", "hf"],
        ["convert", "x", "--to", "tensorflow"],
        ["serve", ".", "--port", "99999"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    command = [str(HUB), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_wrong_settings(tmp_path: Path) -> None:
    assert "PPHUB_OFFLINE='maybe'" in hub("download", "org/tiny", check=2, PPHUB_OFFLINE="maybe").stderr
    assert "no source 'gopher'" in hub("download", "gopher:org/x", check=3).stderr
    assert "no source 'gopher'" in hub("download", "org/x", check=3, PPHUB_SOURCES="gopher").stderr
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    hub("convert", MINILM, check=1, PPNLP_HOME=str(tmp_path / "file" / "home"))


def test_the_terminal_going_away_is_no_error(online: str) -> None:
    with subprocess.Popen([str(HUB), "plan", "org/tiny"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


# -- the rest ------------------------------------------------------------------------------------------------


def test_help_and_version() -> None:
    text = hub("--help").stdout
    for command in ("download", "convert", "prepare", "path", "plan", "sources", "env", "serve"):
        assert command in text
        assert "usage: hub" in hub(command, "--help").stdout
    assert "exit codes" in text
    assert hub("--version").stdout.startswith("pphub ")


def test_env_tells_where_a_value_comes_from(home: Path) -> None:
    rows = {row["name"]: row for row in json.loads(hub("env", "--json").stdout)["settings"]}
    assert rows["PPNLP_HOME"] == {"name": "PPNLP_HOME", "value": str(home), "origin": "environment (PPNLP_HOME)"}
    assert rows["PPHUB_SOURCES"]["origin"] == "default"
    shown = hub("env", HTTPS_PROXY="http://user:password@proxy:3128").stdout
    assert "proxy:3128" in shown
    assert "password" not in shown


def test_serve_prints_its_url_and_ends_at_a_signal(library: Path) -> None:
    command = [str(HUB), "serve", str(library)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        last_line(hub("download", "org/tiny", HF_ENDPOINT=url))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert "Traceback" not in process.stderr.read()
    hub("serve", library / "nowhere", check=1)


def test_the_demo(tmp_path: Path) -> None:
    """`make demo`, twice: cold, then warm."""
    for expected in ("cold: nothing is cached", "warm: it is in the cache"):
        result = subprocess.run(
            [sys.executable, str(ROOT / "docs" / "demo.py")],
            env={**os.environ, "DEMO_FOLDER": str(tmp_path / "demo")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert expected in result.stdout
        (line,) = (line for line in result.stdout.splitlines() if "largest difference" in line)
        assert 0 < float(line.split()[-1]) <= 1e-5
        related, unrelated = (
            [float(line.split()[0]) for line in result.stdout.splitlines() if pair in line]
            for pair in ("pasta.' ~ 'Someone", "pasta.' ~ 'The stock")
        )
        assert 0.5 < related[0] < 0.8
        assert abs(unrelated[0]) < 0.2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
@pytest.mark.parametrize("arguments", [["list", "--json"], ["--version"], ["sources"], ["path", "no/such", "--json"]])
def test_an_answer_that_cannot_be_written_is_one_error(arguments: list[str], home: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run([str(HUB), *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("hub: ")
    assert ": No space left on device\n" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("end", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_nothing_depends_on_what_is_told(online: str, home: Path, end: str) -> None:
    """A program without a console has no place for progress, and downloads all the same."""
    command = f"{shlex.quote(str(HUB))} download org/tiny {end}"
    assert subprocess.run(command, shell=True, check=False, stdout=subprocess.DEVNULL).returncode == 0
    hub("path", "org/tiny")


@pytest.mark.parametrize(("command", "threads"), [("env", "1"), ("align", "None")])
def test_numpy_starts_no_threads_but_for_comparing_models(command: str, threads: str) -> None:
    code = (
        "import atexit, os, sys; from pphub.cli import run;"
        "atexit.register(lambda: print(os.environ.get('OPENBLAS_NUM_THREADS'))); sys.argv[0] = 'hub'; run()"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    arguments = [sys.executable, "-c", code, command, "--help"]
    result = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.splitlines()[-1] == threads
