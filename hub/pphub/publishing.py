"""A folder that is ready to publish: laid out as BOS has it, with the entries of the tables beside it.

::

    DIR/models/community/NAME/…                  what PaddleNLP and pphub ask ``PPNLP_ENDPOINT`` for
    DIR/models/transformers/FAMILY/NAME.pdparams the same weights where those of PaddleNLP's own names are, and
    DIR/models/transformers/FAMILY/NAME-vocab.txt  the vocabulary: what the entry in ``registry.json`` speaks of
    DIR/NAME                                     a link, by which ``hub serve DIR`` has it in the other protocols, too
    DIR/registry.json                            models, by_name: entries in the form of pphub's own tables;
                                                 shortcuts; published: every file with size and hash
    DIR/names.toml                               the shortcuts as lines for ``$PPNLP_HOME/hub/names.toml``
    DIR/SHA256SUMS                               for ``sha256sum -c``

``DIR/models`` is uploaded as it is. Several models share one folder. All of a model is written beside its place,
compared with what its record says, and renamed; the tables come last. What somebody else put there is not overwritten:
what lies in a place of ours must be as we wrote it before, or as we are about to write it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pphub import settings
from pphub.api import prepare
from pphub.checkpoint.folder import read_config, read_json
from pphub.conversion.job import RECORD_FILE, WEIGHTS_FILE
from pphub.errors import ConversionFailed, Corrupt, InvalidName, UsageError
from pphub.names import parse
from pphub.progress import choose_progress
from pphub.select import Selection
from pphub.tokenizer.classes import FORMS
from pphub.tokenizer.folder import DERIVED_FILE
from pphub.view import tokenizer_class
from pphub_cache.atomic import (
    explain_os_errors,
    fsync_folder,
    link_or_copy,
    make_folder,
    remove_leftovers,
    temporary_beside,
    write_bytes,
)
from pphub_cache.digest import sha256_of
from pphub_cache.layout import SNAPSHOT_FILE, Layout
from pphub_cache.lock import entry_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pphub_cache.progress import Progress

__all__ = ["REGISTRY_FILE", "publish", "published_name"]

REGISTRY_FILE: Final = "registry.json"
_NAMES_FILE: Final = "names.toml"
_SUMS_FILE: Final = "SHA256SUMS"
_COMMUNITY: Final = "models/community"
_BUILT_IN: Final = "models/transformers"
_BUCKET: Final = "https://bj.bcebos.com/paddlenlp"
_RESERVED: Final = frozenset({"models", "paddle-hapi", REGISTRY_FILE, _NAMES_FILE, _SUMS_FILE})
"""What would hide a part of the layout."""

_TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_PROOF_FILE: Final = "alignment.json"
_FORMAT: Final = 1


def publish(
    name: str | os.PathLike[str],
    to: str | os.PathLike[str],
    under: str | None = None,
    *,
    revision: str | None = None,
    source: str | None = None,
    offline: bool | None = None,
    progress: Progress | None = None,
) -> Path:
    """Lay out a model so that the folder can be uploaded to BOS, or served by ``hub serve``, under its name.

    Args:
        name: a model as for :func:`pphub.prepare`: a name, a torch folder, which is converted, or a Paddle folder.
        to: the folder, made if need be; may hold other published models.
        under: the name it gets, ``NAME`` or ``ORG/NAME``; None for the one it has.
        revision: as for :func:`pphub.prepare`.
        source: likewise.
        offline: likewise.
        progress: likewise.

    Returns:
        The folder, absolute.

    Raises:
        UsageError: the name cannot be published under, or something of somebody else's is in the way.
        Corrupt: a file is not what its record says it is.
        ConversionFailed: PaddleNLP could not load it by name, or as for :func:`pphub.prepare`.
        PphubError: see :mod:`pphub.errors`.
    """
    progress = progress or choose_progress()
    root = _root(to)
    chosen = published_name(name, under, revision=revision, source=source)
    prepared = prepare(name, revision=revision, source=source, offline=offline, progress=progress)
    if root.resolve() == prepared.resolve():
        msg = f"{root} is the folder of the model itself, which is never written to"
        raise UsageError(msg, hint="choose another folder for --to")
    model = _read(prepared, chosen)
    for line in _warnings(model):
        progress.note(line)
    lock = Layout(settings.home()).lock("publish", str(root.resolve()))
    waiting = f"waiting to publish {chosen}"
    with (
        entry_lock(lock, on_wait=lambda owner: progress.note(f"{waiting}: {owner}")),
        explain_os_errors("publish", root),
    ):
        former = _read_registry(root)
        registry = _with(former, model)
        found = _find(root, former, model)
        _check(root, former, registry, model, found)
        _put(root, model, found)
        _write_tables(root, registry)
    return root


# ------------------------------------------------------------------------------------------ names


def _root(to: str | os.PathLike[str]) -> Path:
    if not str(to):
        msg = "the folder to publish to has no name"
        raise UsageError(msg, hint="give --to a folder")
    root = Path(to).expanduser().absolute()
    if root.exists() and not root.is_dir():
        msg = f"{root} is a file"
        raise UsageError(msg, hint="choose a folder for --to")
    return root


def published_name(
    name: str | os.PathLike[str], under: str | None = None, *, revision: str | None = None, source: str | None = None
) -> str:
    """The name that :func:`publish` gives a model; the arguments are the same.

    Raises:
        UsageError: it cannot be published under.
    """
    ref = parse(str(name), source=source, revision=revision)
    hint = "say NAME or ORG/NAME with --as"
    chosen = under
    if chosen is None:
        chosen = ref.name if ref.kind == "name" else (ref.path if ref.kind == "folder" else ref.path.parent).name
    try:
        whole = parse(chosen, source="bos").name == chosen  # a scheme, so that a folder of this name is not meant
    except InvalidName:
        whole = False
    if not whole:
        msg = f"{chosen!r} is no name to publish under"
        raise UsageError(msg, hint=hint)
    if chosen.split("/")[0] in _RESERVED:
        msg = f"{chosen!r} cannot be published under, since {chosen.split('/')[0]} is a part of the layout"
        raise UsageError(msg, hint=hint)
    return chosen


def _warnings(model: _Model) -> Iterable[str]:
    known = json.loads((resources("pphub") / "data" / "by_name.json").read_bytes())["names"]
    if model.name in known:
        yield f"{model.name} is a name of PaddleNLP's own: PaddleNLP asks for its own files of it, and finds these not"
    if model.entry is None:
        yield f"{model.name} has its weights in several files, so there is no entry for PaddleNLP's table of own names"
    if model.tokenizer is None:
        yield f"{model.name} is published without a tokenizer that PaddleNLP knows"


# ------------------------------------------------------------------------------------------ what is published


@dataclass(frozen=True, slots=True)
class _File:
    """A file to publish: a copy of one that is there, or what was changed for publishing."""

    size: int
    sha256: str
    origin: Path
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Model:
    """A model as it is published.

    Attributes:
        name: the name it gets.
        files: by name.
        built_in: path from the root → the file of which it is a second name.
        config: of the model.
        entry: for the table of PaddleNLP's own names; None for weights in several files.
        tokenizer: its class, or None.
    """

    name: str
    files: Mapping[str, _File]
    built_in: Mapping[str, str]
    config: Mapping[str, Any]
    entry: Mapping[str, Any] | None
    tokenizer: str | None

    @property
    def folder(self) -> str:
        return f"{_COMMUNITY}/{self.name}"

    def places(self) -> dict[str, _File]:
        """Path from the root → file."""
        own = {f"{self.folder}/{name}": file for name, file in self.files.items()}
        return own | {path: self.files[name] for path, name in self.built_in.items()}


def _read(folder: Path, name: str) -> _Model:
    config = read_config(folder)
    model = _class_of(config)
    if model is None:
        msg = f"the config of {folder} names no class, so PaddleNLP could not load the model by name"
        raise ConversionFailed(msg, hint='add "architectures": ["BertModel"], or what it is, to its config.json')
    promised = _promised(folder)
    changed = _changed(folder, promised)
    files = {each: _file(folder / each, promised.get(each), changed.get(each)) for each in _chosen(folder)}
    files |= {each: _file(folder / each, None, content) for each, content in changed.items() if each not in files}
    kind = tokenizer_class(folder)
    family = config.get("model_type")
    if not isinstance(family, str) or not re.fullmatch(r"\w[\w-]*", family):
        family = model.lower()
    built_in = _built_in(name, family, files, kind)
    return _Model(name, files, built_in, config, _entry(config, model, built_in, kind, changed, folder), kind)


def _class_of(config: Mapping[str, Any]) -> str | None:
    listed = config.get("architectures")
    found = listed[-1] if isinstance(listed, list) and listed else config.get("init_class")
    return found if isinstance(found, str) and found else None


def _chosen(folder: Path) -> list[str]:
    """What a download of the folder would bring, at its top: of a user's folder nothing else is anybody's business."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_file())
    chosen = [name for name in Selection().pick(names) if name not in {SNAPSHOT_FILE, DERIVED_FILE}]
    for name in chosen:
        if not name.isprintable() or "\\" in name:
            msg = f"{folder} has a file {name!r}, which no hub could serve"
            raise UsageError(msg, hint="rename it, or move it away")
    return chosen


