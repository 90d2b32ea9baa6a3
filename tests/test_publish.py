"""``hub publish``: what is laid out is served under its name to a cache that has never seen it, and to PaddleNLP."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import berts
import pphub
from conftest import MINILM, ROOT
from hubs import fill, tiny_bert
from pphub.cli import main
from pphub.errors import ConversionFailed, Corrupt, PphubError, UnsafeCheckpoint, UsageError
from pphub.loading import FreshParameters
from pphub.serve import Server
from pphub.shortcuts import names_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IDS = [[2, 5, 6, 7, 8, 3], [2, 9, 5, 10, 7, 3]]


@pytest.fixture
def torch_folder(tmp_path: Path) -> Path:
    """A small classifier as transformers saves it, with a tokenizer."""
    folder = tmp_path / "torch" / "tiny"
    berts.save_transformers(folder, "BertForSequenceClassification", num_labels=3)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Any]]:
    """Serves a folder and moves to a machine with an empty cache."""
    servers: list[Server] = []

    def move(folder: Path) -> Server:
        server = Server(folder)
        server.start()
        servers.append(server)
        monkeypatch.setenv("PPNLP_HOME", str(tmp_path / f"fresh-{len(servers)}"))
        for name in ("PPNLP_ENDPOINT", "HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
            monkeypatch.setenv(name, server.url)
        return server

    yield move
    for server in servers:
        server.stop()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def registry(root: Path) -> Any:
    return json.loads((root / "registry.json").read_bytes())


def logits(model: Any, ids: list[list[int]] = IDS) -> Any:
    import paddle

    with paddle.no_grad():
        found = model(paddle.to_tensor(ids))
    return (found if not isinstance(found, (tuple, list)) else found[0]).numpy()


def paddlenlp(code: str, home: Path, **env: str) -> str:
    """Run PaddleNLP as it is; the last line that is printed."""
    code = f"import warnings\nwarnings.simplefilter('ignore')\n{code}"
    everything = {**os.environ, "PPNLP_HOME": str(home), **env}
    result = subprocess.run([sys.executable, "-c", code], env=everything, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def test_a_real_model_goes_out_and_comes_back(tmp_path: Path, elsewhere: Callable[[Path], Any]) -> None:
    """Through each of the protocols: the same bytes, and the same answers."""
    root = pphub.publish(MINILM, tmp_path / "out", under="our/minilm")
    assert root == tmp_path / "out"
    before = logits(pphub.AutoModel.from_pretrained(str(MINILM)))
    sent = contents(root / "models/community/our/minilm")
    assert sent.keys() >= {"model_state.pdparams", "config.json", "vocab.txt", "tokenizer_config.json"}
    elsewhere(root)
    for source in ("bos", "hf", "ms"):
        folder = pphub.prepare("our/minilm", source=source)
        for name in ("model_state.pdparams", "config.json", "vocab.txt", "tokenizer_config.json"):
            assert (folder / name).read_bytes() == sent[name]
    after = logits(pphub.AutoModel.from_pretrained("bos:our/minilm"))
    assert np.array_equal(after, before)
    tokenizer = pphub.AutoTokenizer.from_pretrained("bos:our/minilm")
    assert tokenizer("Hello!")["input_ids"] == [101, 7592, 999, 102]


AS_IT_IS = f"""
import json, paddle
from paddlenlp.transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained("our/tiny").eval()
tokenizer = AutoTokenizer.from_pretrained("our/tiny")
with paddle.no_grad():
    found = model(paddle.to_tensor({IDS})).tolist()
