"""The conversion stage: a model folder goes in, a folder that PaddleNLP, or transformers, loads comes out."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pphub.checkpoint.folder import open_checkpoint, open_wrapped, read_json, without_prefix
from pphub.checkpoint.state_dict import wrapping
from pphub.conversion.config import DTYPE_KEYS, TranslatedConfig, translate_config
from pphub.conversion.copying import check_small, copy_file
from pphub.conversion.dtypes import check_holds
from pphub.conversion.family import Table
from pphub.conversion.moves import Request
from pphub.conversion.plan import check_coverage, make_plan
from pphub.conversion.record import make_record
from pphub.conversion.rules import find_family, find_paddle_family
from pphub.conversion.sizes import lookup, put
from pphub.conversion.target import RECORD_FILE, check_target, is_complete, move_into_place
from pphub.conversion.torch_config import read_paddle_config, translate_back
from pphub.conversion.weights import TORCH_FILE, WEIGHTS_FILE, write_weights
from pphub.conversion.widths import check_widths
from pphub.errors import Corrupt
from pphub.select import weight_files
from pphub.tokenizer.classes import named_class, refuse_unpickling
from pphub.tokenizer.derive import derive_or_tell, lacks_vocabulary
from pphub_cache.atomic import explain_os_errors, make_folder, share, temporary_beside, write_bytes, write_json
from pphub_cache.digest import Hashing, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pphub.conversion.family import Family, Side
    from pphub.conversion.moves import Plan
    from pphub_cache.progress import Progress
    from pphub_cache.store import Snapshot

__all__ = [
    "RECORD_FILE",
    "WEIGHTS_FILE",
    "Job",
    "Written",
    "conversion_key",
    "is_complete",
    "make_job",
    "make_key",
    "plan_job",
    "run_job",
    "write_folder",
]

_CONVERTER: Final = 2
"""Counts up when the output of the same inputs and rules changes."""

_CONVERTER_WITH_TOKENIZER: Final = 3
"""Likewise, where files of the tokenizer are made as well: the others need not be converted again."""

_POOLER: Final = "pooler"
_TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_TOKENIZER_FILES: Final = frozenset(
    {
        "added_tokens.json",
        "entity_vocab.json",
        "merges.txt",
        "sentencepiece.bpe.model",
        "sentencepiece.model",
        "special_tokens_map.json",
        "spiece.model",
        "spm.model",
        "tokenizer.json",
        "tokenizer.model",
        _TOKENIZER_CONFIG,
        "vocab.json",
        "vocab.txt",
        "generation_config.json",
    }
)


@dataclass(frozen=True, slots=True)
class Job:
    """A conversion that has been checked as far as names go, and not begun.

    Attributes:
        folder: where the inputs are; never written to.
        origin: source, repository and commit.
        small: path → sha256 of every file that is read or copied, but for the weights.
        hashing: of the weights.
        weights: the weight files among them.
        copied: the tokenizer files among them.
        request: rules, classes and direction.
        config: the config that is written.
        original: torch's own config, as far as it is known.
        dtype: cast floating tensors to this; None keeps each as it is.
    """

    folder: Path
    origin: dict[str, str]
    small: dict[str, str]
    hashing: Hashing
    weights: tuple[str, ...]
    copied: tuple[str, ...]
    request: Request
    config: TranslatedConfig
    original: Mapping[str, object] | None
    dtype: str | None

    @property
    def inputs(self) -> dict[str, str]:
        """Path → sha256 of every file that is read or copied; waits until all are hashed."""
        return dict(sorted({**self.small, **self.hashing.result()}.items()))


def make_job(snapshot: Snapshot, dtype: str | None, to: Side = "paddle", hashing: Hashing | None = None) -> Job:
    """Read the config, choose the rules and begin to hash what is not hashed yet.

    Args:
        snapshot: the model; of a folder on this disk the hashes are computed meanwhile.
        dtype: cast floating tensors to this; None keeps each as it is.
        to: the side that is made.
        hashing: of the weights, where it has begun.

    Raises:
        FileNotInModel: no config.json, or no weights.
        Corrupt: config.json is not JSON.
        ConversionFailed: no rules for the architecture, or a config that the other side cannot express.
    """
    stored = tuple(path for path, file in snapshot.files.items() if file.stored)
    weights = weight_files(stored)
    request, translated, original, read = (_from_torch if to == "paddle" else _from_paddle)(snapshot.folder)
    if not weights:
        open_checkpoint(snapshot.folder, weights)  # raises, saying what was looked for
    copied = tuple(path for path in stored if path in _TOKENIZER_FILES)
    small = {}
    for path in copied:
        check_small(snapshot.folder / path)
    for path in {*read, *copied}:
        with explain_os_errors(f"read {path}", snapshot.folder):
            small[path] = _known(snapshot, path) or sha256_of(snapshot.folder / path)
    hashing = hashing or Hashing(snapshot.folder, {path: _known(snapshot, path) for path in weights})
    origin = {"source": snapshot.source, "repo": snapshot.repo, "commit": snapshot.commit}
    return Job(snapshot.folder, origin, small, hashing, weights, copied, request, translated, original, dtype)


def _known(snapshot: Snapshot, path: str) -> str | None:
    return snapshot.files[path].sha256 if path in snapshot.files else None


Written = tuple[list[dict[str, object]], dict[str, object]]
"""For the record: an entry for each tensor of the output, and one for the file."""

_Read = tuple[Request, TranslatedConfig, "Mapping[str, object] | None", tuple[str, ...]]


def _from_torch(folder: Path) -> _Read:
    config = read_json(folder / "config.json")
    family, architecture = find_family(config)
    translated = translate_config(family, architecture, config)
    narrowed = family.narrowed(translated.values)
    request = Request(narrowed, architecture, "paddle", _with_defaults(family, config))
    return request, translated, config, ("config.json",)


def _from_paddle(folder: Path) -> _Read:
    config = read_paddle_config(folder)
    record = _earlier(folder)
    earlier = record.get("architecture")
    wanted = earlier.get("torch") if isinstance(earlier, dict) else None
    family, architecture = find_paddle_family(config, wanted)
    notes = record.get("config")
    original = notes.get("original") if isinstance(notes, dict) and wanted == architecture else None
    original = original if isinstance(original, dict) else None
    translated = translate_back(family, architecture, config, original)
    dropped = record.get("dropped")
    entries = tuple(entry for entry in dropped if isinstance(entry, dict)) if isinstance(dropped, list) else ()
    settings = _with_defaults(family, translated.values)
    request = Request(family.narrowed(config), architecture, "torch", settings, entries, _made(record))
    names = ("config.json",) if (folder / "config.json").is_file() else ("model_config.json",)
    return request, translated, original, (*names, RECORD_FILE) if record else names


def _made(record: Mapping[str, Any]) -> frozenset[str]:
    """What the conversion that a record is of has made, since the checkpoint lacked it."""
    tensors = record.get("tensors")
    entries = [entry for entry in tensors if isinstance(entry, dict)] if isinstance(tensors, list) else []
    return frozenset(str(entry.get("name")) for entry in entries if entry.get("sources") == [])


def _with_defaults(family: Family, config: Mapping[str, object]) -> dict[str, object]:
    """Torch's config with what torch takes for keys that are left out."""
    settings = dict(config)
    for key, value in family.config.default.items():
        if lookup(settings, key) is None:
            put(settings, key, value)
    return settings


