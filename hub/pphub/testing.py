"""The contract of a source as tests, for the makers of plugins; needs pytest.

Inherit from :class:`SourceContract` in a test class and provide the fixtures ``source`` and ``example``::

    from pphub.testing import Example, SourceContract

    class TestMyHub(SourceContract):
        @pytest.fixture
        def source(self):
            return MyHubSource()

        @pytest.fixture
        def example(self, my_local_server):
            return Example(repo="org/model", files={"config.json": b"{}"}, missing_repo="org/none")

pphub's own sources inherit the same class. docs/write-a-source.md walks through an example.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pphub.errors import AccessDenied, ModelNotFound, NotFound, RevisionNotFound, SourceUnavailable
from pphub.fetching import fetch_snapshot
from pphub.select import Selection
from pphub.source import Listing, Source
from pphub_cache.paths import check_paths
from pphub_cache.progress import SilentProgress
from pphub_cache.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Example", "SourceContract"]

_CLIENTS = ("huggingface_hub", "modelscope", "modelscope_hub", "paddle", "paddlenlp", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Example:
    """What the source under test can be asked.

    Attributes:
        repo: a repository that exists.
        files: every file of its default revision, with the content.
        missing_repo: one that does not exist.
        missing_revision: a revision that ``repo`` does not have; None for a source without revisions.
        dead_endpoint: environment variables with which the source points to a closed port; None for a source
            that needs no network.
    """

    repo: str
    files: Mapping[str, bytes]
    missing_repo: str
    missing_revision: str | None = None
    dead_endpoint: Mapping[str, str] | None = None


class SourceContract:
    """What every source must do; the tests are inherited."""

    @pytest.fixture
    def source(self) -> Source:
        """The source under test; override it."""
        raise NotImplementedError

    @pytest.fixture
    def example(self) -> Example:
        """What it can be asked; override it."""
        raise NotImplementedError

    def test_it_has_the_shape_of_a_source(self, source: Source) -> None:
        """The name is a scheme, and the class can be made without arguments."""
        assert isinstance(source, Source)
        assert source.name.islower()
        assert len(source.name) >= 2
        assert type(source)().name == source.name

    def test_its_endpoint_opens_no_connection(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        """``hub sources`` calls it for every plugin."""

        def forbidden(*_args: object) -> None:
            pytest.fail("endpoint() opened a connection")

        monkeypatch.setattr(socket.socket, "connect", forbidden)
        assert source.endpoint()

    def test_importing_it_imports_no_client(self, source: Source) -> None:
        """A cached model must cost no import."""
        module = type(source).__module__
        code = f"import sys, {module}; print([name for name in {_CLIENTS!r} if name in sys.modules])"
        command = [sys.executable, "-c", code]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"  # noqa: S603

    def test_a_listing_is_complete(self, source: Source, example: Example) -> None:
        """All files, with their sizes, and nothing that would leave the folder."""
        listing = source.list_files(example.repo, None)
        assert isinstance(listing, Listing)
        assert (listing.source, listing.repo) == (source.name, example.repo)
        assert {file.path for file in listing.files} == set(example.files)
        assert len(listing.files) == len(example.files)
        check_paths([file.path for file in listing.files], set(example.files), origin="the listing")
        for file in listing.files:
            assert file.size in (None, len(example.files[file.path])), file.path

    def test_the_commit_names_the_content(self, source: Source, example: Example) -> None:
        """Asked twice, the same; it becomes the name of a folder."""
        first, second = (source.list_files(example.repo, None) for _ in range(2))
        assert first.commit == second.commit
        assert first.files == second.files

    def test_every_file_can_be_fetched_and_is_verified(self, source: Source, example: Example, tmp_path: Path) -> None:
        """By pphub's own engine, which checks size and hash."""
        listing = source.list_files(example.repo, None)
        everything = Selection(include=("*",))
        store = Store(tmp_path / "cache")
        snapshot = fetch_snapshot(listing, store, everything, SilentProgress(), revision=None, offline=False)
        for path, content in example.files.items():
            assert (snapshot.folder / path).read_bytes() == content, path

    def test_secrets_are_not_shown(self, source: Source, example: Example) -> None:
        """Headers may hold a token; a listing is printed in messages."""
        listing = source.list_files(example.repo, None)
        for value in listing.headers.values():
            assert value not in repr(listing)

    def test_an_unknown_repository(self, source: Source, example: Example) -> None:
        """The answer is no, in our words, and with what it was asked for."""
        with pytest.raises(ModelNotFound) as caught:
            source.list_files(example.missing_repo, None)
        assert example.missing_repo.rpartition("/")[2] in caught.value.message

    def test_an_unknown_revision(self, source: Source, example: Example) -> None:
        """Told apart from an unknown repository; a source without revisions refuses them all."""
        if example.missing_revision is None:
            with pytest.raises(NotFound):
                source.list_files(example.repo, "no-such-revision")
        else:
            with pytest.raises(RevisionNotFound) as caught:
                source.list_files(example.repo, example.missing_revision)
            assert example.missing_revision in caught.value.message

    def test_a_dead_endpoint(self, source: Source, example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
        """One clear error, that pphub goes on from."""
        if example.dead_endpoint is None:
            return  # nothing to reach, nothing to fail
        for name, value in example.dead_endpoint.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SourceUnavailable) as caught:
            type(source)().list_files(example.repo, None)
        assert not isinstance(caught.value, AccessDenied)
        assert caught.value.hint
