"""BART."""

from __future__ import annotations

from typing import Any

from matrix import Inputs, ask_seq2seq, rows_of

TINY: dict[str, Any] = {"vocab_size": 60, "d_model": 16, "max_position_embeddings": 32}
TINY |= {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 24}
TINY |= {"decoder_layers": 3, "decoder_attention_heads": 2, "decoder_ffn_dim": 28}


def ended(config: Any) -> list[Inputs]:
    """The class answers at the last end of a text."""
    asked = ask_seq2seq(config)
    for inputs in asked:
        inputs["input_ids"][:, -3] = config.eos_token_id
        del inputs["decoder_input_ids"]
    return asked


_row = rows_of("bart", "BartConfig", TINY, ask="seq2seq")

ROWS = [
    _row("BartModel"),
    _row("BartModel", settings={"activation_function": "relu", "scale_embedding": True}, label="other"),
    _row("BartForConditionalGeneration"),
    _row("BartForSequenceClassification", ask=ended, settings={"num_labels": 3}),
    _row("BartForQuestionAnswering"),
    _row("BartModel", settings={"pad_token_id": None}, label="no padding", ask="plain seq2seq"),
]
