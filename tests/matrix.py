"""A row of the matrix of families and heads, and what is done with it: torch's answer, and ours.

The rows themselves are in ``rows/FAMILY.py``, one file a family: a list ``ROWS``.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import pphub
import rows
from pphub.alignment.manner import Manner, manner_of
from pphub.checkpoint.folder import read_weights
from pphub.conversion.rules import find_family
from pphub.loading import FreshParameters, load_model

if TYPE_CHECKING:
    from pathlib import Path

Array = npt.NDArray[Any]
Inputs = dict[str, Array]
Ask = Callable[[Any], list[Inputs]]
"""Makes what a model is asked, of torch's config: keyword arguments by name, once or several times."""

BATCH, LENGTH = 2, 7
_KEPT = re.compile("architectures|model_type|layers?$|groups$|hidden_size|d_model|dim$|head$|label|_config$")
"""Keys that every config says."""
_FIRST = 5
"""Ids below it are special tokens of one family or another, and are not asked for."""


@dataclass(frozen=True)
class Broken:
    """Why PaddleNLP's own class cannot answer, and what its exception says: the test sees that it really does."""

    why: str
    error: str


@dataclass(frozen=True)
class Row:
    """One class of torch, tiny.

    Attributes:
        family: its rule file.
        torch_class: of transformers.
        config_class: likewise.
        settings: of the config.
        ask: ``ids``, ``choices``, ``seq2seq``, ``image``, or what makes the inputs. The first three ask twice, the
            second time with padding and an attention mask; ``plain``, ``plain choices``, ``plain seq2seq`` and
            ``masked`` once.
        paddle_class: loaded by its name, where no Auto class finds it; None for the class the config names.
        same: pairs of parameters, the first of which is made equal to the second: all that Paddle can express.
        label: tells rows of one class apart.
        broken: why Paddle's class is not asked.
        tolerance: largest difference that is allowed.
        manner: how both classes are asked; None for what the product knows of it.
        own: the module of the tests that has torch's side, where transformers has it no more.
    """

    family: str
    torch_class: str
    config_class: str
    settings: Mapping[str, Any]
    ask: str | Ask = "ids"
    paddle_class: str | None = None
    same: tuple[tuple[str, str], ...] = ()
    label: str = ""
    broken: Broken | None = None
    tolerance: float = 1e-5
    manner: Manner | None = None
    own: str = "transformers"

    @property
    def how(self) -> Manner:
        """How both classes are asked."""
        return self.manner or manner_of(self.torch_class)

    @property
    def names(self) -> Mapping[str, str | None]:
        """Torch's keyword = Paddle's, for inputs; None where Paddle has none for it."""
        return self.how.names

    @property
    def compared(self) -> tuple[tuple[str, int], ...] | None:
        """Torch's field and the index among Paddle's arrays; None for all arrays of both in order."""
        return self.how.outputs

    @property
    def mask_axes(self) -> int:
        """4 where Paddle's class wants a mask of [batch, 1, 1, length]."""
        return self.how.mask_axes

    @property
    def paddle_inputs(self) -> Mapping[str, Any]:
        """Further keywords for Paddle alone."""
        return self.how.paddle

    @property
    def load(self) -> Mapping[str, Any]:
        """Keywords for from_pretrained, which users of PaddleNLP's class must give as well."""
        return self.how.load

    def __str__(self) -> str:
        return "-".join(filter(None, (self.family, self.torch_class, self.label)))


ENCODER: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
"""Settings of a tiny encoder, by the names that most families have."""


def rows_of(family: str, config_class: str, tiny: Mapping[str, Any], **usual: Any) -> Callable[..., Row]:
    """What makes the rows of a family: of a torch class, ``settings`` beside the tiny ones, and what else a row has."""

    def row(torch_class: str, *, settings: Mapping[str, Any] | None = None, **more: Any) -> Row:
        return Row(family, torch_class, config_class, {**tiny, **(settings or {})}, **(usual | more))

    return row


def all_rows() -> list[Row]:
    """The rows of every file in ``rows``."""
    names = sorted(module.name for module in pkgutil.iter_modules(rows.__path__))
    return [row for name in names for row in importlib.import_module(f"rows.{name}").ROWS]


# -- torch's side --------------------------------------------------------------------------------------------


