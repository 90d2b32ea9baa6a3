"""What tells a model that we loaded from the one that PaddleNLP's own loader makes of the same folder: nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from matrix import Row, arrays, paddle_inputs, questions
from pphub.checkpoint.folder import read_weights
from pphub.conversion.rules import find_family
from pphub.loading.match import match_up

if TYPE_CHECKING:
    from pathlib import Path

# A name that Paddle counts up, what PaddleNLP notes of its callers, and XLM's number of a layer in the whole process.
_OF_THE_OBJECT = {"_full_name", "_helper", "init_config", "layer_id"}


def differences_to_own(row: Row, torch_config: Any, live: Any, folder: Path) -> list[str]:
    """Load the folder with PaddleNLP's own loader, and compare values, settings and answers bit for bit.

    Args:
        row: of the matrix.
        torch_config: what the questions are made of.
        live: the model that we loaded.
        folder: where from.
    """
    import paddle

    own = type(live).from_pretrained(str(folder), **row.load).eval()
    _give_what_is_not_in_the_file(own, live, folder)
    found = [
        f"{where}.{name}: {theirs!r}, ours {ours!r}"
        for (where, name), (theirs, ours) in _unequal(_settings(own), _settings(live))
    ]
    left, right = own.state_dict(), live.state_dict()
    found += [f"state: {name}" for name, _ in _unequal(*({k: _bits(v) for k, v in s.items()} for s in (left, right)))]
    for inputs in questions(row, torch_config):
        with paddle.no_grad():
            theirs, ours = (arrays(model(**paddle_inputs(row, inputs))) for model in (own, live))
        if [array.tobytes() for array in theirs] != [array.tobytes() for array in ours]:
            found.append("the answers differ")
    return found


def _give_what_is_not_in_the_file(own: Any, live: Any, folder: Path) -> None:
    """Fresh parameters are random; and where the rules say that PaddleNLP's class has a wrong epsilon, it has."""
    from paddle.nn import LayerNorm

    record = json.loads((folder / "conversion.json").read_bytes())
    tensors = read_weights(folder / "model_state.pdparams")
    values = live.state_dict()
    for name in match_up(own, tensors, record["absent"]).fresh:
        own.state_dict()[name].set_value(values[name])
    family, _ = find_family(json.loads((folder.parent / "torch" / "config.json").read_bytes()))
    assert ("epsilon" in record) == (family.epsilon is not None)
    if "epsilon" in record:
        for layer in own.sublayers():
            if isinstance(layer, LayerNorm):
                layer._epsilon = record["epsilon"]


def _settings(model: Any) -> dict[tuple[str, str], object]:
    """What decides on the answers besides the entries of the state: numbers, switches, buffers that are not saved."""
    found: dict[tuple[str, str], object] = {}
    for where, layer in model.named_sublayers(include_self=True):
        for name, value in {**layer.__dict__, **layer._buffers}.items():
            if _is_plain(value) and name not in _OF_THE_OBJECT:
                found[where, name] = value
            elif hasattr(value, "numpy"):
                found[where, name] = _bits(value)
        for name, value in layer._parameters.items():
            found[where, f"{name} stops the gradient"] = None if value is None else value.stop_gradient
    return found


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _bits(tensor: Any) -> tuple[str, list[int], bytes]:
    return str(tensor.dtype), list(tensor.shape), tensor.numpy().tobytes()


def _unequal(left: dict[Any, Any], right: dict[Any, Any]) -> list[tuple[Any, tuple[Any, Any]]]:
    missing = "not there"
    pairs = ((key, (left.get(key, missing), right.get(key, missing))) for key in [*left, *(right.keys() - left.keys())])
    return [(key, pair) for key, pair in pairs if pair[0] != pair[1]]
