"""Models of PaddleNLP, from a folder: built without drawing what the checkpoint replaces, and filled."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pphub.checkpoint.folder import open_checkpoint
from pphub.conversion.dtypes import FLOATS
from pphub.conversion.target import read_record
from pphub.errors import LoadFailed, UsageError
from pphub.loading.classes import choose_class
from pphub.loading.config import make_config
from pphub.loading.draws import without_draws
from pphub.loading.fill import Files, fill
from pphub.loading.library import import_paddlenlp
from pphub.loading.match import match_up, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from pphub.checkpoint.tensor import Tensor
    from pphub.loading.match import Match
    from pphub.loading.tied import Tied

__all__ = ["load_model"]

_LOG: Final = logging.getLogger("pphub")
_BUILDING: Final = threading.RLock()
_EPSILON: Final = "pphub_layer_norm_eps"
"""In the config of a model that is saved, so that it is the same when it is loaded again."""

# What PaddleNLP's from_pretrained takes for jobs that are done here already.
_FOREIGN: Final = frozenset(
    {"cache_dir", "config", "convert_from_torch", "force_download", "from_aistudio", "from_hf_hub", "low_cpu_mem_usage"}
    | {"state_dict", "subfolder", "use_safetensors", "variant"}
)


def load_model(kind: str | type, folder: Path, weights: tuple[str, ...], kwargs: Mapping[str, Any]) -> Any:
    """Build a PaddleNLP model and fill it.

    Args:
        kind: the PaddleNLP auto class that chooses the model class, such as ``AutoModel``, or the model class itself,
            since not all are reached by an auto class; either may be given by its name.
        folder: a folder in Paddle's layout.
        weights: its weight files.
        kwargs: as for PaddleNLP's ``from_pretrained``: config values, the rest for the model class.

    Returns:
        A ``paddlenlp.transformers`` model in eval mode, every parameter of the base model loaded, and with them what
        torch ties to them. Weights that lie in the cache are not copied: they are the file's pages until they are
        written to.

    Raises:
        LoadFailed: no such class, wrong shapes, or a parameter of the base model is not in the checkpoint.
        UnsafeCheckpoint, Corrupt, FileNotInModel: the checkpoint is refused or not whole.
        MissingDependency: PaddleNLP is not installed.
    """
    transformers = import_paddlenlp()
    _check_mode()
    model_class = choose_class(transformers, kind, folder)
    files = Files(folder / name for name in weights)
    tensors = open_checkpoint(folder, weights)
    kwargs = dict(kwargs)
    _refuse_foreign(kwargs)
    dtype = kwargs.pop("dtype", None)
    ignore_mismatched = kwargs.pop("ignore_mismatched_sizes", False)
    config, model_kwargs = make_config(model_class, folder, kwargs)
    config.dtype = _dtype(dtype or config.dtype or "float32")
    record = _record(folder)
    ties = partial(_ties, model_class, folder, record, kwargs)
    absent = _texts(record.get("absent"))
    recipe = _Recipe(model_class, config, model_kwargs, tensors, absent, ties, ignore_mismatched)
    model, match = recipe.make()
    fill(model.state_dict(), match.pairs, files)
    _set_epsilon(model, record.get("epsilon", getattr(config, _EPSILON, None)))
    if record.get("architecture"):
        _use_padding_rows(model)
    _set_generation(model, folder, kwargs)
    tell(model, match)
    model.eval()
    return model


def _check_mode() -> None:
    import paddle

    if not paddle.in_dynamic_mode():
        msg = "Paddle is in static mode, in which a model cannot be filled"
        raise UsageError(msg, hint="call paddle.disable_static() before from_pretrained")


def _dtype(dtype: object) -> str:
    name = str(dtype).removeprefix("paddle.")
    if name not in FLOATS:
        msg = f"a model cannot have the dtype {name!r}"
        raise UsageError(msg, hint=f"one of {', '.join(FLOATS)}: as a keyword argument, or in config.json")
    return name


def _refuse_foreign(kwargs: Mapping[str, Any]) -> None:
    """Keywords of PaddleNLP's own loader that would be swallowed here, or misunderstood."""
    if foreign := sorted(_FOREIGN.intersection(kwargs)):
        msg = f"from_pretrained does not take {', '.join(foreign)}: pphub finds, converts and fills the model itself"
        raise UsageError(msg, hint="leave it out; see the README for what names and settings can say")


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a model is built, with or without random numbers.

    Attributes:
        model_class: PaddleNLP's.
        config: of that class; says the dtype.
        kwargs: further keywords for the class.
        tensors: of the checkpoint.
        absent: modules of the base model that may stay fresh.
        ties: says which parameters are others in torch.
        ignore_mismatched: whether a parameter stays fresh whose tensor has another shape.
    """

    model_class: Any
    config: Any
    kwargs: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    absent: tuple[str, ...]
    ties: Callable[[], Iterable[Tied]]
    ignore_mismatched: bool

    def make(self) -> tuple[Any, Match]:
        """The model, whose parameters have values if the checkpoint has none for them."""
        from paddlenlp.transformers.model_utils import dtype_guard

        # The dtype is one for all threads of the process.
        with _BUILDING, dtype_guard(self.config.dtype):
            if self._is_known and _computes_on_cpu() and (made := self._make_without_draws()):
                return made
            model = self._build()
        return model, self._match(model)

    @property
    def _is_known(self) -> bool:
        """Whether it is a class of PaddleNLP's own; another's may keep what it computes from random numbers."""
        return str(self.model_class.__module__).startswith("paddlenlp.")

    def _make_without_draws(self) -> tuple[Any, Match] | None:
        """None if the model must be built with random numbers."""
        kind = self.model_class.__name__
        try:
            with without_draws() as draws:
                model = self._build()
        except LoadFailed as error:
            # Perhaps the class computes with its random numbers. If it is the config, the next attempt will tell.
            _LOG.debug("%s is built with random numbers: %s", kind, error)
            return None
        match = self._match(model)
        parameters = model.state_dict()
        filled, fresh = ([parameters[name] for name in names] for names in (match.pairs, match.fresh))
        if draws.make_up(filled, fresh):
            return model, match
        _LOG.debug("%s is built with random numbers, since start values are needed that depend on others", kind)
        return None

    def _build(self) -> Any:
        try:
            return self.model_class(self.config, *(self.config["init_args"] or ()), **self.kwargs)
        except Exception as error:  # a config may be wrong in any way, and the classes check it in as many
            msg = f"{self.model_class.__name__} cannot be built: {type(error).__name__}: {error}"
            hint = "check config.json and the keyword arguments given to from_pretrained"
            if self.config.dtype != "float32":
                hint += f"; perhaps the class cannot be made in {self.config.dtype}, but from float32 by model.to()"
            raise LoadFailed(msg, hint=hint) from error

    def _match(self, model: Any) -> Match:
        return match_up(model, self.tensors, self.absent, self.ties, ignore_mismatched=self.ignore_mismatched)


def _computes_on_cpu() -> bool:
    import paddle

    if paddle.get_device() == "cpu":
        return True
    _LOG.debug("the model is built with random numbers, and filled by copying: Paddle computes on another device")
    return False


def _ties(model_class: Any, folder: Path, record: Mapping[str, object], given: Mapping[str, Any]) -> tuple[Tied, ...]:
    from pphub.loading.tied import tied_in_torch  # not at the top: most checkpoints are whole, and need no rules

    return tied_in_torch(model_class, folder, record, given)


def _set_epsilon(model: Any, epsilon: object) -> None:
    """Give layer norms the epsilon of the config where PaddleNLP's class has another, fixed one."""
    from paddle.nn import LayerNorm

    if isinstance(epsilon, (int, float)):
        setattr(model.config, _EPSILON, epsilon)
        for layer in model.sublayers():
            if isinstance(layer, LayerNorm):
                layer._epsilon = epsilon