print(json.dumps([found, tokenizer("welcome to paddle")["input_ids"], type(tokenizer).__name__]))
"""


def test_paddlenlp_as_it_is_finds_it(torch_folder: Path, tmp_path: Path, elsewhere: Callable[[Path], Any]) -> None:
    """``PPNLP_ENDPOINT`` is all it is told; what it answers is what torch answers."""
    import torch
    import transformers

    model = transformers.BertForSequenceClassification.from_pretrained(torch_folder).eval()
    with torch.no_grad():
        expected = model(torch.tensor(IDS)).logits.numpy()
    root = pphub.publish(torch_folder, tmp_path / "out", under="our/tiny")
    server = elsewhere(root)
    home = tmp_path / "theirs"
    found, ids, tokenizer = json.loads(paddlenlp(AS_IT_IS, home, PPNLP_ENDPOINT=server.url))
    assert np.abs(np.array(found) - expected).max() < 1e-5
    assert ids == [2, 5, 6, 8, 3]
    assert tokenizer == "BertTokenizer"
    for name in ("model_state.pdparams", "config.json", "vocab.txt"):
        assert (home / "models/our/tiny" / name).read_bytes() == (
            root / "models/community/our/tiny" / name
        ).read_bytes()


AS_ITS_OWN = f"""
import json, sys, paddle
import paddlenlp.transformers as library
entry = json.load(open(sys.argv[1]))["models"]["tiny"]
url = lambda text: text.replace("https://bj.bcebos.com/paddlenlp", sys.argv[2])
model, tokenizer = getattr(library, entry["model"]), getattr(library, entry["tokenizer"])
for kind, config in ((model, entry["config"]), (tokenizer, entry["tokenizer_config"])):
    kind.pretrained_init_configuration["tiny"] = config
weights = url(entry["files"]["model_state.pdparams"])
model.pretrained_resource_files_map.setdefault("model_state", {{}})["tiny"] = weights
for key, name in tokenizer.resource_files_names.items():
    tokenizer.pretrained_resource_files_map.setdefault(key, {{}})["tiny"] = url(entry["files"][name])
with paddle.no_grad():
    found = model.from_pretrained("tiny").eval()(paddle.to_tensor({IDS})).tolist()
print(json.dumps([found, tokenizer.from_pretrained("tiny")("welcome to paddle")["input_ids"]]))
"""


def test_the_entry_makes_it_a_name_of_paddlenlp(
    torch_folder: Path, tmp_path: Path, elsewhere: Callable[[Path], Any]
) -> None:
    """Config and arguments of the tokenizer go into its classes, as those of its own names are there."""
    root = pphub.publish(torch_folder, tmp_path / "out")
    before = logits(pphub.AutoModelForSequenceClassification.from_pretrained(str(torch_folder)))
    shutil.rmtree(root / "models/community")
    server = elsewhere(root)
    arguments = f"import sys\nsys.argv[1:] = [{str(root / 'registry.json')!r}, {server.url!r}]\n"
    found, ids = json.loads(paddlenlp(arguments + AS_ITS_OWN, tmp_path / "theirs", PPNLP_ENDPOINT=server.url))
    assert np.allclose(found, before, rtol=0, atol=1e-6)
    assert ids == [2, 5, 6, 8, 3]


def test_the_entry_has_the_form_of_our_table(
    torch_folder: Path, tmp_path: Path, elsewhere: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a line of it, it is enough for our source of BOS to find the model where PaddleNLP's own names are."""
    import pphub_plugins.bos as bos

    root = pphub.publish(torch_folder, tmp_path / "out")
    prepared = pphub.prepare(torch_folder)
    table = bos._table()
    extended = bos._Table({"tiny": bos._BuiltIn(**registry(root)["models"]["tiny"])}, table.tokenizer_files)
    monkeypatch.setattr(bos, "_table", lambda: extended)
    shutil.rmtree(root / "models/community")
    elsewhere(root)
    folder = pphub.prepare("tiny", source="bos")
    for name in ("model_state.pdparams", "vocab.txt"):
        assert (folder / name).read_bytes() == (prepared / name).read_bytes()
    config = json.loads((folder / "config.json").read_bytes())
    assert config == json.loads((prepared / "config.json").read_bytes())
    assert json.loads((folder / "tokenizer_config.json").read_bytes())["init_class"] == "BertTokenizer"


