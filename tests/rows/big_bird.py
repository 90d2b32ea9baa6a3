"""BigBird, with full attention; Paddle's takes no mask, and finds padding by itself."""

from __future__ import annotations

from typing import Any

from matrix import ENCODER, rows_of

TINY = ENCODER | {"attention_type": "original_full", "hidden_act": "gelu"}
OTHER: dict[str, Any] = {
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "hidden_act": "relu",
    "layer_norm_eps": 1e-3,
    "pad_token_id": 3,
    "type_vocab_size": 3,
    "hidden_dropout_prob": 0.2,
    "block_size": 16,
    "num_random_blocks": 2,
}

_row = rows_of("big_bird", "BigBirdConfig", TINY)


# Where the decoder has a bias of its own, torch keeps this one and does not use it.
SAME = (("cls.predictions.bias", "cls.predictions.decoder.bias"),)

ROWS = [
    _row("BigBirdModel"),
    _row("BigBirdForPreTraining"),
    _row("BigBirdForMaskedLM"),
    _row("BigBirdForCausalLM"),
    _row("BigBirdForTokenClassification", settings={"num_labels": 3}),
    _row("BigBirdForMultipleChoice", ask="choices"),
    _row("BigBirdModel", settings=OTHER, label="other"),
    _row("BigBirdForPreTraining", settings=OTHER | {"tie_word_embeddings": False}, same=SAME, label="other"),
    _row("BigBirdForMaskedLM", settings=OTHER, label="other"),
    _row("BigBirdForMaskedLM", settings={"tie_word_embeddings": False}, same=SAME, label="untied"),
    _row("BigBirdForCausalLM", settings={"tie_word_embeddings": False, "vocab_size": 13}, same=SAME, label="untied"),
    _row("BigBirdForMaskedLM", settings={"vocab_size": 13}, label="small"),
]
