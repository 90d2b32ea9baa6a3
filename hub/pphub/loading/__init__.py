"""The last stage: fills a PaddleNLP model from a checkpoint, and lets none pass that is not filled.

The only stage that needs paddle and paddlenlp. The checkpoint is read by our own reader, never by
``paddle.load``, which would run whatever the file says.
"""

from __future__ import annotations

from pphub.checkpoint.folder import read_config
from pphub.loading.config import load_config
from pphub.loading.library import import_paddlenlp
from pphub.loading.model import load_model
from pphub.loading.tokenizer import load_tokenizer
from pphub.loading.warned import FreshParameters, UnusedTensors

__all__ = [
    "FreshParameters",
    "UnusedTensors",
    "import_paddlenlp",
    "load_config",
    "load_model",
    "load_tokenizer",
    "read_config",
]
