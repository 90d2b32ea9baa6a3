"""BLOOM."""

from __future__ import annotations

from typing import Any

from matrix import Row

TINY: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "n_layer": 2, "n_head": 4}


def _row(torch_class: str, **more: Any) -> Row:
    return Row("bloom", torch_class, "BloomConfig", TINY | more.pop("settings", {}), **more)


ROWS = [
    _row("BloomModel"),
    _row(
        "BloomModel",
        settings={"apply_residual_connection_post_layernorm": True, "layer_norm_epsilon": 1e-3},
        label="post",
    ),
    _row("BloomForCausalLM"),
    _row("BloomForSequenceClassification", settings={"num_labels": 3, "pad_token_id": 3}),
    _row("BloomForTokenClassification", settings={"num_labels": 3}),
]
