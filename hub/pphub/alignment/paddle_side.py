"""The Paddle side: a model as pphub's loader makes it, asked and trained by Paddle."""

from __future__ import annotations

import contextlib
import gc
import inspect
import logging
import re
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pphub.alignment.bridge import Bridge, Held, Lacking, find_all
from pphub.alignment.sides import Answer, Batch, Keep, Objective, Recipe, Taps, Trace, find_epsilons, norm_of
from pphub.alignment.values import SideInfo
from pphub.checkpoint.folder import open_checkpoint
from pphub.errors import LoadFailed, UsageError
from pphub.loading import FreshParameters, import_paddlenlp, load_model, load_tokenizer
from pphub.loading.match import match_up
from pphub.view import tokenizer_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pphub.alignment.asking import Inputs
    from pphub.alignment.compare import Array
    from pphub.alignment.manner import Manner

__all__ = [
    "PaddleModel",
    "load_paddle_tokenizer",
    "paddle_accuracy",
    "paddle_batches",
    "paddle_encode",
    "paddle_loss",
    "paddle_rates",
    "paddle_square",
    "paddle_steps",
]

_LARGE = 1 << 28  # bytes
_EPSILONS = ("_epsilon", "variance_epsilon", "eps")
_TASK = re.compile(r"(For[A-Z]\w+|Model)$")


