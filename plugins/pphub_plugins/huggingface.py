"""The Hugging Face Hub and its mirrors, by the official client (huggingface_hub 0.36 to 2.x).

The client is asked for what it knows best: which commit a revision is, what files it holds, URLs, the token.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from pphub.errors import AccessDenied, ModelNotFound, PphubError, RevisionNotFound, SourceUnavailable
from pphub.settings import CONNECT_SECONDS, without_password
from pphub.source import Digest, Listing, RemoteFile

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HuggingFaceSource"]

_DEFAULT_ENDPOINT: Final = "https://huggingface.co"
_DEFAULT_REVISION: Final = "main"


class HuggingFaceSource:
    """Lists repositories of the Hugging Face Hub, or of the mirror in ``HF_ENDPOINT``."""

    name = "hf"

    def endpoint(self) -> str:
        """``HF_ENDPOINT``, else the public hub."""
        return (os.environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT).rstrip("/")

    def list_files(self, repo: str, revision: str | None) -> Listing:
        """List one revision; see :meth:`pphub.source.Source.list_files`."""
        import huggingface_hub

        endpoint = self.endpoint()
        wanted = revision or _DEFAULT_REVISION
        token = huggingface_hub.get_token()
        # False keeps the client from looking for a token a second time.
        api = huggingface_hub.HfApi(endpoint=endpoint, token=token or False, library_name="pphub")
        try:
            info = api.model_info(repo, revision=wanted, timeout=CONNECT_SECONDS * 2)
            if not info.sha:
                msg = f"{self._at(repo)} did not say which commit {wanted!r} is"
                raise SourceUnavailable(msg, hint="a mirror may be broken: unset HF_ENDPOINT, or try another source")
            files = tuple(_files(api, repo, info.sha, endpoint))
        except PphubError:
            raise
        except Exception as error:
            raise self._explain(error, repo, wanted, has_token=bool(token)) from error
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return Listing(self.name, repo, wanted, info.sha, files, headers)

    def _at(self, repo: str) -> str:
        return f"{repo} at {without_password(self.endpoint())}"

    def _explain(self, error: Exception, repo: str, revision: str, *, has_token: bool) -> PphubError:
        """Say in our words what the client's error means; its HTTP layer differs by version."""
        from huggingface_hub import errors

        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, errors.GatedRepoError) or status == 403:
            msg = f"access to {self._at(repo)} was refused: the model is gated or private"
            hint = "your token lacks access: accept the conditions on the model's page" if has_token else _LOG_IN
            return AccessDenied(msg, hint=hint)
        if isinstance(error, errors.RevisionNotFoundError):
            return RevisionNotFound(f"{self._at(repo)} has no revision {revision!r}", hint="check the branch or tag")
        if isinstance(error, errors.HFValidationError):
            return ModelNotFound(f"{repo!r} cannot be a name on the Hugging Face Hub: {_first_line(error)}")
        if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
            hint = "check the spelling" if has_token else f"check the spelling; if it is private, {_LOG_IN}"
            return ModelNotFound(f"there is no model {self._at(repo)}", hint=hint)
        if status == 401:
            msg = f"{without_password(self.endpoint())} refused the token (HTTP 401)"
            return AccessDenied(msg, hint=_LOG_IN)
        if status is not None:
            msg = f"{without_password(self.endpoint())} answered HTTP {status} when asked for {repo}"
        elif isinstance(error, (OSError, ValueError)) or _is_transport_error(error):
            msg = f"{without_password(self.endpoint())} could not be reached: {_first_line(error)}"
        else:
            msg = f"huggingface_hub failed to list {self._at(repo)}: {type(error).__name__}: {_first_line(error)}"
        return SourceUnavailable(msg, hint="check the network and proxy, set HF_ENDPOINT to a mirror, or use --source")


_LOG_IN: Final = "set HF_TOKEN, or run `hf auth login`"


def _files(api: Any, repo: str, commit: str, endpoint: str) -> Iterator[RemoteFile]:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.hf_api import RepoFile

    for entry in api.list_repo_tree(repo, revision=commit, recursive=True):
        if not isinstance(entry, RepoFile):
            continue
        url = hf_hub_url(repo, entry.path, revision=commit, endpoint=endpoint)
        if entry.lfs is not None:
            yield RemoteFile(entry.path, entry.lfs.size, Digest("sha256", entry.lfs.sha256), url)
        else:
            yield RemoteFile(entry.path, entry.size, Digest("git-sha1", entry.blob_id), url)


def _is_transport_error(error: Exception) -> bool:
    """Errors of httpx (client 1.x and 2.x); requests' are OSErrors."""
    return any(base.__name__ == "TransportError" for base in type(error).__mro__)


def _first_line(error: Exception) -> str:
    """The first line of a message; the client appends URLs and request ids on later ones."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
