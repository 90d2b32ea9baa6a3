"""``$PPNLP_HOME/models/NAME``: where an unmodified PaddleNLP finds a model by its name, and asks nobody.

::

    models/NAME/config.json, …      links to what .pphub/current has under the same name
    models/NAME/.pphub.json         likewise: what is shown here, and where it came from
    models/NAME/.pphub/current      a link to VIEW; replacing it shows another model, whole, in one rename
    models/NAME/.pphub/VIEW/…       links to weights and config; copies of what belongs to the tokenizer

Whatever PaddleNLP 2.8 reads is looked for in this folder first. What it does beside reading makes the rest:

* it requests optional files of the tokenizer that are missing, and fails when it cannot: empty ones are put there;
* of a name it knows itself it looks for the vocabulary under the name of a URL, takes the config it carries, and
  when the tokenizer is made it writes the tokenizer's files back, through any link: so these are copies, each name
  its own, and a model with another config is not shown;
* ``AutoTokenizer`` takes the class from ``tokenizer_config.json``, which in torch's world often names none of Paddle's.

A copy may be changed, and the record tells of which kind it is. A vocabulary PaddleNLP writes back byte for byte:
another size is mended here, and another content found by ``hub verify``. Its JSON it composes anew: whatever is a JSON
object is right, what is none ``hub verify`` finds, and what is empty is mended here. A vocabulary that gives way to one
under the name of the URL is right unless it is empty.

Where links cannot be made, the files are moved into the folder itself: those of the former model go first, its config
before all, and the config and the record come last. What PaddleNLP has downloaded is never touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import stat
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any, Final

from pphub.checkpoint.folder import read_config, read_json
from pphub.conversion.job import RECORD_FILE, WEIGHTS_FILE
from pphub.conversion.rules import find_family, load_families
from pphub.errors import ConversionFailed, PphubError
from pphub.select import is_weights, weight_files
from pphub.tokenizer.classes import FORMS, named_class, paddle_class, without
from pphub.tokenizer.folder import DERIVED_FILE
from pphub_cache.atomic import (
    explain_os_errors,
    fsync_folder,
    link_or_copy,
    make_folder,
    temporary_beside,
    write_bytes,
    write_json,
)
from pphub_cache.digest import sha256_of
from pphub_cache.layout import SNAPSHOT_FILE, Layout
from pphub_cache.lock import entry_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["family_class", "show_by_name", "tokenizer_class"]

_FORMAT: Final = 2
"""Counts up when the same folder is to be shown otherwise; part of the key."""

_RECORD: Final = ".pphub.json"
_OWN: Final = ".pphub"
_CURRENT: Final = "current"
_RECORDS: Final = frozenset({RECORD_FILE, SNAPSHOT_FILE, DERIVED_FILE, "alignment.json"})
_CONFIG: Final = "config.json"
_OLD_CONFIG: Final = "model_config.json"
_TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_OPTIONAL: Final = ("added_tokens.json", "chat_template.json", "special_tokens_map.json")


def show_by_name(
    home: Path, name: str, folder: Path, *, source: str, repo: str, commit: str, note: Callable[[str], None]
) -> Path | None:
    """Make PaddleNLP load a prepared folder by name; a failure is told and stops nobody.

    Args:
        home: the cache home, which PaddleNLP must be told as ``PPNLP_HOME`` unless it is the default.
        name: ``NAME`` or ``ORG/NAME``, as checked by :mod:`pphub.names`.
        folder: a folder in Paddle's layout that was checked; what is in folders below it is not shown.
        source: where the model came from, for the record; likewise ``repo`` and ``commit``.
        repo: what the source calls the model.
        commit: the commit.
        note: told in a line why the model is not shown, or whom this waits for.

    Returns:
        ``models/NAME``, or None when it is not shown.
    """
    shown = home / "models" / name
    try:
        with explain_os_errors("link files", shown):
            files = _files(folder)
            origin = {"name": name, "source": source, "repo": repo, "commit": commit, "folder": str(folder)}
            key = _key(origin, files)
            if _is_shown(shown, key):
                return shown
            table = json.loads((resources("pphub") / "data" / "by_name.json").read_bytes())
            known = table["names"].get(name, {})
            if problem := _problem(shown, folder, files, known):
                note(f"PaddleNLP will not load {name} by name: {problem}")
                return None
            waiting = f"waiting to show {name} to PaddleNLP"
            with entry_lock(Layout(home).lock("view", name), on_wait=lambda owner: note(f"{waiting}: {owner}")):
                if not _is_shown(shown, key):
                    record = {"format": _FORMAT, **origin, "key": key}
                    _show(shown, lambda target: _fill(target, folder, files, known, table["written"], record))
    except PphubError as error:
        note(f"PaddleNLP will not load {name} by name: {error.message}")
        return None
    return shown


def tokenizer_class(folder: Path) -> str | None:
    """The class the tokenizer's own file names, else the family's; None where neither is known."""
    config = read_json(folder / _TOKENIZER_CONFIG) if (folder / _TOKENIZER_CONFIG).is_file() else {}
    named = named_class(config) or family_class(folder)
    models = ((file, form.model) for form in FORMS.values() for file in form.files)
    return paddle_class(named, next((model for file, model in models if (folder / file).is_file()), None))


def family_class(folder: Path) -> str | None:
    """The tokenizer class of the family that ``config.json`` tells; None where there is none."""
    return _tokenizer_of_family(read_json(folder / _CONFIG)) if (folder / _CONFIG).is_file() else None


def _tokenizer_of_family(config: Mapping[str, object]) -> str | None:
    with contextlib.suppress(ConversionFailed):
        return find_family(config)[0].tokenizer
    listed = config.get("architectures")  # a converted config has Paddle's classes
    architecture = listed[-1] if isinstance(listed, list) and listed else None
    return next((each.tokenizer for each in load_families() if architecture in each.architectures.values()), None)


# ------------------------------------------------------------------------------------------ what is to be shown


def _files(folder: Path) -> tuple[str, ...]:
    """The files at the top of the folder, with one format of weights."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name[0] != "." and entry.is_file()]
    weights = weight_files(names)
    return tuple(sorted(name for name in names if name not in _RECORDS and (name in weights or not is_weights(name))))


