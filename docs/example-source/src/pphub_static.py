"""Models from any web server: ``STATIC_ENDPOINT/ORG/NAME/index.json`` lists the files of a model.

An index is ``{"commit": "v7", "files": [{"path": "config.json", "size": 612, "sha256": "…"}, …]}``; the files lie
beside it. A complete source for pphub, and the example of docs/write-a-source.md.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

from pphub.errors import AccessDenied, ModelNotFound, RevisionNotFound, SourceUnavailable
from pphub.settings import CONNECT_SECONDS, READ_SECONDS
from pphub.source import Digest, Listing, RemoteFile


class StaticSource:
    """Lists models of the web server in ``STATIC_ENDPOINT``."""

    name = "static"

    def endpoint(self) -> str:
        """Where the server is."""
        return os.environ.get("STATIC_ENDPOINT", "http://127.0.0.1:8000").rstrip("/")

    def list_files(self, repo: str, revision: str | None) -> Listing:
        """Read the index of a model."""
        if revision is not None:
            raise RevisionNotFound(f"{repo} is on a static server, which has no revision {revision!r}")
        base = f"{self.endpoint()}/{quote(repo)}"
        index = self._index(base, repo)
        try:
            files = tuple(
                RemoteFile(
                    entry["path"], entry["size"], Digest("sha256", entry["sha256"]), f"{base}/{quote(entry['path'])}"
                )
                for entry in index["files"]
            )
            return Listing(self.name, repo, "", index["commit"], files)
        except (KeyError, TypeError) as error:
            msg = f"the index of {repo} is not as it should be: {error!r}"
            raise SourceUnavailable(msg, hint="tell whoever made it") from error

    def _index(self, base: str, repo: str) -> dict[str, Any]:
        import requests  # not at the top: a cached model costs no import

        try:
            response = requests.get(f"{base}/index.json", timeout=(CONNECT_SECONDS, READ_SECONDS))
        except requests.RequestException as error:
            msg = f"{self.endpoint()} could not be reached: {type(error).__name__}"
            raise SourceUnavailable(msg, hint="is STATIC_ENDPOINT right?") from error
        if response.status_code == 404:
            raise ModelNotFound(f"there is no {repo} at {self.endpoint()}", hint="check the spelling")
        if response.status_code in {401, 403}:
            raise AccessDenied(f"{self.endpoint()} refused {repo}", hint="ask its owner")
        if response.status_code != 200:
            raise SourceUnavailable(f"{self.endpoint()} answered HTTP {response.status_code}", hint="try again later")
        try:
            return dict(response.json())
        except (ValueError, TypeError) as error:
            raise SourceUnavailable(f"the index of {repo} is not JSON", hint="tell whoever made it") from error