def build(row: Row) -> Any:
    """The model of transformers with noise on every parameter: biases start at 0 and norms at 1, which hides much."""
    import torch

    torch.manual_seed(0)
    side = importlib.import_module(row.own)
    model = getattr(side, row.torch_class)(getattr(side, row.config_class)(**row.settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # tied ones are there once
            if parameter.requires_grad and parameter.is_floating_point():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(torch.randn_like(buffer) * 0.1)
            elif name.endswith("running_var"):
                buffer.add_(torch.rand_like(buffer))
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0  # as unmodified PaddleNLP, which is asked as well, takes it to be
        for first, second in row.same:
            model.get_parameter(first).copy_(model.get_parameter(second))
    return model


def save(model: Any, folder: Path) -> Path:
    """Save as transformers does."""
    model.save_pretrained(folder)
    return folder


def save_bin(model: Any, saved: Path, folder: Path) -> dict[str, str]:
    """Save the same model as ``torch.save`` does, where tied parameters stand under each of their names.

    Its config is as those of old are: it leaves out what is torch's default.

    Returns:
        Each further name of a tied parameter, and the one that the other file has.
    """
    import torch
    from safetensors.torch import load_file

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(_short(json.loads((saved / "config.json").read_bytes()), model)))
    state = dict(load_file(saved / "model.safetensors"))
    live = model.state_dict()
    names = {value.data_ptr(): name for name, value in live.items() if name in state}
    tied = {name: names[value.data_ptr()] for name, value in live.items() if value.data_ptr() in names}
    tied = {name: other for name, other in tied.items() if name != other}
    state |= {name: state[other] for name, other in tied.items()}
    torch.save(state, folder / "pytorch_model.bin")
    return tied


def _short(config: dict[str, Any], model: Any) -> dict[str, Any]:
    default = json.loads(type(model.config)().to_json_string(use_diff=False))
    return {key: value for key, value in config.items() if _KEPT.search(key) or default.get(key, _KEPT) != value}


# -- the question --------------------------------------------------------------------------------------------


def _ids(vocab: int, shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(min(_FIRST, vocab - 1), vocab, shape).astype(np.int64)


def text_config(config: Any) -> Any:
    """The part of a config that is about text."""
    return getattr(config, "text_config", None) or config


def _mask(inputs: Inputs, config: Any, name: str = "input_ids", mask: str = "attention_mask") -> Inputs:
    """The same, with two tokens of padding at the end of the second text."""
    ids = inputs[name].copy()
    keep = np.ones_like(ids)
    ids[-1, ..., -2:] = getattr(text_config(config), "pad_token_id", None) or 0
    keep[-1, ..., -2:] = 0
    return {**inputs, name: ids, mask: keep}


def ask_ids(config: Any) -> list[Inputs]:
    inputs = {"input_ids": _ids(text_config(config).vocab_size, (BATCH, LENGTH))}
    return [inputs, _mask(inputs, config)]


def ask_choices(config: Any) -> list[Inputs]:
    inputs = {"input_ids": _ids(config.vocab_size, (BATCH, 2, LENGTH))}
    return [{**inputs, "attention_mask": np.ones_like(inputs["input_ids"])}, _mask(inputs, config)]


def ask_seq2seq(config: Any) -> list[Inputs]:
    size = text_config(config).vocab_size
    inputs = {"input_ids": _ids(size, (BATCH, LENGTH)), "decoder_input_ids": _ids(size, (BATCH, 5), seed=1)}
    return [inputs, _mask(inputs, config)]


def ask_image(config: Any) -> list[Inputs]:
    vision = getattr(config, "vision_config", None) or config
    size, channels = vision.image_size, getattr(vision, "num_channels", 3)
    sizes = (size, size) if isinstance(size, int) else tuple(size)
    values = np.random.default_rng(0).normal(size=(BATCH, channels, *sizes))
    return [{"pixel_values": values.astype(np.float32)}]


_ASK: dict[str, Ask] = {
    "ids": ask_ids,
    "plain": lambda config: ask_ids(config)[:1],
    "masked": lambda config: ask_ids(config)[1:],
    "choices": ask_choices,
    "plain choices": lambda config: [{"input_ids": ask_choices(config)[0]["input_ids"]}],
    "seq2seq": ask_seq2seq,
    "plain seq2seq": lambda config: ask_seq2seq(config)[:1],
    "image": ask_image,
}


# -- the answers ---------------------------------------------------------------------------------------------


def load(row: Row, folder: Path) -> Any:
    """The converted model, by the Auto class for its task if that finds it, else by its own name.

    Parameters may stay fresh only where the rules say that the torch class is built without them.
    """
    config = json.loads((folder / "config.json").read_bytes())
    named = row.paddle_class or config["architectures"][-1]
    family, _ = find_family(json.loads((folder.parent / "torch" / "config.json").read_bytes()))
    task = re.search(r"(For[A-Z]\w+|Model)$", named)
    auto = "AutoModel" + task[0].removeprefix("Model") if task else ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if row.paddle_class is None and hasattr(pphub, auto):
            model = getattr(pphub, auto).from_pretrained(folder, **row.load)
        else:
            model = load_model(named, folder, ("model_state.pdparams",), row.load)
    assert type(model).__name__ == named
    for warning in caught:
        if issubclass(warning.category, FreshParameters):
            fresh = str(warning.message).rpartition(": ")[2].split(", ")
            absent = family.absent.get(row.torch_class, ())
            assert [name for name in fresh if not any(f".{module}." in f".{name}" for module in absent)] == []
        else:
            assert warning.category.__module__.partition(".")[0] != "pphub", warning.message
    return model


def arrays(answer: Any) -> list[Array]:
    """The arrays of an answer of either framework, in order; those within it are left out."""
    if hasattr(answer, "to_tuple"):
        answer = answer.to_tuple()
    values = answer if isinstance(answer, (tuple, list)) else (answer,)
    return [value.detach().numpy() for value in values if hasattr(value, "numpy")]


def paddle_inputs(row: Row, inputs: Inputs) -> dict[str, Any]:
    """What Paddle's class is called with."""
    import paddle

    if row.mask_axes == 4 and "attention_mask" in inputs:
        inputs = {**inputs, "attention_mask": inputs["attention_mask"][:, None, None, :]}
    names = {name: row.names.get(name, name) for name in inputs}
    found = {target: paddle.to_tensor(inputs[name]) for name, target in names.items() if target is not None}
    return {**found, **row.paddle_inputs}


def questions(row: Row, config: Any) -> list[Inputs]:
    """What the model is asked."""
    return (_ASK[row.ask] if isinstance(row.ask, str) else row.ask)(config)


def differences(row: Row, model: Any, live: Any) -> list[float]:
    """Largest absolute difference of each array that is compared, of every question; shapes must be equal.

    What is said of padding does not count.
    """
    import paddle
    import torch

    found = []
    for inputs in questions(row, model.config):
        with torch.no_grad(), paddle.no_grad():
            answer = model(**{name: torch.from_numpy(value) for name, value in inputs.items()})
            right = arrays(live(**paddle_inputs(row, inputs)))
        left = arrays(answer)
        if row.compared is not None:
            left = [getattr(answer, name).detach().numpy() for name, _ in row.compared]
            right = [right[index] for _, index in row.compared]
        assert len(left) == len(right) > 0
        keep = inputs.get("attention_mask")
        for first, second in zip(left, right, strict=True):
            assert first.shape == second.shape
            gap = np.abs(first - second)
            if keep is not None and gap.shape[: keep.ndim] == keep.shape:
                gap = gap[keep.astype(bool)]
            assert np.isfinite(gap).all()  # a NaN is not larger than anything
            found.append(float(gap.max()))
    return found


def paddle_error(row: Row, model: Any, folder: Path) -> str:
    """What PaddleNLP's own class says when it is built and asked; empty if it answers."""
    import paddle
    import paddlenlp.transformers as paddlenlp

    values = json.loads((folder / "config.json").read_bytes())
    named = row.paddle_class or values["architectures"][-1]
    modules = [
        paddlenlp,
        *(module for name, module in sys.modules.items() if name.startswith("paddlenlp.transformers.")),
    ]
    kind = next(getattr(module, named) for module in modules if hasattr(module, named))  # not all are exported
    try:
        live = kind(kind.config_class.from_dict(values, **row.load)).eval()
        with paddle.no_grad():
            for inputs in questions(row, model.config):
                live(**paddle_inputs(row, inputs))
    except Exception as error:  # noqa: BLE001  whatever it is that the row tells of
        return f"{type(error).__name__}: {error}"
    return ""


def tensors(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Dtype, shape and bytes of every tensor of a file."""
    return {
        tensor.name: (tensor.dtype, tensor.shape, tensor.read().tobytes()) for tensor in read_weights(path).values()
    }
