"""Models need a part of PaddleNLP, and get that; who asks for the rest gets the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

PART = "from pphub.loading import import_paddlenlp; import_paddlenlp()\n"
HEAVY = "[name for name in ('sklearn', 'datasets', 'pandas', 'fastapi') if name in sys.modules]"
# What can be seen of a module, and of an attribute that there is not.
FACTS = """
import json, sys
import paddlenlp
def seen(name):
    module = sys.modules[name]
    spec = module.__spec__
    return [spec.origin, type(spec.loader).__name__, sorted(vars(module))]
try:
    paddlenlp.nonsense
except AttributeError as error:
    nonsense = str(error)
names = ["paddlenlp.trainer", "paddlenlp.trainer.integrations", "paddlenlp.datasets", "paddlenlp.version"]
whole = {name for name in vars(paddlenlp) if name[0] != "_"}
print(json.dumps([paddlenlp.__version__, nonsense, sorted(whole), *map(seen, names)]))
"""


def run(code: str) -> str:
    """The last line that a program prints."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def usual() -> Any:
    return json.loads(run(FACTS))


def test_only_what_models_need_is_imported_also_by_several_threads(usual: Any) -> None:
    code = f"""
import sys, threading
from pphub.loading import import_paddlenlp
found = []
threads = [threading.Thread(target=lambda: found.append(import_paddlenlp())) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
import paddlenlp, paddlenlp.transformers
assert found == [paddlenlp.transformers] * 4 and hasattr(found[0], "BertModel")
print(paddlenlp.__version__, hasattr(paddlenlp, "__wrapped__"), {HEAVY})
"""
    assert run(code) == f"{usual[0]} False []"


@pytest.mark.parametrize(
    "ask",
    [
        "import paddlenlp; assert paddlenlp.Taskflow",
        "from paddlenlp import *; assert Taskflow and metrics.Mcc",
        "from paddlenlp.trainer import Trainer, TrainingArguments",  # relies on the order of the whole
        "import paddlenlp.trainer.integrations as found; assert found is paddlenlp.trainer.integrations",
    ],
)
def test_the_rest_is_there_as_ever_for_who_asks(ask: str, usual: Any) -> None:
    assert json.loads(run(f"{PART}import paddlenlp\n{ask}\n{FACTS}")) == usual


def test_a_paddlenlp_that_is_imported_already_is_taken() -> None:
    code = f"import sys, paddlenlp\nwhole = paddlenlp\n{PART}print(whole is sys.modules['paddlenlp'], len({HEAVY}))"
    assert run(code) == "True 4"
