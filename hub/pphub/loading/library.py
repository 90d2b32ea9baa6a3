"""PaddleNLP, imported when it is needed, and no more of it than that.

``import paddlenlp.transformers`` first runs ``paddlenlp/__init__.py``, which imports all of PaddleNLP: with it
scikit-learn, datasets, pandas and fastapi, for tasks, datasets, metrics and a server. That takes three quarters of the
time, and a model needs none of it. So the package is put in place without being run. Whoever asks it for anything
that is not there yet, such as ``paddlenlp.Taskflow`` or the module ``paddlenlp.trainer``, has it run first, and finds
everything as ever.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import warnings
from copy import copy
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pphub.diagnosis import INSTALL, diagnose, mending_command
from pphub.errors import MissingDependency

__all__ = ["import_paddlenlp"]

_NAME: Final = "paddlenlp"
_KNOWN: Final = "2.8.1"
"""Another version may do more in its ``__init__.py``, and is imported as usual."""

_VERSION: Final = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
_PATIENCE: Final = 60.0  # seconds
_one_at_a_time: Final = threading.RLock()


def import_paddlenlp() -> ModuleType:
    """Import ``paddlenlp.transformers``.

    Raises:
        MissingDependency: it is not installed, or what is installed does not import; the message says which.
    """
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # paddle and its dependencies warn about each other
        if _NAME not in sys.modules and _is_known():
            _import_in_part()
        return _import_as_usual()


def _import_as_usual() -> ModuleType:
    try:
        import paddlenlp.transformers
    except Exception as error:  # a broken set of packages fails in any way
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        msg = f"paddlenlp is installed but does not import: {type(error).__name__}: {error}"
        if missing in {"paddle", "paddlenlp"}:
            msg = f"a live Paddle model needs the package {missing!r}, which is not installed"
        misfits = diagnose()
        msg = "\n  ".join([msg, *map(str, misfits)])
        hint = mending_command(misfits) or (
            INSTALL if missing in {"paddle", "paddlenlp"} else f"{INSTALL} --force-reinstall"
        )
        raise MissingDependency(msg, hint=hint) from error
    return paddlenlp.transformers  # type: ignore[no-any-return]


def _is_known() -> bool:
    try:
        return version(_NAME) == _KNOWN
    except PackageNotFoundError:
        return False


def _import_in_part() -> None:
    """Import what models need; where that fails, nothing of it stays."""
    spec = PathFinder.find_spec(_NAME)
    if spec is None or spec.origin is None:
        return
    found = _VERSION.search(Path(spec.origin).read_text(encoding="utf-8"))
    if found is None:
        return
    number = found[1].replace(".post", "") if os.environ.get("PADDLENLP_STABLE_VERSION") else found[1]
    sys.modules[_NAME] = _Package(spec, number)
    try:
        import_module("paddlenlp.data")  # first, as in its own __init__.py: they import each other
        import_module("paddlenlp.transformers")
        import_module("paddle").disable_signal_handler()  # likewise
        sys.meta_path.insert(0, _Whole())
    except Exception:  # noqa: BLE001  the usual import tells what is wrong
        for name in [name for name in sys.modules if name.partition(".")[0] == _NAME]:
            del sys.modules[name]


class _Package(ModuleType):
    """``paddlenlp``, whose ``__init__.py`` has not run yet."""

    def __init__(self, spec: ModuleSpec, number: str) -> None:
        super().__init__(_NAME)
        self.__spec__ = spec
        self.__loader__ = spec.loader
        self.__file__ = spec.origin
        self.__path__ = spec.submodule_search_locations or []
        self.__package__ = _NAME
        self.__version__ = number
        self._has_run = False

    @property
    def has_run(self) -> bool:
        """Whether it is as after an ordinary import, or about to be."""
        return self._has_run

    def __getattr__(self, name: str) -> Any:
        """What is not there yet; a ``from paddlenlp import *`` asks for ``__all__``."""
        if not (name.startswith("__") and name != "__all__"):
            self.run()
            with contextlib.suppress(KeyError):
                return self.__dict__[name]
        msg = f"module {_NAME!r} has no attribute {name!r}"
        raise AttributeError(msg, name=name, obj=self)

    def run(self, patience: float = _PATIENCE) -> None:
        """Run its ``__init__.py``, once.

        Args:
            patience: seconds to wait while another thread does. That one may in turn wait for a module which this
                thread is importing, so nobody waits for ever.
        """
        if not _one_at_a_time.acquire(timeout=patience):
            return
        try:
            loader = self.__spec__.loader if self.__spec__ else None
            if self._has_run or loader is None:
                return
            self._has_run = True  # it asks for its parts while it runs
            try:
                loader.exec_module(self)
            except BaseException:
                self._has_run = False
                raise
        finally:
            _one_at_a_time.release()


class _Whole(MetaPathFinder):
    """Runs the package before another module of it is imported: they import each other, and rely on its order."""

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """The module's own spec, with a loader that runs the package first; here all threads' imports would wait."""
        package = sys.modules.get(_NAME)
        if fullname.rpartition(".")[0] != _NAME or not isinstance(package, _Package) or package.has_run:
            return None
        spec = PathFinder.find_spec(fullname, package.__path__)
        if spec is None or spec.loader is None:
            return None
        late = copy(spec)
        late.loader = _AfterPackage(package, spec, spec.loader)
        return late


class _AfterPackage(Loader):
    """Loads a module when the package has run, which may have brought it."""

    def __init__(self, package: _Package, spec: ModuleSpec, loader: Loader) -> None:
        self._package = package
        self._spec = spec
        self._loader = loader
        self._is_there = False

    def create_module(self, _spec: ModuleSpec) -> ModuleType | None:
        """The module, if it is there by now."""
        self._package.run(patience=0)
        module = sys.modules.get(self._spec.name)
        if module is None:
            return self._loader.create_module(self._spec)
        self._is_there, self._spec = True, module.__spec__ or self._spec
        return module

    def exec_module(self, module: ModuleType) -> None:
        """What its own loader does, unless that was done."""
        module.__spec__, module.__loader__ = self._spec, self._loader
        if not self._is_there:
            self._loader.exec_module(module)
