"""Short names: the shipped table, the user's own, and what each source is asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pphub.errors import UsageError
from pphub.names import parse
from pphub.resolve import places
from pphub.shortcuts import candidates, load_shortcuts, names_file

if TYPE_CHECKING:
    from pathlib import Path


def own(text: str) -> Path:
    path = names_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_what_each_hub_calls_a_model() -> None:
    assert candidates("bert-base-uncased", "hf") == ("google-bert/bert-base-uncased", "bert-base-uncased")
    assert candidates("bert-base-uncased", "ms")[0] == "AI-ModelScope/bert-base-uncased"
    assert candidates("bert-base-uncased", "bos") == ("bert-base-uncased",)
    assert candidates("org/name", "hf") == ("org/name",)
    assert candidates("nobody-knows-this", "ms") == ("nobody-knows-this",)


def test_the_shipped_table_is_well_formed() -> None:
    table = load_shortcuts()
    assert list(table) == sorted(table, key=str.lower)
    for name, repos in table.items():
        assert "/" not in name
        assert parse(name).kind == "name"
        assert repos.keys() <= {"hf", "ms", "bos"}
        for source, repo in repos.items():
            assert parse(repo, source=source).name == repo
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", repo)


@pytest.mark.parametrize(
    "name", ["ernie-1.0", "ernie-tiny", "ernie-3.0-medium-zh", "bert-base-chinese", "bert-wwm-chinese", "gpt2"]
)
def test_names_of_the_users_documents_have_a_place(name: str) -> None:
    assert any(repo == name for source, repo in places(parse(f"bos:{name}")))


def test_own_names_win_and_mean_what_they_say() -> None:
    own('our-bert = { hf = "our-org/bert-v7" }\ngpt2 = { ms = "our-org/gpt" }\n')
    assert candidates("our-bert", "hf") == ("our-org/bert-v7",)
    assert candidates("our-bert", "ms") == ()
    assert candidates("gpt2", "ms") == ("our-org/gpt",)
    assert candidates("gpt2", "hf") == ()
    assert list(places(parse("hf:our-bert"))) == [("hf", "our-org/bert-v7")]


def test_own_names_are_read_again_when_they_change() -> None:
    own('ours = { hf = "a/b" }\n')
    assert candidates("ours", "hf") == ("a/b",)
    own('ours = { hf = "a/longer" }\n')
    assert candidates("ours", "hf") == ("a/longer",)
    names_file().unlink()
    assert candidates("ours", "hf") == ("ours",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ours = ", "cannot be read"),
        ('ours = "a/b"', "no table of source = repository"),
        ("ours = {}", "no table of source = repository"),
        ("ours = { hf = 7 }", "no table of source = repository"),
        ('ours = { hf = "../../etc" }', "is no repository"),
        ('ours = { hf = "a/b/c" }', "is no repository"),
    ],
)
def test_own_names_that_make_no_sense(text: str, why: str) -> None:
    path = own(text)
    with pytest.raises(UsageError, match=why) as caught:
        candidates("ours", "hf")
    assert str(path) in caught.value.message
