"""Short names, and what each hub calls the model.

The shipped table is ``data/shortcuts.toml``. Users add their own in ``$PPNLP_HOME/hub/names.toml``, in the same
form, one line a name; theirs win::

    our-bert = { hf = "our-org/bert-v7", ms = "OurOrg/bert-v7" }
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pphub import settings
from pphub.errors import InvalidName, UsageError
from pphub.names import parse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["candidates", "load_shortcuts", "names_file"]


def names_file() -> Path:
    """Where users keep their own names; need not exist."""
    return settings.home() / "hub" / "names.toml"


@lru_cache(maxsize=1)
def load_shortcuts() -> Mapping[str, Mapping[str, str]]:
    """The shipped table: short name → source → repository."""
    from importlib.resources import files  # a name with a slash is in no table, and costs no import

    from pphub.toml import parse_toml

    table = parse_toml((files("pphub") / "data" / "shortcuts.toml").read_text(encoding="utf-8"))
    return {name: dict(repos) for name, repos in table.items()}


def candidates(name: str, source: str) -> tuple[str, ...]:
    """What to ask a source for, first to last, for a name as it was typed.

    First what the source calls the model. ModelScope mirrors many organisations of the Hugging Face Hub under
    their own names, so theirs come next. Last the name itself, which private hubs and mirrors may use.

    Raises:
        UsageError: the user's own names cannot be read.
    """
    own = _own_names().get(name)
    if own is not None:
        # A name of the user's means what they say, and nothing else.
        return (own[source],) if source in own else ()
    if "/" in name:
        return (name,)
    shipped = load_shortcuts().get(name, {})
    found = [shipped.get(source), shipped.get("hf") if source == "ms" else None, name]
    return tuple(dict.fromkeys(repo for repo in found if repo))


def _own_names() -> Mapping[str, Mapping[str, str]]:
    path = names_file()
    try:
        stat = path.stat()
    except OSError:
        return {}
    return _read_names(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read_names(path: Path, _mtime_ns: int, _size: int) -> Mapping[str, Mapping[str, str]]:
    """Read once for each state of the file."""
    from pphub.toml import TOMLDecodeError, parse_toml

    try:
        table = parse_toml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, TOMLDecodeError) as error:
        msg = f"the names in {path} cannot be read: {error}"
        raise UsageError(msg, hint='write one line a name, such as  our-bert = { hf = "our-org/bert-v7" }') from error
    return {name: _checked(path, name, repos) for name, repos in table.items()}


def _checked(path: Path, name: str, repos: Any) -> dict[str, str]:
    hint = 'write one line a name, such as  our-bert = { hf = "our-org/bert-v7" }'
    if not isinstance(repos, dict) or not repos or not all(isinstance(repo, str) for repo in repos.values()):
        msg = f"the name {name!r} in {path} has no table of source = repository"
        raise UsageError(msg, hint=hint)
    for source, repo in repos.items():
        try:
            whole = parse(repo, source=source).name == repo
        except InvalidName:
            whole = False
        if not whole:
            msg = f"the name {name!r} in {path} stands for {repo!r}, which is no repository: NAME or ORG/NAME"
            raise UsageError(msg, hint=hint)
    return dict(repos)
