"""CLIPSeg."""

from __future__ import annotations

from typing import Any

from matrix import Inputs, ask_ids, ask_image, rows_of

TEXT: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT |= {"intermediate_size": 24, "max_position_embeddings": 32, "eos_token_id": 59}
VISION: dict[str, Any] = {"hidden_size": 12, "num_hidden_layers": 4, "num_attention_heads": 2}
VISION |= {"intermediate_size": 20, "image_size": 16, "patch_size": 8}
TINY: dict[str, Any] = {"text_config": TEXT, "vision_config": VISION, "projection_dim": 10}
TINY |= {"extract_layers": [0, 1, 3], "reduce_dim": 6, "decoder_num_attention_heads": 3}
TINY |= {"decoder_intermediate_size": 14, "initializer_factor": 0.3}
OTHER_TEXT = TEXT | {"eos_token_id": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-3}
OTHER_VISION = VISION | {"hidden_act": "relu", "layer_norm_eps": 1e-4, "num_channels": 2}
OTHER: dict[str, Any] = {"text_config": OTHER_TEXT, "vision_config": OTHER_VISION, "extract_layers": [2, 1]}
OTHER |= {"conditional_layer": 1, "use_complex_transposed_convolution": True}


def _both(config: Any) -> list[Inputs]:
    """The texts have an end; the last images are larger than those of the config, as those of the processor are."""
    (image,) = ask_image(config)
    texts = ask_ids(config)
    for text in texts:
        text["input_ids"][:, 3] = config.text_config.eos_token_id
    larger = {name: value.repeat(2, axis=-1).repeat(2, axis=-2) for name, value in image.items()}
    return [text | image for text in texts] + [texts[0] | larger]


_row = rows_of("clipseg", "CLIPSegConfig", TINY, ask=_both)

ROWS = [
    _row("CLIPSegModel"),
    _row("CLIPSegModel", settings=OTHER, label="other"),
    _row("CLIPSegForImageSegmentation"),
    _row("CLIPSegForImageSegmentation", settings=OTHER, label="other"),
]
