"""The text a user types, parsed once into a frozen :class:`ModelRef`.

``[SCHEME:]NAME[@REVISION]``. What a text means is decided here and nowhere else, in this order:

1. ``file:PATH`` is a path; ``SCHEME:NAME`` goes to that source. A single letter before the colon is a Windows
   drive, so ``C:\\models`` is a path.
2. A text that starts with ``/``, ``~``, ``./``, ``../`` or a drive, is ``.`` or ``..``, contains a backslash, or
   ends with a separator can only be a path.
3. The name of an entry that exists, relative to the working directory, is that entry.
4. Anything else must be a hub name, ``NAME`` or ``ORG/NAME``, with an optional ``@REVISION``. Whether it is a
   shortcut, cached or on a hub is found out by the resolve stage.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from pphub.errors import InvalidName, ModelNotFound

__all__ = ["COMMIT", "ModelRef", "parse"]

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A full git commit id."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_-]+):(.*)", re.DOTALL)
_DRIVE = re.compile(r"[A-Za-z]:([\\/]|$)")
# \w admits Chinese names, which ModelScope and private hubs allow.
_SEGMENT = re.compile(r"\w[\w.+-]*")
_REVISION = re.compile(r"[\w][\w./+-]*")
_FORMS = "write NAME, ORG/NAME, SCHEME:NAME, or a path such as ./folder; see `hub download --help`"


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A parsed model name.

    Attributes:
        kind: ``folder``, ``file`` (a path on this disk) or ``name`` (on a hub or in the cache).
        name: ``NAME`` or ``ORG/NAME`` for a name, the absolute path for a folder or a file.
        scheme: the source asked for; None leaves the choice to the resolve stage; ``file`` for a path.
        revision: branch, tag or commit; None for the source's default; always None for a path.
    """

    kind: Literal["folder", "file", "name"]
    name: str
    scheme: str | None = None
    revision: str | None = None

    @property
    def path(self) -> Path:
        """The path of a folder or a file; ValueError for a hub name."""
        if self.kind == "name":
            msg = f"{self.name} is a hub name, not a path"
            raise ValueError(msg)
        return Path(self.name)

    def __str__(self) -> str:
        if self.kind != "name":
            return self.name
        scheme = f"{self.scheme}:" if self.scheme else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{scheme}{self.name}{revision}"


def parse(text: str, *, source: str | None = None, revision: str | None = None) -> ModelRef:
    """Parse a model name; looks at the disk, never at the network.

    Args:
        text: what the user typed.
        source: a scheme given apart from the text (``--source``).
        revision: a revision given apart from the text (``--revision``).

    Raises:
        InvalidName: the text is no model name, or contradicts the options.
        ModelNotFound: it can only be a path, and there is nothing there.
    """
    if not text or text != text.strip() or any(ord(c) < 32 or ord(c) == 127 for c in text):
        msg = f"{text!r} is not a model name: it is empty, or has blanks at its ends or control characters"
        raise InvalidName(msg, hint=_FORMS)
    scheme, rest = _split_scheme(text)
    if scheme and source and scheme != source:
        msg = f"{text!r} names the source {scheme!r}, but --source says {source!r}"
        raise InvalidName(msg, hint="give the source once")
    scheme = scheme or source
    if scheme == "file":
        return _path_ref(_strip_file_url(rest), text, revision)
    if scheme is None and (_can_only_be_path(rest) or _exists(rest)):
        return _path_ref(rest, text, revision)
    return _name_ref(rest, scheme, text, revision)


def _split_scheme(text: str) -> tuple[str | None, str]:
    if _DRIVE.match(text):
        return None, text
    match = _SCHEME.fullmatch(text)
    if not match:
        return None, text
    scheme, rest = match[1].lower(), match[2]
    if rest.startswith("//") and scheme != "file":
        msg = f"{text!r} is a URL, not a model name"
        raise InvalidName(msg, hint="write the repository as hf:ORG/NAME or ms:ORG/NAME; set HF_ENDPOINT for a mirror")
    return scheme, rest


def _strip_file_url(rest: str) -> str:
    """``file:///abs``, a URL, and ``file:/abs`` and ``file:rel``, which are paths, are all accepted."""
    return unquote(rest[2:]) if rest.startswith("///") else rest


def _can_only_be_path(text: str) -> bool:
    return (
        text in {".", ".."}
        or text.startswith(("/", "~", "./", "../", "\\"))
        or bool(_DRIVE.match(text))
        or "\\" in text
        or text.endswith("/")
    )


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for the file system, or unencodable: then it is not a path here
        return False


def _path_ref(text: str, original: str, revision: str | None) -> ModelRef:
    if not text:
        msg = f"{original!r} names no path"
        raise InvalidName(msg, hint=_FORMS)
    if revision is not None:
        msg = f"{original!r} is a path on this disk, and a path has no revisions (asked for {revision!r})"
        raise InvalidName(msg, hint="leave the revision out, or name a hub: hf:ORG/NAME")
    try:
        path = Path(text).expanduser().absolute()
        if path.is_dir():
            return ModelRef("folder", str(path), "file")
        if path.exists():
            return ModelRef("file", str(path), "file")
    except (OSError, RuntimeError, ValueError) as error:
        msg = f"{original!r} cannot be read as a path: {error}"
        raise InvalidName(msg, hint=_FORMS) from error
    msg = f"there is no folder or file {str(path)!r}"
    raise ModelNotFound(msg, hint="check the path; a model on a hub is written ORG/NAME, without ./ and backslashes")


def _name_ref(text: str, scheme: str | None, original: str, revision: str | None) -> ModelRef:
    name, at, own_revision = text.partition("@")
    if at and not own_revision:
        msg = f"{original!r} ends with '@' but names no revision"
        raise InvalidName(msg, hint=_FORMS)
    if own_revision and revision and own_revision != revision:
        msg = f"{original!r} names the revision {own_revision!r}, but --revision says {revision!r}"
        raise InvalidName(msg, hint="give the revision once")
    revision = own_revision or revision
    segments = name.split("/")
    if len(segments) > 2 or not all(_good_segment(segment) for segment in segments):
        msg = f"{original!r} is neither a folder or file on this disk nor a hub name"
        raise InvalidName(msg, hint=_FORMS)
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        msg = f"{revision!r} is not a revision: a branch, tag or commit was expected"
        raise InvalidName(msg)
    return ModelRef("name", name, scheme, revision)


def _good_segment(segment: str) -> bool:
    # A commit id as a name would collide with the snapshot folders of another repository.
    return bool(_SEGMENT.fullmatch(segment)) and ".." not in segment and not COMMIT.fullmatch(segment)