def _promised(folder: Path) -> dict[str, str]:
    """File → sha256, as the records of the folder and the names of contents in the cache tell."""
    found: dict[str, str] = {}
    if (folder / RECORD_FILE).is_file():
        recorded = read_json(folder / RECORD_FILE).get("files")
        found = {str(key): str(value) for key, value in recorded.items()} if isinstance(recorded, dict) else {}
    if (folder / DERIVED_FILE).is_file():
        derived: Any = read_json(folder / DERIVED_FILE).get("files")
        found |= {key: value["sha256"] for key, value in derived.items()}
    for path in folder.iterdir():
        real = path.resolve()
        if path.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", real.name) and real.parent.name == real.name[:2]:
            found.setdefault(path.name, real.name)
    return found


def _file(path: Path, promised: str | None, content: bytes | None) -> _File:
    """Hash a file, and hold it against its record; what is changed here is checked before, too."""
    if path.is_file():
        sha256 = sha256_of(path)
        if promised not in (None, sha256):
            msg = f"{path} is not what its record says: expected sha256 {promised}, got {sha256}"
            raise Corrupt(msg, hint="see `hub verify`; make the model again, or take it from its source again")
    if content is None:
        return _File(path.stat().st_size, sha256, path)
    return _File(len(content), hashlib.sha256(content).hexdigest(), path, content)


