"""The torch side: a model as transformers' own loader makes it, asked and trained by torch."""

from __future__ import annotations

import contextlib
import gc
import logging
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pphub.alignment.bridge import Held
from pphub.alignment.sides import Answer, Batch, Keep, Objective, Recipe, Taps, Trace, find_epsilons, norm_of
from pphub.alignment.values import SideInfo
from pphub.errors import LoadFailed, MissingDependency, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from pphub.alignment.asking import Inputs
    from pphub.alignment.compare import Array
    from pphub.alignment.manner import Manner

__all__ = [
    "TorchModel",
    "import_torch",
    "load_torch_tokenizer",
    "torch_accuracy",
    "torch_batches",
    "torch_loss",
    "torch_rates",
    "torch_square",
    "torch_steps",
]

_LARGE = 1 << 28  # bytes
_EPSILONS = ("eps", "variance_epsilon")
_FRESH_SCALE = 0.02  # what classes draw their own heads with


def import_torch() -> tuple[ModuleType, ModuleType]:
    """Import torch and transformers.

    Raises:
        MissingDependency: one of them is not installed, or does not import; the message says which.
    """
    hint = "pip install 'pphub[paddle,torch]' installs both sides"
    for name in ("torch", "transformers"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                __import__(name)
        except ModuleNotFoundError as error:
            if error.name == name:
                msg = f"an alignment asks the model in torch as well, and the package {name!r} is not installed"
                raise MissingDependency(msg, hint=hint) from error
            msg = f"{name} is installed but does not import: {error}"
            raise MissingDependency(msg, hint=hint) from error
        except Exception as error:  # a broken package fails in any way
            msg = f"{name} is installed but does not import: {type(error).__name__}: {error}"
            raise MissingDependency(msg, hint=hint) from error
    import torch
    import transformers

    return torch, transformers


class TorchModel:
    """A live torch model in eval mode, in single precision.

    Attributes:
        fresh: parameters that the checkpoint does not hold; they get the same numbers on every machine.
        fresh_base: those that are of the base model, and not of a head.
    """

    def __init__(
        self, folder: Path, kind: str, files: Mapping[str, str], device: str, values: Mapping[str, object]
    ) -> None:
        """Load a model.

        Args:
            folder: the model folder.
            kind: the class of transformers.
            files: its weight files and config, with their sha256.
            device: ``cpu`` or ``gpu``.
            values: config values, such as ``num_labels``.

        Raises:
            LoadFailed: transformers cannot make it, or the checkpoint is not the class's.
            MissingDependency: torch or transformers is missing.
            UsageError: there is no such device.
        """
        torch, transformers = import_torch()
        if device == "gpu" and not torch.cuda.is_available():
            msg = "torch finds no GPU on this machine"
            raise UsageError(msg, hint="leave --device out, or install a build of torch for your GPU")
        model_class = getattr(transformers, kind, None)
        if model_class is None:
            msg = f"this transformers ({transformers.__version__}) has no class {kind}"
            raise LoadFailed(msg, hint="install the version of transformers that the model was saved with")
        safetensors = any(name.endswith((".safetensors", ".safetensors.index.json")) for name in files)
        try:
            with _quiet():
                # No code of a repository is run: unpickling is torch's weights_only, which our converter's own
                # reader has been through before.
                self._model, found = model_class.from_pretrained(
                    str(folder),
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=safetensors,
                    dtype=torch.float32,
                    output_loading_info=True,
                    **values,
                )
        except Exception as error:  # a checkpoint may be wrong in any way
            msg = f"transformers cannot load {kind} from {folder}: {type(error).__name__}: {error}"
            raise LoadFailed(msg, hint="does the folder load with transformers by itself?") from error
        self._device = "cuda" if device == "gpu" else "cpu"
        self._model = self._model.to(self._device).eval()
        self.fresh = self._lacking({*found["missing_keys"], *self._mismatched(found, kind)})
        prefix = f"{self._model.base_model_prefix}."
        has_base = any(name.startswith(prefix) for name in self._model.state_dict())
        # Of a class without a base model by its own name, all is base, but where a head was asked for (num_labels).
        whole = not has_base and not values
        self.fresh_base = tuple(name for name in self.fresh if whole or name.startswith(prefix))
        self._fill_fresh()
        self._folder, self._files, self._name = folder, dict(files), device

    @property
    def config(self) -> Any:
        """The live config."""
        return self._model.config

    @property
    def info(self) -> SideInfo:
        """What it is, as found."""
        torch, transformers = import_torch()
        framework = "torch" if isinstance(self._model, torch.nn.Module) else type(self._model).__module__
        library = type(self._model).__module__.partition(".")[0]
        version = transformers.__version__ if library == "transformers" else "?"
        kind = type(self._model).__name__
        return SideInfo(
            framework,
            torch.__version__,
            f"{library} {version}",
            kind,
            str(self._folder),
            self._files,
            self._name,
        )

    @property
    def passes(self) -> int:
        """Bytes of its parameters."""
        return sum(parameter.numel() * 4 for parameter in self._model.parameters())

    def held(self) -> dict[str, Held]:
        """Its parameters and buffers, by name; read as they are at that moment."""
        found: dict[str, Held] = {}
        for name, tensor in self._model.state_dict(keep_vars=True).items():
            dtype = str(tensor.dtype).removeprefix("torch.")
            shape = tuple(int(size) for size in tensor.shape)
            found[name] = Held(dtype, shape, _identity(tensor), partial(_array, tensor), "float" in dtype)
        return found

    def epsilons(self) -> dict[str, float]:
        """The epsilon of each module that has one."""
        return find_epsilons(self._model.named_modules(), _EPSILONS)

    def double(self) -> None:
        """Make it a model of double precision, with the same numbers."""
        self._model = self._model.double()

    def free(self) -> None:
        """Let go of the model's memory."""
        large = self.passes > _LARGE
        self._model = None
        if large:  # modules refer to each other, so it goes when the collector comes by, at the latest now
            gc.collect()

    def answer(self, inputs: Inputs, manner: Manner, taps: Sequence[str], keep: Keep) -> Answer:  # noqa: ARG002
        """Ask it; see :class:`pphub.alignment.sides.Side`."""
        import torch

        with Taps("torch", torch.Tensor, lambda tensor: _array(tensor).copy(), keep) as taken, torch.no_grad():
            for name in taps:
                taken.add(name, self._model.get_submodule(name).register_forward_hook)
            outputs = self._outputs(inputs)
            arrays = tuple(keep(f"torch output {name}", _array(value)) for name, value in outputs)
        return taken.answer(arrays, tuple(name for name, _ in outputs))

    def train(
        self,
        batches: Sequence[Batch],
        manner: Manner,
        objective: Objective,
        recipe: Recipe,
        *,
        gradients: bool,
        on_step: Callable[[], None],
    ) -> Trace:
        """Train it; see :class:`pphub.alignment.sides.Side`."""
        from transformers.optimization import get_scheduler

        parameters = [each for each in self._model.parameters() if each.requires_grad]
        optimizer = _adamw(parameters, recipe)
        schedule = get_scheduler(recipe.schedule, optimizer, num_warmup_steps=0, num_training_steps=len(batches))
        losses, rates, norms = [], [], []
        first: dict[str, Array] = {}
        for step, batch in enumerate(batches):
            loss = self._loss(dict(self._outputs(batch.inputs)), manner, batch.labels, objective)
            loss.backward()
            if gradients and step == 0:
                first = self._gradients()
            norms.append(norm_of(_array(each.grad) for each in parameters if each.grad is not None))
            rates.append(float(optimizer.param_groups[0]["lr"]))
            losses.append(float(loss.detach()))
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            on_step()
        return Trace(tuple(losses), tuple(rates), tuple(norms), first)

    def _outputs(self, inputs: Inputs) -> list[tuple[str, Any]]:
        """The arrays of its answer, in order, with their names."""
        import torch

        given = {name: torch.from_numpy(np.ascontiguousarray(value)).to(self._device) for name, value in inputs.items()}
        given = {name: each.to(self._model.dtype) if each.is_floating_point() else each for name, each in given.items()}
        try:
            answer = self._model(**given)
        except Exception as error:  # a class may refuse inputs in any way
            kind = type(self._model).__name__
            msg = f"{kind} of transformers does not answer: {type(error).__name__}: {str(error)[:300]}"
            raise LoadFailed(msg, hint="does the model work in transformers by itself?") from error
        fields = answer.items() if hasattr(answer, "items") else [("output", answer)]
        return [(str(name), value) for name, value in fields if isinstance(value, torch.Tensor)]

    def _loss(self, outputs: Mapping[str, Any], manner: Manner, labels: Array, objective: Objective) -> Any:
        import torch

        if objective.kind == "squares":
            chosen = outputs if manner.outputs is None else [name for name, _ in manner.outputs]
            return torch.stack([outputs[name].float().square().mean() for name in chosen]).mean()
        found = outputs[objective.name]
        right = torch.from_numpy(labels).to(self._device)
        return torch.nn.functional.cross_entropy(found.reshape(-1, found.shape[-1]), right.reshape(-1))

    def _gradients(self) -> dict[str, Array]:
        found = {}
        for name, tensor in self._model.state_dict(keep_vars=True).items():
            gradient = getattr(tensor, "grad", None)
            found[name] = np.zeros(tuple(tensor.shape), np.float32) if gradient is None else _array(gradient).copy()
        return found

    def _mismatched(self, found: Mapping[str, Any], kind: str) -> list[str]:
        """Parameters of a head that the checkpoint has for another number of classes."""
        names = [each if isinstance(each, str) else str(each[0]) for each in found.get("mismatched_keys", ())]
        prefix = f"{self._model.base_model_prefix}."
        state = self._model.state_dict()
        is_base = not any(name.startswith(prefix) for name in state)
        if wrong := [name for name in names if is_base or name.startswith(prefix)]:
            msg = f"the checkpoint does not fit {kind} of transformers: {', '.join(wrong[:10])}"
            raise LoadFailed(msg, hint="is config.json that of another model?")
        return names

    def _lacking(self, names: set[str]) -> tuple[str, ...]:
        """Without the further names of parameters that are tied to one that was loaded."""
        held = self._model.state_dict(keep_vars=True)
        loaded = {_identity(tensor) for name, tensor in held.items() if name not in names}
        return tuple(sorted(name for name in names if name not in held or _identity(held[name]) not in loaded))

    def _fill_fresh(self) -> None:
        """The same numbers on every machine, and not zeros: a head of zeros would answer zeros on both sides."""
        import torch

        state = self._model.state_dict(keep_vars=True)
        for number, name in enumerate(self.fresh):
            if name in state and state[name].is_floating_point():
                values = np.random.default_rng((7, number)).normal(0, _FRESH_SCALE, tuple(state[name].shape))
                with torch.no_grad():
                    state[name].copy_(torch.from_numpy(values.astype(np.float32)))


def load_torch_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder as transformers makes it.

    Raises:
        LoadFailed: transformers cannot make it.
    """
    _, transformers = import_torch()
    try:
        with _quiet():
            return transformers.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # a tokenizer may be wrong in any way
        msg = f"transformers cannot make a tokenizer from {folder}: {type(error).__name__}: {error}"
        raise LoadFailed(msg, hint="does the folder hold the tokenizer's files?") from error


def torch_batches(rows: list[dict[str, Any]], tokenizer: Any, size: int) -> list[dict[str, Array]]:
    """Padded batches in order, by torch's loader and the collator of transformers."""
    _, transformers = import_torch()
    from torch.utils.data import DataLoader, SequentialSampler

    collate = transformers.DataCollatorWithPadding(tokenizer)
    loader = DataLoader(rows, batch_size=size, sampler=SequentialSampler(rows), collate_fn=collate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a faster way to do the same
        return [{name: _array(value) for name, value in batch.items()} for batch in loader]


def torch_accuracy(batches: Sequence[tuple[Array, Array]]) -> float:
    """The share of right answers, by torch: of (logits [n, classes], labels [n]) of each batch."""
    import torch

    right = total = 0
    for logits, labels in batches:
        right += int((torch.from_numpy(logits).argmax(dim=-1) == torch.from_numpy(labels)).sum())
        total += len(labels)
    return right / total


def torch_loss(logits: Array, labels: Array) -> Array:
    """The cross-entropy of each pair of [n, classes] and [n], by torch; -100 is left out of the mean."""
    import torch

    loss = torch.nn.CrossEntropyLoss()(torch.from_numpy(logits), torch.from_numpy(labels))
    return _array(loss).reshape(1)


def torch_square(values: Array, right: Array) -> Array:
    """The mean square error of [n, 1] against [n], by torch."""
    import torch

    return _array(torch.nn.MSELoss()(torch.from_numpy(values).reshape(-1), torch.from_numpy(right))).reshape(1)


def torch_steps(start: Sequence[Array], gradients: Sequence[Sequence[Array]], recipe: Recipe) -> list[Array]:
    """What torch's AdamW makes of arrays by given gradients: of each step, one for each array."""
    import torch

    parameters = [torch.nn.Parameter(torch.from_numpy(each.copy())) for each in start]
    optimizer = _adamw(parameters, recipe)
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
    return [_array(each) for each in parameters]


def torch_rates(kind: str, rate: float, warmup: int, total: int) -> list[float]:
    """The learning rates of each step of a schedule, as transformers' optimizer has them."""
    torch, _ = import_torch()
    from transformers.optimization import get_scheduler

    optimizer = torch.optim.AdamW(torch.nn.Linear(1, 1).parameters(), lr=rate)
    schedule = get_scheduler(kind, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    rates = []
    for _ in range(total):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()  # torch warns of a schedule that is ahead of its optimizer
        schedule.step()
    return rates


def _adamw(parameters: Sequence[Any], recipe: Recipe) -> Any:
    import torch

    groups = [
        {"params": [each for each in parameters if each.ndim >= 2], "weight_decay": recipe.decay},
        {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.rate, eps=recipe.epsilon)


def _array(tensor: Any) -> Array:
    return np.asarray(tensor.detach().cpu().numpy())


def _identity(tensor: Any) -> int:
    return int(tensor.data_ptr())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the messages and bars of transformers: what matters of them is in the report."""
    from transformers.utils import logging as their_logging

    level, bars = their_logging.get_verbosity(), their_logging.is_progress_bar_enabled()
    their_logging.set_verbosity(logging.CRITICAL)
    their_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        their_logging.set_verbosity(level)
        if bars:
            their_logging.enable_progress_bar()
