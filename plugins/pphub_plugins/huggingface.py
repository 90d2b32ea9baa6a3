"""The Hugging Face Hub and its mirrors, with the official client (huggingface_hub 0.36 to 2.x).

The client is asked for what it knows best: the token, the session (proxies, certificates, whatever its user
configured), its headers and the URLs. Two requests are made with that session directly and not by ``HfApi``,
whose listing of files has no time limit, tries again for 23 seconds, sends the token to wherever the link to the
next page leads, and, in version 0.36, lets ``~/.netrc`` replace the token.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urljoin, urlsplit

from pphub.errors import AccessDenied, Corrupt, ModelNotFound, PphubError, RevisionNotFound, SourceUnavailable
from pphub.settings import CONNECT_SECONDS, without_password
from pphub.source import Digest, Listing, RemoteFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["HuggingFaceSource"]

_DEFAULT_ENDPOINT: Final = "https://huggingface.co"
_DEFAULT_REVISION: Final = "main"
_MAX_PAGES: Final = 1000  # of a thousand files each; a hub that never ends is broken
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_TOKEN: Final = re.compile(r"[!-~]+")  # anything else is no header, and the HTTP layer would quote it in its error
_LOG_IN: Final = "set HF_TOKEN, or run `hf auth login`"
_BROKEN: Final = "a mirror may be broken: unset HF_ENDPOINT, or try another source"


class HuggingFaceSource:
    """Lists repositories of the Hugging Face Hub, or of the mirror in ``HF_ENDPOINT``."""

    name = "hf"

    def endpoint(self) -> str:
        """``HF_ENDPOINT``, else the public hub."""
        return (os.environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT).rstrip("/")

    def list_files(self, repo: str, revision: str | None) -> Listing:
        """List one revision; see :meth:`pphub.source.Source.list_files`."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.errors import HFValidationError

        try:
            hf_hub_url(repo, "config.json")
        except HFValidationError as error:
            msg = f"{repo!r} cannot be a name on the Hugging Face Hub: {str(error).splitlines()[0]}"
            raise ModelNotFound(msg, hint="write ORG/NAME, or ask another source") from error
        wanted = revision or _DEFAULT_REVISION
        hub = _connect(self.endpoint(), repo, wanted)
        commit = hub.commit()
        files = tuple(hub.file(entry, commit) for entry in hub.tree(commit) if entry.get("type") == "file")
        return Listing(self.name, repo, wanted, commit, files, hub.authorization)


