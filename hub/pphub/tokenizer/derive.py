"""From a folder with a ``tokenizer.json`` alone to what a tokenizer of PaddleNLP is made of.

What the folder has always goes first: a file of the vocabulary keeps all this from happening, and what
``tokenizer_config.json`` says is not said otherwise. The folder is read and never written to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pphub.checkpoint.json_text import MAX_JSON_BYTES, parse_json
from pphub.errors import Corrupt, PphubError
from pphub.tokenizer.classes import FORMS, LACKING, VOCABULARY_FILES, Form, named_class, paddle_class
from pphub.tokenizer.pipeline import frame_of, options_of, refuse
from pphub.tokenizer.reading import TOKENIZER_FILE, AddedToken, TokenizerFile, read_tokenizer
from pphub.tokenizer.vocabulary import write_vocabulary

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

__all__ = ["READ", "VERSION", "Derived", "derive_files", "derive_or_tell", "lacks_vocabulary"]

VERSION: Final = 1
"""Counts up when the same tokenizer.json makes other files."""

CONFIG_FILE: Final = "tokenizer_config.json"
MAP_FILE: Final = "special_tokens_map.json"
ADDED_FILE: Final = "added_tokens.json"
READ: Final = (TOKENIZER_FILE, CONFIG_FILE, ADDED_FILE, "tokenizer.model")
"""What the files are made of."""

_ROLES: Final = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_MASKS: Final = ("[MASK]", "<mask>")
_LLAMA: Final = "LlamaTokenizer"
_LLAMA_FILES: Final = ("tokenizer.model", "sentencepiece.bpe.model")


@dataclass(frozen=True, slots=True)
class Derived:
    """What was made, or why not.

    Attributes:
        kind: the class of PaddleNLP; None where it is not known.
        files: content by name; a tokenizer_config.json among them takes the place of the folder's.
        refused: why there are none; empty if there are.
    """

    kind: str | None
    files: Mapping[str, bytes] = field(default_factory=dict)
    refused: str = ""

    def record(self) -> dict[str, object]:
        """For ``conversion.json`` and its like."""
        made: dict[str, object] = {"class": self.kind, "made": sorted(self.files), "version": VERSION}
        return {**made, "refused": self.refused} if self.refused else made


def lacks_vocabulary(names: Collection[str]) -> bool:
    """Whether PaddleNLP would look for files that can only come from others; told by names, since it is often asked."""
    if not VOCABULARY_FILES.isdisjoint(names):
        return _LLAMA_FILES[0] in names and _LLAMA_FILES[1] not in names
    return TOKENIZER_FILE in names


def derive_or_tell(folder: Path, names: Collection[str], family_class: str | None) -> Derived:
    """As :func:`derive_files`; a refusal is among what is returned, since a model is worth having without tokenizer."""
    try:
        return derive_files(folder, names, family_class)
    except PphubError as error:
        return Derived(family_class, refused=error.message)


def derive_files(folder: Path, names: Collection[str], family_class: str | None) -> Derived:
    """Make the files that the folder lacks.

    Args:
        folder: of the model.
        names: the files in it that count.
        family_class: the tokenizer class of the model's family, for a folder that does not name another.

    Raises:
        ConversionFailed: PaddleNLP's class cannot be made to give the same ids.
        Corrupt: a file is not what its name says.
    """
    config = _read(folder, CONFIG_FILE) if CONFIG_FILE in names else {}
    named = named_class(config) or family_class
    if not VOCABULARY_FILES.isdisjoint(names):
        # The same file under the name by which PaddleNLP's class looks for it.
        made = {_LLAMA_FILES[1]: (folder / _LLAMA_FILES[0]).read_bytes()} if named == _LLAMA else {}
        return Derived(named, made)
    file = read_tokenizer(folder / TOKENIZER_FILE)
    kind = paddle_class(named, file.kind)
    if kind in LACKING:
        raise refuse(f"is all there is, and PaddleNLP has no {kind}")
    form = FORMS.get(kind or "")
    if form is None:
        raise refuse(f"is all there is, and {(kind or 'a tokenizer of an unknown class')[:60]} cannot be made from it")
    if form.model != file.kind:
        raise refuse(f"holds a {file.kind} model, and PaddleNLP's {kind} is made from a {form.model} model")
    later = _read(folder, ADDED_FILE) if ADDED_FILE in names else {}
    return Derived(kind, _files(file, form, config, later, names, str(kind)))


def _read(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            msg = "is far too large for what it should be"
            raise ValueError(msg)
        return parse_json(path.read_bytes())
    except ValueError as error:
        msg = f"{path.name} {error}"
        raise Corrupt(msg, hint="get it again from its source") from error


def _files(
    file: TokenizerFile,
    form: Form,
    config: Mapping[str, Any],
    later: Mapping[str, Any],
    names: Collection[str],
    kind: str,
) -> dict[str, bytes]:
    if parts := [token.content for token in file.added if token.single_word]:
        raise refuse(f"has the token {ascii(parts[0])[:60]}, found as a whole word only; PaddleNLP finds it anywhere")
    frame, roles = frame_of(file.template, form)
    options = {**options_of(file, form), **frame.options, **form.fixed}
    tokens = _roles(file, form, roles, config)
    tail = () if later else _tail(file, form, bool(options.get("do_lower_case")))
    vocabulary = write_vocabulary(file, form, {*later, *(token.content for token in tail)})
    if tail and [token.id for token in tail] != list(range(vocabulary.size, vocabulary.size + len(tail))):
        raise refuse(f"gives {ascii(tail[0].content)[:60]} the id {tail[0].id}; PaddleNLP goes on at {vocabulary.size}")
    files = dict(vocabulary.files)
    if form.extras:
        options["extra_ids"] = vocabulary.extras
    if form.codes and "lang" in roles:
        if roles["lang"] not in form.codes:
            raise refuse(f"puts {ascii(roles['lang'])[:60]} beside a text, which is no language of PaddleNLP's {kind}")
        options["src_lang"] = roles["lang"]
    made = {**{f"{role}_token": token for role, token in tokens.items()}, **options}
    said = {key: value for key, value in config.items() if value is not None or key not in options}
    files[CONFIG_FILE] = _json({**made, **said, "init_class": kind})
    if tail:
        files[ADDED_FILE] = _json({token.content: token.id for token in tail})
    if MAP_FILE not in names:
        files[MAP_FILE] = _json(_map(file, tokens, tail))
    return files


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "backslashreplace")


def _roles(file: TokenizerFile, form: Form, roles: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, str]:
    """The token of each role: as the repository says, else as the tokenizer itself uses it."""
    found = {role: token for role, token in roles.items() if role in _ROLES}
    unknown = file.model.get("unk_token")
    if file.kind == "Unigram":
        unknown = next((piece for piece, at in file.vocab.items() if at == file.model.get("unk_id")), None)
    if isinstance(unknown, str):
        found["unk"] = unknown
    if file.pad is not None:
        found["pad"] = file.pad
    added = {token.content for token in file.added}
    if mask := next((mask for mask in _MASKS if mask in added), None):
        found["mask"] = mask
    for role, other in form.same:
        if other in found:
            found.setdefault(role, found[other])
    for role in _ROLES:
        if f"{role}_token" in config:
            said = config[f"{role}_token"]
            said = said.get("content") if isinstance(said, dict) else said
            found.pop(role, None)
            if isinstance(said, str):
                found[role] = said
    return found


def _tail(file: TokenizerFile, form: Form, lower: bool) -> tuple[AddedToken, ...]:
    """The added tokens that PaddleNLP's class must number itself, from its last id on.

    T5's and mBART's classes have ids of their own after those of the pieces. A word that was added to a WordPiece
    model is found in lower case only if the class has added it; otherwise the vocabulary is the place where nothing
    can go wrong.
    """
    last = max(file.vocab.values(), default=-1)
    beyond = [token for token in file.added if token.id > last]
    if form.codes or form.extras:
        return tuple(token for token in beyond if token.content not in {*form.codes, "<mask>"} and not _is_extra(token))
    run = beyond[len(beyond) - _run_at_end(beyond) :]
    is_next = bool(run) and len(run) == run[-1].id - max([last, *(token.id for token in beyond[: -len(run)])])
    if file.kind != "WordPiece" or not is_next or all(token.special for token in run):
        return ()
    if lower and (clash := [token.content for token in run if _is_word(token, file.vocab)]):
        raise refuse(f"has the added token {ascii(clash[0])[:60]}, which in lower case is a word of its vocabulary")
    return tuple(run)


def _is_extra(token: AddedToken) -> bool:
    return token.content.startswith("<extra_id_")


def _run_at_end(tokens: list[AddedToken]) -> int:
    """How many of them have ids without a hole."""
    return sum(tokens[-1].id - token.id == len(tokens) - 1 - at for at, token in enumerate(tokens))


def _is_word(token: AddedToken, vocab: Mapping[str, int]) -> bool:
    return not token.special and token.content.lower() in vocab


def _map(file: TokenizerFile, tokens: Mapping[str, str], tail: tuple[AddedToken, ...]) -> dict[str, object]:
    """Roles, and every other added token: PaddleNLP does not take apart what stands here."""
    by_content = {token.content: token for token in file.added}
    found: dict[str, object] = {
        f"{role}_token": _flags(by_content[token]) if token in by_content else token for role, token in tokens.items()
    }
    plain = {token.content for token in tail if not token.special}
    others = [token for token in file.added if token.content not in {*tokens.values(), *plain}]
    return {**found, "additional_special_tokens": [_flags(token) for token in others]} if others else found


def _flags(token: AddedToken) -> dict[str, object]:
    return {
        "content": token.content,
        "single_word": token.single_word,
        "lstrip": token.lstrip,
        "rstrip": token.rstrip,
        "normalized": token.normalized,
    }
