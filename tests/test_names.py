"""What a text means, as a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pphub.errors import InvalidName, ModelNotFound
from pphub.names import ModelRef, parse


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with some entries to meet."""
    here = tmp_path / "here"
    for folder in ("gpt2", "模型 缓存/bert", "org/name", "with@at", "C"):
        (here / folder).mkdir(parents=True)
    (here / "pytorch_model.bin").write_bytes(b"")
    (here / "权重.bin").write_bytes(b"")
    (tmp_path / "user" / "models").mkdir()
    monkeypatch.chdir(here)


NAMES = [
    # text, scheme, name, revision
    ("bert-base-uncased", None, "bert-base-uncased", None),
    ("ernie-1.0", None, "ernie-1.0", None),
    ("nghuyong/ernie-1.0", None, "nghuyong/ernie-1.0", None),
    ("microsoft/DialoGPT-small", None, "microsoft/DialoGPT-small", None),
    ("org/other", None, "org/other", None),
    ("bert@main", None, "bert", "main"),
    ("gpt2@main", None, "gpt2", "main"),  # the entry that exists is gpt2, not gpt2@main
    ("org/name@v1.0", None, "org/name", "v1.0"),
    ("org/name@refs/pr/1", None, "org/name", "refs/pr/1"),
    ("a/b@0123456789abcdef0123456789abcdef01234567", None, "a/b", "0123456789abcdef0123456789abcdef01234567"),
    ("hf:gpt2", "hf", "gpt2", None),  # a scheme wins over an entry that exists
    ("HF:org/name", "hf", "org/name", None),
    ("ms:ZhipuAI/GLM130B@master", "ms", "ZhipuAI/GLM130B", "master"),
    ("bos:ernie-3.0-medium-zh", "bos", "ernie-3.0-medium-zh", None),
    ("my-hub:org/name", "my-hub", "org/name", None),
    ("哈工大/中文模型", None, "哈工大/中文模型", None),
    ("ms:中文模型@版本", "ms", "中文模型", "版本"),
]


@pytest.mark.parametrize(("text", "scheme", "name", "revision"), NAMES)
def test_hub_names(text: str, scheme: str | None, name: str, revision: str | None) -> None:
    ref = parse(text)
    assert ref == ModelRef("name", name, scheme, revision)
    assert parse(str(ref)) == ref
    with pytest.raises(ValueError, match="not a path"):
        _ = ref.path


PATHS = [
    # text, kind, where relative to the working directory
    ("gpt2", "folder", "gpt2"),
    ("gpt2/", "folder", "gpt2"),
    ("./gpt2", "folder", "gpt2"),
    (".", "folder", ""),
    ("..", "folder", ".."),
    ("../here/gpt2", "folder", "gpt2"),
    ("org/name", "folder", "org/name"),
    ("模型 缓存/bert", "folder", "模型 缓存/bert"),
    ("./模型 缓存", "folder", "模型 缓存"),
    ("with@at", "folder", "with@at"),
    ("file:gpt2", "folder", "gpt2"),
    ("pytorch_model.bin", "file", "pytorch_model.bin"),
    ("./权重.bin", "file", "权重.bin"),
    ("file:权重.bin", "file", "权重.bin"),
]


@pytest.mark.parametrize(("text", "kind", "where"), PATHS)
def test_paths(text: str, kind: str, where: str) -> None:
    ref = parse(text)
    assert (ref.kind, ref.scheme, ref.revision) == (kind, "file", None)
    assert ref.path.is_absolute()
    assert ref.path.resolve() == (Path.cwd() / where).resolve()
    assert parse(str(ref)) == ref


def test_absolute_paths_home_and_file_urls() -> None:
    here = Path.cwd()
    for text in (str(here), f"file:{here}", f"file://{here}", f"{here}/"):
        assert parse(text).path == here
    assert parse("~").path == Path.home()
    assert parse("~/models").path == Path.home() / "models"


@pytest.mark.parametrize(
    "text",
    [
        "./nowhere",
        "/nowhere/at/all",
        "~/nowhere",
        "../nowhere",
        "nowhere/",
        r"C:\models\bert",
        "C:/models/bert",
        r".\models",
        r"models\bert",
        "file:nowhere",
        r"\\server\share\bert",
    ],
)
def test_what_can_only_be_a_path_and_is_not_there(text: str) -> None:
    with pytest.raises(ModelNotFound, match="there is no folder or file") as caught:
        parse(text)
    assert caught.value.exit_code == 1


INVALID = [
    ("", "empty"),
    (" bert", "blanks"),
    ("bert\n", "blanks"),
    ("be\0rt", "control"),
    ("a/b/c", "neither"),
    ("my model", "neither"),
    ("nobody//name", "neither"),
    ("nobody/.hidden", "neither"),
    ("-rf", "neither"),
    ("a..b", "neither"),
    ("nobody/..", "neither"),
    ("hf:", "neither"),
    ("hf:../secrets", "neither"),
    ("hf:/etc/passwd", "neither"),
    ("hf:a/b/c", "neither"),
    ("bert@", "no revision"),
    ("@main", "neither"),
    ("bert@../x", "not a revision"),
    ("bert@a..b", "not a revision"),
    ("bert@-f", "not a revision"),
    ("bert@a b", "not a revision"),
    ("a/0123456789abcdef0123456789abcdef01234567", "neither"),
    ("https://huggingface.co/org/name", "URL"),
    ("file:", "names no path"),
    ("bert?x=1", "neither"),
    ("bert*", "neither"),
]


@pytest.mark.parametrize(("text", "why"), INVALID)
def test_invalid_names(text: str, why: str) -> None:
    with pytest.raises(InvalidName, match=why) as caught:
        parse(text)
    assert caught.value.exit_code == 2


def test_options_given_apart() -> None:
    assert parse("org/x", source="ms", revision="v1") == ModelRef("name", "org/x", "ms", "v1")
    assert parse("hf:org/x@v1", source="hf", revision="v1") == ModelRef("name", "org/x", "hf", "v1")
    assert parse("gpt2", source="hf") == ModelRef("name", "gpt2", "hf", None)
    assert parse("gpt2", source="file").kind == "folder"
    with pytest.raises(InvalidName, match="names the source 'hf', but --source says 'ms'"):
        parse("hf:org/x", source="ms")
    with pytest.raises(InvalidName, match="names the revision 'v1', but --revision says 'v2'"):
        parse("org/x@v1", revision="v2")
    with pytest.raises(InvalidName, match="a path has no revisions"):
        parse("./gpt2", revision="main")


def test_a_reference_is_frozen_and_hashable() -> None:
    ref = parse("org/x@v1")
    assert {ref: 1}[parse("org/x@v1")] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        ref.name = "other"  # type: ignore[misc]


def test_a_windows_drive_is_no_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    # On this system it is an odd file name; where it exists, it is found.
    Path("C:\\models").mkdir()
    assert parse("C:\\models").kind == "folder"


def test_a_name_too_long_for_the_disk_is_still_parsed() -> None:
    assert parse("x" * 5000).name == "x" * 5000