def _key(origin: Mapping[str, str], files: tuple[str, ...]) -> str:
    """Names what is shown: the files of a commit or a conversion never change, but may become more."""
    text = "\0".join([str(_FORMAT), *origin.values(), *files])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _is_shown(shown: Path, key: str) -> bool:
    """Whether everything is as it should be; strings, not Paths, since every warm call comes here."""
    top = os.fspath(shown)
    try:
        with open(f"{top}/{_RECORD}", "rb") as stream:  # noqa: PTH123
            record = json.load(stream)
        if record["key"] != key:
            return False
        linked = os.path.islink(f"{top}/{_RECORD}")  # noqa: PTH114
        copies = record["copies"]
        return all(
            _is_sound(os.stat(f"{top}/{name}"), name in copies, copies.get(name))  # noqa: PTH116
            # What PaddleNLP downloaded in the place of a link that led nowhere is another file.
            and (not linked or os.readlink(f"{top}/{name}") == _place(name))  # noqa: PTH115
            for name in record["files"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_sound(found: os.stat_result, copied: bool, content: Mapping[str, Any] | None) -> bool:
    """Whether a file may be what was put there, as far as its size tells."""
    if not stat.S_ISREG(found.st_mode):
        return False
    if not copied:
        return True  # a link
    return found.st_size > 0 if content is None else found.st_size == content["size"]


def _place(name: str) -> str:
    return os.path.join(_OWN, _CURRENT, name)  # noqa: PTH118  what a link says, in the system's own way


def _problem(shown: Path, folder: Path, files: tuple[str, ...], known: Mapping[str, Any]) -> str | None:
    if WEIGHTS_FILE not in files and f"{WEIGHTS_FILE}.index.json" not in files:
        return f"{folder} has no {WEIGHTS_FILE}"
    if not _is_free(shown):
        return f"{shown} holds what PaddleNLP has downloaded itself; remove it and prepare the model again"
    if expected := known.get("config"):
        config = read_config(folder)
        wrong = [
            f"{key} {value!r}, not {config[key]!r}"
            for key, value in expected.items()
            if key in config and config[key] != value
        ]
        if wrong:
            return f"it has a config of its own for this name, with {', '.join(wrong[:3])}; load {folder} instead"
    return None


def _is_free(shown: Path) -> bool:
    """Whether the folder is ours, or holds nothing; PaddleNLP leaves an empty one when a download fails."""
    if shown.is_symlink() or (shown.exists() and not shown.is_dir()):
        return False
    if not shown.exists() or (shown / _OWN).is_dir() or (shown / _RECORD).is_file():
        return True
    # Of a name ORG/NAME there is a folder in ORG; and somebody may have removed .pphub alone.
    return all(path.is_dir() or _leads_to(path, _place(path.name)) for path in shown.iterdir())


def _fill(
    target: Path,
    folder: Path,
    files: tuple[str, ...],
    known: Mapping[str, Any],
    written: list[str],
    record: dict[str, object],
) -> None:
    """Write everything into a fresh folder."""
    for name in files:
        if name in written:
            write_bytes(target / name, (folder / name).read_bytes())
        else:
            link_or_copy(folder / name, target / name)
    if _CONFIG not in files and _OLD_CONFIG in files:
        link_or_copy(folder / _OLD_CONFIG, target / _CONFIG)  # AutoConfig does not know the old name
    if "files" in known:
        for name, looked_for in known["files"].items():
            if name in files and looked_for not in files:
                write_bytes(target / looked_for, (folder / name).read_bytes())
    else:
        _complete_tokenizer(target, folder, files)
    names = sorted((path.name for path in target.iterdir()), key=lambda name: (name == _CONFIG, name))
    own = set(names) - (set(files) - set(written)) - {_CONFIG}
    aliases = known.get("files", {})
    composed = {name for name in own if name.endswith(".json") or aliases.get(name, name) in set(files) - {name}}
    copies = {name: None if name in composed else _content(target / name) for name in names if name in own}
    write_json(target / _RECORD, {**record, "files": [*names, _RECORD], "copies": copies})


def _content(copy: Path) -> dict[str, object]:
    return {"size": copy.stat().st_size, "sha256": sha256_of(copy)}


def _complete_tokenizer(target: Path, folder: Path, files: tuple[str, ...]) -> None:
    """What PaddleNLP would ask for, such that the tokenizer stays the one of the folder."""
    for name in _OPTIONAL:
        if name not in files:
            write_bytes(target / name, b"{}\n")
    config = read_json(folder / _TOKENIZER_CONFIG) if _TOKENIZER_CONFIG in files else {}
    kind = tokenizer_class(folder)
    more: dict[str, object] = {key: value for key, value in without(kind, files).items() if key not in config}
    if kind is not None and kind != (config.get("init_class") or config.get("tokenizer_class")):
        more["init_class"] = kind
    if more or _TOKENIZER_CONFIG not in files:
        write_json(target / _TOKENIZER_CONFIG, {**config, **more})


# ------------------------------------------------------------------------------------------ showing it


def _show(shown: Path, fill: Callable[[Path], None]) -> None:
    """Put a new view in the place of the present one, if any; hold the lock.

    A kill leaves the present view, or links that lead nowhere, which to PaddleNLP are no files.
    """
    fresh = shown / _OWN / secrets.token_hex(8)  # nobody looks into it before it is whole
    try:
        make_folder(fresh)
        fill(fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    names = _names(fresh)
    if any((fresh / name).is_symlink() for name in names):
        _turn_links(shown, fresh, names)
    else:
        _move_files(shown, fresh, names)
    fsync_folder(shown)


def _names(view: Path) -> list[str]:
    """The names a view has, the record last and the config before it; none where there is no view."""
    try:
        names = json.loads((view / _RECORD).read_bytes())["files"]
        return [name for name in names if os.path.basename(name) == name]  # noqa: PTH119  they will be removed
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _turn_links(shown: Path, fresh: Path, names: list[str]) -> None:
    former = set(_names(shown))
    for name in names:
        _link(_place(name), shown / name)
    _link(fresh.name, fresh.with_name(_CURRENT))
    for path in shown.iterdir():
        stale = path.name in former or _leads_to(path, _place(path.name))
        if (stale and path.name not in names) or _is_leftover(path):
            path.unlink()
    for path in fresh.parent.iterdir():
        if _is_leftover(path):
            path.unlink()
        elif path.name not in {_CURRENT, fresh.name}:
            shutil.rmtree(path, ignore_errors=True)


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == ".tmp"


def _leads_to(path: Path, content: str) -> bool:
    return path.is_symlink() and os.fspath(path.readlink()) == content


def _link(content: str, link: Path) -> None:
    if _leads_to(link, content):
        return
    temporary = temporary_beside(link)
    try:
        temporary.symlink_to(content)
        temporary.replace(link)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _move_files(shown: Path, fresh: Path, names: list[str]) -> None:
    own = fresh.parent
    if (shown / _RECORD).exists():
        (shown / _RECORD).replace(own / _RECORD)  # so that the names to remove are known also after a kill
    former = {name for view in (own, *own.iterdir()) for name in _names(view)}
    for name in sorted(former, key=lambda name: name != _CONFIG):
        (shown / name).unlink(missing_ok=True)
    for name in names:
        (fresh / name).replace(shown / name)
    shutil.rmtree(own, ignore_errors=True)
