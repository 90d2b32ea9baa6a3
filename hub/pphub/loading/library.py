"""PaddleNLP, imported when it is needed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from pphub.errors import MissingDependency

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["import_paddlenlp"]


def import_paddlenlp() -> ModuleType:
    """Import ``paddlenlp.transformers``.

    Raises:
        MissingDependency: it is not installed, or what is installed does not import; the message says which.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # paddle and its dependencies warn about each other
            import paddlenlp.transformers
    except Exception as error:  # a broken set of packages fails in any way
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        msg = f"paddlenlp is installed but does not import: {type(error).__name__}: {error}"
        if missing in {"paddle", "paddlenlp"}:
            msg = f"a live Paddle model needs the package {missing!r}, which is not installed"
        hint = "pip install 'pphub[paddle]' installs a set of versions that works"
        raise MissingDependency(msg, hint=hint) from error
    return paddlenlp.transformers  # type: ignore[no-any-return]
