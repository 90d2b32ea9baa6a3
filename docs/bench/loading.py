"""Live models: pphub, PaddleNLP and transformers load the same BERT, each in processes of its own, after imports."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
from typing import TYPE_CHECKING, Final

from measure import HUB, PYTHON, ROUNDS, WORK, Run, ask_process, compare, environment, fresh_home, target, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME: Final = "bench/bert"
TOGETHER: Final = 4
MB: Final = 1024  # KiB
_REPOSITORIES: Final = WORK / "repositories"

MAKE_BERT: Final = """
import sys, transformers
transformers.BertModel(transformers.BertConfig()).save_pretrained(sys.argv[1])
"""
# Each imports what it needs, and says how a name becomes a model.
PPHUB: Final = """
import pphub
from pphub.loading import import_paddlenlp
import_paddlenlp()
load = pphub.AutoModel.from_pretrained
"""
PADDLENLP: Final = """
from paddlenlp.transformers import AutoModel
load = AutoModel.from_pretrained
"""
TRANSFORMERS: Final = """
from transformers import AutoModel, BertModel
load = AutoModel.from_pretrained
"""
PADDLENLP_COLD: Final = """
import functools
from paddlenlp.transformers import BertModel
load = functools.partial(BertModel.from_pretrained, from_hf_hub=True, convert_from_torch=True)
"""
MEMORY: Final = """
def memory(kind):
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith(kind))
"""
# Seconds and KiB of the first load in a process.
ONCE: Final = """
import sys, time
before = memory("Private_Dirty:")
begin = time.perf_counter()
model = load(sys.argv[1])
seconds = time.perf_counter() - begin
print()
print(seconds, memory("Private_Dirty:") - before)
"""
# Waits to be told; after loading, every byte of the model is read.
WHEN_TOLD: Final = """
import sys
print("ready", flush=True)
for line in sys.stdin:
    if line == "load\\n":
        model = load(sys.argv[1])
        total = sum(float(value.astype("float64").sum() if hasattr(value, "astype") else value.double().sum())
                    for value in model.state_dict().values())
    print("memory", memory("Pss:"), flush=True)
"""
STEPS: Final = """
import pphub, sys, time
from pphub.loading import import_paddlenlp
import_paddlenlp()
times = [time.perf_counter()]
for step in (pphub.download, pphub.prepare, pphub.AutoModel.from_pretrained):
    step(sys.argv[1])
    times.append(time.perf_counter())
