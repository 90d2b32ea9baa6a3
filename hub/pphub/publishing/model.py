"""What is published of a prepared folder: which files, under which second names, and what is said of them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pphub.alignment.record import PROOF_FILE, read_proof
from pphub.checkpoint.folder import read_config, read_json
from pphub.conversion.job import RECORD_FILE, WEIGHTS_FILE
from pphub.errors import ConversionFailed, Corrupt, UsageError
from pphub.select import Selection
from pphub.tokenizer.classes import FORMS
from pphub.tokenizer.folder import DERIVED_FILE
from pphub.view import tokenizer_class
from pphub_cache.atomic import explain_os_errors
from pphub_cache.digest import sha256_of
from pphub_cache.layout import SNAPSHOT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["BUCKET", "BUILT_IN", "COMMUNITY", "File", "Model", "as_json", "read_model"]

COMMUNITY: Final = "models/community"
BUILT_IN: Final = "models/transformers"
BUCKET: Final = "https://bj.bcebos.com/paddlenlp"
"""What the URLs of PaddleNLP's own names begin with; our source of BOS asks ``PPNLP_ENDPOINT`` in its place."""

_TOKENIZER_CONFIG: Final = "tokenizer_config.json"


@dataclass(frozen=True, slots=True)
class File:
    """A file to publish.

    Attributes:
        size: in bytes.
        sha256: of what is published.
        origin: the file that is copied, or was changed.
        content: what is published in its place; None for a copy.
    """

    size: int
    sha256: str
    origin: Path
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it is published.

    Attributes:
        name: the name it gets.
        files: by name.
        built_in: path from the root → the file of which it is a second name.
        config: of the model.
        entry: for the table of PaddleNLP's own names; None for weights in several files.
        notes: what its publisher should know, a line each.
    """

    name: str
    files: Mapping[str, File]
    built_in: Mapping[str, str]
    config: Mapping[str, Any]
    entry: Mapping[str, Any] | None
    notes: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Its folder, from the root."""
        return f"{COMMUNITY}/{self.name}"

    def places(self) -> dict[str, File]:
        """Path from the root → file."""
        own = {f"{self.folder}/{name}": file for name, file in self.files.items()}
        return own | {path: self.files[name] for path, name in self.built_in.items()}


def read_model(folder: Path, name: str) -> Model:
    """Read a folder that PaddleNLP can load.

    Args:
        folder: from :func:`pphub.prepare`.
        name: to publish under.

    Raises:
        ConversionFailed: PaddleNLP could not tell its class.
        Corrupt: a file is not what its record says it is.
        UsageError: a file has a name that no hub could serve.
    """
    config = read_config(folder)
    architecture = _class_of(config)
    if architecture is None:
        msg = f"the config of {folder} names no class, so PaddleNLP could not load the model by name"
        raise ConversionFailed(msg, hint='add "architectures": ["BertModel"], or what it is, to its config.json')
    kind = tokenizer_class(folder)
    hashes = _hashes(folder)
    changed = _changed(folder, hashes, kind)
    proved = PROOF_FILE not in hashes or _is_of(folder, hashes)
    names = sorted((hashes.keys() | changed.keys()) - (set() if proved else {PROOF_FILE}))
    files = {each: _file(folder / each, hashes.get(each), changed.get(each)) for each in names}
    family = config.get("model_type")
    if not isinstance(family, str) or not re.fullmatch(r"\w[\w-]*", family):
        family = architecture.lower()
    built_in = _built_in(name, family, files, kind)
    entry = _entry(config, architecture, built_in, kind, files) if built_in else None
    notes = tuple(_notes(name, kind, proved=proved, whole=entry is not None))
    return Model(name, files, built_in, config, entry, notes)


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


def _hashes(folder: Path) -> dict[str, str]:
    """The files that are published, hashed and held against their records."""
    promised, found = _promised(folder), {}
    for name in _chosen(folder):
        with explain_os_errors(f"read {name}", folder):
            found[name] = sha256_of(folder / name)
        if promised.get(name) not in (None, found[name]):
            msg = f"{folder / name} is not what its record says: expected sha256 {promised[name]}, got {found[name]}"
            raise Corrupt(msg, hint="see `hub verify`; make the model again, or take it from its source again")
    return found


def _promised(folder: Path) -> dict[str, str]:
    """File → sha256, as the records of the folder and the names of contents in the cache tell."""
    found: dict[str, str] = {}
    record = _record(folder)
    for name, sha256 in record.get("files", {}).items():
        # In a folder of the user's, which tells no sizes, all but the weights may have been edited.
        if "sizes" in record or name.endswith(".pdparams"):
            found[name] = sha256
    if (folder / DERIVED_FILE).is_file():
        derived: Any = read_json(folder / DERIVED_FILE).get("files")
        found |= {key: value["sha256"] for key, value in derived.items()}
    for path in folder.iterdir():
        real = path.resolve()
        if path.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", real.name) and real.parent.name == real.name[:2]:
            found.setdefault(path.name, real.name)
    return found