class PaddleModel:
    """A live Paddle model in eval mode, in single precision.

    Attributes:
        prefix: of its base model, without the dot.
        fresh: the parameters that the checkpoint does not hold.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        weights: tuple[str, ...],
        files: Mapping[str, str],
        device: str,
        values: Mapping[str, object],
    ) -> None:
        """Load a model by pphub's loader; parameters that the checkpoint does not hold stay as the class makes them.

        Args:
            folder: a folder in Paddle's layout.
            kind: the class of PaddleNLP.
            weights: the weight files.
            files: what it is loaded from, with sha256.
            device: ``cpu`` or ``gpu``.
            values: keywords for the class.

        Raises:
            LoadFailed: the class cannot be built or filled.
            MissingDependency: PaddleNLP is missing.
            UsageError: there is no such device.
        """
        transformers = import_paddlenlp()
        import paddle

        if device == "gpu" and not (paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count()):
            msg = "paddle finds no GPU on this machine"
            raise UsageError(msg, hint="leave --device out, or install a build of paddle for your GPU")
        paddle.device.set_device(device)
        with _quiet(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._model = load_model(_loader(transformers, kind), folder, weights, {**values, "dtype": "float32"})
        if type(self._model).__name__ != kind:
            msg = f"PaddleNLP makes {type(self._model).__name__} of {folder}, not {kind}"
            raise LoadFailed(msg, hint="check architectures in config.json")
        self.warned = tuple(str(each.message) for each in caught if issubclass(each.category, FreshParameters))
        self.prefix = str(self._model.base_model_prefix)
        self._folder, self._files, self._device = folder, dict(files), device
        self._keywords = _keywords(self._model)
        self.fresh = self._fresh(weights, ignore_mismatched=bool(values.get("ignore_mismatched_sizes")))

    @property
    def config(self) -> Any:
        """The live config."""
        return self._model.config

    @property
    def info(self) -> SideInfo:
        """What it is, as found."""
        import paddle
        import paddlenlp

        framework = "paddle" if isinstance(self._model, paddle.nn.Layer) else type(self._model).__module__
        library = type(self._model).__module__.partition(".")[0]
        version = paddlenlp.__version__ if library == "paddlenlp" else "?"
        kind = type(self._model).__name__
        return SideInfo(
            framework,
            paddle.__version__,
            f"{library} {version}",
            kind,
            str(self._folder),
            self._files,
            self._device,
        )

    @property
    def passes(self) -> int:
        """Bytes of its parameters."""
        return sum(int(np.prod(parameter.shape)) * 4 for parameter in self._model.parameters())

    def held(self) -> dict[str, Held]:
        """Its parameters and buffers, by name; read as they are at that moment."""
        found: dict[str, Held] = {}
        for name, tensor in self._model.state_dict().items():
            dtype = str(tensor.dtype).removeprefix("paddle.")
            shape = tuple(int(size) for size in tensor.shape)
            found[name] = Held(dtype, shape, id(tensor), partial(_array, tensor), "float" in dtype)
        return found

    def epsilons(self) -> dict[str, float]:
        """The epsilon of each module that has one."""
        return find_epsilons(self._model.named_sublayers(), _EPSILONS)

    def free(self) -> None:
        """Let go of the model's memory."""
        large = self.passes > _LARGE
        self._model = None
        if large:  # modules refer to each other, so it goes when the collector comes by, at the latest now
            gc.collect()

    def _fresh(self, weights: tuple[str, ...], *, ignore_mismatched: bool) -> frozenset[str]:
        modules = {name.rpartition(".")[0] for name in self._model.state_dict()}
        # That too little is lacking to refuse the model was found when it was loaded.
        match = match_up(
            self._model, open_checkpoint(self._folder, weights), modules, ignore_mismatched=ignore_mismatched
        )
        return frozenset(match.fresh)

    def fill(self, bridge: Bridge, values: Mapping[str, Array], lacking: Lacking) -> set[str]:
        """Give parameters that the checkpoint does not hold the numbers that torch's were given.

        What the checkpoint holds is never written to: it would be proved by what was to be proved.

        Args:
            bridge: what becomes of torch's parameters.
            values: torch's name → values.
            lacking: what is not in the checkpoints.

        Returns:
            The names that were filled.
        """
        state = self._model.state_dict()
        filled = set()
        for turned in bridge.turn(values, set(lacking.torch)):
            for name in find_all(turned.names, state, self.prefix):
                if not lacking.is_fresh(turned.sources, name):
                    continue
                if tuple(state[name].shape) != turned.array.shape:
                    msg = (
                        f"{name} has the shape {tuple(state[name].shape)} in Paddle, and {turned.array.shape} in torch"
                    )
                    raise LoadFailed(msg, hint="the two classes are not one model")
                state[name].set_value(np.ascontiguousarray(turned.array))
                filled.add(name)
        return filled

    def answer(self, inputs: Inputs, manner: Manner, taps: Sequence[str], keep: Keep) -> Answer:
        """Ask it; see :class:`pphub.alignment.sides.Side`."""
        import paddle

        modules = dict(self._model.named_sublayers())
        with Taps("paddle", paddle.Tensor, _array, keep) as taken, paddle.no_grad():
            for name in taps:
                if name in modules:
                    taken.add(name, modules[name].register_forward_post_hook)
            values = enumerate(self._outputs(inputs, manner))
            arrays = tuple(keep(f"paddle output {place}", _array(value)) for place, value in values)
        return taken.answer(arrays, ())

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
        from paddlenlp.transformers import LinearDecayWithWarmup

        parameters = [each for each in self._model.parameters() if not each.stop_gradient]
        rate: Any = recipe.rate
        if recipe.schedule == "linear":
            rate = LinearDecayWithWarmup(recipe.rate, len(batches), 0)
        optimizer = _adamw(parameters, rate, recipe)
        losses, rates, norms = [], [], []
        first: dict[str, Array] = {}
        for step, batch in enumerate(batches):
            loss = self._loss(self._outputs(batch.inputs, manner), manner, batch.labels, objective)
            loss.backward()
            if gradients and step == 0:
                first = self._gradients()
            norms.append(norm_of(_array(each.grad) for each in parameters if each.grad is not None))
            rates.append(float(optimizer.get_lr()))
            losses.append(float(loss))
            optimizer.step()
            if recipe.schedule == "linear":
                rate.step()
            optimizer.clear_grad()
            on_step()
        return Trace(tuple(losses), tuple(rates), tuple(norms), first)

    def _outputs(self, inputs: Inputs, manner: Manner) -> list[Any]:
        """The arrays of its answer, in order."""
        import paddle

        if manner.mask_axes == 4 and "attention_mask" in inputs:
            inputs = {**inputs, "attention_mask": inputs["attention_mask"][:, None, None, :]}
        given: dict[str, Any] = {}
        for name, value in inputs.items():
            target = manner.names.get(name, name)
            if target is not None:
                given[target] = paddle.to_tensor(value)
        if "token_type_ids" in given and "token_type_ids" not in self._keywords and not inputs["token_type_ids"].any():
            del given["token_type_ids"]  # tokenizers make them for models that have but one type
        try:
            with _quiet():
                answer = self._model(**given, **manner.paddle)
        except Exception as error:  # PaddleNLP's classes fail in any way
            kind = type(self._model).__name__
            msg = f"PaddleNLP's {kind} does not answer: {type(error).__name__}: {_last_words(error)}"
            raise LoadFailed(msg, hint="the fault is in PaddleNLP's class; see docs/alignment.md") from error
        if hasattr(answer, "to_tuple"):
            answer = answer.to_tuple()
        values = answer if isinstance(answer, (tuple, list)) else (answer,)
        return [value for value in values if isinstance(value, paddle.Tensor)]

    def _loss(self, outputs: list[Any], manner: Manner, labels: Array, objective: Objective) -> Any:
        import paddle

        if objective.kind == "squares":
            chosen = outputs if manner.outputs is None else [outputs[place] for _, place in manner.outputs]
            return paddle.stack([value.astype("float32").square().mean() for value in chosen]).mean()
        found = outputs[objective.place]
        right = paddle.to_tensor(labels)
        return paddle.nn.functional.cross_entropy(found.reshape([-1, found.shape[-1]]), right.reshape([-1]))

    def _gradients(self) -> dict[str, Array]:
        found = {}
        for name, tensor in self._model.state_dict().items():
            gradient = tensor.grad
            found[name] = np.zeros(tuple(tensor.shape), np.float32) if gradient is None else _array(gradient)
        return found


