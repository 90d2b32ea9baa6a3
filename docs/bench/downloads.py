"""Downloads: pphub, curl and the hubs' own clients, each with an empty home of its own in each round."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from measure import (
    HUB,
    PYTHON,
    ROUNDS,
    WORK,
    Run,
    ask_process,
    compare,
    environment,
    fresh_home,
    target,
    tell,
    time_command,
    time_together,
)
from server import BIG, COUNTS, FEW, LIMIT, MANY, SIZE, SMALL, TINY, Sent, Server, small_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MB: Final = 1_000_000
WEIGHTS: Final = "model.safetensors"
_HUB_DOWNLOAD: Final = [HUB, "download", f"hf:{BIG}", "--quiet"]

PPHUB: Final = """
import pphub
def get(repo):
    return pphub.download("hf:" + repo)
"""
HUGGINGFACE: Final = "from huggingface_hub import snapshot_download as get"
MODELSCOPE: Final = """
import os
from modelscope_hub import HubApi
def get(repo):
    return HubApi(endpoint=os.environ["MODELSCOPE_ENDPOINT"]).download_repo(repo, "model")
"""
OFFLINE: Final = """
import functools, huggingface_hub
get = functools.partial(huggingface_hub.snapshot_download, local_files_only=True)
"""

WHOLE: Final = "\nimport sys\nget(sys.argv[1])"
INSIDE: Final = """
import sys, time
get(sys.argv[1])
begin = time.perf_counter()
get(sys.argv[2])
print()
print(time.perf_counter() - begin)
"""
# Seconds a call: the mean of a thousand, and one that comes more than a second after them.
AGAIN: Final = """
import sys, time
def mean(count):
    begin = time.perf_counter()
    for _ in range(count):
        get(sys.argv[1])
    return (time.perf_counter() - begin) / count
