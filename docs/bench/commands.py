"""Commands that need no hub: how they start, and list a large cache."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from measure import (
    HUB,
    PYTHON,
    ROOT,
    WORK,
    Run,
    ask_process,
    compare,
    environment,
    fresh_home,
    target,
    tell,
    time_command,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MAKE_CACHE: Final = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_care import make_cache
make_cache(Path(sys.argv[2]), int(sys.argv[3]))
"""


def start() -> None:
    """What each command pays before it does anything."""
    home = fresh_home()
    env = environment(home, HF_ENDPOINT="http://127.0.0.1:9")  # nobody listens there
    commands = {
        "`python -c pass`": [PYTHON, "-c", "pass"],
        "`python -c 'import pphub'`": [PYTHON, "-c", "import pphub"],
        "`hub --help`": [HUB, "--help"],
        "`hub path NAME` (not cached)": [HUB, "path", "no/model"],
    }
    codes = {"`hub path NAME` (not cached)": (1,)}
    compare(
        "Start of a process",
        {
            name: lambda name=name, command=command: time_command(command, env, codes=codes.get(name, (0,)))
            for name, command in commands.items()
        },
    )
    shutil.rmtree(home)


def list_models() -> None:
    """A cache that has grown for years, ten files a model, half of them shared with others."""
    rows: dict[int, Callable[[], Run]] = {}
    for count in (1000, 5000, 10_000):
        home = WORK / f"list-{count}"
        env = environment(home)
        ask_process(MAKE_CACHE, str(ROOT / "tests"), str(home / "pphub"), str(count))
        _check_count(env, count)
        rows[count] = lambda env=env: time_command([HUB, "list"], env)
    series = compare(
        "`hub list` of a cache with ten files a model, whole command",
        {f"{count:,} models": measure for count, measure in rows.items()},
    )
    each = [values.median / count * 1000 for count, values in zip(rows, series.values(), strict=True)]
    tell(
        target("10,000 models", series["10,000 models"].median, " s", at_most=1),
        f"seconds for 1,000 models of each: {', '.join(f'{seconds:.3f}' for seconds in each)}",
    )
    for count in rows:
        shutil.rmtree(WORK / f"list-{count}")


def _check_count(env: dict[str, str], count: int) -> None:
    answer = subprocess.run([HUB, "list", "--json"], env=env, capture_output=True, check=True)
    if (found := len(json.loads(answer.stdout)["models"])) != count:
        raise SystemExit(f"hub list found {found} models instead of {count}")
