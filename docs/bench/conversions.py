"""Conversions: pphub, PaddleNLP and a mere copy, from each format of a checkpoint."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

from measure import HUB, PYTHON, WORK, Run, ask_process, compare, target, tell, time_command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAKE_BERT: Final = """
import sys, torch, transformers
transformers.utils.logging.disable_progress_bar()
kind, folder = sys.argv[1:]
if kind == "bin":
    model = transformers.BertForPreTraining(transformers.BertConfig())
    model.config.architectures = ["BertForPreTraining"]
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder + "/pytorch_model.bin")
else:
    model = transformers.BertModel(transformers.BertConfig())
    model.save_pretrained(folder, max_shard_size="95MB" if kind == "shards" else "5GB")
"""
# PaddleNLP converts one .bin by itself; of other formats it makes a model first.
PADDLENLP_FILE: Final = """
import sys
from paddlenlp.transformers import BertConfig, BertModel
config = BertConfig.from_pretrained(sys.argv[1])
config.architectures = ["BertForPretraining"]
BertModel.convert(sys.argv[1] + "/pytorch_model.bin", config, sys.argv[2])
"""
PADDLENLP_MODEL: Final = """
import sys
from paddlenlp.transformers import BertModel
BertModel.from_pretrained(sys.argv[1], convert_from_torch=True).save_pretrained(sys.argv[2])
"""
# The shapes of an eight-billion-parameter Llama, half as deep, with random bits for weights.
MAKE_LLAMA: Final = """
import json, math, sys, numpy, torch, transformers
folder = sys.argv[1]
config = transformers.LlamaConfig(
    hidden_size=4096, intermediate_size=14336, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8,
    vocab_size=64000, architectures=["LlamaForCausalLM"], dtype="bfloat16", tie_word_embeddings=False,
)
config.save_pretrained(folder)
with torch.device("meta"):
    shapes = {name: tuple(value.shape) for name, value in transformers.LlamaForCausalLM(config).state_dict().items()}
random = numpy.random.default_rng(0)
noise = random.integers(0, 1 << 14, 64 << 20, dtype=numpy.uint16)  # bfloat16 without infinities
names, shards, size = list(shapes), [[]], 0
for name in names:
    if size > 1 << 30:
        shards.append([])
        size = 0
    shards[-1].append(name)
    size += 2 * math.prod(shapes[name])
where = {}
for number, shard in enumerate(shards, 1):
    file = f"model-{number:05}-of-{len(shards):05}.safetensors"
    header, end = {}, 0
    for name in shard:
        start, end = end, end + 2 * math.prod(shapes[name])
        header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [start, end]}
        where[name] = file
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{folder}/{file}", "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in shard:
            left = math.prod(shapes[name])
            while left:
                count = min(left, len(noise))
                stream.write(noise[:count])
                left -= count
with open(f"{folder}/model.safetensors.index.json", "w") as stream:
    json.dump({"metadata": {}, "weight_map": where}, stream)
"""
COPY_AND_SYNC: Final = 'cp -r "$1" "$2" && sync "$2"/*'
_ROOM: Final = 24 << 30


def convert() -> None:
    """A checkpoint of the size of bert-base-uncased, with random weights."""
    for kind, title in (
        ("bin", "440 MB pytorch_model.bin"),
        ("safetensors", "438 MB model.safetensors"),
        ("shards", "438 MB in 5 shards of safetensors"),
    ):
        model, out = WORK / f"bert-{kind}", WORK / "out"
        model.mkdir()
        # In a process of its own: a child's peak memory starts from what its parent has.
        ask_process(MAKE_BERT, kind, str(model))
        peer = PADDLENLP_FILE if kind == "bin" else PADDLENLP_MODEL
        what = "convert" if kind == "bin" else "from_pretrained` and `save_pretrained"
        rows = compare(
            f"bert-base, {title} to model_state.pdparams, whole command",
            {
                "`cp`": _measure(["cp", "-r", str(model), str(out / "copy")], out),
                "`cp` and `sync`": _measure(["sh", "-c", COPY_AND_SYNC, "sh", str(model), str(out / "copy")], out),
                "`hub convert`": _measure([HUB, "convert", str(model), "--out", str(out / "converted"), "-q"], out),
                f"PaddleNLP `{what}`": _measure([PYTHON, "-c", peer, str(model), str(out)], out),
            },
        )
        copy, kept, ours, paddlenlp = rows.values()
        tell(
            target("hub convert / cp", ours.median / copy.median, at_most=2),
            f"hub convert / cp and sync: {ours.median / kept.median:.2f}; both end when the disk has the file",
            target("PaddleNLP / hub convert", paddlenlp.median / ours.median, at_least=6),
            target("peak memory of hub convert", ours.peak or 0, " MB", at_most=200),
        )
        shutil.rmtree(model)
        shutil.rmtree(out)


def convert_large() -> None:
    """Memory must not grow with the checkpoint."""
    if (free := shutil.disk_usage(WORK).free) < _ROOM:
        print(f"\nthe large conversion is left out: it needs {_ROOM >> 30} GiB of disk, and {free >> 30} are free")
        return
    model, out = WORK / "llama", WORK / "out"
    model.mkdir()
    ask_process(MAKE_LLAMA, str(model))
    size = sum(file.stat().st_size for file in model.iterdir()) / 1e9
    rows = compare(
        f"Llama, {size:.1f} GB of bfloat16 in shards of safetensors, whole command",
        {
            "`cp`": _measure(["cp", "-r", str(model), str(out / "copy")], out),
            "`hub convert`": _measure([HUB, "convert", str(model), "--out", str(out / "converted"), "-q"], out),
        },
        rounds=1,
        warm_up=False,
    )
    tell(target("peak memory of hub convert", rows["`hub convert`"].peak or 0, " MB", at_most=200))
    shutil.rmtree(model)
    shutil.rmtree(out)


def _measure(command: list[str], out: Path) -> Callable[[], Run]:
    """Measures a command that writes to an empty folder, with the disk at rest."""

    def run() -> Run:
        for left in WORK.glob("*/model_state.pdparams"):
            left.unlink()  # PaddleNLP writes one beside what it reads
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        os.sync()
        return time_command(command)

    return run
