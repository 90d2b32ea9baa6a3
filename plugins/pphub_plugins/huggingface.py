"""The Hugging Face Hub and its mirrors, with the official client (huggingface_hub 0.36 to 2.x).

``HfApi`` is asked for the commit and the files. Its listing of files knows no time limit and tries again for
minutes, so it runs in a thread that is left behind when it is silent for too long (:mod:`pphub_plugins.deadline`).
From version 1 on it follows the links to further pages wherever they lead, with the token; nothing that belongs to
one ``HfApi`` can prevent that.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

from pphub.errors import AccessDenied, Corrupt, ModelNotFound, PphubError, RevisionNotFound, SourceUnavailable
from pphub.settings import CONNECT_SECONDS, without_password
from pphub.source import Digest, Listing, RemoteFile
from pphub_plugins.causes import chain, reason
from pphub_plugins.deadline import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from huggingface_hub import HfApi
    from requests import PreparedRequest

__all__ = ["HuggingFaceSource"]

T = TypeVar("T")

_DEFAULT_ENDPOINT: Final = "https://huggingface.co"
_DEFAULT_REVISION: Final = "main"
_MAX_FILES: Final = 1_000_000  # a hub that never ends is broken
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_TOKEN: Final = re.compile(r"[!-~]+")  # anything else is no header, and the HTTP layer would quote it in its error
_LOG_IN: Final = "set HF_TOKEN, or run `hf auth login`"
_BROKEN: Final = "a mirror or a login page may be in the way: unset HF_ENDPOINT, or try another source"


class HuggingFaceSource:
    """Lists repositories of the Hugging Face Hub, or of the mirror in ``HF_ENDPOINT``."""

    name = "hf"

    def endpoint(self) -> str:
        """``HF_ENDPOINT``, else the public hub."""
        return (os.environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT).rstrip("/")

    def list_files(self, repo: str, revision: str | None) -> Listing:
        """List one revision; see :meth:`pphub.source.Source.list_files`."""
        wanted = revision or _DEFAULT_REVISION
        hub = _connect(self.endpoint(), repo, wanted)
        (commit,) = hub.ask(hub.commit, f"did not say which commit {wanted!r} is")
        files = hub.ask(lambda: hub.files(commit), "answered with something that is no list of files")
        return Listing(self.name, repo, wanted, commit, files, hub.authorization)


def _connect(endpoint: str, repo: str, revision: str) -> _Hub:
    """Find the token, and take a password out of the URL, so that no later URL or message can show it."""
    from huggingface_hub import HfApi

    token = _token()
    parts = urlsplit(endpoint)
    login, _, host = parts.netloc.rpartition("@")
    endpoint = parts._replace(netloc=host).geturl()
    headers = {}
    if login and not token:
        headers = {"authorization": f"Basic {base64.b64encode(unquote(login).encode()).decode()}"}
    # False, since None would make the client look for a token once more.
    api = HfApi(endpoint=endpoint, token=token or False, library_name="pphub", headers=headers)
    return _Hub(api, endpoint, repo, revision, {"authorization": f"Bearer {token}"} if token else headers)


def _token() -> str | None:
    from huggingface_hub import get_token

    try:
        token = get_token()
    except Exception as error:  # newer clients may ask a server for one
        msg = f"huggingface_hub could not get its token: {_reason(error)}"
        raise SourceUnavailable(msg, hint=_LOG_IN) from error
    if token and not _TOKEN.fullmatch(token):
        raise AccessDenied("the Hugging Face token has characters that no token has", hint=_LOG_IN)
    return token


@dataclass(frozen=True, slots=True)
class _Hub:
    """One repository of one hub, asked with one token."""

    api: HfApi
    endpoint: str
    repo: str
    revision: str
    authorization: Mapping[str, str] = field(repr=False)

    def ask(self, question: Callable[[], Iterator[T]], nonsense: str) -> tuple[T, ...]:
        """All answers to a question, in bounded time; ``nonsense`` says what it means if the client chokes on them."""

        def asked() -> Iterator[T]:
            with _quiet(), _session_for(self.endpoint):
                yield from question()

        try:
            return tuple(within(CONNECT_SECONDS * 2, asked))
        except PphubError:
            raise
        except Exception as error:
            raise self._told(error, nonsense) from error

    def commit(self) -> Iterator[str]:
        """The commit that the revision stands for."""
        commit: Any = self.api.model_info(self.repo, revision=self.revision, timeout=CONNECT_SECONDS * 2).sha
        if not isinstance(commit, str):
            raise TypeError("no commit")
        if not _COMMIT.fullmatch(commit):
            msg = f"{self} calls the commit of {self.revision!r} {commit[:80]!r}, which is no commit"
            raise Corrupt(msg, hint=_BROKEN)
        if _COMMIT.fullmatch(self.revision) and commit != self.revision:
            msg = f"{self} was asked for the commit {self.revision} and answered with {commit}"
            raise Corrupt(msg, hint=_BROKEN)
        yield commit

    def files(self, commit: str) -> Iterator[RemoteFile]:
        """The files of a commit."""
        from huggingface_hub.hf_api import RepoFile

        for number, entry in enumerate(self.api.list_repo_tree(self.repo, revision=commit, recursive=True)):
            if number >= _MAX_FILES:
                raise SourceUnavailable(f"{self} lists more than {_MAX_FILES} files", hint=_BROKEN)
            if isinstance(entry, RepoFile):
                yield self._file(entry, commit)

    def _file(self, entry: Any, commit: str) -> RemoteFile:
        """What one entry of the listing says; the client takes values of any type for good."""
        from huggingface_hub import hf_hub_url

        path, lfs = entry.path, entry.lfs
        size, oid = (entry.size, entry.blob_id) if lfs is None else (lfs.size, lfs.sha256)
        if not (isinstance(path, str) and type(size) is int and isinstance(oid, str)):
            raise TypeError("no file")
        try:
            url = hf_hub_url(self.repo, path, revision=commit, endpoint=self.endpoint)
        except UnicodeEncodeError:  # half a character; the name is refused where it is wanted
            url = self.endpoint
        return RemoteFile(path, size, Digest("git-sha1" if lfs is None else "sha256", oid), url)

    def _told(self, error: Exception, nonsense: str) -> PphubError:
        """An error of the client in our words."""
        from huggingface_hub.errors import HFValidationError

        if isinstance(error, HFValidationError):
            msg = f"{self.repo!r} cannot be a name on the Hugging Face Hub: {str(error).splitlines()[0]}"
            return ModelNotFound(msg, hint="write ORG/NAME, or ask another source")
        for found in chain(error):  # the client may choke on the body of a refusal
            response = getattr(found, "response", None)
            if response is not None and response.status_code >= 400:
                return self._refusal(error, response.status_code, response.headers.get("X-Error-Code"))
        if _is_nonsense(error):
            return SourceUnavailable(f"{self} {nonsense}", hint=_BROKEN)
        msg = f"{without_password(self.endpoint)} could not be reached: {_reason(error)}"
        return SourceUnavailable(msg, hint=_hint(error))

    def _refusal(self, error: Exception, status: int, code: str | None) -> PphubError:
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        has_token = bool(self.authorization)
        if isinstance(error, GatedRepoError) or status == 403:
            hint = "your token lacks access: accept the conditions on the model's page" if has_token else _LOG_IN
            return AccessDenied(f"access to {self} was refused: the model is gated or private", hint=hint)
        if isinstance(error, RevisionNotFoundError):
            return RevisionNotFound(f"{self} has no revision {self.revision!r}", hint="check the branch or tag")
        if status == 401 and not code:  # which the client may take for "no such repository"
            what = "refused the token" if has_token else f"wants a token before it says anything of {self.repo}"
            return AccessDenied(f"{without_password(self.endpoint)} {what} (HTTP 401)", hint=_LOG_IN)
        if isinstance(error, RepositoryNotFoundError) or status == 404:
            hint = "check the spelling" if has_token else f"check the spelling; if it is private, {_LOG_IN}"
            # Without the code, which mirrors drop, 404 may mean either.
            also = "" if code or self.revision == _DEFAULT_REVISION else f", or it has no revision {self.revision!r}"
            return ModelNotFound(f"there is no model {self}{also}", hint=hint)
        msg = f"{without_password(self.endpoint)} answered HTTP {status} when asked for {self.repo}"
        return SourceUnavailable(msg, hint="try again later, set HF_ENDPOINT to a mirror, or use --source")

    def __str__(self) -> str:
        return f"{self.repo} at {without_password(self.endpoint)}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the client logs of its retries to itself, in this thread: we may have stopped waiting for it."""
    me, log = threading.get_ident(), logging.getLogger("huggingface_hub.utils._http")

    def not_here(_record: logging.LogRecord) -> bool:
        return threading.get_ident() != me

    log.addFilter(not_here)
    try:
        yield
    finally:
        log.removeFilter(not_here)


