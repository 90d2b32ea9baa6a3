"""Times whole commands against the alternatives, in turn, in one run; run by ``make bench``.

Each row is measured several times, the commands one after another in each round so that a machine that slows down
slows all of them; the medians and the ratios of the medians are printed. Peak memory is that of the largest run.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".cache" / "bench"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))

MAKE_BERT = """
import sys, torch, transformers
model = transformers.BertForPreTraining(transformers.BertConfig())
model.config.architectures = ["BertForPreTraining"]
model.config.save_pretrained(sys.argv[1])
torch.save(model.state_dict(), sys.argv[1] + "/pytorch_model.bin")
"""
PADDLENLP = """
import sys
from paddlenlp.transformers import BertConfig, BertModel
config = BertConfig.from_pretrained(sys.argv[1])
config.architectures = ["BertForPretraining"]
BertModel.convert(sys.argv[1] + "/pytorch_model.bin", config, sys.argv[2])
"""


def main() -> None:
    """Make the inputs and print the tables."""
    if WORK.exists():
        shutil.rmtree(WORK)
    WORK.mkdir(parents=True)
    python, hub = sys.executable, str(Path(sys.executable).with_name("hub"))
    compare(
        "start of a process",
        {
            "python -c pass": [python, "-c", "pass"],
            "python -c 'import pphub'": [python, "-c", "import pphub"],
            "hub --help": [hub, "--help"],
            "hub path NAME (not cached)": [hub, "path", "no/model"],
        },
    )
    model = bert_base()
    compare(
        "bert-base, 440 MB pytorch_model.bin to model_state.pdparams, whole command",
        {
            "cp": ["cp", str(model / "pytorch_model.bin"), str(WORK / "copy.bin")],
            "hub convert": [hub, "convert", str(model), "--out", str(WORK / "out"), "-q"],
            "PaddleNLP BertModel.convert": [python, "-c", PADDLENLP, str(model), str(WORK)],
        },
    )


def bert_base() -> Path:
    """A BERT of the size of bert-base-uncased with random weights."""
    folder = WORK / "bert-base"
    # In a process of its own: a child's peak memory starts from what its parent has.
    subprocess.run([sys.executable, "-c", MAKE_BERT, str(folder)], check=True, capture_output=True)
    return folder


def compare(title: str, commands: dict[str, list[str]]) -> None:
    """Run the commands in turn and print a row each; ratios are to the first."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    peaks: dict[str, int] = dict.fromkeys(commands, 0)
    for turn in range(ROUNDS + 1):  # the first round warms the file cache and is not counted
        for name, command in commands.items():
            shutil.rmtree(WORK / "out", ignore_errors=True)
            seconds, peak = run(command)
            if turn:
                times[name].append(seconds)
                peaks[name] = max(peaks[name], peak)
    base = statistics.median(times[next(iter(commands))])
    print(f"\n{title} ({ROUNDS} rounds)\n")
    print("| command | median | min–max | ratio | peak memory |\n|---|---|---|---|---|")
    for name, values in times.items():
        middle = statistics.median(values)
        spread = f"{min(values):.3f}–{max(values):.3f} s"
        print(f"| `{name}` | {middle:.3f} s | {spread} | {middle / base:.2f} | {peaks[name] / 1024:.0f} MB |")


def run(command: list[str]) -> tuple[float, int]:
    """Wall seconds and peak memory (KiB, mapped pages included) of one whole process."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and "path" not in command:
        raise SystemExit(f"{command} failed with exit code {process.returncode}")
    return time.perf_counter() - begin, usage.ru_maxrss


if __name__ == "__main__":
    main()
