"""Times pphub against the alternatives, in turn, in one run: ``make bench``, or ``make bench ONLY="download list"``.

``BENCH_ROUNDS`` says how often each row is measured. Nothing here fails because something was slow: each table says
what it should show and whether it did.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from typing import Final

import commands
import conversions
import downloads
import loading
from measure import WORK
from server import KEPT, Server, missing_tools

BEGIN: Final = time.perf_counter()
SECTIONS: Final = {
    "start": commands.start,
    "convert": conversions.convert,
    "large": conversions.convert_large,
    "list": commands.list_models,
    "load": loading.warm,
    "shared": loading.shared,
    "cold": loading.cold,
}
SECTIONS_WITH_SERVER: Final = {
    "download": downloads.one_large_file,
    "small": downloads.many_small_files,
    "limited": downloads.limited_connections,
    "together": downloads.eight_processes,
    "warm": downloads.already_here,
}


def main(words: list[str]) -> None:
    """Run the sections that are asked for, or all."""
    known = [*SECTIONS, *SECTIONS_WITH_SERVER]
    chosen = [word for text in words for word in text.replace(",", " ").split()] or known
    if unknown := [name for name in chosen if name not in known]:
        raise SystemExit(f"there is no section {' '.join(unknown)}; there are: {' '.join(known)}")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    clean()
    try:
        for name in chosen:
            if name in SECTIONS:
                SECTIONS[name]()
                tell_time(name)
        if with_server := [name for name in chosen if name in SECTIONS_WITH_SERVER]:
            run_with_server(with_server)
    finally:
        clean()


def run_with_server(names: list[str]) -> None:
    """The sections that download."""
    if missing := missing_tools():
        print(f"\n{' and '.join(missing)} not found (`apt-get install nginx-light curl`): no downloads are measured")
        return
    with Server() as server:
        for name in names:
            SECTIONS_WITH_SERVER[name](server)
            tell_time(name)


def tell_time(name: str) -> None:
    """How far it is."""
    print(f"{name}: done after {time.perf_counter() - BEGIN:.0f} s", file=sys.stderr)


def clean() -> None:
    """Remove what was made, but for the random file, which takes a while to make."""
    WORK.mkdir(parents=True, exist_ok=True)
    for path in WORK.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != KEPT:
            path.unlink()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
