"""Shows what the table "Compared" in the README claims, with the real packages; run by ``make compare``.

Every answer is measured while this runs: the hub is our own server on loopback, with faults put around it, and each
package works in a process and a home of its own. Where a package does not answer a question at all, the cell is a
dash. PaddleNLP downloads from its own kind of hub (``PPNLP_ENDPOINT``), which the same server plays.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from starlette.types import Message, Receive, Scope, Send

REPO: Final = "org/bert"
WEIGHTS: Final = "model.safetensors"
CACHE: Final = "/api/resolve-cache/models/"
CLOSED: Final = "http://127.0.0.1:9"  # nobody listens there
MB: Final = 1_000_000
KINDS: Final = {
    "BertModel": "AutoModel",
    "BertForMaskedLM": "AutoModelForMaskedLM",
    "BertForPretraining": "AutoModelForPretraining",
}
"""The class of PaddleNLP, and the one of pphub that leads to it."""


def main() -> None:
    """Print the table row by row."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="pphub-compare-") as folder:
        lab = Lab(Path(folder).resolve())
        lab.must("make_models", str(lab.models))
        print(f"| question | pphub | PaddleNLP {version('paddlenlp')} | huggingface_hub {version('huggingface_hub')} |")
        print("|---|---|---|---|", flush=True)
        for number, row in enumerate(ROWS, 1):
            cells = [text.replace("|", "\\|").replace(str(lab.folder), "…") for text in row(lab)]
            print(f"| {' | '.join(cells)} |", flush=True)
            print(f"row {number} of {len(ROWS)} after {time.perf_counter() - begin:.0f} s", file=sys.stderr)


# ------------------------------------------------------------------------------------------- the laboratory


@dataclass(frozen=True)
class Outcome:
    """What a step in a process of its own returned, or the error that ended it."""

    value: Any = None
    error: str = ""


class Lab:
    """A folder for everything, and processes that see nothing outside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = folder / "models"
        self._count = 0

    def fresh(self, name: str) -> Path:
        """A new empty folder."""
        self._count += 1
        path = self.folder / f"{self._count}-{name}"
        path.mkdir()
        return path

    def copy(self, model: str) -> Path:
        """A model in a folder of its own: PaddleNLP writes its conversion beside the original."""
        path = self.fresh(model) / "model"
        shutil.copytree(self.models / model, path)
        return path

    def environment(self, home: Path, hub: str) -> dict[str, str]:
        """One home for all that is kept, one hub for all that is asked, and no way to anywhere else."""
        private = ("HF_", "HUGGING", "PPNLP_", "PPHUB_", "MODELSCOPE", "TRANSFORMERS", "XDG_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(private)}
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), CLOSED)
        ours = {
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "PPNLP_HOME": str(home / "paddle"),
            "HF_ENDPOINT": hub,
            "PPNLP_ENDPOINT": hub,
            "PPHUB_SOURCES": "hf",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return {**kept, **proxies, **ours}

    def start(self, step: str, *arguments: Any, home: Path | None = None, hub: str = CLOSED) -> Running:
        """Run a function of this file in a new process; its arguments and its result travel as JSON."""
        home = home or self.fresh("home")
        (home / "paddle").mkdir(exist_ok=True)  # PaddleNLP wants it to be there
        result = self.fresh("result") / "result.json"
        command = [sys.executable, __file__, step, json.dumps(arguments), str(result)]
        with (result.parent / "log").open("wb") as log:
            process = subprocess.Popen(command, env=self.environment(home, hub), stdout=log, stderr=log, cwd=home)
        return Running(process, result)

    def ask(self, step: str, *arguments: Any, home: Path | None = None, hub: str = CLOSED) -> Outcome:
        """As ``start``, and wait for the outcome."""
        return self.start(step, *arguments, home=home, hub=hub).outcome()

    def must(self, step: str, *arguments: Any, home: Path | None = None, hub: str = CLOSED) -> Any:
        """As ``ask``, for what has to work before anything can be compared."""
        outcome = self.ask(step, *arguments, home=home, hub=hub)
        if outcome.error:
            raise SystemExit(f"{step} failed: {outcome.error}")
        return outcome.value

    def python(self, code: str) -> str:
        """What a few lines of Python print."""
        environment = self.environment(self.fresh("home"), CLOSED)
        Path(environment["PPNLP_HOME"]).mkdir()
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    def command(self, *words: str, home: Path, hub: str = CLOSED) -> subprocess.CompletedProcess[str]:
        """Run our command line."""
        hub_command = str(Path(sys.executable).with_name("hub"))
        environment = self.environment(home, hub)
        return subprocess.run([hub_command, *words], env=environment, capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Running:
    """A step in its process."""

    process: subprocess.Popen[bytes]
    result: Path

    def outcome(self, patience: float = 120) -> Outcome:
        """Wait for the end, but not for ever."""
        try:
            code = self.process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return Outcome(error=f"no answer within {patience:g} s")
        if self.result.exists():
            return Outcome(**json.loads(self.result.read_text()))
        return Outcome(error=f"the process ended with exit code {code}")

    def kill_when(self, ready: Callable[[], bool]) -> bool:
        """SIGKILL at the moment that something is so; whether that moment came before the process ended."""
        while self.process.poll() is None:
            if ready():
                self.process.kill()
                self.process.wait()
                return True
            time.sleep(0.0005)
        return False


def be_child(step: str, arguments: str, result: str) -> None:
    """What a process of ``Lab.start`` does."""
    try:
        outcome = {"value": globals()[step](*json.loads(arguments))}
    except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
        outcome = {"error": explain(error)}
    Path(result).write_text(json.dumps(outcome))


def explain(error: Exception) -> str:
    """The kind of an error and where its message begins."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 120 else text[:119] + '…'}"