def _earlier(folder: Path) -> dict[str, Any]:
    """The record of the conversion to Paddle that made this folder, if one did."""
    if not (folder / RECORD_FILE).is_file():
        return {}
    record = read_json(folder / RECORD_FILE)
    options = record.get("options")
    return record if isinstance(options, dict) and options.get("to") == "paddle" else {}


def conversion_key(job: Job) -> str:
    """One name for one result: a hash of inputs, rules, options and converter."""
    converter = _CONVERTER_WITH_TOKENIZER if _makes_tokenizer(job) else _CONVERTER
    return make_key(job.inputs, job.request.family.digest, job.dtype, job.request.to, converter)


def _makes_tokenizer(job: Job) -> bool:
    return job.request.to == "paddle" and lacks_vocabulary(job.copied)


def make_key(inputs: Mapping[str, str], rules: str, dtype: str | None, to: str, converter: int = _CONVERTER) -> str:
    """As :func:`conversion_key`, of what a record says of a conversion."""
    parts: dict[str, object] = {"inputs": dict(inputs), "rules": rules, "dtype": dtype, "converter": converter}
    if to == "torch":
        parts["to"] = "torch"
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def run_job(job: Job, target: Path, progress: Progress, *, keep_edits: bool) -> None:
    """Convert into a folder beside the target and move it there when it is whole.

    Args:
        job: from :func:`make_job`.
        target: must not exist, be empty, or hold an earlier conversion, which is replaced.
        progress: told how it goes.
        keep_edits: the target is the user's, so what was changed there since is not replaced.

    Raises:
        UsageError: the target is the source, or holds something else, or something that was changed.
        ConversionFailed, UnsafeCheckpoint, Corrupt: nothing is left behind.
        StorageFailed: the disk says no.
    """
    check_target(job.folder, target, keep_edits=keep_edits)
    if _TOKENIZER_CONFIG in job.copied and job.request.to == "paddle":
        refuse_unpickling(named_class(read_json(job.folder / _TOKENIZER_CONFIG)))
    job, plan = plan_job(job)

    def write(path: Path) -> Written:
        return write_weights(plan, path, job.request.to, job.dtype, progress)

    temporary = temporary_beside(target)
    with explain_os_errors("write the converted model", target.parent):
        make_folder(temporary)
        try:
            weights = write_folder(job, plan, temporary, write, with_sizes=not keep_edits)
            if changed := job.hashing.changed():  # the record would say of these values what others hash to
                msg = f"{', '.join(changed)} changed while it was converted"
                raise Corrupt(msg, hint="convert again when nobody writes to it")
            share(weights)
            if not keep_edits:  # in the cache, where a model that is saved to a link must not write through it
                weights.chmod(stat.S_IMODE(weights.stat().st_mode) & 0o444)
            about_tokenizer = _tokenizer_record(temporary) if _makes_tokenizer(job) else {}
            move_into_place(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    for note in job.config.notes:
        progress.note(note)
    if refused := about_tokenizer.get("refused"):
        progress.note(f"the model has no tokenizer of PaddleNLP: {refused}")


def _tokenizer_record(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / RECORD_FILE).read_bytes())["tokenizer"]
    return found


