"""ModelScope, asked through its client library (modelscope-hub, which a full modelscope >= 1.40 brings along).

The client reads its limits of time once, when it is imported, and its defaults try a dead hub again for a minute or
more. So it is imported here with shorter ones; they then hold for all that the process does with it. Those that the
user set stay, and so do those of a client that was imported before; behind both stands a deadline of our own.

What its public interface leaves to it: a redirect to another port of the same host takes the token along as a cookie,
``~/.netrc`` goes before the token (both while listing; downloads are pphub's own), and a failure that the hub wraps
into an answer of status 200 looks like an empty list.

The hub names no commit of a branch (its ``LatestCommitter`` has been seen without an id), so that a snapshot is
named by what it holds. Files are asked for by the revision that the user named; where a branch moves between listing
and download, the sha256 of the listing tells.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import threading
from collections import Counter
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, unquote, urlencode, urlsplit

from pphub.errors import AccessDenied, ModelNotFound, RevisionNotFound, SourceNotInstalled, SourceUnavailable
from pphub.settings import CONNECT_SECONDS, without_password
from pphub.source import Digest, Listing, RemoteFile
from pphub_plugins.causes import reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from modelscope_hub import FileInfo, HubConfig

    from pphub.errors import PphubError

__all__ = ["ModelScopeSource"]

_T = TypeVar("_T")

_DEFAULT_ENDPOINT: Final = "https://www.modelscope.cn"
_DEFAULT_REVISION: Final = "master"
_CAP: Final = 3000  # the hub sends no more entries than this at once; from here on the client walks the folders
_NO_FILES: Final = ("tree", "commit")  # a folder, and the place of a git submodule
_LIMITS: Final = {
    "MODELSCOPE_API_CONNECT_TIMEOUT": f"{CONNECT_SECONDS:.0f}",
    "MODELSCOPE_API_TIMEOUT": f"{CONNECT_SECONDS:.0f}",
    "MODELSCOPE_API_MAX_RETRIES": "1",  # the client takes no 0
    "MODELSCOPE_REPO_TREE_PAGE_TIMEOUT_SECONDS": f"{CONNECT_SECONDS * 2:.0f}",
    "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "1",
}
_SECONDS: Final = CONNECT_SECONDS * 2 + 2  # a little more than the client takes with these limits
_WALK_SECONDS: Final = 300.0  # more, once the hub has shown that it is there by sending its first 3000 entries
_SEGMENT: Final = re.compile(r"(?!\.+$)[^\s/\\?#%\x00-\x1f\x7f\ud800-\udfff]+")
_TOKEN: Final = re.compile(r"[!#-+\--:<-\[\]-~]+")  # what both a header and a cookie can hold
_SHA256_OF_NOTHING: Final = hashlib.sha256().hexdigest()
_LOG_IN: Final = "set MODELSCOPE_API_TOKEN, or run `modelscope login`"
_ELSEWHERE: Final = "set MODELSCOPE_ENDPOINT to a mirror, or use --source"
_BROKEN: Final = "a mirror may be broken: unset MODELSCOPE_ENDPOINT, or try another source"


class ModelScopeSource:
    """Lists repositories of ModelScope, or of the mirror in ``MODELSCOPE_ENDPOINT``."""

    name = "ms"

    def endpoint(self) -> str:
        """``MODELSCOPE_ENDPOINT``, else the deprecated ``MODELSCOPE_DOMAIN``, else the public hub."""
        value = os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN") or ""
        value = value.strip().rstrip("/") or _DEFAULT_ENDPOINT
        return value if "://" in value else f"https://{value}"

    def list_files(self, repo: str, revision: str | None) -> Listing:
        """List one revision; see :meth:`pphub.source.Source.list_files`."""
        segments = repo.split("/")
        if len(segments) != 2 or not all(_SEGMENT.fullmatch(segment) for segment in segments):
            msg = f"{repo!r} cannot be a name on ModelScope"
            raise ModelNotFound(msg, hint="write ORG/NAME, or ask another source")
        hub = _Hub(self.endpoint(), repo, revision or _DEFAULT_REVISION)
        found = [(hub.file(info), info) for info in hub.entries() if info.type not in _NO_FILES]
        files = tuple(file for file, _ in found)
        return Listing(self.name, repo, hub.revision, _content_id(found), files, hub.authorization)


def _content_id(found: list[tuple[RemoteFile, FileInfo]]) -> str:
    lines = []
    for file, info in found:
        # Without a hash, which the hub always tells, the date of the commit has to do.
        content = file.digest.hex if file.digest else repr((info.blob_id, info.last_modified))
        lines.append(f"{file.path}\0{file.size}\0{content}\n")
    text = "".join(sorted(lines)).encode("utf-8", "surrogatepass")
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


class _Hub:
    """One revision of one repository, asked through the client."""

    def __init__(self, endpoint: str, repo: str, revision: str) -> None:
        self._client = _import_client()
        self.repo, self.revision = repo, revision
        self._url, login = _split(endpoint)
        config = _config(self._url)
        self.authorization: dict[str, str] = {}
        if token := config.token:
            # Older parts of the hub know the cookie only, newer ones the header. The client sends both, too.
            self.authorization = {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"}
        elif login:
            self.authorization = {"Authorization": f"Basic {base64.b64encode(unquote(login).encode()).decode()}"}
        # The client gets a password in the URL only where it is needed: it would be sent instead of a token.
        self._secret = bool(login) and not config.token
        self._api = self._client.HubApi(config, endpoint=endpoint if self._secret else self._url, user_agent="pphub")

    def entries(self) -> list[FileInfo]:
        """Files and folders. None at all is no answer: so the client also calls a failure inside an HTTP 200."""
        found: list[FileInfo] = []
        with suppress(ModelNotFound):  # the hub says 404 for a repository and for a revision alike
            found = self._ask(self._api.list_repo_files, revision=self.revision)
        if not found:
            self._check_revision()
            msg = f"{self} has the revision {self.revision!r}, and lists no files of it"
            raise SourceUnavailable(msg, hint="it may be empty, or the hub has a problem: try another source")
        return found

    def file(self, info: FileInfo) -> RemoteFile:
        """What one entry of the listing says."""
        path: object = info.path
        sha256: object = info.sha256 or None
        if not isinstance(path, str) or not path or not isinstance(sha256, str | None):
            raise self._no_listing()
        if info.size == 0 and sha256 not in (None, _SHA256_OF_NOTHING):  # so the client calls a size that is missing
            raise self._no_listing()
        # Half a character is replaced; such a name is refused where it is wanted.
        query = urlencode({"Revision": self.revision, "FilePath": path}, quote_via=quote, errors="replace")
        url = f"{self._url}/api/v1/models/{quote(self.repo)}/repo?{query}"
        return RemoteFile(path, info.size, Digest("sha256", sha256.lower()) if sha256 else None, url)

    def _check_revision(self) -> None:
        """Raise what is missing: the repository or the revision. Branches and tags are listed; commits are not."""
        known: list[Any] = self._ask(self._api.list_repo_revisions)
        if not known:  # every repository has a branch
            raise self._no_listing()
        if not any(isinstance(entry, dict) and entry.get("Revision") == self.revision for entry in known):
            msg = f"{self} has no revision {self.revision!r}"
            raise RevisionNotFound(msg, hint="check the branch, tag or commit")

    def _ask(self, method: Callable[..., list[_T]], **options: str) -> list[_T]:
        log = _Log()
        try:
            found = _in_time(lambda: list(method(self.repo, "model", **options)), log)
        except Exception as error:
            if self._secret:  # the client's own message shows the URL
                raise self._told(error) from None
            raise self._told(error) from error
        if (log.warned or (len(found) >= _CAP and not log.hears)) and not _without_cap(found):
            why = "the hub does not list them all" if log.warned else "with its log off the client says nothing of gaps"
            raise SourceUnavailable(f"{self} has {_CAP} entries or more, and {why}", hint="try another source")
        return found

    def _told(self, error: Exception) -> PphubError:
        client, status, known = self._client, getattr(error, "status_code", None), bool(self.authorization)
        host = without_password(self._url)
        if isinstance(error, client.AuthenticationError):
            what = "refused the token" if known else f"wants a token before it says anything of {self.repo}"
            return AccessDenied(f"{host} {what}", hint=_LOG_IN)
        if isinstance(error, client.PermissionDeniedError):
            hint = "your token lacks access: ask for it on the model's page" if known else _LOG_IN
            return AccessDenied(f"access to {self} was refused: the model is gated or private", hint=hint)
        if isinstance(error, client.NotExistError) or status == 400:
            hint = "check the spelling" if known else f"check the spelling; if it is private, {_LOG_IN}"
            return ModelNotFound(f"there is no model {self}", hint=hint)
        if isinstance(error, client.APIError):
            msg = f"{host} answered {f'HTTP {status}' if status else 'a failure'} when asked for {self.repo}"
            return SourceUnavailable(msg, hint=f"try again later, {_ELSEWHERE}")
        if isinstance(error, OSError) and not isinstance(error, ValueError):  # to requests, what is no JSON is both
            msg = f"{host} could not be reached: {reason(error, 'the limit of time')}"
            return SourceUnavailable(msg, hint=f"check the network and proxy, {_ELSEWHERE}")
        return self._no_listing()

    def _no_listing(self) -> SourceUnavailable:
        return SourceUnavailable(f"{self} answered with something that is no list of files", hint=_BROKEN)

    def __str__(self) -> str:
        return f"{self.repo} at {without_password(self._url)}"


def _without_cap(found: list[Any]) -> bool:
    """Whether one folder alone has more entries than the cap: then this hub, such as `hub serve`, has none."""
    folders = Counter(str(getattr(info, "path", "")).rpartition("/")[0] for info in found)
    return any(count > _CAP for count in folders.values())


def _import_client() -> ModuleType:
    ours = _LIMITS.keys() - os.environ.keys()
    os.environ.update({name: _LIMITS[name] for name in ours})
    try:
        import modelscope_hub
    except ImportError as error:
        msg = f"the source 'ms' needs the package modelscope-hub, which does not import: {error}"
        raise SourceNotInstalled(msg, hint="pip install 'pphub[modelscope]'") from error
    finally:
        for name in ours:
            os.environ.pop(name, None)
    return modelscope_hub


def _split(endpoint: str) -> tuple[str, str]:
    """The URL without user name and password, which no later URL or message may show; and those two."""
    try:
        parts = urlsplit(endpoint)
        if parts.scheme.lower() not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError as error:
        msg = f"MODELSCOPE_ENDPOINT={without_password(endpoint)!r} is no URL"
        hint = "unset it, or set it to something like https://www.modelscope.cn"
        raise SourceUnavailable(msg, hint=hint) from error
    login, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=host).geturl(), login


def _config(endpoint: str) -> HubConfig:
    """The client's settings, with the token of the environment or of its stored login."""
    from modelscope_hub import HubConfig

    class Config(HubConfig):
        def get_session_id(self) -> str:
            return "none"  # the client's way is to write an id of the user into the home and to send it

    try:
        # The endpoint is given, for the client warns of MODELSCOPE_DOMAIN.
        config = Config(endpoint=endpoint)
        config.token = (config.token or "").strip() or None
    except Exception as error:  # the stored login is a pickle, and may hold anything
        msg = f"modelscope-hub could not read its stored login: {type(error).__name__}"
        raise SourceUnavailable(msg, hint="run `modelscope login` again, or set MODELSCOPE_API_TOKEN") from error
    if config.token and not _TOKEN.fullmatch(config.token):
        raise AccessDenied("the ModelScope token has characters that no token has", hint=_LOG_IN)
    return config