def _record(folder: Path) -> dict[str, Any]:
    """The record of the conversion; empty if there is none, or one that is not ours."""
    record: dict[str, Any] = read_json(folder / RECORD_FILE) if (folder / RECORD_FILE).is_file() else {}
    inputs, files = record.get("inputs"), record.get("files")
    is_ours = isinstance(inputs, list) and all(isinstance(each, dict) for each in inputs) and isinstance(files, dict)
    return record if is_ours else {}


def _changed(folder: Path, hashes: Mapping[str, str], kind: str | None) -> dict[str, bytes]:
    """What is published otherwise than it is here: the tokenizer's class is named, and no path of this machine is."""
    changed: dict[str, bytes] = {}
    config = read_json(folder / _TOKENIZER_CONFIG) if _TOKENIZER_CONFIG in hashes else {}
    if kind is not None and kind != (config.get("init_class") or config.get("tokenizer_class")):
        changed[_TOKENIZER_CONFIG] = as_json({**config, "init_class": kind})
    record = _record(folder)
    if not record:
        return changed
    local = [each for each in record["inputs"] if each.get("source") == "file"]
    new = {name: hashlib.sha256(content).hexdigest() for name, content in changed.items()}
    files = {name: new.get(name) or hashes.get(name, sha256) for name, sha256 in record["files"].items()} | new
    if local or files != record["files"]:
        for each in local:
            each["repo"] = Path(str(each.get("repo"))).name
        changed[RECORD_FILE] = as_json({**record, "files": files})
    if (local or new) and (proof := read_proof(folder)):
        name = Path(str(proof.get("name"))).name if local else proof.get("name")
        changed[PROOF_FILE] = as_json({**proof, "name": name, **_published_tokenizer(proof, new)})
    return changed


def _published_tokenizer(proof: Mapping[str, Any], new: Mapping[str, str]) -> dict[str, Any]:
    """The tokenizer's files of a proof: that its class is named, makes no other of it."""
    if not (sides := proof.get("tokenizer")):
        return {}
    return {"tokenizer": {**sides, "paddle": {**sides.get("paddle", {}), **new}}}


def _is_of(folder: Path, hashes: Mapping[str, str]) -> bool:
    """Whether the proof of an alignment is of these very files."""
    proof = read_proof(folder)
    if proof is None or "paddle" not in proof["files"]:
        return False
    aligned = {**proof.get("tokenizer", {}).get("paddle", {}), **proof["files"]["paddle"]}
    return all(hashes.get(Path(name).name) == sha256 for name, sha256 in aligned.items())


def _file(path: Path, sha256: str | None, content: bytes | None) -> File:
    if content is not None:
        return File(len(content), hashlib.sha256(content).hexdigest(), path, content)
    assert sha256 is not None  # noqa: S101  what is not changed is there, and was hashed
    return File(path.stat().st_size, sha256, path)


def _notes(name: str, kind: str | None, *, proved: bool, whole: bool) -> Iterator[str]:
    known = json.loads((resources("pphub") / "data" / "by_name.json").read_bytes())["names"]
    if name in known:
        yield f"{name} is a name of PaddleNLP's own, of which PaddleNLP asks for files of its own, and not for these"
    if not whole:
        yield f"{name} has its weights in several files, so there is no entry for PaddleNLP's table of own names"
    if kind is None:
        yield f"{name} is published without a tokenizer that PaddleNLP knows"
    if not proved:
        yield f"{PROOF_FILE} is the proof of other files, and is left out"


def as_json(value: Mapping[str, Any]) -> bytes:
    """A JSON document for people and programs."""
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "backslashreplace")


def _built_in(name: str, family: str, files: Mapping[str, File], kind: str | None) -> dict[str, str]:
    """Where files of a name of PaddleNLP's own are: the config is in the table, all others beside each other."""
    if WEIGHTS_FILE not in files:
        return {}
    form = FORMS.get(kind or "")
    stem = f"{BUILT_IN}/{family}/{name}"
    vocabulary = [each for each in (form.files if form else ()) if each in files]
    return {f"{stem}.pdparams": WEIGHTS_FILE} | {f"{stem}-{each}": each for each in vocabulary}


def _entry(
    config: Mapping[str, Any],
    architecture: str,
    built_in: Mapping[str, str],
    kind: str | None,
    files: Mapping[str, File],
) -> dict[str, Any]:
    """What our table says of a name of PaddleNLP's own."""
    entry: dict[str, Any] = {
        "config": dict(config),
        "files": {name: f"{BUCKET}/{path}" for path, name in built_in.items()},
        "model": architecture,
    }
    if kind is None:
        return entry
    file = files.get(_TOKENIZER_CONFIG)
    arguments = json.loads(file.content or file.origin.read_bytes()) if file else {}
    arguments = {key: value for key, value in arguments.items() if key not in {"init_class", "tokenizer_class"}}
    return {**entry, "tokenizer": kind, "tokenizer_config": arguments}