get(sys.argv[1])
often = mean(1000)
time.sleep(1.1)
print()
print(often, mean(1))
"""


@dataclass(frozen=True)
class Lab:
    """The port of the server that is asked."""

    url: str

    def environment(self, home: Path) -> dict[str, str]:
        """For a program that downloads."""
        return environment(home, HF_ENDPOINT=self.url, MODELSCOPE_ENDPOINT=self.url)

    def whole(self, repo: str, command: Callable[[Path], list[str]]) -> Callable[[], Run]:
        """Measures a whole command that downloads a repository into an empty home."""

        def measure() -> Run:
            home = fresh_home()
            run = time_command(command(home), self.environment(home))
            return _checked(run, repo, home)

        return measure

    def inside(self, repo: str, client: str) -> Callable[[], Run]:
        """Measures a download in a process that has imported all it needs, and has downloaded another model."""

        def measure() -> Run:
            home = fresh_home()
            (seconds,) = ask_process(client + INSIDE, TINY, repo, env=self.environment(home))
            return _checked(Run(float(seconds)), repo, home)

        return measure


def _checked(run: Run, repo: str, home: Path) -> Run:
    """What was measured, if there is what should be; the home is removed."""
    count, size = (1, SIZE) if repo == BIG else (COUNTS[repo], SMALL)
    files = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
    found = sum(path.stat().st_size == size for path in files)
    if found < count:
        raise SystemExit(f"{found} files of {size} bytes instead of {count} of {repo}")
    shutil.rmtree(home)
    return run


def one_large_file(server: Server) -> None:
    """As fast as the wire: what verifying, and Python, cost beside curl."""
    lab = Lab(server.url)
    address = server.address(BIG, WEIGHTS)
    by_hand = f'curl -sf -o "$0/{WEIGHTS}" {address} && sha256sum "$0/{WEIGHTS}" && sync "$0/{WEIGHTS}"'
    rows = compare(
        "1 GiB, whole command, cold cache",
        {
            **_large_rows(lab, address),
            "curl, then `sha256sum` and `sync`": lab.whole(BIG, lambda home: ["sh", "-c", by_hand, str(home)]),
        },
    )
    curl, pphub, huggingface, *_ = rows.values()
    tell(
        target("pphub / curl", pphub.median / curl.median, at_most=1.1),
        target("huggingface_hub / pphub", huggingface.median / pphub.median, at_least=2),
        target("peak memory of pphub", pphub.peak or 0, " MB", at_most=60),
    )


def limited_connections(server: Server) -> None:
    """A hub that gives each connection no more than its share."""
    rows = compare(
        f"1 GiB, each connection limited to {LIMIT // MB} MB/s, whole command, cold cache",
        _large_rows(Lab(server.slow_url), server.address(BIG, WEIGHTS, slow=True)),
        rounds=max(1, ROUNDS // 2),  # what is limited varies little, and takes long
        warm_up=False,
    )
    curl, pphub, *_ = rows.values()
    tell(target("one stream / pphub", curl.median / pphub.median, at_least=4))


def _large_rows(lab: Lab, address: str) -> dict[str, Callable[[], Run]]:
    return {
        "curl, unverified": lab.whole(
            BIG, lambda home: ["curl", "--silent", "--fail", "--output", str(home / WEIGHTS), address]
        ),
        "`hub download`, verified": lab.whole(BIG, lambda _home: _HUB_DOWNLOAD),
        **{name: lab.whole(BIG, _python(client)) for name, client in _clients().items()},
    }


def _clients() -> dict[str, str]:
    return {
        f"huggingface_hub {version('huggingface_hub')}, unverified": HUGGINGFACE,
        f"modelscope-hub {version('modelscope-hub')}, verified": MODELSCOPE,
    }


def _python(client: str) -> Callable[[Path], list[str]]:
    return lambda _home: [PYTHON, "-c", client + WHOLE, BIG]


def many_small_files(server: Server) -> None:
    """What a file costs beside its bytes."""
    lab = Lab(server.url)

    def curl(home: Path) -> list[str]:
        names = [small_name(number) for number in range(COUNTS[MANY])]
        lines = [f'url = "{server.address(MANY, name)}"\noutput = "{home / name}"' for name in names]
        (WORK / "curl.conf").write_text("\n".join(lines))
        return ["curl", "--silent", "--fail", "--parallel", "--config", str(WORK / "curl.conf")]

    def curl_without_peak() -> Run:
        return Run(lab.whole(MANY, curl)().seconds)

    rows = compare(
        "200 files of 10 KB, in a process that has downloaded before, cold cache",
        {
            "curl --parallel, whole command, unverified": curl_without_peak,
            "pphub, verified": lab.inside(MANY, PPHUB),
            **{name: lab.inside(MANY, client) for name, client in _clients().items()},
        },
    )
    tell(target("pphub", rows["pphub, verified"].median, " s", at_most=0.3))


def eight_processes(server: Server) -> None:
    """Several jobs of one machine start with the same model: one downloads, the others wait for it."""
    lab = Lab(server.url)
    sent: dict[int, list[Sent]] = {1: [], 8: []}

    def start(count: int) -> Callable[[], Run]:
        def measure() -> Run:
            home = fresh_home()
            server.forget()
            run = time_together([_HUB_DOWNLOAD] * count, lab.environment(home))
            sent[count].append(server.sent(BIG))
            return _checked(run, BIG, home)

        return measure

    rows = compare(
        "1 GiB, `hub download` in several processes at once, one cold cache",
        {"one process": start(1), "8 processes": start(8)},
        warm_up=False,
    )
    one, eight = rows.values()
    size = max(answer.size for answer in sent[8]) / SIZE
    tell(
        # Not quite 1: of a connection that is closed early, some of what was sent is not taken.
        target("one download: bytes sent to 8 processes / size of the file", size, at_most=1.1),
        target("8 processes / one", eight.median / one.median, at_most=1.2),
        f"requests for the file: one process {_range(sent[1])}, 8 processes {_range(sent[8])}",
    )


def _range(answers: list[Sent]) -> str:
    counts = sorted({answer.requests for answer in answers})
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


def already_here(server: Server) -> None:
    """What a program pays that asks for its model each time it needs it."""
    lab = Lab(server.url)
    homes = {}
    for name, client in (("pphub", PPHUB), ("huggingface_hub", HUGGINGFACE)):
        homes[name] = WORK / f"warm-{name}"
        homes[name].mkdir()
        for repo in (FEW, MANY):
            ask_process(client + WHOLE, repo, env=lab.environment(homes[name]))
    pauses: dict[str, list[float]] = {}

    def again(name: str, client: str, repo: str) -> Callable[[], Run]:
        def measure() -> Run:
            often, later = ask_process(client + AGAIN, repo, env=lab.environment(homes[name]))
            pauses.setdefault(f"{name}, {COUNTS[repo]} files", []).append(float(later))
            return Run(float(often))

        return measure

    for repo, limit in ((FEW, 0.1), (MANY, 0.2)):
        rows = compare(
            f"A cached model of {COUNTS[repo]} files, a call in process, mean of 1000",
            {
                "`pphub.download(name)`": again("pphub", PPHUB, repo),
                "`huggingface_hub.snapshot_download(name, local_files_only=True)`": again(
                    "huggingface_hub", OFFLINE, repo
                ),
            },
            unit="ms",
        )
        tell(target("pphub", next(iter(rows.values())).median * 1000, " ms", at_most=limit))
    after = ", ".join(f"{name} {statistics.median(values) * 1000:.3f} ms" for name, values in pauses.items())
    tell(f"one call after a pause of more than a second, median: {after}")
    for home in homes.values():
        shutil.rmtree(home)
