"""Where a content may be had: values that cost no import of an HTTP library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pphub.source import RemoteFile

__all__ = ["Offer", "Places"]


@dataclass(frozen=True, slots=True)
class Offer:
    """A place that has a content: a file of a source's listing, and the headers to ask with."""

    source: str
    file: RemoteFile
    headers: Mapping[str, str]


class Places(Protocol):
    """Where else a content may be had; asked only when a place fails."""

    def renew(self, offer: Offer) -> Offer | None:
        """The same file as its source lists it now, since URLs expire; None if it is not what it was."""

    def another(self) -> Offer | None:
        """One more place that promises the same hash; None when there is none left."""
