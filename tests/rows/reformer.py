"""Reformer. A longer text than its layers that hash take at once is answered otherwise in every call."""

from __future__ import annotations

from typing import Any

from matrix import rows_of

TINY: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_attention_heads": 3,
    "attention_head_size": 6,
    "feed_forward_size": 24,
    "attn_layers": ["local", "lsh", "local", "lsh"],
    "local_attn_chunk_length": 2,
    "lsh_attn_chunk_length": 8,
    "num_buckets": 4,
    "axial_pos_shape": [4, 8],
    "axial_pos_embds_dim": [6, 10],
    "max_position_embeddings": 32,
}
OTHER: dict[str, Any] = {
    "attn_layers": ["local", "lsh"],
    "axial_pos_embds": False,
    "local_attn_chunk_length": 4,
    "local_num_chunks_before": 0,
    "num_hashes": 2,
    "num_buckets": [2, 4],
    "chunk_size_feed_forward": 2,
    "hidden_act": "gelu_new",
    "layer_norm_eps": 1e-3,
    "pad_token_id": 3,
}
ENWIK8 = ["local", "local", "lsh", "local", "local", "local", "lsh", "local", "local", "local", "lsh", "local"]


def __getattr__(name: str) -> Any:
    """A class of transformers; it adds the bias of the head to nothing, which stays as it was made: zeros."""
    if not name.startswith("Reformer"):
        raise AttributeError(name)
    import transformers

    kind = getattr(transformers, name)

    def make(*config: Any, **settings: Any) -> Any:
        model = kind(*config, **settings)
        if hasattr(model, "lm_head"):
            model.lm_head.bias.requires_grad = False
        return model

    return make


_row = rows_of("reformer", "ReformerConfig", TINY, own="rows.reformer")

ROWS = [
    _row("ReformerModel"),
    _row("ReformerModelWithLMHead", settings={"is_decoder": True}),
    _row("ReformerForMaskedLM"),
    _row("ReformerForSequenceClassification", settings={"num_labels": 3}),
    _row("ReformerForQuestionAnswering"),
    _row("ReformerModel", settings=OTHER | {"local_num_chunks_after": 1}, label="other"),
    _row("ReformerModel", settings={"attn_layers": ENWIK8, "is_decoder": True}, label="enwik8"),
    _row("ReformerModel", settings={"attn_layers": ["lsh", "lsh", "local"]}, label="mixed"),
    _row("ReformerForMaskedLM", settings={"attn_layers": ["local", "local"]}, label="local"),
    _row("ReformerModelWithLMHead", settings=OTHER | {"is_decoder": True, "chunk_size_lm_head": 7}, label="other"),
    _row("ReformerForMaskedLM", settings=OTHER, label="other"),
]
