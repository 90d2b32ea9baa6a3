"""Makes BERT checkpoints with random weights for the tests: by name and shape alone, and by transformers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pathlib import Path

Array = npt.NDArray[Any]

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "welcome", "to", "use", "paddle", "and", "!", "##nl", "##p"]

# What the acceptance table says of each torch name: Paddle name and whether the value is transposed.
EMBEDDINGS = [
    ("bert.embeddings.word_embeddings.weight", "bert.embeddings.word_embeddings.weight", False),
    ("bert.embeddings.position_embeddings.weight", "bert.embeddings.position_embeddings.weight", False),
    ("bert.embeddings.token_type_embeddings.weight", "bert.embeddings.token_type_embeddings.weight", False),
    ("bert.embeddings.LayerNorm.gamma", "bert.embeddings.layer_norm.weight", False),
    ("bert.embeddings.LayerNorm.beta", "bert.embeddings.layer_norm.bias", False),
]
LAYER = [
    ("attention.self.query.weight", "self_attn.q_proj.weight", True),
    ("attention.self.query.bias", "self_attn.q_proj.bias", False),
    ("attention.self.key.weight", "self_attn.k_proj.weight", True),
    ("attention.self.key.bias", "self_attn.k_proj.bias", False),
    ("attention.self.value.weight", "self_attn.v_proj.weight", True),
    ("attention.self.value.bias", "self_attn.v_proj.bias", False),
    ("attention.output.dense.weight", "self_attn.out_proj.weight", True),
    ("attention.output.dense.bias", "self_attn.out_proj.bias", False),
    ("attention.output.LayerNorm.gamma", "norm1.weight", False),
    ("attention.output.LayerNorm.beta", "norm1.bias", False),
    ("intermediate.dense.weight", "linear1.weight", True),
    ("intermediate.dense.bias", "linear1.bias", False),
    ("output.dense.weight", "linear2.weight", True),
    ("output.dense.bias", "linear2.bias", False),
    ("output.LayerNorm.gamma", "norm2.weight", False),
    ("output.LayerNorm.beta", "norm2.bias", False),
]
HEADS = [
    ("bert.pooler.dense.weight", "bert.pooler.dense.weight", True),
    ("bert.pooler.dense.bias", "bert.pooler.dense.bias", False),
    ("cls.predictions.bias", "cls.predictions.decoder_bias", False),
    ("cls.predictions.transform.dense.weight", "cls.predictions.transform.weight", True),
    ("cls.predictions.transform.dense.bias", "cls.predictions.transform.bias", False),
    ("cls.predictions.transform.LayerNorm.gamma", "cls.predictions.layer_norm.weight", False),
    ("cls.predictions.transform.LayerNorm.beta", "cls.predictions.layer_norm.bias", False),
    ("cls.predictions.decoder.weight", "cls.predictions.decoder_weight", False),
    ("cls.seq_relationship.weight", "cls.seq_relationship.weight", True),
    ("cls.seq_relationship.bias", "cls.seq_relationship.bias", False),
]


def table(layers: int) -> list[tuple[str, str, bool]]:
    """The acceptance table for a model of so many layers: torch name, Paddle name, transposed."""
    rows = list(EMBEDDINGS)
    for n in range(layers):
        rows += [(f"bert.encoder.layer.{n}.{t}", f"bert.encoder.layers.{n}.{p}", flip) for t, p, flip in LAYER]
    return rows + HEADS


def config(*, layers: int = 2, hidden: int = 16, vocab: int = len(VOCAB), **more: object) -> dict[str, object]:
    """A ``config.json`` as transformers writes it."""
    return {
        "architectures": ["BertForPreTraining"],
        "model_type": "bert",
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": 32,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.1,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "transformers_version": "5.0.0",
        **more,
    }


def shape(name: str, settings: dict[str, Any]) -> tuple[int, ...]:
    """The shape transformers gives a tensor of this name."""
    hidden, inner, vocab = settings["hidden_size"], settings["intermediate_size"], settings["vocab_size"]
    weight = name.endswith(".weight")
    special = {
        "word_embeddings.weight": (vocab, hidden),
        "position_embeddings.weight": (settings["max_position_embeddings"], hidden),
        "token_type_embeddings.weight": (2, hidden),
        "decoder.weight": (vocab, hidden),
        "predictions.bias": (vocab,),
        "seq_relationship.weight": (2, hidden),
        "seq_relationship.bias": (2,),
    }
    for suffix, size in special.items():
        if name.endswith(suffix):
            return size
    if "intermediate.dense" in name:
        return (inner, hidden) if weight else (inner,)
    if "output.dense.weight" in name and "attention" not in name:
        return (hidden, inner)
    if weight and "LayerNorm" not in name:
        return (hidden, hidden)
    return (hidden,)


def state(settings: dict[str, Any], seed: int = 0) -> dict[str, Array]:
    """Random values for every torch name of the table; the decoder is tied to the word embeddings."""
    random = np.random.default_rng(seed)
    values: dict[str, Array] = {}
    for name, _, _ in table(settings["num_hidden_layers"]):
        values[name] = random.normal(scale=0.2, size=shape(name, settings)).astype(np.float32)
    values["cls.predictions.decoder.weight"] = values["bert.embeddings.word_embeddings.weight"]
    return values


def modern(name: str) -> str:
    """The LayerNorm names of today."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def write_bin(folder: Path, settings: dict[str, Any], values: dict[str, Array]) -> Path:
    """A model folder with ``pytorch_model.bin``, saved by torch; equal arrays share their storage as in torch."""
    import torch

    tensors: dict[int, torch.Tensor] = {}
    named = {name: tensors.setdefault(id(value), torch.from_numpy(value)) for name, value in values.items()}
    write_config(folder, settings)
    torch.save(named, folder / "pytorch_model.bin")
    return folder


def write_config(folder: Path, settings: dict[str, Any]) -> None:
    """``config.json`` and the vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n", encoding="utf-8")
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def save_transformers(folder: Path, kind: str, *, safe: bool = True, **more: Any) -> Any:
    """A random model of a transformers class, saved as that library does; returns the torch model in eval mode."""
    import torch
    import transformers

    torch.manual_seed(0)
    settings = {key: value for key, value in config(**more).items() if key not in {"architectures", "model_type"}}
    model = getattr(transformers, kind)(transformers.BertConfig(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases start at 0 and norms at 1, which would hide mistakes
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n", encoding="utf-8")
    return model