def _connect(endpoint: str, repo: str, revision: str) -> _Hub:
    """Find the token, and take a password out of the URL, so that no later URL or message can show it."""
    token = _token()
    parts = urlsplit(endpoint)
    login, _, host = parts.netloc.rpartition("@")
    authorization = {}
    if token:
        authorization = {"Authorization": f"Bearer {token}"}
    elif login:
        authorization = {"Authorization": f"Basic {base64.b64encode(unquote(login).encode()).decode()}"}
    return _Hub(parts._replace(netloc=host).geturl(), repo, revision, authorization)


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

    endpoint: str
    repo: str
    revision: str
    authorization: Mapping[str, str]

    def commit(self) -> str:
        """The commit that the revision stands for."""
        url = f"{self.endpoint}/api/models/{self.repo}/revision/{quote(self.revision, safe='')}"
        answer, _ = self._get(url)
        commit = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(commit, str):
            msg = f"{self} did not say which commit {self.revision!r} is"
            raise SourceUnavailable(msg, hint=_BROKEN)
        if not _COMMIT.fullmatch(commit):
            msg = f"{self} calls the commit of {self.revision!r} {commit[:80]!r}, which is no commit"
            raise Corrupt(msg, hint=_BROKEN)
        if _COMMIT.fullmatch(self.revision) and commit != self.revision:
            msg = f"{self} was asked for the commit {self.revision} and answered with {commit}"
            raise Corrupt(msg, hint=_BROKEN)
        return commit

    def tree(self, commit: str) -> Iterator[dict[str, Any]]:
        """Files and folders of a commit, page by page."""
        url: str | None = f"{self.endpoint}/api/models/{self.repo}/tree/{commit}?recursive=true&expand=false"
        for _ in range(_MAX_PAGES):
            if url is None:
                return
            answer, link = self._get(url)
            if not isinstance(answer, list) or not all(isinstance(entry, dict) for entry in answer):
                raise self._no_listing()
            yield from answer
            url = self._here(urljoin(url, link)) if link else None
        msg = f"{self} lists its files on more than {_MAX_PAGES} pages"
        raise SourceUnavailable(msg, hint=_BROKEN)

    def file(self, entry: dict[str, Any], commit: str) -> RemoteFile:
        """What one entry of the listing says."""
        from huggingface_hub import hf_hub_url

        try:
            path, lfs = entry["path"], entry.get("lfs")
            size = entry["size"] if lfs is None else lfs["size"]
            algorithm, oid = ("git-sha1", entry["oid"]) if lfs is None else ("sha256", lfs["oid"])
        except (KeyError, TypeError, AttributeError) as error:
            raise self._no_listing() from error
        if not (isinstance(path, str) and type(size) is int and isinstance(oid, str)):
            raise self._no_listing()
        try:
            url = hf_hub_url(self.repo, path, revision=commit, endpoint=self.endpoint)
        except UnicodeEncodeError:  # half a character; the name is refused where it is wanted
            url = self.endpoint
        return RemoteFile(path, size, Digest(algorithm, oid), url)  # type: ignore[arg-type]

    def _here(self, url: str) -> str:
        """The next page at this hub: mirrors have been seen to pass on links to the hub they mirror."""
        page, here = urlsplit(url), urlsplit(self.endpoint)
        if (page.scheme, page.netloc) == (here.scheme, here.netloc):
            return url
        return f"{self.endpoint}{page.path}?{page.query}"

    def _get(self, url: str) -> tuple[Any, str | None]:
        """The JSON at a URL, and the link to the next page."""
        from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined]

        headers = {**build_hf_headers(token=False, library_name="pphub"), **self.authorization}
        try:
            # Either HTTP layer drops the token where a redirect leaves the origin. With no auth at all, the
            # requests of client 0.36 would look for one in ~/.netrc.
            response = get_session().get(url, headers=headers, timeout=CONNECT_SECONDS * 2, auth=_leave)
            link = response.links.get("next", {}).get("url")
        except Exception as error:
            msg = f"{without_password(self.endpoint)} could not be reached: {_reason(error)}"
            raise SourceUnavailable(msg, hint=_hint(error)) from error
        if response.status_code != 200:
            raise self._refusal(response.status_code, response.headers.get("X-Error-Code"))
        try:
            return response.json(), link
        except (ValueError, RecursionError) as error:
            msg = f"{self} answered with something that is no JSON; is a login page in between?"
            raise SourceUnavailable(msg, hint=_BROKEN) from error

    def _refusal(self, status: int, code: str | None) -> PphubError:
        has_token = bool(self.authorization)
        if status == 403 or code == "GatedRepo":
            hint = "your token lacks access: accept the conditions on the model's page" if has_token else _LOG_IN
            return AccessDenied(f"access to {self} was refused: the model is gated or private", hint=hint)
        if code == "RevisionNotFound":
            return RevisionNotFound(f"{self} has no revision {self.revision!r}", hint="check the branch or tag")
        if code == "RepoNotFound" or status == 404:
            hint = "check the spelling" if has_token else f"check the spelling; if it is private, {_LOG_IN}"
            # Without the code, which mirrors drop, 404 may mean either.
            also = "" if code or self.revision == _DEFAULT_REVISION else f", or it has no revision {self.revision!r}"
            return ModelNotFound(f"there is no model {self}{also}", hint=hint)
        if status == 401:
            what = "refused the token" if has_token else f"wants a token before it says anything of {self.repo}"
            return AccessDenied(f"{without_password(self.endpoint)} {what} (HTTP 401)", hint=_LOG_IN)
        msg = f"{without_password(self.endpoint)} answered HTTP {status} when asked for {self.repo}"
        return SourceUnavailable(msg, hint="try again later, set HF_ENDPOINT to a mirror, or use --source")

    def _no_listing(self) -> SourceUnavailable:
        return SourceUnavailable(f"{self} answered with something that is no list of files", hint=_BROKEN)

    def __str__(self) -> str:
        return f"{self.repo} at {without_password(self.endpoint)}"


def _leave(request: Any) -> Any:
    return request


def _reason(error: BaseException) -> str:
    """The innermost cause, without URLs; the clients' messages differ by their HTTP layer."""
    if type(error).__name__ == "OfflineModeIsEnabled":
        return "HF_HUB_OFFLINE forbids it"
    chain = [error]
    while inner := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(inner)
    if any("Timeout" in type(found).__name__ for found in chain):
        return f"no answer within {CONNECT_SECONDS * 2:g} s"
    for found in reversed(chain):
        if isinstance(found, OSError) and found.strerror:
            return f"{type(error).__name__} ({found.strerror})"
    return type(error).__name__


def _hint(error: BaseException) -> str:
    if type(error).__name__ == "OfflineModeIsEnabled":
        return "unset HF_HUB_OFFLINE and start again: huggingface_hub reads it once"
    return "check the network and proxy, set HF_ENDPOINT to a mirror, or use --source"