@contextmanager
def _session_for(endpoint: str) -> Iterator[None]:
    """Keep client 0.36 from sending the token elsewhere, and from replacing it with one of ~/.netrc.

    Its requests do the latter where a session has no auth. Each thread has its session there; this one's is put back
    in order, since threads inherit numbers. Newer clients share one session, which is not ours to change.
    """
    if (requests := sys.modules.get("requests")) is None:  # which a newer client does without
        yield
        return
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    session: Any = get_session()
    if not isinstance(session, requests.Session) or session.auth is not None:
        yield
        return

    here = requests.Request("GET", endpoint).prepare().url
    is_elsewhere: Any = session.should_strip_auth  # the rule of requests for redirects

    def only_here(request: PreparedRequest) -> PreparedRequest:
        if is_elsewhere(here, request.url):
            request.headers.pop("authorization", None)
        return request

    session.auth = only_here
    try:
        yield
    finally:
        session.auth = None


def _is_nonsense(error: BaseException) -> bool:
    """Whether the client failed at reading an answer and not at getting one; requests' bad URLs are ValueErrors."""
    read = isinstance(error, ValueError | LookupError | TypeError | AttributeError | RecursionError)
    return read and ("JSON" in type(error).__name__ or not isinstance(error, OSError))


def _reason(error: BaseException) -> str:
    if type(error).__name__ == "OfflineModeIsEnabled":
        return "HF_HUB_OFFLINE forbids it"
    return reason(error, f"{CONNECT_SECONDS * 2:g} s")


def _hint(error: BaseException) -> str:
    if type(error).__name__ == "OfflineModeIsEnabled":
        return "unset HF_HUB_OFFLINE and start again: huggingface_hub reads it once"
    return "check the network and proxy, set HF_ENDPOINT to a mirror, or use --source"