def _changed(folder: Path, promised: Mapping[str, str]) -> dict[str, bytes]:
    """What is published otherwise than it is here: the tokenizer's class is named, and no path of this machine is."""
    changed: dict[str, bytes] = {}
    kind = tokenizer_class(folder)
    config = read_json(folder / _TOKENIZER_CONFIG) if (folder / _TOKENIZER_CONFIG).is_file() else {}
    if kind is not None and kind != (config.get("init_class") or config.get("tokenizer_class")):
        changed[_TOKENIZER_CONFIG] = _json({**config, "init_class": kind})
    if not (folder / RECORD_FILE).is_file():
        return changed
    record: Any = read_json(folder / RECORD_FILE)
    inputs = record.get("inputs")
    from_disk = [each for each in inputs if each.get("source") == "file"] if isinstance(inputs, list) else []
    for each in from_disk:
        each["repo"] = Path(str(each["repo"])).name
    if _TOKENIZER_CONFIG in changed:
        record["files"] = {**promised, _TOKENIZER_CONFIG: hashlib.sha256(changed[_TOKENIZER_CONFIG]).hexdigest()}
    if from_disk or _TOKENIZER_CONFIG in changed:
        changed[RECORD_FILE] = _json(record)
    if from_disk and (folder / _PROOF_FILE).is_file():
        proof = read_json(folder / _PROOF_FILE)
        changed[_PROOF_FILE] = _json({**proof, "name": Path(str(proof.get("name"))).name})
    return changed


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "backslashreplace")


# ------------------------------------------------------------------------------------------ entries


def _built_in(name: str, family: str, files: Mapping[str, _File], kind: str | None) -> dict[str, str]:
    """Where files of a name of PaddleNLP's own are: the config is in the table, all others beside each other."""
    if WEIGHTS_FILE not in files:
        return {}
    form = FORMS.get(kind or "")
    stem = f"{_BUILT_IN}/{family}/{name}"
    vocabulary = [each for each in (form.files if form else ()) if each in files]
    return {f"{stem}.pdparams": WEIGHTS_FILE} | {f"{stem}-{each}": each for each in vocabulary}


def _entry(
    config: Mapping[str, Any],
    model: str,
    built_in: Mapping[str, str],
    kind: str | None,
    changed: Mapping[str, bytes],
    folder: Path,
) -> dict[str, Any] | None:
    if not built_in:
        return None
    entry: dict[str, Any] = {
        "config": dict(config),
        "files": {name: f"{_BUCKET}/{path}" for path, name in built_in.items()},
        "model": model,
    }
    if kind is None:
        return entry
    arguments: dict[str, Any] = {}
    if _TOKENIZER_CONFIG in changed:
        arguments = json.loads(changed[_TOKENIZER_CONFIG])
    elif (folder / _TOKENIZER_CONFIG).is_file():
        arguments = read_json(folder / _TOKENIZER_CONFIG)
    arguments = {key: value for key, value in arguments.items() if key not in {"init_class", "tokenizer_class"}}
    return {**entry, "tokenizer": kind, "tokenizer_config": arguments}


