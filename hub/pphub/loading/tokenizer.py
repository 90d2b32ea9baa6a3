"""Tokenizers of PaddleNLP, from a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pphub.errors import LoadFailed
from pphub.loading.library import import_paddlenlp
from pphub.tokenizer.classes import refuse_unpickling

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import ModuleType

__all__ = ["load_tokenizer"]


def load_tokenizer(folder: Path, tokenizer_class: str | type | None, kwargs: Mapping[str, Any]) -> Any:
    """The PaddleNLP tokenizer of a folder.

    Args:
        folder: a folder with the files of the tokenizer.
        tokenizer_class: the class or its name; None to let PaddleNLP find it.
        kwargs: as for PaddleNLP's ``from_pretrained``.

    Raises:
        LoadFailed: the class is no tokenizer, or PaddleNLP cannot make one.
        UnsafeCheckpoint: the tokenizer would run what a file says.
    """
    transformers = import_paddlenlp()
    found: Any = tokenizer_class if isinstance(tokenizer_class, type) else _by_name(transformers, tokenizer_class)
    for kind in found.__mro__:
        refuse_unpickling(kind.__name__)
    try:
        return found.from_pretrained(str(folder), **kwargs)
    except LoadFailed:
        raise
    except Exception as error:
        msg = f"PaddleNLP cannot make a tokenizer from {folder}: {type(error).__name__}: {error}"
        raise LoadFailed(msg, hint="does the folder hold the vocabulary and tokenizer_config.json?") from error


def _by_name(transformers: ModuleType, name: str | None) -> Any:
    """The class a repository names, if it is a tokenizer's.

    Any other class, such as a model's, would be asked to load the folder in its own way, unpickling weights.
    """
    if name is None:
        return transformers.AutoTokenizer
    found = getattr(transformers, name, None)
    if not isinstance(found, type) or not issubclass(found, transformers.PretrainedTokenizer):
        msg = f"its tokenizer_config.json names {name[:80]!r}, which is no tokenizer of PaddleNLP"
        raise LoadFailed(msg, hint="correct tokenizer_class, or remove it where the model's family is known")
    return found