def test_the_shortcuts_are_lines_for_the_names_of_a_user(
    torch_folder: Path, tmp_path: Path, elsewhere: Callable[[Path], Any]
) -> None:
    root = pphub.publish(torch_folder, tmp_path / "out", under="our/tiny-classifier")
    elsewhere(root)
    names_file().parent.mkdir(parents=True)
    shutil.copy(root / "names.toml", names_file())
    folder = pphub.prepare("tiny-classifier")
    assert (folder / "config.json").read_bytes() == (
        root / "models/community/our/tiny-classifier/config.json"
    ).read_bytes()


def test_the_listing_of_hashes_is_of_all_that_is_there(torch_folder: Path, tmp_path: Path) -> None:
    root = pphub.publish(torch_folder, tmp_path / "out")
    lines = (root / "SHA256SUMS").read_text().splitlines()
    listed = {path: sha256 for sha256, path in (line.split("  ", 1) for line in lines)}
    there = {f"models/{path}": content for path, content in contents(root / "models").items()}
    assert listed == {path: hashlib.sha256(content).hexdigest() for path, content in there.items()}
    record = registry(root)["published"]["tiny"]["files"]
    assert {path: each["size"] for path, each in record.items()} == {path: len(each) for path, each in there.items()}
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=root, check=True)
    assert not list(root.glob(".*"))


def test_no_path_of_this_machine_goes_out(torch_folder: Path, tmp_path: Path) -> None:
    root = pphub.publish(torch_folder, tmp_path / "out")
    for name, content in contents(root).items():
        assert str(tmp_path).encode() not in content, name
    record = json.loads((root / "models/community/tiny/conversion.json").read_bytes())
    assert {each["repo"] for each in record["inputs"]} == {"tiny"}
    assert {each["source"] for each in record["inputs"]} == {"file"}