def _with(former: Mapping[str, Any], model: _Model) -> dict[str, Any]:
    """The registry with one more model, or with another one in its place."""
    registry: dict[str, Any] = {"format": _FORMAT}
    entries = {"models": model.entry, "by_name": _by_name(model), "published": _published(model)}
    for part, entry in entries.items():
        others = {name: each for name, each in former.get(part, {}).items() if name != model.name}
        registry[part] = dict(sorted((others | ({model.name: entry} if entry is not None else {})).items()))
    registry["shortcuts"] = _shortcuts(registry["published"])
    return registry


def _by_name(model: _Model) -> dict[str, Any] | None:
    """What PaddleNLP takes for the config of a name of its own, and looks for in place of a file's name."""
    if model.entry is None:
        return None
    config = {key: value for key, value in model.config.items() if key not in {"architectures", "model_type"}}
    names = {name: path.rpartition("/")[2] for path, name in model.built_in.items() if name != WEIGHTS_FILE}
    return {"config": config, "files": names}


def _published(model: _Model) -> dict[str, Any]:
    places = sorted(model.places().items())
    return {
        "folder": model.folder,
        "files": {path: {"size": file.size, "sha256": file.sha256} for path, file in places},
    }


def _shortcuts(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The last part of each name, or all of it where two would be called the same."""
    names = list(names)
    ends = [name.rpartition("/")[2] for name in names]
    return {
        (end if ends.count(end) == 1 else name): {"bos": name} for name, end in sorted(zip(names, ends, strict=True))
    }


def _tables(registry: Mapping[str, Any]) -> dict[str, bytes]:
    """The tables as they are written, in this order."""
    lines = [
        f"{json.dumps(short, ensure_ascii=False)} = {{ bos = {json.dumps(repos['bos'], ensure_ascii=False)} }}"
        for short, repos in registry.get("shortcuts", {}).items()
    ]
    files = {path: each for one in registry.get("published", {}).values() for path, each in one["files"].items()}
    sums = [f"{each['sha256']}  {path}" for path, each in sorted(files.items())]
    head = "# Short names of what is published here: lines for $PPNLP_HOME/hub/names.toml."
    return {
        _NAMES_FILE: "".join(f"{line}\n" for line in [head, *lines]).encode(),
        _SUMS_FILE: "".join(f"{line}\n" for line in sums).encode(),
        REGISTRY_FILE: _json(registry),
    }


# ------------------------------------------------------------------------------------------ what is there


def _read_registry(root: Path) -> dict[str, Any]:
    path = root / REGISTRY_FILE
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        if found["format"] == _FORMAT and all(_is_record(each) for each in found["published"].values()):
            return found
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    msg = f"{path} is not a table that pphub wrote"
    raise UsageError(msg, hint="choose another folder for --to, or move the file away")


def _is_record(entry: Any) -> bool:
    """Whether it speaks of files in the layout; whoever wrote it, nothing else is touched."""
    return all(
        path.startswith("models/") and ".." not in path.split("/") and isinstance(each["sha256"], str)
        for path, each in entry["files"].items()
    )


def _former_files(former: Mapping[str, Any], model: _Model) -> dict[str, str]:
    """Path from the root → sha256 of what was published under the name before."""
    files = former.get("published", {}).get(model.name, {"files": {}})["files"]
    return {path: each["sha256"] for path, each in files.items()}


def _find(root: Path, former: Mapping[str, Any], model: _Model) -> dict[str, str | None]:
    """Path from the root → sha256 of what is in the model's places; None for what is no file."""
    outside = {*model.built_in, *(path for path in _former_files(former, model) if path.startswith(f"{_BUILT_IN}/"))}
    paths = {path for path in outside if os.path.lexists(root / path)}
    paths |= {f"{model.folder}/{path}".rstrip("/") for path in _walk(root / model.folder)}
    return {path: None if (root / path).is_symlink() else _sha256(root / path) for path in sorted(paths)}


def _sha256(path: Path) -> str | None:
    return sha256_of(path) if path.is_file() else None


def _check(
    root: Path,
    former: Mapping[str, Any],
    registry: Mapping[str, Any],
    model: _Model,
    found: Mapping[str, str | None],
) -> None:
    """Refuse to replace what is neither as it was written here, nor as it is about to be written."""
    for other in former.get("published", {}):
        if model.name != other and (model.name == other.split("/")[0] or other == model.name.split("/")[0]):
            msg = f"{model.name} and {other}, which is published here, cannot be in one folder: one is inside the other"
            raise UsageError(msg, hint="choose another --to folder, or another name with --as")
    before, after = _tables(former) if former else {}, _tables(registry)
    foreign = [
        name
        for name in after
        if (root / name).exists() and (root / name).read_bytes() not in (before.get(name), after[name])
    ]
    allowed: dict[str, set[str | None]] = {path: {sha256} for path, sha256 in _former_files(former, model).items()}
    for path, file in model.places().items():
        allowed.setdefault(path, set()).add(file.sha256)
    foreign += [path for path, sha256 in found.items() if sha256 not in allowed.get(path, ())]
    foreign += _foreign_link(root, model, allowed)
    if foreign:
        shown = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        msg = f"{root} holds what pphub did not publish there, or what was changed since: {shown}"
        raise UsageError(msg, hint="move it away, or choose another --to folder or another name with --as")


def _walk(folder: Path) -> list[str]:
    """All that is below a folder, and the folder itself if it is none."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return [""]
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*")]


def _foreign_link(root: Path, model: _Model, allowed: Mapping[str, set[str | None]]) -> list[str]:
    link = root / model.name
    if not os.path.lexists(link) or _leads(link) == _target(model):
        return []
    if link.is_symlink() or not link.is_dir():
        return [model.name]
    # Where links to folders cannot be made, it is a folder of links to files, or of copies.
    return [
        f"{model.name}/{path.name}"
        for path in link.iterdir()
        if _sha256(path) not in allowed.get(f"{model.folder}/{path.name}", ())
    ]


# ------------------------------------------------------------------------------------------ putting it there


def _put(root: Path, model: _Model, found: Mapping[str, str | None]) -> None:
    wanted = {path: file.sha256 for path, file in model.places().items()}
    make_folder(root)
    remove_leftovers(root / "publish")
    if found != wanted:
        staged = temporary_beside(root / "publish")
        try:
            _fill(staged, model)
            _move(staged, root, model)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        for path in found.keys() - wanted.keys():  # a second name that it does not have any more
            (root / path).unlink(missing_ok=True)
    _link(root, model)


def _fill(staged: Path, model: _Model) -> None:
    folder = staged / "files"
    make_folder(folder)
    for name, file in model.files.items():
        sha256 = _copy(file, folder / name)
        if sha256 != file.sha256:
            msg = f"{file.origin} changed while it was published"
            raise Corrupt(msg, hint="try again when nobody writes to it")
    fsync_folder(folder)
    for number, name in enumerate(model.built_in.values()):
        second = staged / str(number)
        try:
            second.hardlink_to(folder / name)  # the same bytes take no room
        except (OSError, NotImplementedError):
            _copy(model.files[name], second)


def _copy(file: _File, target: Path) -> str:
    """Write a file and return the hash of what was written."""
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(target.open("wb"))
        if file.content is not None:
            pieces: Iterable[bytes] = (file.content,)
        else:
            original = stack.enter_context(file.origin.open("rb"))
            pieces = iter(lambda: original.read(1 << 20), b"")
        for piece in pieces:
            digest.update(piece)
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest()


def _move(staged: Path, root: Path, model: _Model) -> None:
    """By renames: of the folder, which is whole before and after, and of each second name."""
    folder = root / model.folder
    make_folder(folder.parent)
    if folder.exists():
        folder.rename(staged / "former")
    try:
        (staged / "files").rename(folder)
    except BaseException:
        if (staged / "former").exists():
            (staged / "former").rename(folder)
        raise
    for number, path in enumerate(model.built_in):
        make_folder((root / path).parent)
        (staged / str(number)).replace(root / path)
    fsync_folder(folder.parent)


def _target(model: _Model) -> str:
    return os.path.join(*([os.pardir] * model.name.count("/")), *model.folder.split("/"))  # noqa: PTH118  for a link


def _leads(link: Path) -> str | None:
    return os.fspath(link.readlink()) if link.is_symlink() else None


def _link(root: Path, model: _Model) -> None:
    """``DIR/NAME``: for clients of the other protocols of ``hub serve``."""
    link = root / model.name
    if _leads(link) == _target(model):
        return
    make_folder(link.parent)
    if link.is_dir():
        shutil.rmtree(link)  # _check has seen that all in it is ours
    try:
        link.symlink_to(_target(model), target_is_directory=True)
    except (OSError, NotImplementedError):
        for name in model.files:
            link_or_copy(root / model.folder / name, link / name)


def _write_tables(root: Path, registry: Mapping[str, Any]) -> None:
    for name, content in _tables(registry).items():
        if not (root / name).is_file() or (root / name).read_bytes() != content:
            write_bytes(root / name, content)
