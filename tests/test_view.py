"""``models/NAME`` in PPNLP_HOME: PaddleNLP, as it is, loads by name what was prepared, and asks nobody."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import berts
import pphub
from conftest import ROOT
from hubs import fill, safetensors
from pphub.loading import import_paddlenlp
from pphub.view import show_by_name, tokenizer_class
from pphub_cache.care.verifying import check, plan_check
from pphub_cache.layout import Layout
from pphub_cache.lock import entry_lock

BUILT_IN = "uer/chinese-roberta-tiny"  # the smallest BERT that PaddleNLP knows
TINY = {"config.json": b'{"v": 1}', "model_state.pdparams": b"weights 1", "vocab.txt": b"[PAD]\n"}
OTHER = {"config.json": b'{"v": 2}', "model_state.pdparams": b"weights 2", "spiece.model": b"pieces"}

# No socket at all: what PaddleNLP does after a refusal would hide that it wanted to ask.
NO_SOCKETS = """
import os, sys
def forbid(event, _arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        os.write(2, b"SOMEBODY WAS ASKED"); os._exit(99)
sys.addaudithook(forbid)
"""


def torch_model(folder: Path, tokenizer: dict[str, object] | None, **more: Any) -> Path:
    """A BERT for pretraining as transformers leaves it."""
    settings = berts.config(**more)
    berts.write_config(folder, settings)
    tensors = {berts.modern(name): value for name, value in berts.state(settings).items()}
    fill(folder, {"model.safetensors": safetensors(tensors)})
    if tokenizer is None:
        (folder / "tokenizer_config.json").unlink()
    else:
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def show(home: Path, name: str, folder: Path, commit: str = "c0ffee", notes: list[str] | None = None) -> Path | None:
    heard: list[str] = [] if notes is None else notes
    shown = show_by_name(home, name, folder, source="hf", repo=f"hub/{name}", commit=commit, note=heard.append)
    assert notes is not None or not heard
    return shown


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def below(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file and folder with what changes when anything is written."""
    return {path: (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in [folder, *folder.rglob("*")]}


# ------------------------------------------------------------------------------------------ PaddleNLP itself

LOAD = """
import json, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import numpy as np
import paddle
import paddlenlp.transformers as library
from paddlenlp.utils.log import logger
logger.disable()

HEADS = ["AutoModel", "AutoModelForMaskedLM", "AutoModelForPretraining", "BertModel", "BertForPretraining"]
TEXT = "Welcome to use paddle paddle and paddlenlp!"
sources = json.loads(sys.argv[1])
here = {}
for name in sources:
    for kind in ("AutoTokenizer", "BertTokenizer", "AutoTokenizer"):  # again, after it has written its files
        tokenizer = getattr(library, kind).from_pretrained(name)
        here[name, kind] = (type(tokenizer).__name__, dict(tokenizer(TEXT)), len(tokenizer), tokenizer.get_vocab())
    here[name, "config"] = library.AutoConfig.from_pretrained(name).to_dict()
    for kind in HEADS + ["AutoModelForSequenceClassification"]:
        model = getattr(library, kind).from_pretrained(name)
        model.eval()
        here[name, kind] = model

import pphub
def outputs(model):
    with paddle.no_grad():
        answer = model(paddle.to_tensor([[2, 5, 6, 7, 8, 3]]))
    return [value.numpy() for value in (answer if isinstance(answer, tuple) else (answer,))]

for name, source in sources.items():
    tokenizer = pphub.AutoTokenizer.from_pretrained(source)
    facts = (type(tokenizer).__name__, dict(tokenizer(TEXT)), len(tokenizer), tokenizer.get_vocab())
    assert here[name, "AutoTokenizer"] == here[name, "BertTokenizer"] == facts, (name, facts)
    config = pphub.AutoConfig.from_pretrained(source).to_dict()
    wanted = set(json.loads((Path(source) / "config.json").read_bytes())) & set(config) - {"architectures", "id2label"}
    assert len(wanted) > 8
    for key in wanted:
        assert here[name, "config"][key] == config[key], (name, key)
    for kind in HEADS:
        ours = getattr(pphub, kind.replace("BertModel", "AutoModel").replace("BertFor", "AutoModelFor"))
        left, right = outputs(here[name, kind]), outputs(ours.from_pretrained(source))
        assert len(left) == len(right), (name, kind)
        assert all(np.array_equal(one, other) for one, other in zip(left, right)), (name, kind)
    classifier = here[name, "AutoModelForSequenceClassification"]
    for one, other in zip(outputs(classifier.bert), outputs(here[name, "AutoModel"])):
        assert np.array_equal(one, other), name

known = json.loads(Path(sys.argv[2]).read_bytes())["names"]
for name, url in library.BertTokenizer.pretrained_resource_files_map["vocab_file"].items():
    assert known[name]["files"].get("vocab.txt", "vocab.txt") == url.split("/")[-1]
    assert known[name]["config"]["hidden_size"] == library.BertConfig.from_pretrained(name).hidden_size
print("all as they should be")
"""


def test_paddlenlp_loads_by_name_what_pphub_loads(home: Path, tmp_path: Path) -> None:
    real_size = {"hidden": 128, "vocab": 21128, "num_attention_heads": 2, "max_position_embeddings": 512}
    sources = {
        BUILT_IN: torch_model(
            tmp_path / "built-in", {"tokenizer_class": "BertTokenizer"}, **real_size, hidden_dropout_prob=0.1
        ),
        "org/tiny": torch_model(tmp_path / "a", {"tokenizer_class": "BertTokenizerFast", "do_lower_case": True}),
        "tiny-plain": torch_model(tmp_path / "b", None),
        "组织/模型": torch_model(tmp_path / "c", {"tokenizer_class": "TokenizersBackend", "model_max_length": 32}),
    }
    folders = {name: pphub.prepare(source) for name, source in sources.items()}
    for name, folder in folders.items():
        shown = show(home, name, folder)
        assert shown == home / "models" / name
    kept = {
        folder: {file: hashlib.sha256(data).digest() for file, data in tree(folder).items()}
        for folder in folders.values()
    }
    listed = json.dumps({name: str(source) for name, source in sources.items()})
    command = [sys.executable, "-c", NO_SOCKETS + LOAD, listed, str(ROOT / "hub/pphub/data/by_name.json")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.endswith("all as they should be\n")
    for folder, hashes in kept.items():  # PaddleNLP has written to models/, and only there
        assert {file: hashlib.sha256(data).digest() for file, data in tree(folder).items()} == hashes
    assert check(plan_check([Layout(home)], None), lambda _count: None) == []  # what it writes is no damage
    before = below(home)
    for name, folder in folders.items():
        assert show(home, name, folder) == home / "models" / name
    assert below(home) == before


@pytest.mark.parametrize(
    ("config", "tokenizer", "kind"),
    [
        ({}, {"init_class": "ErnieTokenizer", "tokenizer_class": "BertTokenizer"}, "ErnieTokenizer"),
        ({}, {"tokenizer_class": "BertTokenizerFast"}, "BertTokenizer"),
        ({"architectures": ["BertForPreTraining"]}, {"tokenizer_class": "PreTrainedTokenizerFast"}, "BertTokenizer"),
        ({"architectures": ["BertForPretraining"]}, None, "BertTokenizer"),  # as Paddle writes it
        ({"model_type": "bert"}, {"do_lower_case": True}, "BertTokenizer"),
        ({"architectures": ["OfNobody"]}, None, None),
        (None, None, None),
    ],
)
def test_the_class_of_the_tokenizer(
    tmp_path: Path, config: dict[str, Any] | None, tokenizer: dict[str, Any] | None, kind: str | None
) -> None:
    files = {"config.json": config, "tokenizer_config.json": tokenizer}
    fill(tmp_path, {name: json.dumps(value).encode() for name, value in files.items() if value is not None})
    assert tokenizer_class(tmp_path) == kind


# ------------------------------------------------------------------------------------------ what is shown


def test_only_what_was_checked_is_shown(home: Path, tmp_path: Path) -> None:
    more = {
        "model.safetensors": b"not checked",
        "model.safetensors.index.json": b"{}",
        "pytorch_model.bin": b"not checked",
        "snapshot.json": b"{}",
        "conversion.json": b"{}",
        "onnx/model.onnx": b"below",
        ".hidden": b"",
        "LICENSE": b"free",
    }
    shown = show(home, "org/model", fill(tmp_path / "folder", TINY | more))
    assert shown is not None
    seen = tree(shown)
    record = json.loads(seen.pop(".pphub.json"))
    empty = dict.fromkeys(("added_tokens.json", "chat_template.json", "special_tokens_map.json"), b"{}\n")
    assert seen == TINY | {"LICENSE": b"free", "tokenizer_config.json": b"{}\n"} | empty
    origin = {"format": 2, "name": "org/model", "source": "hf", "repo": "hub/org/model", "commit": "c0ffee"}
    assert record.items() >= {**origin, "folder": str(tmp_path / "folder")}.items()
    assert (shown / "model_state.pdparams").resolve() == tmp_path / "folder" / "model_state.pdparams"
    assert (shown / "vocab.txt").resolve().is_relative_to(shown)  # PaddleNLP's tokenizers write to it


def test_a_built_in_name_has_the_vocabulary_under_the_name_of_its_url(home: Path, tmp_path: Path) -> None:
    shown = show(home, "ernie-3.0-medium-zh", fill(tmp_path / "folder", TINY))
    assert shown is not None
    assert tree(shown).keys() == {*TINY, "ernie_3.0_medium_zh_vocab.txt", ".pphub.json"}
    # PaddleNLP copies the one onto the other, which a single file under two names would not survive.
    assert not (shown / "ernie_3.0_medium_zh_vocab.txt").samefile(shown / "vocab.txt")


SPECIAL = ("pad", "unk", "cls", "sep", "mask")


def test_an_albert_with_a_vocabulary_has_a_tokenizer_in_paddlenlp(home: Path, tmp_path: Path) -> None:
    """Its class is two, and is not told by PaddleNLP which of them it is."""
    files = {
        "config.json": json.dumps({"architectures": ["AlbertModel"], "model_type": "albert"}).encode(),
        "vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n天\n".encode(),
        "tokenizer_config.json": json.dumps({f"{word}_token": f"[{word.upper()}]" for word in SPECIAL}).encode(),
    }
    folder = fill(tmp_path / "folder", TINY | files)
    shown = show(home, "org/albert", folder)
    assert shown is not None
    library = import_paddlenlp()
    for kind in (library.AutoTokenizer, library.AlbertTokenizer):
        assert kind.from_pretrained(str(shown))("天天")["input_ids"] == [2, 5, 5, 3]


def test_a_legacy_config_is_there_under_both_names(home: Path, tmp_path: Path) -> None:
    files = {"model_config.json": b'{"init_class": "BertModel"}', "model_state.pdparams": b"weights"}
    shown = show(home, "old", fill(tmp_path / "folder", files))
    assert shown is not None
    assert tree(shown)["config.json"] == tree(shown)["model_config.json"] == files["model_config.json"]


def test_a_model_that_paddlenlp_would_load_with_another_config_is_not_shown(home: Path, tmp_path: Path) -> None:
    config = {**berts.config(hidden=768, layers=12, vocab=30522, num_attention_heads=12), "hidden_dropout_prob": 0.1}
    config |= {"max_position_embeddings": 512, "layer_norm_eps": 1e-5}
    folder = fill(tmp_path / "folder", TINY | {"config.json": json.dumps(config).encode()})
    notes: list[str] = []
    assert show(home, "bert-base-uncased", folder, notes=notes) is None
    (note,) = notes
    assert note.startswith("PaddleNLP will not load bert-base-uncased by name: it has a config of its own")
    assert "layer_norm_eps 1e-12, not 1e-05" in note
    assert str(folder) in note
    assert not (home / "models").exists()
    (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-12}), encoding="utf-8")
    assert show(home, "bert-base-uncased", folder) is not None


def test_a_folder_without_paddle_weights_is_not_shown(home: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    files = {"config.json": b"{}", "ernie.pdparams": b"not looked for"}
    assert show(home, "org/odd", fill(tmp_path / "folder", files), notes=notes) is None
    assert "has no model_state.pdparams" in notes[0]


@pytest.mark.parametrize("what", ["files", "file", "link"])
def test_what_paddlenlp_has_downloaded_is_never_touched(home: Path, tmp_path: Path, what: str) -> None:
    theirs = home / "models" / "org" / "name"
    if what == "files":
        fill(theirs, {"model_state.pdparams": b"theirs"})
    elif what == "file":
        fill(theirs.parent, {"name": b"theirs"})
    else:
        fill(tmp_path / "elsewhere", {"config.json": b"theirs"})
        theirs.parent.mkdir(parents=True)
        theirs.symlink_to(tmp_path / "elsewhere")
    before = below(home / "models")
    notes: list[str] = []
    assert show(home, "org/name", fill(tmp_path / "folder", TINY), notes=notes) is None
    assert below(home / "models") == before
    (note,) = notes
    assert f"{theirs} holds what PaddleNLP has downloaded itself; remove it" in note
    assert "\n" not in note


def test_what_a_failed_download_left_and_models_below_are_no_obstacle(home: Path, tmp_path: Path) -> None:
    (home / "models" / "org").mkdir(parents=True)  # PaddleNLP makes it before it asks
    folder = fill(tmp_path / "folder", TINY)
    below_org = show(home, "org/name", folder)
    org = show(home, "org", folder)
    assert org is not None
    assert below_org is not None
    assert tree(org)["config.json"] == tree(below_org)["config.json"] == TINY["config.json"]


# ------------------------------------------------------------------------------------------ again, and another


def test_nothing_is_written_when_all_is_right(home: Path, tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", TINY)
    shown = show(home, "org/name", folder)
    assert shown is not None
    (shown / "tokenizer_config.json").write_text('{"written by": "PaddleNLP"}', encoding="utf-8")
    before = below(home)
    assert show(home, "org/name", folder) == shown
    assert below(home) == before
    fill(folder, {"added_tokens.json": b'{"more": 1}'})  # a snapshot may be completed
    show(home, "org/name", folder)
    assert tree(shown)["added_tokens.json"] == b'{"more": 1}'


def test_what_is_damaged_is_mended(home: Path, tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", TINY)
    shown = show(home, "org/name", folder)
    assert shown is not None
    whole = tree(shown)
    (shown / "vocab.txt").unlink()
    show(home, "org/name", folder)
    assert tree(shown) == whole
    # While the conversion was gone, PaddleNLP downloaded weights to where the link had been.
    (shown / "model_state.pdparams").unlink()
    (shown / "model_state.pdparams").write_bytes(b"others")
    show(home, "org/name", folder)
    assert tree(shown) == whole
    assert (folder / "model_state.pdparams").read_bytes() == b"weights 1"
    shutil.rmtree(shown / ".pphub")
    assert tree(shown) == {}  # links that lead nowhere are no files to PaddleNLP
    show(home, "org/name", folder)
    assert tree(shown) == whole


def test_another_size_is_mended_at_once(home: Path, tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", TINY | {"merges.txt": b"", "LICENSE": b""})
    shown = show(home, "org/name", folder)
    assert shown is not None
    whole = tree(shown)
    before = below(home)
    assert show(home, "org/name", folder) == shown  # what is empty in the model may be so
    assert below(home) == before
    for name, content in (("vocab.txt", b"broken\n"), ("added_tokens.json", b""), ("merges.txt", b"a b")):
        (shown / name).write_bytes(content)
        show(home, "org/name", folder)
        assert tree(shown) == whole


def test_who_waits_is_told_for_whom(home: Path, tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", TINY)
    notes: list[str] = []
    with entry_lock(Layout(home).lock("view", "org/name")):
        waiting = threading.Thread(target=lambda: show(home, "org/name", folder, notes=notes))
        waiting.start()
        deadline = time.monotonic() + 10
        while not notes and time.monotonic() < deadline:
            time.sleep(0.01)
    waiting.join()
    assert len(notes) == 1
    assert notes[0].startswith(f"waiting to show org/name to PaddleNLP: process {os.getpid()} on ")
    assert (home / "models/org/name/config.json").exists()


def test_another_model_replaces_the_first_whole_for_those_who_read(home: Path, tmp_path: Path) -> None:
    folders = [fill(tmp_path / "1", TINY), fill(tmp_path / "2", OTHER)]
    shown = show(home, "org/name", folders[0])
    assert shown is not None
    states, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            for name in ("config.json", "model_state.pdparams"):
                try:
                    states.add((shown / name).read_bytes())
                except OSError as error:
                    states.add(repr(error).encode())

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(60):
        assert show(home, "org/name", folders[turn % 2], commit=f"c{turn}") == shown
    done.set()
    for reader in readers:
        reader.join()
    assert states == {b'{"v": 1}', b"weights 1", b'{"v": 2}', b"weights 2"}
    assert not (shown / "vocab.txt").is_symlink()  # of the first model; the links to it are gone as well
    assert tree(shown).items() >= OTHER.items()
    assert json.loads(tree(shown)[".pphub.json"])["commit"] == "c59"
    assert len(list((shown / ".pphub").iterdir())) == 2  # this view and the link


KILLED = """
import os, sys
from pathlib import Path
from pphub.loading import import_paddlenlp
from pphub.view import show_by_name

root, links, stride = Path(sys.argv[1]), sys.argv[2] == "links", int(sys.argv[3])
heard, armed, left = [], False, 0

def refuse(*_):
    raise OSError("this disk has no links")

if not links:
    Path.symlink_to = refuse

def die(event, _arguments):
    global left
    if armed and event.startswith(("os.", "open", "shutil.")):
        left -= 1
        if left < 0:
            os._exit(9)

sys.addaudithook(die)

def show(home, folder):
    return show_by_name(home, "org/name", folder, source="hf", repo="a/b", commit="c", note=heard.append)

def seen(shown):
    names = {path.name: path.read_bytes() for path in shown.glob("*") if path.is_file()}
    return {name: content for name, content in names.items() if name != ".pphub.json"}

folders = [root / "1", root / "2"]
views = [seen(show(root / "whole", folder)) for folder in folders]
kills = 0
for begin in ([], folders[:1]):
    for step in range(0, 1000, stride):
        home = root / f"{len(begin)}-{step}"
        for folder in begin:
            show(home, folder)
        if (child := os.fork()) == 0:
            left, armed = step, True
            show(home, folders[1])
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        shown = home / "models" / "org" / "name"
        found = seen(shown)
        if links:
            assert found in ([views[0], views[1]] if begin else [{}, views[1]]), (begin, step, found)
        else:  # a part of one, never of both; with the config, the whole
            assert any(found.items() <= view.items() for view in views), (begin, step, found)
            assert "config.json" not in found or found in views, (begin, step, found)
        assert show(home, folders[1]) == shown, heard
        assert seen(shown) == views[1], (begin, step)
        if code == 0:
            break
        kills += 1
print(kills * stride)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills itself at every step")
@pytest.mark.parametrize(("disk", "stride"), [("links", 1), ("files", 3)])
def test_a_kill_at_any_step_leaves_a_model_whole_or_none(tmp_path: Path, disk: str, stride: int) -> None:
    fill(tmp_path / "1", TINY)
    fill(tmp_path / "2", OTHER)
    command = [sys.executable, "-c", KILLED, str(tmp_path), disk, str(stride)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout) > 100


# ------------------------------------------------------------------------------------------ unfriendly disks


def test_a_disk_that_refuses_is_told_in_one_line(home: Path, tmp_path: Path) -> None:
    fill(home, {"models": b"a file"})
    notes: list[str] = []
    assert show(home, "org/name", fill(tmp_path / "folder", TINY), notes=notes) is None
    (note,) = notes
    assert note.startswith("PaddleNLP will not load org/name by name: could not link files in")
    assert "\n" not in note


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_full_disk_leaves_the_former_view(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = show(home, "org/name", fill(tmp_path / "1", TINY))
    assert shown is not None
    before = tree(shown)
    original = Path.open

    def full(self: Path, mode: str = "r", *more: Any, **others: Any) -> Any:
        return original(Path("/dev/full") if "w" in mode else self, mode, *more, **others)

    other = fill(tmp_path / "2", OTHER)
    notes: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        assert show(home, "org/name", other, notes=notes) is None
    assert "No space left on device" in notes[0]
    assert tree(shown) == before
    assert len(list((shown / ".pphub").iterdir())) == 2


def refuse(*_: object) -> None:
    raise OSError("this disk has no links")


@pytest.fixture(params=["hard links", "copies"])
def no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A disk that has no symbolic links, as Windows has for most users, or no links at all."""
    monkeypatch.setattr(Path, "symlink_to", refuse)
    if request.param == "copies":
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    return str(request.param)


def test_without_links_there_are_files(home: Path, tmp_path: Path, no_links: str) -> None:
    shown = show(home, "org/name", fill(tmp_path / "1", TINY))
    assert shown is not None
    assert tree(shown).items() >= TINY.items()
    assert (shown / "model_state.pdparams").samefile(tmp_path / "1" / "model_state.pdparams") == (no_links != "copies")
    before = below(home)
    show(home, "org/name", tmp_path / "1")
    assert below(home) == before
    show(home, "org/name", fill(tmp_path / "2", OTHER))
    assert tree(shown).items() >= OTHER.items()
    assert "vocab.txt" not in tree(shown)
    assert not (shown / ".pphub").exists()


def test_from_a_disk_without_links_to_one_with_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "symlink_to", refuse)
        shown = show(home, "org/name", fill(tmp_path / "1", TINY))
    assert shown is not None
    show(home, "org/name", fill(tmp_path / "2", OTHER))
    assert (shown / "config.json").is_symlink()
    assert "vocab.txt" not in tree(shown)
    assert tree(shown).items() >= OTHER.items()