print()
print(*(after - before for before, after in zip(times, times[1:])))
"""


def warm() -> None:
    """A model that was prepared before."""
    with _hub() as url:
        env = _prepared(url)
    memory: dict[str, list[int]] = {}

    def measure(name: str, code: str, argument: str) -> Callable[[], Run]:
        def run() -> Run:
            seconds, added = ask_process(MEMORY + code + ONCE, argument, env=env)
            memory.setdefault(name, []).append(int(added))
            return Run(float(seconds))

        return run

    folder = str(_REPOSITORIES / NAME)
    rows = {
        "`pphub.AutoModel.from_pretrained(name)`": (PPHUB, NAME),
        "transformers `AutoModel.from_pretrained(folder)`": (TRANSFORMERS, folder),
        "PaddleNLP `AutoModel.from_pretrained(name)`": (PADDLENLP, NAME),
    }
    series = compare(
        "bert-base is loaded, prepared before, the first time in a process, after imports",
        {name: measure(name, *row) for name, row in rows.items()},
    )
    ours, torch, paddlenlp = (series[name].median for name in rows)
    private = {name: statistics.median(values) / MB for name, values in memory.items()}
    tell(
        target("transformers / pphub", torch / ours, at_least=1),
        target("PaddleNLP / pphub", paddlenlp / ours, at_least=30),
        target("private memory that pphub adds", private[next(iter(rows))], " MB", at_most=20),
        "private memory that the others add: " + ", ".join(f"{name} {private[name]:.0f} MB" for name in list(rows)[1:]),
    )


def shared() -> None:
    """Processes that have the same model at the same time."""
    with _hub() as url:
        env = _prepared(url)
    size = (_REPOSITORIES / NAME / "model.safetensors").stat().st_size / 1024
    rows = {
        "pphub": (PPHUB, NAME),
        "transformers": (TRANSFORMERS, str(_REPOSITORIES / NAME)),
        "PaddleNLP": (PADDLENLP, NAME),
    }
    print(f"\n## {TOGETHER} processes load bert-base and read it; the memory it adds to them together (Pss)\n")
    print("| what | memory | files |\n|---|---|---|")
    found = {}
    for name, (code, argument) in rows.items():
        found[name] = _added(code, argument, env) / size
        print(f"| {name} | {found[name] * size / MB:.0f} MB | {found[name]:.2f} |", flush=True)
    tell(target("pphub, in sizes of the file", found["pphub"], at_most=1.2))


def _added(code: str, argument: str, env: dict[str, str]) -> float:
    """KiB that the model adds to some processes together, where what they share counts once."""
    command = [PYTHON, "-W", "ignore", "-c", MEMORY + code + WHEN_TOLD, argument]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    children = [subprocess.Popen(command, env=env, text=True, **pipes) for _ in range(TOGETHER)]
    try:
        for child in children:
            _read(child, "ready")
        before = sum(_tell(child, "memory") for child in children)
        for child in children:
            _tell(child, "load")
        return sum(_tell(child, "memory") for child in children) - before
    finally:
        for child in children:
            child.communicate()


def _tell(child: subprocess.Popen[str], what: str) -> int:
    child.stdin.write(f"{what}\n")
    child.stdin.flush()
    return int(_read(child, "memory"))


def _read(child: subprocess.Popen[str], word: str) -> str:
    for line in child.stdout:
        if line.startswith(word):
            return line.removeprefix(word)
    raise SystemExit("a process that should load the model has ended")


def cold() -> None:
    """A name of which nothing is here yet, from a hub on this machine."""
    steps: list[list[float]] = []
    with _hub() as url:

        def measure(code: str) -> Callable[[], Run]:
            def run() -> Run:
                env = environment(fresh_home(), HF_ENDPOINT=url)
                return Run(float(ask_process(MEMORY + code + ONCE, NAME, env=env)[0]))

            return run

        def apart() -> Run:
            env = environment(fresh_home(), HF_ENDPOINT=url)
            steps.append([float(word) for word in ask_process(STEPS, NAME, env=env)])
            return Run(sum(steps[-1]))

        rows = {
            "download, convert, load, one after the other": apart,
            "`pphub.AutoModel.from_pretrained(name)`": measure(PPHUB),
            "transformers `AutoModel.from_pretrained(name)`, unverified": measure(TRANSFORMERS),
            "PaddleNLP `BertModel.from_pretrained(name, from_hf_hub=True)`, unverified": measure(PADDLENLP_COLD),
        }
        series = compare("bert-base by name, cold cache, from `hub serve`, after imports", rows)
    apart_median, ours, *_ = (values.median for values in series.values())
    parts = [statistics.median(values) for values in zip(*steps[-ROUNDS:], strict=True)]
    tell(
        target("from_pretrained / its parts", ours / apart_median, at_most=1.1),
        "parts: "
        + ", ".join(
            f"{name} {value:.3f} s" for name, value in zip(("download", "convert", "load"), parts, strict=True)
        ),
    )
    shutil.rmtree(_REPOSITORIES)


@contextlib.contextmanager
def _hub() -> Iterator[str]:
    """The URL of a hub with the model."""
    folder = _REPOSITORIES / NAME
    if not folder.exists():
        folder.mkdir(parents=True)
        ask_process(MAKE_BERT, str(folder))
    command = [HUB, "serve", str(_REPOSITORIES), "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def _prepared(url: str) -> dict[str, str]:
    """The environment of a home in which the model is prepared; what follows asks no hub."""
    home: Path = fresh_home()
    subprocess.run(
        [HUB, "prepare", NAME, "-q"], env=environment(home, HF_ENDPOINT=url), check=True, stdout=subprocess.DEVNULL
    )
    os.sync()
    return environment(home, HF_ENDPOINT="http://127.0.0.1:9", PPHUB_OFFLINE="1", HF_HUB_OFFLINE="1")
