"""Settings from the environment, read when they are used and never at import."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pphub.errors import UsageError

__all__ = ["CONNECT_SECONDS", "READ_SECONDS", "Setting", "describe", "home", "offline", "shared_homes", "source_order"]

DEFAULT_SOURCES: Final = ("hf", "ms", "bos")
CONNECT_SECONDS: Final = 5.0
"""How long one attempt to connect to a hub may take."""
READ_SECONDS: Final = 15.0
"""How long a hub may stay silent once connected."""

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as ``hub env`` shows it: name, value, and where the value came from."""

    name: str
    value: str
    origin: str


def home() -> Path:
    """The cache folder: ``PPNLP_HOME``, else ``~/.paddlenlp``; absolute, not created.

    Raises:
        UsageError: something else is in its place, or there is no such user.
    """
    value = os.environ.get("PPNLP_HOME")
    try:
        path = (Path(value).expanduser() if value else Path.home() / ".paddlenlp").absolute()
    except RuntimeError as error:  # ~ of a user that does not exist, or no home at all
        msg = f"PPNLP_HOME={value!r} stands for no folder: {error}"
        raise UsageError(msg, hint="set PPNLP_HOME to a full path") from error
    if os.path.lexists(path) and not os.path.isdir(path):  # noqa: PTH112  a link may lead to what may not be looked at
        msg = f"the home of the cache, {path}, is no folder"
        raise UsageError(msg, hint="point PPNLP_HOME at a folder, which is made if it is not there")
    return path


def shared_homes() -> tuple[Path, ...]:
    """Caches to read from beside the own one, never written to: ``PPHUB_SHARED_HOME``, separated as in ``PATH``."""
    value = os.environ.get("PPHUB_SHARED_HOME") or ""
    return tuple(Path(part).expanduser().absolute() for part in value.split(os.pathsep) if part)


def offline() -> bool:
    """Whether ``PPHUB_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids the network."""
    return _flag("PPHUB_OFFLINE") or _flag("HF_HUB_OFFLINE")


def source_order() -> tuple[str, ...]:
    """The sources to ask, first to last: ``PPHUB_SOURCES`` (``hf,ms,bos``), without blanks or repeats."""
    value = os.environ.get("PPHUB_SOURCES")
    if value is None or not value.strip():
        return DEFAULT_SOURCES
    return tuple(dict.fromkeys(part.strip().lower() for part in value.split(",") if part.strip()))


def _flag(name: str) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    msg = f"{name}={value!r} is neither true nor false"
    raise UsageError(msg, hint=f"set {name}=1 or {name}=0")


def describe() -> tuple[Setting, ...]:
    """Every setting with its value and origin; a token is shown as set or not set, never itself."""
    shown = [
        Setting("PPNLP_HOME", str(home()), _origin("PPNLP_HOME")),
        Setting("PPHUB_SHARED_HOME", os.environ.get("PPHUB_SHARED_HOME") or "none", _origin("PPHUB_SHARED_HOME")),
        Setting("PPHUB_SOURCES", ",".join(source_order()), _origin("PPHUB_SOURCES")),
        Setting("PPHUB_OFFLINE", str(offline()).lower(), _origin("PPHUB_OFFLINE", "HF_HUB_OFFLINE")),
    ]
    for name, default in (
        ("HF_ENDPOINT", "https://huggingface.co"),
        ("MODELSCOPE_ENDPOINT", "https://www.modelscope.cn"),
        ("PPNLP_ENDPOINT", "https://bj.bcebos.com/paddlenlp"),
    ):
        shown.append(Setting(name, without_password(os.environ.get(name) or default), _origin(name)))
    for name in ("HF_TOKEN", "MODELSCOPE_API_TOKEN"):
        stored = _stored_token() if name == "HF_TOKEN" and not os.environ.get(name) else None
        state = "set" if os.environ.get(name) or stored else "not set"
        shown.append(Setting(name, state, f"file ({stored})" if stored else _origin(name)))
    shown.append(Setting("PPHUB_DEBUG", str(bool(os.environ.get("PPHUB_DEBUG"))).lower(), _origin("PPHUB_DEBUG")))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        value = os.environ.get(name) or os.environ.get(name.lower())
        if value:
            shown.append(Setting(name, without_password(value), "environment"))
    return tuple(shown)


def _stored_token() -> Path | None:
    """Where huggingface_hub keeps the token of `hf auth login`, if there is one."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser()
    path = Path(os.environ.get("HF_TOKEN_PATH") or folder / "token").expanduser()
    return path if path.is_file() else None


def without_password(url: str) -> str:
    """The URL without user name, password and query, which may hold a secret."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url.partition("?")[0]
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _origin(*names: str) -> str:
    for name in names:
        if os.environ.get(name):
            return f"environment ({name})"
    return "default"