# ------------------------------------------------------------------------------------------- the hub


@dataclass
class Asked:
    """A request, and how many bytes of the answer's body were sent."""

    method: str
    path: str
    sent: int = 0


@dataclass
class Hub:
    """Our server's application, made to count, to flip a byte and to be slow.

    Attributes:
        flips: in so many downloads of the weights yet to come one byte is wrong.
        pause: seconds between two pieces of 64 KiB of the weights.
        far: every answer takes 30 ms, and files are redirected to a cache, as the public hub does with small ones.
    """

    root: Path
    asked: list[Asked] = field(default_factory=list)
    flips: int = 0
    pause: float = 0
    far: bool = False

    def __post_init__(self) -> None:
        from pphub.serve import build_app

        self._app = build_app(self.root)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        asked = Asked(scope["method"], scope["path"])
        self.asked.append(asked)
        if self.far:
            await asyncio.sleep(0.03)
            if asked.path.startswith(f"/{REPO}/resolve/"):
                location = asked.path.replace(f"/{REPO}/resolve/", f"{CACHE}{REPO}/").encode()
                headers = [(b"location", location), (b"content-length", b"0")]
                await send({"type": "http.response.start", "status": 307, "headers": headers})
                await send({"type": "http.response.body"})
                return
        weights = asked.method == "GET" and asked.path.endswith(WEIGHTS)
        flip = weights and self.flips > 0
        self.flips -= flip

        async def forward(message: Message) -> None:
            nonlocal flip
            body = message.get("body", b"")
            if body and flip:
                body, flip = body[:-1] + bytes([body[-1] ^ 1]), False
            piece = 1 << 16 if weights and self.pause else max(len(body), 1)
            for at in range(0, len(body), piece):
                await send({**message, "body": body[at : at + piece], "more_body": True})
                asked.sent += len(body[at : at + piece])
                await asyncio.sleep(self.pause)
            await send({**message, "body": b""} if body else message)

        await self._app(_in_our_words(scope), receive, forward)

    def sent(self, part: str) -> int:
        """Bytes of the bodies of downloads whose path ends so."""
        return sum(asked.sent for asked in self.asked if asked.method == "GET" and asked.path.endswith(part))