def plan_job(job: Job) -> tuple[Job, Plan]:
    """Decide what becomes of every tensor; reads their names and shapes, and few of their values.

    Returns:
        The job, to which may be added what the checkpoint itself tells: that it lacks the pooler; and the plan.

    Raises:
        ConversionFailed: the rules do not know a tensor, the model is not whole or not as large as its config says, or
            the target cannot hold a dtype.
        UnsafeCheckpoint, Corrupt: a file is refused.
    """
    request = job.request
    table = Table(request.family, request.architecture, request.source)
    tensors = open_wrapped(job.folder, job.weights)
    prefix = wrapping(tensors, lambda name: table.find(name) is not None)
    plan = replace(make_plan(request, without_prefix(tensors, prefix)), prefix=prefix)
    if absent := _absent_pooler(request, plan):
        family = replace(request.family, absent={**request.family.absent, request.architecture: absent})
        request = replace(request, family=family)
    check_coverage(request, plan)
    check_widths(request, plan)
    if request.to == "paddle":
        check_holds(plan, job.dtype)
    return replace(job, request=request), plan


def _absent_pooler(request: Request, plan: Plan) -> tuple[str, ...]:
    """The pooler of a base model that was built without, as some classes of its family always are."""
    family = request.family
    known = family.absent.get(request.architecture)
    if request.to != "paddle" or known is not None or request.architecture not in family.bases:
        return ()
    modules = {name for names in family.absent.values() for name in names if name.split(".")[0] == _POOLER}
    cores = [core for move in plan.moves for core in move.cores]
    return tuple(sorted(name for name in modules if not any(core.startswith(f"{name}.") for core in cores)))


def write_folder(job: Job, plan: Plan, folder: Path, write: Callable[[Path], Written], *, with_sizes: bool) -> Path:
    """Write everything that a conversion consists of; the same job gives the same bytes.

    Args:
        job: from :func:`make_job`.
        plan: from :func:`plan_job`.
        folder: an empty one.
        write: makes the weights file of this path, and returns what is said of it in the record.
        with_sizes: whether the sizes are recorded, where a file that has another one is damaged, and not edited.

    Returns:
        The path of the weights file.
    """
    weights = folder / (WEIGHTS_FILE if job.request.to == "paddle" else TORCH_FILE)
    for name in job.copied:
        copy_file(job.folder / name, folder / name, job.small[name])
    derived = derive_or_tell(job.folder, job.copied, job.request.family.tokenizer) if _makes_tokenizer(job) else None
    for name, content in (derived.files if derived else {}).items():
        write_bytes(folder / name, content)
    write_json(folder / "config.json", _final_config(job))
    written, output = write(weights)
    others = [path for path in sorted(folder.iterdir()) if path != weights]
    known = {name: job.small[name] for name in job.copied if not derived or name not in derived.files}
    files = {path.name: known.get(path.name) or sha256_of(path) for path in others}
    files |= {weights.name: str(output["sha256"])}
    inputs = [{"file": path, "sha256": sha256, **job.origin} for path, sha256 in job.inputs.items()]
    about: dict[str, object] = {
        "key": conversion_key(job),
        "inputs": inputs,
        "dtype": job.dtype,
        "output": output,
        "files": files,
    }
    if derived:
        about["tokenizer"] = derived.record()
    if plan.prefix:
        about["prefix"] = plan.prefix
    if with_sizes:
        about["sizes"] = {path.name: path.stat().st_size for path in others} | {weights.name: output["size"]}
    write_json(folder / RECORD_FILE, make_record(job.request, plan, job.config, job.original, written, about))
    return weights


def _final_config(job: Job) -> dict[str, object]:
    values = dict(job.config.values)
    if job.dtype is not None:
        keys = DTYPE_KEYS if job.request.to == "torch" else DTYPE_KEYS[1:]
        values[next((key for key in keys if key in values), keys[0])] = job.dtype
    return values