def load_paddle_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder as PaddleNLP makes it.

    Raises:
        LoadFailed: PaddleNLP cannot make it.
    """
    with _quiet():
        return load_tokenizer(folder, tokenizer_class(folder), {})


def paddle_encode(tokenizer: Any, text: str, pair: str | None, length: int) -> Mapping[str, Any]:
    """What a tokenizer of PaddleNLP makes of a text, or of two, cut to so many tokens.

    Not all of its classes know the keywords of the base: DistilBERT's has older names, and always cuts.
    """
    known = inspect.signature(type(tokenizer).__call__).parameters
    others = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values())
    keywords: dict[str, Any] = {"truncation": True} if others or "truncation" in known else {}
    keywords["max_length" if others or "max_length" in known else "max_seq_len"] = length
    found: Mapping[str, Any] = tokenizer(text, pair, **keywords)
    return found


def paddle_batches(rows: list[dict[str, Any]], tokenizer: Any, size: int) -> list[dict[str, Array]]:
    """Padded batches in order, by Paddle's loader and the collator of PaddleNLP."""
    import_paddlenlp()
    from paddle.io import BatchSampler, DataLoader, SequenceSampler
    from paddlenlp.data import DataCollatorWithPadding

    sampler = BatchSampler(sampler=SequenceSampler(rows), batch_size=size)
    loader = DataLoader(rows, batch_sampler=sampler, collate_fn=DataCollatorWithPadding(tokenizer), num_workers=0)
    with _quiet():
        return [{name: _array(value) for name, value in batch.items()} for batch in loader]


def paddle_accuracy(batches: Sequence[tuple[Array, Array]]) -> float:
    """The share of right answers, by Paddle: of (logits [n, classes], labels [n]) of each batch."""
    import paddle

    metric = paddle.metric.Accuracy()
    for logits, labels in batches:
        metric.update(metric.compute(paddle.to_tensor(logits), paddle.to_tensor(labels)))
    return float(metric.accumulate())