def _in_our_words(scope: Scope) -> Scope:
    """A request for the cache, or by PaddleNLP for its kind of hub, as our server knows it: /REPO/resolve/…"""
    path = scope["path"]
    path = path.replace(f"{CACHE}{REPO}/", f"/{REPO}/resolve/")
    path = path.replace(f"/models/community/{REPO}/", f"/{REPO}/resolve/main/")
    return {**scope, "path": path, "raw_path": path.encode()} if path != scope["path"] else scope


@contextmanager
def serve(hub: Hub) -> Iterator[str]:
    """Run the hub; the value is its URL."""
    from pphub.serve import Server

    with Server(app=hub) as server:
        yield server.url


def publish(lab: Lab, files: dict[str, bytes]) -> Hub:
    """A hub with one repository."""
    root = lab.fresh("hub")
    (root / REPO).mkdir(parents=True)
    for name, content in files.items():
        (root / REPO / name).write_bytes(content)
    return Hub(root)


# ------------------------------------------------------------------------------------------- steps
# Each runs in a process of its own. They import what they need, since what they must not import counts too.


class Payload:
    """An object whose pickle, when loaded, runs a command and then looks like any small array."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        """What pickle is told to call."""
        command = f"touch '{self.mark}'"
        return eval, (f"__import__('os').system({command!r}) and None or __import__('numpy').zeros(1, 'float32')",)


def make_models(folder: str) -> None:
    """Every checkpoint that is loaded here, with an input and what torch answers to it."""
    import torch
    import transformers

    tiny = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96, "num_hidden_layers": 2}
    tiny |= {"vocab_size": 200, "max_position_embeddings": 32}
    root = Path(folder)

    def make(kind: str, **settings: int) -> Any:
        torch.manual_seed(0)
        model = getattr(transformers, kind)(transformers.BertConfig(**settings)).eval()
        with torch.no_grad():
            for parameter in model.parameters():  # a fresh bias is 0 and a fresh norm 1, which would hide mistakes
                parameter.add_(torch.randn_like(parameter) * 0.02)
        return model

    def save(name: str, model: Any, change: Callable[[dict[str, Any]], None] = lambda _state: None) -> None:
        state = dict(model.state_dict())
        change(state)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(root / name)
        torch.save(state, root / name / "pytorch_model.bin")
        ids = torch.arange(1, 21).reshape(2, 10)
        with torch.no_grad():
            answers = [answer.tolist() for answer in model(ids, return_dict=False)]
        (root / name / "expected").write_text(json.dumps([ids.tolist(), answers]))

    base = make("BertModel", **tiny)

    def slice_columns(state: dict[str, Any]) -> None:
        names = [f"encoder.layer.0.attention.self.{part}.weight" for part in ("query", "key", "value")]
        fused = torch.cat([state[name] for name in names], dim=1)
        state.update(zip(names, fused.chunk(3, dim=1), strict=True))

    def transpose(state: dict[str, Any]) -> None:
        name = "encoder.layer.0.intermediate.dense.weight"
        state[name] = state[name].T.contiguous().T

    save("masked-lm", make("BertForMaskedLM", **tiny))
    save("pretraining", make("BertForPreTraining", **tiny))
    save("columns", base, slice_columns)
    save("transposed", base, transpose)
    save("big", make("BertModel", hidden_size=768, num_hidden_layers=4, vocab_size=30522))
    save("hostile-bin", base, lambda state: state.update(extra=Payload(root / "hostile-bin.mark")))
    save("hostile-pdparams", base)
    (root / "hostile-pdparams" / "pytorch_model.bin").unlink()
    hostile = pickle.dumps({"extra": Payload(root / "hostile-pdparams.mark")}, protocol=4)
    (root / "hostile-pdparams" / "model_state.pdparams").write_bytes(hostile)


def load_with_pphub(jobs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Load folders as models; how far each is from torch."""
    import pphub

    return [_judge(folder, getattr(pphub, KINDS[kind]).from_pretrained) for folder, kind in jobs]


