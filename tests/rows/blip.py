"""BLIP."""

from __future__ import annotations

from typing import Any

from matrix import Inputs, Row, ask_ids, ask_image, ask_seq2seq

TEXT: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT |= {"intermediate_size": 24, "max_position_embeddings": 32, "encoder_hidden_size": 16}
TEXT |= {"bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 2, "pad_token_id": 0}
VISION: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
VISION |= {"intermediate_size": 20, "image_size": 8, "patch_size": 4}
TINY = {"text_config": TEXT, "vision_config": VISION, "projection_dim": 8, "image_text_hidden_size": 8}


def _both(config: Any) -> list[Inputs]:
    (image,) = ask_image(config)
    return [text | image for text in ask_ids(config)]


def _answered(config: Any) -> list[Inputs]:
    (image,) = ask_image(config)
    return [text | image for text in ask_seq2seq(config)]


def _row(torch_class: str, **more: Any) -> Row:
    return Row("blip", torch_class, "BlipConfig", TINY, **({"ask": _both} | more))


ROWS = [
    _row("BlipForConditionalGeneration"),
    # Without a right answer it says nothing of the text; the other two have the same text models.
    _row("BlipForQuestionAnswering", ask=_answered),
    _row("BlipForImageTextRetrieval"),
]
