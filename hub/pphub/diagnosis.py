"""Whether the installed packages are a set in which PaddleNLP imports; tells without importing any of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["INSTALL", "Misfit", "diagnose", "mending_command"]

INSTALL: Final = "pip install 'pphub[paddle]'"
_WHY: Final = {
    "aistudio-sdk": "0.3 took away aistudio_sdk.hub.download, which PaddleNLP imports",
    "huggingface-hub": "2.0 took away names that PaddleNLP imports",
    "numpy": "PaddleNLP uses names that numpy 2 took away",
    "pyarrow": "newer ones refuse numpy 1, and PaddleNLP imports it by way of datasets",
}
_OTHERWISE: Final = "PaddleNLP was tried with it"
_PYTHONS: Final = ((3, 11), (3, 12))


@dataclass(frozen=True, slots=True)
class Misfit:
    """A package with which PaddleNLP does not import, or is not known to.

    Attributes:
        package: its name.
        installed: its version; None if it is not there.
        needed: what to ask pip for.
        why: what is wrong with it.
    """

    package: str
    installed: str | None
    needed: str
    why: str

    def __str__(self) -> str:
        return f"{self.package} {self.installed or 'is not installed'}, not {self.needed}: {self.why}"


def diagnose() -> tuple[Misfit, ...]:
    """What keeps PaddleNLP from importing, as far as the versions tell; empty if nothing does.

    What is needed is the extra ``paddle`` of the installed pphub.
    """
    from packaging.requirements import Requirement

    found = [] if sys.version_info[:2] in _PYTHONS else [_python()]
    for requirement in map(Requirement, _requirements()):
        if requirement.marker is None or not requirement.marker.evaluate({"extra": "paddle"}):
            continue
        if requirement.marker.evaluate({"extra": ""}):
            continue  # of pphub itself
        installed = _installed(requirement.name)
        if installed is None or not requirement.specifier.contains(installed, prereleases=True):
            why = _WHY.get(requirement.name.lower().replace("_", "-"), _OTHERWISE)
            found.append(Misfit(requirement.name, installed, f"{requirement.name}{requirement.specifier}", why))
    return tuple(found)


def mending_command(misfits: Iterable[Misfit]) -> str:
    """What to type so that PaddleNLP imports; empty if nothing needs to be."""
    by_name = {misfit.package: misfit for misfit in misfits}
    if "python" in by_name:
        return f"python{by_name['python'].needed.split()[-1]} -m venv .venv && .venv/bin/{INSTALL}"
    if any(misfit.installed is None for misfit in by_name.values()):
        return INSTALL
    return " ".join(["pip install", *(f"'{misfit.needed}'" for misfit in by_name.values())]) if by_name else ""


def _requirements() -> list[str]:
    try:
        return requires("pphub") or []
    except PackageNotFoundError:  # run from its sources, without being installed
        return []


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _python() -> Misfit:
    needed = " or ".join(f"{major}.{minor}" for major, minor in _PYTHONS)
    return Misfit("python", sys.version.split()[0], needed, "packages that PaddleNLP needs install on no other")