def load_with_paddlenlp(jobs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """The same with PaddleNLP's own conversion."""
    import paddlenlp.transformers

    def loader(kind: str) -> Callable[[str], Any]:
        return lambda folder: getattr(paddlenlp.transformers, kind).from_pretrained(folder, convert_from_torch=True)

    return [_judge(folder, loader(kind)) for folder, kind in jobs]


def _judge(folder: str, load: Callable[[str], Any]) -> dict[str, Any]:
    """The largest difference from torch's answers, as an :class:`Outcome`."""
    import numpy as np
    import paddle

    ids, expected = json.loads((Path(folder) / "expected").read_text())
    try:
        model = load(folder)
        model.eval()
        with paddle.no_grad():
            answers = model(paddle.to_tensor(ids))
    except Exception as error:  # noqa: BLE001  an error is an answer, and the next model has its turn
        return {"error": explain(error)}
    answers = answers if isinstance(answers, (tuple, list)) else (answers,)
    pairs = zip(answers, expected, strict=False)  # with use_cache in the config PaddleNLP answers that too
    return {"value": max(float(np.abs(answer.numpy() - np.float32(right)).max()) for answer, right in pairs)}


def convert_with_pphub(folder: str, out: str) -> None:
    """Convert, and no more."""
    import pphub

    pphub.convert(folder, out=out)


def download_with_pphub(_files: list[str]) -> tuple[float, str]:
    """Seconds and the folder, of the call alone."""
    from pphub import download

    begin = time.perf_counter()
    folder = download(REPO)
    return time.perf_counter() - begin, str(folder)


def download_with_huggingface_hub(_files: list[str]) -> tuple[float, str]:
    """The same with the client of the hub."""
    from huggingface_hub import snapshot_download

    begin = time.perf_counter()
    folder = snapshot_download(REPO)
    return time.perf_counter() - begin, folder


def download_with_paddlenlp(files: list[str]) -> tuple[float, str]:
    """The same with PaddleNLP, which has to be told each file."""
    from paddlenlp.utils.download import resolve_file_path

    begin = time.perf_counter()
    paths = [resolve_file_path(REPO, file) for file in files]
    if None in paths:
        raise FileNotFoundError(f"not found: {files[paths.index(None)]}")
    return time.perf_counter() - begin, str(Path(paths[0]).parent)


DOWNLOADS: Final = ("download_with_pphub", "download_with_paddlenlp", "download_with_huggingface_hub")
"""In the order of the columns."""


# ------------------------------------------------------------------------------------------- rows


def row_heads(lab: Lab) -> Iterable[str]:
    """The heads of pretraining: the base of a BERT is easy, its masked LM head is where weights get lost."""
    kinds = {"masked-lm": "BertForMaskedLM", "pretraining": "BertForPretraining"}
    yield "BERT from torch: largest difference of the logits"
    for step in ("load_with_pphub", "load_with_paddlenlp"):
        answers = load(lab, step, kinds)
        yield "; ".join(f"{kinds[model]} {difference(answer)}" for model, answer in answers.items())
    yield "–"


def row_flipped_byte(lab: Lab) -> Iterable[str]:
    """A broken mirror: one byte of the weights is wrong, the size is right, the hash was announced."""
    right = os.urandom(5 * MB)
    yield f"one byte of a {len(right) // MB} MB file is flipped on the way"
    hub = publish(lab, {"config.json": b"{}", WEIGHTS: right})
    with serve(hub) as url:
        hub.flips = 100
        home = lab.fresh("home")
        done = lab.command("download", REPO, "-q", home=home, hub=url)
        tries = sum(asked.method == "GET" and asked.path.endswith(WEIGHTS) for asked in hub.asked)
        kept = keeps_wrong(home, right)
        always = f"{'accepted' if done.returncode == 0 else 'refused'} after {tries} tries, exit code {done.returncode}"
        hub.flips = 1
        once = lab.ask("download_with_pphub", [], home=lab.fresh("home"), hub=url)
        yield f"{always}, {kept}; flipped only once: {judge_bytes(once, right)}"
        for step in DOWNLOADS[1:]:
            hub.flips = 100
            home = lab.fresh("home")
            outcome = lab.ask(step, [WEIGHTS], home=home, hub=url)
            yield f"{judge_bytes(outcome, right)}; {keeps_wrong(home, right)}"


def row_pickle(lab: Lab) -> Iterable[str]:
    """A checkpoint file is a pickle, and a pickle can hold any command."""
    yield "a checkpoint whose pickle runs a command"
    kinds = {"hostile-bin": "BertModel", "hostile-pdparams": "BertModel"}
    files = {"hostile-bin": "pytorch_model.bin", "hostile-pdparams": "model_state.pdparams"}
    for step in ("load_with_pphub", "load_with_paddlenlp"):
        answers = load(lab, step, kinds)
        cells = []
        for model, answer in answers.items():
            mark = lab.models / f"{model}.mark"
            ran = "it **ran**" if mark.exists() else "it did not run"
            mark.unlink(missing_ok=True)
            cells.append(f"{files[model]}: {ran}, {answer.error or 'and a model was returned'}")
        yield "; ".join(cells)
    yield "–"


def row_views(lab: Lab) -> Iterable[str]:
    """Torch saves a view of a tensor as the tensor and strides, which a reader must follow."""
    yield "views in a `.bin`: largest difference of the output"
    kinds = {"columns": "BertModel", "transposed": "BertModel"}
    for step in ("load_with_pphub", "load_with_paddlenlp"):
        answers = load(lab, step, kinds)
        yield "; ".join(f"{model} {difference(answer)}" for model, answer in answers.items())
    yield "–"


def row_killed_conversion(lab: Lab) -> Iterable[str]:
    """SIGKILL while the converted file is being written, then load as if nothing had happened."""
    size = (lab.models / "big" / "pytorch_model.bin").stat().st_size
    yield f"killed in the middle of converting {size // MB} MB, then loaded again"
    out = lab.fresh("out") / "bert"
    arguments = (str(lab.models / "big"), str(out))
    running = lab.start("convert_with_pphub", *arguments)
    killed = running.kill_when(lambda: size_of(out.parent, "*/model_state.pdparams") > size // 4)
    found = describe_left(out)
    again = lab.ask("convert_with_pphub", *arguments)
    left = weight_of(out.parent) - weight_of(out)
    if not again.error:
        shutil.copy(lab.models / "big" / "expected", out)
        again = load_copy(lab, "load_with_pphub", out)
    yield cell_killed(killed, found, again, left)
    folder = lab.copy("big")
    running = lab.start("load_with_paddlenlp", [[str(folder), "BertModel"]])
    killed = running.kill_when(lambda: size_of(folder, "model_state.pdparams") > size // 4)
    found = describe_left(folder)
    yield cell_killed(killed, found, load_copy(lab, "load_with_paddlenlp", folder), 0)
    yield "–"


def row_killed_download(lab: Lab) -> Iterable[str]:
    """SIGKILL when half of a file has come over a slow line, then the same call again."""
    content = os.urandom(24 * MB)
    yield f"killed in the middle of downloading {len(content) // MB} MB, then again"
    hub = publish(lab, {"config.json": b"{}", WEIGHTS: content})
    with serve(hub) as url:
        for step in DOWNLOADS:
            home = lab.fresh("home")
            hub.asked.clear()
            hub.pause = 0.003
            killed = lab.start(step, [WEIGHTS], home=home, hub=url).kill_when(
                lambda: hub.sent(WEIGHTS) > len(content) // 2
            )
            before = hub.sent(WEIGHTS)
            hub.asked.clear()
            hub.pause = 0
            outcome = lab.ask(step, [WEIGHTS], home=home, hub=url)
            left = weight_of(home) - len(content)
            rest = f"{left / MB:.1f} MB of the first try stay on the disk" if left > 0 else "nothing is left behind"
            yield (
                f"killed when {before / MB:.1f} MB were sent, the next run fetches {hub.sent(WEIGHTS) / MB:.1f} MB: "
                f"{judge_bytes(outcome, content)}; {rest}"
                if killed
                else "was not killed in time"
            )


def row_other_cache(lab: Lab) -> Iterable[str]:
    """The same file, downloaded before by another client of the same user."""
    content = os.urandom(24 * MB)
    yield f"another client has the {len(content) // MB} MB already: bytes fetched"
    hub = publish(lab, {"config.json": b"{}", WEIGHTS: content})
    with serve(hub) as url:
        for step in DOWNLOADS:
            other = "huggingface_hub" if step != "download_with_huggingface_hub" else "pphub"
            home = lab.fresh("home")
            lab.must(f"download_with_{other}", [], home=home, hub=url)
            hub.asked.clear()
            outcome = lab.ask(step, [WEIGHTS], home=home, hub=url)
            yield f"{other} has it: {hub.sent(WEIGHTS) / MB:.1f} MB, {judge_bytes(outcome, content)}"


def row_hub_down(lab: Lab) -> Iterable[str]:
    """A model that is on the disk, asked for by name: with the hub there, with nobody at its port, and with a hub
    that takes the connection and says nothing."""
    yield "a cached model by name: requests with the hub up; seconds with its port closed; with a hub that is silent"
    files = {"config.json": b"{}", "vocab.txt": b"[PAD]\n", WEIGHTS: os.urandom(MB)}
    hub = publish(lab, files)
    for step in DOWNLOADS:
        home = lab.fresh("home")
        with serve(hub) as url:
            lab.must(step, list(files), home=home, hub=url)
            hub.asked.clear()
            lab.must(step, list(files), home=home, hub=url)
        closed = lab.ask(step, list(files), home=home, hub=CLOSED)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            answers = [closed, lab.start(step, list(files), home=home, hub=url).outcome(patience=20)]
        seconds = [answer.error if answer.error else f"{answer.value[0]:.4f} s" for answer in answers]
        yield f"{len(hub.asked)}; {'; '.join(seconds)}"


def row_requests(lab: Lab) -> Iterable[str]:
    """A request costs a round trip, which loopback does not show and the world does."""
    files = {f"part{number:02}.txt": b"%d" % number for number in range(50)}
    yield f"{len(files)} small files, cold: requests a file and seconds; with redirects and 30 ms an answer"
    hub = publish(lab, files)
    with serve(hub) as url:
        for step in DOWNLOADS:
            cells = []
            for hub.far in (False, True):
                hub.asked.clear()
                seconds, _ = lab.must(step, list(files), hub=url)
                methods = [asked.method for asked in hub.asked]
                counted = ", ".join(f"{methods.count(method)} {method}" for method in sorted(set(methods)))
                cells.append(f"{len(methods) / len(files):.2f} ({counted}), {seconds:.2f} s")
            yield "; ".join(cells)


def row_import(lab: Lab) -> Iterable[str]:
    """What a program pays before its first call."""
    heavy = ("paddle", "torch", "transformers", "huggingface_hub", "requests")
    yield f"seconds to import, best of 3, and which of {', '.join(heavy)} come along"
    for statements in (
        ("import pphub", "from pphub import download"),
        ("import paddlenlp", "from paddlenlp.transformers import AutoModel"),
        ("from huggingface_hub import snapshot_download",),
    ):
        cells = []
        for statement in statements:
            code = (
                f"import sys, time; begin = time.perf_counter(); {statement}; end = time.perf_counter(); "
                f"print(); print(end - begin, *[name for name in {heavy} if name in sys.modules])"
            )
            lines = [lab.python(code).splitlines()[-1].split() for _ in range(3)]
            along = ", ".join(name for name in lines[0][1:] if name not in statement.split())
            cells.append(
                f"`{statement}` {min(float(line[0]) for line in lines):.2f} s, with {along or 'none of these'}"
            )
        yield "; ".join(cells)


ROWS: Final[tuple[Callable[[Lab], Iterable[str]], ...]] = (
    row_heads,
    row_flipped_byte,
    row_pickle,
    row_views,
    row_killed_conversion,
    row_killed_download,
    row_other_cache,
    row_hub_down,
    row_requests,
    row_import,
)


# ------------------------------------------------------------------------------------------- helpers of rows


def load(lab: Lab, step: str, kinds: dict[str, str]) -> dict[str, Outcome]:
    """Load copies of models in one process, since importing PaddleNLP is most of the time."""
    jobs = [[str(lab.copy(model)), kind] for model, kind in kinds.items()]
    return {model: Outcome(**answer) for model, answer in zip(kinds, lab.must(step, jobs), strict=True)}


def load_copy(lab: Lab, step: str, folder: Path) -> Outcome:
    """Load one folder as it is."""
    return Outcome(**lab.must(step, [[str(folder), "BertModel"]])[0])


def difference(outcome: Outcome) -> str:
    """A difference, or the error in its place."""
    return outcome.error or f"{outcome.value:.1e}"


def size_of(folder: Path, pattern: str) -> int:
    """The size of the largest file of that name, 0 if there is none."""
    try:
        return max((path.stat().st_size for path in folder.glob(pattern)), default=0)
    except FileNotFoundError:
        return 0


def describe_left(final: Path) -> str:
    """Where a killed conversion left what it had written."""
    sizes = {path: path.stat().st_size for path in final.parent.rglob("model_state.pdparams")}
    if not sizes:
        return "leaves nothing"
    place = "under its final name" if final / "model_state.pdparams" in sizes else "beside its final place"
    return f"leaves {max(sizes.values()) / MB:.0f} MB {place}"


def cell_killed(killed: bool, found: str, loaded: Outcome, left: int) -> str:
    """What a kill did, what the next run made of it, and how much that nobody needs is there after it."""
    if not killed:
        return "was done before it could be killed"
    then = loaded.error or f"right, {loaded.value:.1e} from torch"
    return f"{found}; the next load: {then}" + (f"; {left / MB:.0f} MB stay beside it" if left else "")


def judge_bytes(outcome: Outcome, right: bytes) -> str:
    """Whether a download returned what the hub has."""
    if outcome.error:
        return f"refused ({outcome.error})"
    found = (Path(outcome.value[1]) / WEIGHTS).read_bytes()
    return "the right bytes" if found == right else "**the wrong bytes, accepted**"


def keeps_wrong(home: Path, right: bytes) -> str:
    """Whether anything of that size is on the disk that is not that content."""
    wanted = hashlib.sha256(right).digest()
    sizes = [path for path in home.rglob("*") if path.is_file() and path.stat().st_size == len(right)]
    wrong = any(hashlib.sha256(path.read_bytes()).digest() != wanted for path in sizes)
    return "the wrong file stays in the cache" if wrong else "nothing wrong is kept"


def weight_of(home: Path) -> int:
    """Bytes of the large files below a folder, links counted once."""
    files = [path.stat() for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({stat.st_ino: stat.st_size for stat in files if stat.st_size > MB // 10}.values())


if __name__ == "__main__":
    if len(sys.argv) == 4:
        be_child(*sys.argv[1:])
    else:
        main()