def paddle_loss(logits: Array, labels: Array) -> Array:
    """The cross-entropy of each pair of [n, classes] and [n], by Paddle; -100 is left out of the mean."""
    import paddle

    loss = paddle.nn.CrossEntropyLoss()(paddle.to_tensor(logits), paddle.to_tensor(labels))
    return _array(loss).reshape(1)


def paddle_square(values: Array, right: Array) -> Array:
    """The mean square error of [n, 1] against [n], by Paddle."""
    import paddle

    return _array(paddle.nn.MSELoss()(paddle.to_tensor(values).reshape([-1]), paddle.to_tensor(right))).reshape(1)


def paddle_steps(start: Sequence[Array], gradients: Sequence[Sequence[Array]], recipe: Recipe) -> list[Array]:
    """What Paddle's AdamW makes of arrays by given gradients: of each step, one for each array."""
    import paddle

    initializers = [paddle.nn.initializer.Assign(each) for each in start]
    parameters = [
        paddle.create_parameter(list(each.shape), "float32", default_initializer=initializer)
        for each, initializer in zip(start, initializers, strict=True)
    ]
    optimizer = _adamw(parameters, recipe.rate, recipe)
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            (parameter * paddle.to_tensor(gradient)).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
    return [_array(each) for each in parameters]


def paddle_rates(kind: str, rate: float, warmup: int, total: int, *, default: bool = False) -> list[float]:
    """The learning rates of each step of a schedule, as PaddleNLP's classes give them.

    Args:
        kind: ``linear``, ``cosine`` or ``polynomial``.
        rate: the largest.
        warmup: steps until then.
        total: steps in all.
        default: take PaddleNLP's default for the cosine, which is a whole wave; see
            :mod:`pphub.alignment.schedules`.
    """
    import_paddlenlp()
    from paddlenlp.transformers import CosineDecayWithWarmup, LinearDecayWithWarmup, PolyDecayWithWarmup

    schedule: Any
    if kind == "linear":
        schedule = LinearDecayWithWarmup(rate, total, warmup)
    elif kind == "polynomial":
        schedule = PolyDecayWithWarmup(rate, total, warmup)
    elif default:
        schedule = CosineDecayWithWarmup(rate, total, warmup)
    else:  # one restart, that is none, of half a wave
        schedule = CosineDecayWithWarmup(rate, total, warmup, with_hard_restarts=True, num_cycles=1.0)
    rates = []
    for _ in range(total):
        rates.append(float(schedule()))
        schedule.step()
    return rates


def _adamw(parameters: Sequence[Any], rate: Any, recipe: Recipe) -> Any:
    import paddle

    decayed = {each.name for each in parameters if each.ndim >= 2}
    return paddle.optimizer.AdamW(
        learning_rate=rate,
        parameters=list(parameters),
        weight_decay=recipe.decay,
        epsilon=recipe.epsilon,
        apply_decay_param_fun=lambda name: name in decayed,
    )


def _loader(transformers: Any, kind: str) -> str:
    """The class by its own name, or, where PaddleNLP does not export it, the Auto class for its task."""
    task = _TASK.search(kind)
    if hasattr(transformers, kind) or task is None:
        return kind
    auto = "AutoModel" + task[0].removeprefix("Model")
    return auto if hasattr(transformers, auto) else kind


def _keywords(model: Any) -> set[str]:
    return set(inspect.signature(model.forward).parameters)


def _last_words(error: Exception) -> str:
    """The last lines of a message of Paddle's, which come after a long trace of its own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[-2:])[:300]


def _array(tensor: Any) -> Array:
    return np.asarray(tensor.numpy())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without PaddleNLP's messages: what matters of them is in the report."""
    logger = logging.getLogger("PaddleNLP")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