def test_the_record_speaks_of_what_is_published(tmp_path: Path) -> None:
    """The class of the tokenizer is written down, since PaddleNLP asks for it; the record knows the hash."""
    fill(tmp_path / "plain", tiny_bert())
    folder = pphub.publish(tmp_path / "plain", tmp_path / "out") / "models/community/plain"
    assert json.loads((folder / "tokenizer_config.json").read_bytes()) == {"init_class": "BertTokenizer"}
    record = json.loads((folder / "conversion.json").read_bytes())
    for name, sha256 in record["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
    assert record["files"].keys() >= {"tokenizer_config.json", "config.json", "model_state.pdparams"}


def test_a_config_that_its_owner_has_edited(torch_folder: Path, tmp_path: Path) -> None:
    """It goes out as it is, and the record with it; a proof of what was before does not."""
    prepared = pphub.convert(torch_folder, out=tmp_path / "tiny")
    record = json.loads((prepared / "conversion.json").read_bytes())
    proof = {"format": 1, "name": str(torch_folder), "stages": {}, "files": {"paddle": dict(record["files"])}}
    (prepared / "alignment.json").write_text(json.dumps(proof))
    before = pphub.publish(prepared, tmp_path / "before") / "models/community/tiny"
    assert json.loads((before / "alignment.json").read_bytes())["name"] == "tiny"
    config = json.loads((prepared / "config.json").read_bytes())
    (prepared / "config.json").write_text(json.dumps({**config, "classifier_dropout": 0.5}))
    after = pphub.publish(prepared, tmp_path / "after") / "models/community/tiny"
    assert json.loads((after / "config.json").read_bytes())["classifier_dropout"] == 0.5
    assert not (after / "alignment.json").exists()
    files = json.loads((after / "conversion.json").read_bytes())["files"]
    assert files["config.json"] == hashlib.sha256((after / "config.json").read_bytes()).hexdigest()
    assert files["model_state.pdparams"] == record["files"]["model_state.pdparams"]


@pytest.mark.parametrize("record", [{}, {"inputs": ["a"], "files": {}}, {"inputs": None, "files": ["b"]}])
def test_a_record_that_is_not_ours(torch_folder: Path, tmp_path: Path, record: dict[str, Any]) -> None:
    """A model from a hub may bring any; it is a file as others are."""
    prepared = pphub.prepare(torch_folder)
    files = {name: content for name, content in contents(prepared).items() if name != "conversion.json"}
    folder = fill(tmp_path / "x", {**files, "conversion.json": json.dumps(record).encode()})
    root = pphub.publish(folder, tmp_path / "out")
    assert json.loads((root / "models/community/x/conversion.json").read_bytes()) == record


def test_several_models_in_one_folder(tmp_path: Path, elsewhere: Callable[[Path], Any]) -> None:
    for number, name in enumerate(("one", "org/one", "org/two")):
        fill(tmp_path / str(number), tiny_bert(seed=number))
        root = pphub.publish(tmp_path / str(number), tmp_path / "out", under=name)
    assert list(registry(root)["published"]) == ["one", "org/one", "org/two"]
    assert registry(root)["shortcuts"] == {
        "one": {"bos": "one"},
        "org/one": {"bos": "org/one"},
        "two": {"bos": "org/two"},
    }
    elsewhere(root)
    found = {name: pphub.prepare(name, source="bos") for name in ("one", "org/one", "org/two")}
    assert len({(folder / "model_state.pdparams").read_bytes() for folder in found.values()}) == 3


def test_again_changes_nothing(torch_folder: Path, tmp_path: Path) -> None:
    root = pphub.publish(torch_folder, tmp_path / "out")
    before = {path: path.stat() for path in root.rglob("*")}
    assert pphub.publish(torch_folder, tmp_path / "out") == root
    after = {path: path.stat() for path in root.rglob("*")}
    assert {path: (each.st_ino, each.st_mtime_ns) for path, each in before.items() if path.is_file()} == {
        path: (each.st_ino, each.st_mtime_ns) for path, each in after.items() if path.is_file()
    }


def test_another_model_takes_the_place_of_the_former(tmp_path: Path) -> None:
    """Whole: nothing of the former stays."""
    files = tiny_bert()
    fill(tmp_path / "a", {**files, "README.md": b"the first"})
    root = pphub.publish(pphub.convert(tmp_path / "a", out=tmp_path / "one"), tmp_path / "out", under="x")
    assert "models/transformers/bert/x.pdparams" in contents(root)
    (tmp_path / "one/README.md").write_text("the first")
    pphub.publish(tmp_path / "one", tmp_path / "out", under="x")
    assert (root / "models/community/x/README.md").read_text() == "the first"
    fill(tmp_path / "b", tiny_bert(seed=1))
    pphub.publish(sharded(pphub.prepare(tmp_path / "b"), tmp_path / "two"), tmp_path / "out", under="x")
    there = contents(root / "models")
    assert "community/x/README.md" not in there
    assert not any(path.startswith("transformers") for path in there)
    assert set(registry(root)["published"]["x"]["files"]) == {f"models/{path}" for path in there}
    assert registry(root)["models"] == {}


def sharded(prepared: Path, folder: Path) -> Path:
    """The same model with its weights in two files."""
    state = pickle.loads((prepared / "model_state.pdparams").read_bytes())
    parts: list[dict[str, Any]] = [{}, {}]
    for number, (name, value) in enumerate(state.items()):
        parts[number % 2][name] = value
    names = [f"model_state-0000{number}-of-00002.pdparams" for number in (1, 2)]
    index = {"weight_map": {name: file for file, part in zip(names, parts, strict=True) for name in part}}
    files = {file: pickle.dumps(part, protocol=4) for file, part in zip(names, parts, strict=True)}
    files |= {"model_state.pdparams.index.json": json.dumps(index).encode()}
    files |= {name: (prepared / name).read_bytes() for name in ("config.json", "vocab.txt")}
    return fill(folder, files)


def test_weights_in_several_files(
    tmp_path: Path, elsewhere: Callable[[Path], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """They are served; PaddleNLP's table of own names has no form for them."""
    fill(tmp_path / "plain", tiny_bert())
    folder = sharded(pphub.prepare(tmp_path / "plain"), tmp_path / "parts")
    before = logits(pphub.AutoModel.from_pretrained(str(folder)))
    root = pphub.publish(folder, tmp_path / "out")
    assert "there is no entry" in capsys.readouterr().err
    elsewhere(root)
    assert np.array_equal(logits(pphub.AutoModel.from_pretrained("bos:parts")), before)


def test_a_name_is_published_as_itself(torch_folder: Path, tmp_path: Path, elsewhere: Callable[[Path], Any]) -> None:
    """From one hub to the next: a name is downloaded, converted and laid out again."""
    shutil.copytree(torch_folder, tmp_path / "hub" / "org" / "tiny")
    elsewhere(tmp_path / "hub")
    root = pphub.publish("hf:org/tiny", tmp_path / "out")
    assert list(registry(root)["published"]) == ["org/tiny"]
    record = json.loads((root / "models/community/org/tiny/conversion.json").read_bytes())
    assert {(each["source"], each["repo"]) for each in record["inputs"]} == {("hf", "org/tiny")}
    elsewhere(root)
    again = pphub.publish("bos:org/tiny", tmp_path / "again", under="tiny")
    one, other = (contents(root / "models/community/org/tiny"), contents(again / "models/community/tiny"))
    for name in ("model_state.pdparams", "config.json", "vocab.txt", "tokenizer_config.json"):
        assert one[name] == other[name]


def test_a_head_without_a_pooler(tmp_path: Path, elsewhere: Callable[[Path], Any]) -> None:
    """What the record tells the loader is true of the published model as well."""
    berts.save_transformers(tmp_path / "mlm", "BertForMaskedLM")
    with pytest.warns(FreshParameters, match=r"bert\.pooler"):
        before = logits(pphub.AutoModelForMaskedLM.from_pretrained(str(tmp_path / "mlm")))
    elsewhere(pphub.publish(tmp_path / "mlm", tmp_path / "out"))
    for source in ("hf", "bos"):
        with pytest.warns(FreshParameters, match=r"bert\.pooler"):
            model = pphub.AutoModelForMaskedLM.from_pretrained(f"{source}:mlm")
        assert np.array_equal(logits(model), before)


def test_two_at_once(tmp_path: Path) -> None:
    """Neither loses what the other wrote into the tables."""
    names = [f"org/m{number}" for number in range(4)]
    for name in names:
        fill(tmp_path / name, tiny_bert(seed=int(name[-1])))
    code = "import sys, pphub; pphub.publish(sys.argv[1], sys.argv[2], sys.argv[3])"
    commands = [[sys.executable, "-c", code, str(tmp_path / name), str(tmp_path / "out"), name] for name in names]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait() for process in processes] == [0] * 4
    assert list(registry(tmp_path / "out")["published"]) == names
    assert (tmp_path / "out/names.toml").read_text().count("bos =") == 4


def test_where_links_cannot_be_made(
    tmp_path: Path, elsewhere: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: the other protocols are served copies, which another model replaces as well."""

    def refuse(*arguments: Any, **more: Any) -> None:
        raise OSError(1, "not allowed")

    for number in (0, 1):
        fill(tmp_path / str(number), {**tiny_bert(seed=number), f"{number}.md": b"card"})
    converted = [pphub.convert(tmp_path / str(number), out=tmp_path / f"paddle-{number}") for number in (0, 1)]
    (converted[0] / "README.md").write_text("only the first has one")
    monkeypatch.setattr(pathlib.Path, "symlink_to", refuse)
    monkeypatch.setattr(pathlib.Path, "hardlink_to", refuse)
    for folder in converted:
        root = pphub.publish(folder, tmp_path / "out", under="org/x")
        assert contents(root / "org/x") == contents(root / "models/community/org/x")
    monkeypatch.undo()
    before = (root / "models/community/org/x/model_state.pdparams").read_bytes()
    elsewhere(root)
    assert (pphub.prepare("hf:org/x") / "model_state.pdparams").read_bytes() == before
    fill(root / "org/x", {"mine.txt": b"mine"})
    with pytest.raises(UsageError, match=r"org/x/mine\.txt"):
        pphub.publish(converted[0], root, under="org/x")


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models/community/tiny/config.json": b"{}"}, "models/community/tiny/config.json"),
        ({"models/community/tiny/README.md": b"mine"}, "models/community/tiny/README.md"),
        ({"models/community/tiny/sub/notes.txt": b"mine"}, "models/community/tiny/sub"),
        ({"models/transformers/bert/tiny-vocab.txt": b"mine"}, "models/transformers/bert/tiny-vocab.txt"),
        ({"names.toml": b"mine = { hf = 'a/b' }\n"}, "names.toml"),
        ({"SHA256SUMS": b""}, "SHA256SUMS"),
        ({"registry.json": b"{}"}, "is not a table that pphub wrote"),
        ({"registry.json": b"\xff"}, "is not a table that pphub wrote"),
        (
            {"registry.json": b'{"format": 1, "published": {"x": {"files": {"../x": {"sha256": ""}}}}}'},
            "is not a table",
        ),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_not_ours_stays(
    torch_folder: Path, tmp_path: Path, change: dict[str, bytes], said: str, first: bool
) -> None:
    """Whether the folder has been published to before, or is somebody else's."""
    root = tmp_path / "out"
    if not first:
        pphub.publish(torch_folder, root)
    for path in change:
        (root / path).unlink(missing_ok=True)  # the second name of a file would change with it
    fill(root, change)
    before = contents(root)
    with pytest.raises(UsageError, match=said):
        pphub.publish(torch_folder, root)
    assert contents(root) == before
    assert not list(root.glob(".*"))


@pytest.mark.parametrize("make", [lambda link: link.write_text("mine"), lambda link: link.symlink_to("/"), os.mkdir])
def test_what_is_at_the_place_of_the_link(torch_folder: Path, tmp_path: Path, make: Callable[[Path], Any]) -> None:
    (tmp_path / "out").mkdir()
    link = tmp_path / "out" / "tiny"
    make(link)
    if link.is_dir() and not link.is_symlink():
        fill(link, {"config.json": b"{}"})
    with pytest.raises(UsageError, match="tiny"):
        pphub.publish(torch_folder, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [link]


def test_other_models_of_a_hub_may_be_beside_it(torch_folder: Path, tmp_path: Path) -> None:
    others = {"org/other/config.json": b"{}", "notes.txt": b"mine", "models/community/x/config.json": b"{}"}
    fill(tmp_path / "out", others)
    root = pphub.publish(torch_folder, tmp_path / "out", under="org/tiny")
    assert {path: contents(root)[path] for path in others} == others


@pytest.mark.parametrize(
    "under", ["", "a/b/c", "a b", "../x", "x@v1", "models", "models/x", "paddle-hapi", "names.toml"]
)
def test_names_that_cannot_be(torch_folder: Path, tmp_path: Path, under: str) -> None:
    with pytest.raises(UsageError, match="--as"):
        pphub.publish(torch_folder, tmp_path / "out", under=under)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a")])
def test_one_name_inside_the_other(tmp_path: Path, first: str, second: str) -> None:
    fill(tmp_path / "plain", tiny_bert())
    root = pphub.publish(tmp_path / "plain", tmp_path / "out", under=first)
    before = contents(root)
    with pytest.raises(UsageError, match="one is inside the other"):
        pphub.publish(tmp_path / "plain", root, under=second)
    assert contents(root) == before


def test_places_that_cannot_be(torch_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    prepared = pphub.convert(torch_folder, out=tmp_path / "paddle")
    for to in (tmp_path / "file", prepared, ""):
        with pytest.raises(UsageError):
            pphub.publish(prepared, to, under="x")
    assert not (prepared / "models").exists()


def test_a_damaged_model_does_not_go_out(torch_folder: Path, tmp_path: Path) -> None:
    prepared = pphub.convert(torch_folder, out=tmp_path / "paddle")
    with (prepared / "model_state.pdparams").open("r+b") as stream:
        stream.seek(-100, os.SEEK_END)
        stream.write(b"\x00")
    with pytest.raises(PphubError) as caught:
        pphub.publish(prepared, tmp_path / "out")
    assert isinstance(caught.value, Corrupt)
    assert not (tmp_path / "out").exists()


def test_a_pickle_that_would_run_code_does_not_go_out(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    folder = fill(
        tmp_path / "evil",
        {"config.json": b'{"architectures": ["BertModel"]}', "model_state.pdparams": pickle.dumps({"a": Payload()})},
    )
    with pytest.raises(UnsafeCheckpoint):
        pphub.publish(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "ran").exists()


def test_a_config_that_names_no_class(torch_folder: Path, tmp_path: Path) -> None:
    """PaddleNLP would fail with an AttributeError at whoever loads it."""
    prepared = pphub.convert(torch_folder, out=tmp_path / "paddle")
    config = json.loads((prepared / "config.json").read_bytes())
    fill(tmp_path / "bare", {name: each for name, each in contents(prepared).items() if name != "conversion.json"})
    (tmp_path / "bare/config.json").write_text(json.dumps({**config, "architectures": None}))
    with pytest.raises(ConversionFailed, match="names no class"):
        pphub.publish(tmp_path / "bare", tmp_path / "out")


@pytest.mark.parametrize("moment", [".*", "models/community/x", "registry.json"])
def test_a_kill_leaves_nothing_half_written(tmp_path: Path, moment: str) -> None:
    """What is at the model's place is either not there or whole; the next run is as if nothing had been."""
    root = tmp_path / "out"
    pphub.prepare(MINILM)
    code = f"import pphub; pphub.publish({str(MINILM)!r}, {str(root)!r}, under='x')"
    process = subprocess.Popen([sys.executable, "-c", code])
    while not list(root.glob(moment)) and process.poll() is None:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = root / "models/community/x"
    there = contents(folder) if folder.exists() else None
    pphub.publish(MINILM, root, under="x")
    assert there in (None, contents(folder))
    assert not list(root.glob(".*"))


# ------------------------------------------------------------------------------------------ the command


def test_the_command(torch_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "out"
    assert main(["publish", str(torch_folder), "--to", str(root), "-q"]) == 0
    assert capsys.readouterr() == (f"{root}\n", "")
    assert main(["publish", str(torch_folder), "--to", str(root), "--as", "our/tiny", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["path"] == str(root)
    assert document["name"] == "our/tiny"
    assert document["folder"] == "models/community/our/tiny"
    assert document["entry"]["model"] == "BertForSequenceClassification"
    assert (root / "our/tiny/config.json").is_file()
    (root / "models/community/tiny/config.json").write_text("{}")
    assert main(["publish", str(torch_folder), "--to", str(root)]) == 2
    assert "did not publish there" in capsys.readouterr().err
    assert main(["publish", str(tmp_path / "none"), "--to", str(root)]) == 1


def test_what_the_document_tells_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its first line to its last, with a port that is free and a cache that is new on each side."""
    (tmp_path / ".cache").symlink_to(ROOT / ".cache")
    text = (ROOT / "docs" / "publish.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    script = ["set -e", f"PATH='{pathlib.Path(sys.executable).parent}':$PATH"]
    script += [f"python -W ignore - <<'EOF'\n{code}EOF" if kind == "python" else code for kind, code in blocks]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        lines = "\n".join(script).replace("8808", str(free.getsockname()[1]))
    assert "--port" in lines
    lines = lines.replace("export PPNLP_ENDPOINT", "sleep 2; export PPNLP_ENDPOINT")  # as long as a reader takes
    for name in ("PPNLP_ENDPOINT", "HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    result = subprocess.run(["bash", "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    shown = re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for line in "".join(shown).splitlines():
        assert line.strip() in result.stdout, line
