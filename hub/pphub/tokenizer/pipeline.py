"""What a tokenizer.json does to a text before and after its model, in the words of PaddleNLP's tokenizers.

Whatever they have no word for is refused: the ids would be others, and nobody would be told.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from pphub.errors import ConversionFailed, Corrupt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pphub.tokenizer.classes import Form, Frame
    from pphub.tokenizer.reading import Part, Template, TokenizerFile

__all__ = ["UNDERLINE", "charsmap", "dummy_prefix", "frame_of", "options_of", "refuse"]

UNDERLINE: Final = "\u2581"
"""What sentencepiece writes for a space."""

_QUOTES: Final = ("``", "''")
_SPACES: Final = (" {2,}", " +")


def refuse(why: str) -> ConversionFailed:
    """The error for a tokenizer that PaddleNLP's classes cannot be."""
    return ConversionFailed(f"tokenizer.json {why}", hint="use the tokenizer of transformers with the converted model")


def options_of(file: TokenizerFile, form: Form) -> dict[str, Any]:
    """What ``tokenizer_config.json`` must say, such that the class prepares a text as the file says.

    Raises:
        ConversionFailed: the class cannot be made to.
    """
    return {"WordPiece": _word_piece, "BPE": _bytes, "Unigram": _unigram}[file.kind](file, form)


def frame_of(template: Template, form: Form) -> tuple[Frame, dict[str, str]]:
    """How the class puts tokens around a text, and the token of each role.

    Raises:
        ConversionFailed: the class puts others around it.
    """
    for frame in form.frames:
        roles: dict[str, str] = {}
        if _fits(template.single, frame.single, roles) and _fits(template.pair, frame.pair, roles):
            return frame, roles
    shown = " ".join("AB"[part] if isinstance(part, int) else part for part in template.pair)
    msg = f"makes {shown[:120]!r} of two texts A and B, where PaddleNLP's class has {form.frames[0].pair!r}"
    raise refuse(msg)


def _fits(parts: tuple[Part, ...], frame: str, roles: dict[str, str]) -> bool:
    words = frame.split()
    if len(words) != len(parts):
        return False
    for word, part in zip(words, parts, strict=True):
        wanted: Part = "AB".index(word) if word in {"A", "B"} else roles.get(word, part)
        if wanted != part:
            return False
        if isinstance(part, str):
            roles[word] = part
    return True


