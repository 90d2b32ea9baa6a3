"""Checks that tensors are as large as ``config.json`` says, where their names in Paddle tell what they are.

Other loaders find it out when they build the model; here it is found out before anything is written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pphub.conversion.sizes import lookup
from pphub.errors import ConversionFailed

if TYPE_CHECKING:
    from pphub.conversion.moves import Plan, Request

__all__ = ["check_widths"]

_HIDDEN: Final = ("hidden_size", "d_model", "n_embd", "dim")
_EMBEDDED: Final = ("embedding_size", "word_embed_proj_dim", "input_embedding_size", *_HIDDEN)
_INNER: Final = ("intermediate_size", "ffn_dim", "hidden_dim")
# How a name in Paddle ends, and what its first sizes are: any of these keys of torch's config.
_SIZES: Final = tuple(
    (re.compile(rf"(.+\.)?({end})"), keys)
    for end, keys in (
        (r"embeddings\.word_embeddings\.weight|embed_tokens\.weight", (("vocab_size",), _EMBEDDED)),
        (r"shared\.weight|wte\.weight|lm_head\.decoder_weight", (("vocab_size",), _HIDDEN)),
        (r"layers\.\d+\.norm1\.weight", (_HIDDEN,)),
        (r"layers\.\d+\.linear1\.weight", (_HIDDEN, _INNER)),
        (r"layers\.\d+\.linear2\.weight", (_INNER, _HIDDEN)),
        (r"layers\.\d+\.self_attn\.q_proj\.weight", (_HIDDEN,)),
    )
)


def check_widths(request: Request, plan: Plan) -> None:
    """Compare embeddings, and the widths of layers, with the config; keys that it does not have are passed over.

    Raises:
        ConversionFailed: the config is that of another model, or one that Paddle's class cannot be.
    """
    for move in plan.moves:
        tensors = zip(move.outputs, move.shapes, strict=True)
        if request.to == "torch":
            tensors = zip([(name,) for name in move.sources], [tensor.shape for tensor in move.tensors], strict=False)
        for names, shape in tensors:
            for name in names:
                _check(request, name, shape)


def _check(request: Request, name: str, shape: tuple[int, ...]) -> None:
    keys = next((keys for pattern, keys in _SIZES if pattern.fullmatch(name)), ())
    for number, (size, possible) in enumerate(zip(shape, keys, strict=False)):
        said = {key: lookup(request.config, key) for key in possible}
        whole = {key: value for key, value in said.items() if type(value) is int}
        if whole and size not in whole.values():
            listed = " and ".join(f"{key} is {value}" for key, value in whole.items())
            msg = f"{listed} in config.json, but {name} has the shape {list(shape)}, whose size {number} is {size}"
            raise ConversionFailed(msg, hint="is config.json that of another model? No class of Paddle's fits both")