class _Log(logging.Filter):
    """Keeps what the client logs from the terminal, and notes what it says in no other way."""

    def __init__(self) -> None:
        super().__init__()
        names = [name for name in list(logging.root.manager.loggerDict) if name.split(".")[0] == "modelscope_hub"]
        self.loggers = [logging.getLogger(name) for name in names]
        self.hears = all(logger.isEnabledFor(logging.WARNING) for logger in self.loggers)
        self.walks = self.warned = False
        self.thread = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """The thread of a listing says that it walks the folders, that it tries again, or that the list has gaps."""
        if threading.get_ident() == self.thread:
            self.walks |= record.levelno == logging.INFO
            self.warned |= record.levelno >= logging.WARNING and "retry in" not in str(record.msg)
        return False


def _in_time(question: Callable[[], _T], log: _Log) -> _T:
    """Ask in a thread, which is left behind when it takes too long."""
    answer: Future[_T] = Future()

    def work() -> None:
        log.thread = threading.get_ident()
        for logger in log.loggers:
            logger.addFilter(log)
        try:
            answer.set_result(question())
        except BaseException as error:  # noqa: BLE001 - it is raised below
            answer.set_exception(error)
        finally:
            for logger in log.loggers:
                logger.removeFilter(log)

    threading.Thread(target=work, name="pphub-modelscope", daemon=True).start()
    wait([answer], _SECONDS)
    if log.walks:
        wait([answer], _WALK_SECONDS)
    if not answer.done():
        raise TimeoutError
    return answer.result()