def _use_padding_rows(model: Any) -> None:
    """Let embeddings give the row of the padding token as it is, as torch's do: Paddle's give zeros.

    Attention passes padding over, but a convolution mixes it into the tokens beside it (ConvBERT, MobileBERT). Where
    the row is zeros, nothing is changed.
    """
    from paddle.nn import Embedding

    for layer in model.sublayers():
        if isinstance(layer, Embedding) and (row := layer._padding_idx) is not None and layer.weight[row].numpy().any():
            layer._padding_idx = None


def _set_generation(model: Any, folder: Path, kwargs: Mapping[str, Any]) -> None:
    """How the model writes text, if the folder says; what cannot be read is passed over, as in PaddleNLP."""
    if not model.can_generate() or not (folder / "generation_config.json").is_file():
        return
    from paddlenlp.generation import GenerationConfig

    try:
        model.generation_config = GenerationConfig.from_pretrained(str(folder), **kwargs)
    except Exception as error:  # noqa: BLE001  it may be wrong in any way
        _LOG.debug("generation_config.json is passed over: %s: %s", type(error).__name__, error)


def _record(folder: Path) -> Mapping[str, object]:
    """What a conversion by pphub noted; empty if it did not, or this is no conversion."""
    try:
        found = json.loads(read_record(folder))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else ()