def charsmap(file: TokenizerFile) -> bytes:
    """The table by which sentencepiece replaces characters; empty where it replaces none.

    Raises:
        Corrupt: it is not in base64.
    """
    maps = [step for step in file.normalizers if step["type"] == "Precompiled"]
    if not maps:
        return b""
    try:
        return base64.b64decode(maps[0].get("precompiled_charsmap") or "", validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        msg = f"the precompiled_charsmap of tokenizer.json is not base64: {error}"
        raise Corrupt(msg, hint="get it again from its source") from error


def dummy_prefix(file: TokenizerFile) -> bool:
    """Whether a text is begun with a space."""
    step = file.pre_tokenizers[-1]
    scheme = step.get("prepend_scheme") or ("always" if step.get("add_prefix_space", True) else "never")
    if scheme not in ("always", "never"):
        raise refuse(f"begins texts with a space by the scheme {str(scheme)[:20]!r}")
    return bool(scheme == "always")


# ------------------------------------------------------------------------------------------ by kind of model


def _word_piece(file: TokenizerFile, form: Form) -> dict[str, Any]:
    _only(file.normalizers, "normalizer", "BertNormalizer")
    _only(file.pre_tokenizers, "pre_tokenizer", "BertPreTokenizer")
    prefix, longest = file.model.get("continuing_subword_prefix", "##"), file.model.get("max_input_chars_per_word", 100)
    if prefix != "##" or longest != 100:
        raise refuse(f"marks parts of words with {str(prefix)[:20]!r} up to {longest!r} characters, not '##' and 100")
    (step,) = file.normalizers
    lower, chinese = step.get("lowercase", True) is True, step.get("handle_chinese_chars", True) is True
    accents = step.get("strip_accents")
    if accents not in (None, True, False):
        raise refuse(f"has {ascii(accents)[:60]} for strip_accents")
    if step.get("clean_text", True) is not True:
        raise refuse("leaves control characters in a text; PaddleNLP's class takes them out")
    if "strip_accents" not in form.heeds:
        if accents not in (None, lower) or not chinese:
            raise refuse("has settings for accents or Chinese characters that PaddleNLP's class does not know")
        return {"do_lower_case": lower}
    return {"do_lower_case": lower, "strip_accents": accents, "tokenize_chinese_chars": chinese}


def _bytes(file: TokenizerFile, form: Form) -> dict[str, Any]:
    if file.normalizers:
        raise refuse(f"changes texts by {_types(file.normalizers)}; PaddleNLP's byte-level tokenizers do not")
    _only(file.pre_tokenizers, "pre_tokenizer", "ByteLevel")
    (step,) = file.pre_tokenizers
    if step.get("use_regex", True) is not True:
        raise refuse("does not divide texts into words; PaddleNLP's byte-level tokenizers do")
    for setting in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges", "dropout"):
        if file.model.get(setting):
            raise refuse(f"has a BPE model with {setting}, which PaddleNLP's byte-level tokenizers lack")
    if file.model.get("unk_token") is None and (missing := byte_letters() - file.vocab.keys()):
        raise refuse(f"has no tokens for {len(missing)} of the 256 bytes, and no unknown token")
    prefix = step.get("add_prefix_space") is True
    if "add_prefix_space" in form.heeds:
        return {"add_prefix_space": prefix}
    if prefix:
        raise refuse("begins texts with a space; PaddleNLP's class does not, or not in the same way")
    return {}


def byte_letters() -> set[str]:
    """The letters that stand for bytes: printable ones for themselves, the others from 256 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    return {chr(byte) for byte in printable} | {chr(256 + number) for number in range(256 - len(printable))}


def _unigram(file: TokenizerFile, form: Form) -> dict[str, Any]:
    if file.model.get("byte_fallback"):
        raise refuse("has a Unigram model with byte_fallback")
    *before, last = [step["type"] for step in file.pre_tokenizers] or [None]
    if last != "Metaspace" or before not in ([], ["WhitespaceSplit"]):
        raise refuse(f"divides texts by {_types(file.pre_tokenizers) or 'nothing'}, not by Metaspace")
    if file.pre_tokenizers[-1].get("replacement", UNDERLINE) != UNDERLINE:
        raise refuse("writes spaces in another way than sentencepiece")
    found = [_replaced(step) for step in file.normalizers]
    kinds = {kind for kind in found if kind}
    if found.count("Precompiled") > 1 or ("Precompiled" in kinds and {"NFKD", "Lowercase"} & set(_after(found))):
        raise refuse("changes texts after sentencepiece's own table has; PaddleNLP's class does so before")
    if kinds.intersection(_QUOTES) and "quotes" not in form.heeds:
        raise refuse("replaces quotation marks; PaddleNLP's class does not")
    options: dict[str, Any] = {}
    if "keep_accents" in form.heeds:
        options["keep_accents"] = not kinds & {"NFKD", "StripAccents"}
    if kinds & {"NFKD", "StripAccents"} and (
        options.get("keep_accents", True) or not {"NFKD", "StripAccents"} <= kinds
    ):
        raise refuse("takes accents from texts; PaddleNLP's class does not, or not in the same way")
    if "do_lower_case" in form.heeds:
        options["do_lower_case"] = "Lowercase" in kinds
    elif "Lowercase" in kinds:
        raise refuse("makes texts lower case; PaddleNLP's class does not")
    return options


def _replaced(step: Mapping[str, Any]) -> str:
    """What a step of a normalizer does; empty for what sentencepiece does by itself."""
    kind = str(step["type"])
    if kind in ("NFKD", "StripAccents", "Lowercase", "Precompiled"):
        return kind
    if kind == "Strip":
        return ""
    if kind == "Replace":
        pattern = step.get("pattern")
        ((how, what),) = pattern.items() if isinstance(pattern, dict) and len(pattern) == 1 else [("", "")]
        if how == "String" and what in _QUOTES and step.get("content") == '"':
            return str(what)
        if how == "Regex" and what in _SPACES and step.get("content") in (" ", UNDERLINE):
            return ""
    raise refuse(f"changes texts by {kind[:40]} in a way that sentencepiece has no word for")


def _after(found: list[str]) -> list[str]:
    return found[found.index("Precompiled") + 1 :]


def _only(steps: tuple[Mapping[str, Any], ...], what: str, kind: str) -> None:
    if [step["type"] for step in steps] != [kind]:
        raise refuse(f"has the {what} {_types(steps) or 'nothing'}; PaddleNLP's class does what {kind} does")


def _types(steps: tuple[Mapping[str, Any], ...]) -> str:
    return ", ".join(str(step["type"])[:40] for step in steps)
