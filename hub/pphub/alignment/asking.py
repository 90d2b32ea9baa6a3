"""What the models are asked: made-up inputs of each kind, the same for both sides.

Ids are drawn from all words but the special tokens: a class may stop reading at one, or take it for padding, and
each framework does so in its own way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pphub.alignment.compare import Array

if TYPE_CHECKING:
    from collections.abc import Callable

    from pphub.alignment.manner import Manner

__all__ = [
    "FAKE_LABELS",
    "KINDS",
    "WELCOME",
    "Inputs",
    "Question",
    "Sizes",
    "fake_labels",
    "fitting_length",
    "make_questions",
    "plain_ids",
    "text_config",
]

Inputs = dict[str, Array]

WELCOME: Final = "Welcome to use paddle paddle and paddlenlp!"
"""The text of the users' guide (row C5)."""

FAKE_LABELS: Final = (0, 1, 1, 0)
"""The labels that go with the made-up ids (row A1)."""

_SPECIAL: Final = ("pad", "bos", "eos", "sep", "cls", "mask", "unk", "decoder_start")
_POSITIONS: Final = ("max_position_embeddings", "n_positions", "max_seq_len")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked.

    Attributes:
        batch: texts at a time.
        length: tokens of each; fewer where the model has fewer positions.
        answer: tokens of what a decoder is given.
        lowest: the smallest id.
        seed: of the numbers that are drawn.
    """

    batch: int = 4
    length: int = 64
    answer: int = 16
    lowest: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """One call of a model.

    Attributes:
        label: what it is called in the report.
        inputs: keyword of torch's class → array.
        optional: whether a class that refuses it, loudly, is let off.
    """

    label: str
    inputs: Inputs
    optional: bool = False

    @property
    def keep(self) -> Array | None:
        """Which positions are text and not padding: the only ones whose answer has to mean anything."""
        return self.inputs.get("attention_mask")

    def describe(self) -> str:
        """In words, for the report."""
        return f"{self.label}: " + ", ".join(f"{name} {list(array.shape)}" for name, array in self.inputs.items())


def make_questions(manner: Manner, config: Any, sizes: Sizes) -> list[Question]:
    """The questions for a class.

    Args:
        manner: how the class is asked.
        config: the live torch model's config.
        sizes: how much is asked.
    """
    inputs = KINDS[manner.ask](config, sizes)
    questions = [Question("made-up inputs", inputs)]
    if manner.padded and "input_ids" in inputs:
        questions.append(Question("made-up inputs, padded", _padded(inputs, config), optional=True))
    return questions


def fake_labels(batch: int, classes: int = 2) -> Array:
    """As many labels of two classes, or of the one there is, as there are texts: int64 [batch]."""
    return np.resize(np.array(FAKE_LABELS, np.int64), batch) % max(classes, 1)


def text_config(config: Any) -> Any:
    """The part of a config that is about text."""
    return getattr(config, "text_config", None) or config


def _ids(config: Any, shape: tuple[int, ...], sizes: Sizes, stream: int = 0) -> Array:
    return np.random.default_rng((sizes.seed, stream)).choice(plain_ids(config, sizes), shape)


def plain_ids(config: Any, sizes: Sizes) -> Array:
    """The ids in [lowest, words) that are not special, or all ids where there are no others: int64."""
    text = text_config(config)
    words = int(text.vocab_size)
    special = set()
    for name in _SPECIAL:
        found = getattr(text, f"{name}_token_id", None)
        special |= set(found) if isinstance(found, (list, tuple)) else {found}
    plain = [word for word in range(min(sizes.lowest, words - 1), words) if word not in special]
    return np.array(plain or range(words), np.int64)


def fitting_length(config: Any, wanted: int) -> int:
    """So many tokens as are wanted and the model has positions for, but two: some families number theirs from 2 on."""
    text = text_config(config)
    limits = [found for name in _POSITIONS if isinstance(found := getattr(text, name, None), int) and found > 2]
    return min([wanted, *(limit - 2 for limit in limits)])


def _length(config: Any, sizes: Sizes) -> int:
    return fitting_length(config, sizes.length)


def _padded(inputs: Inputs, config: Any) -> Inputs:
    """The same, with two tokens of padding at the end of the last text."""
    ids = inputs["input_ids"].copy()
    keep = np.ones_like(ids)
    ids[-1, ..., -2:] = getattr(text_config(config), "pad_token_id", None) or 0
    keep[-1, ..., -2:] = 0
    return {**inputs, "input_ids": ids, "attention_mask": keep}


def _texts(config: Any, sizes: Sizes) -> Inputs:
    return {"input_ids": _ids(config, (sizes.batch, _length(config, sizes)), sizes)}


def _choices(config: Any, sizes: Sizes) -> Inputs:
    return {"input_ids": _ids(config, (sizes.batch, 2, _length(config, sizes)), sizes)}


def _sequences(config: Any, sizes: Sizes) -> Inputs:
    answer = min(sizes.answer, _length(config, sizes))
    return {**_texts(config, sizes), "decoder_input_ids": _ids(config, (sizes.batch, answer), sizes, stream=1)}


def _ended(config: Any, sizes: Sizes) -> Inputs:
    """The class answers at the last end of a text."""
    inputs = _texts(config, sizes)
    inputs["input_ids"][:, -3] = config.eos_token_id
    return inputs


def _image(config: Any, sizes: Sizes) -> Inputs:
    vision = getattr(config, "vision_config", None) or config
    # Of a network of convolutions, the config does not tell how large its images are.
    size, channels = getattr(vision, "image_size", 64), getattr(vision, "num_channels", 3)
    edges = (size, size) if isinstance(size, int) else tuple(size)
    values = np.random.default_rng((sizes.seed, 2)).normal(size=(sizes.batch, channels, *edges))
    return {"pixel_values": values.astype(np.float32)}


def _text_and_image(config: Any, sizes: Sizes) -> Inputs:
    return {**_texts(config, sizes), **_image(config, sizes)}


def _answered(config: Any, sizes: Sizes) -> Inputs:
    return {**_sequences(config, sizes), **_image(config, sizes)}


def _places(config: Any, sizes: Sizes) -> Inputs:
    """Torch's text has places for the image, which Paddle's classes put before the text themselves."""
    inputs = _texts(config, sizes) if config.use_decoder_only_language_model else _sequences(config, sizes)
    text = np.where(inputs["input_ids"] == config.image_token_id, 0, inputs["input_ids"])
    places = np.full((sizes.batch, config.num_query_tokens), config.image_token_id)
    text = text[:, len(places[0]) :]  # both together are as long as the model takes
    return {**inputs, **_image(config, sizes), "input_ids": np.concatenate([places, text], axis=1), "text": text}


def _text_and_sound(config: Any, sizes: Sizes) -> Inputs:
    audio = config.audio_config
    frames = audio.spec_size * (audio.spec_size // audio.num_mel_bins)
    shape = (sizes.batch, 1, frames, audio.num_mel_bins)
    sound = np.random.default_rng((sizes.seed, 3)).normal(size=shape)
    return {**_texts(config, sizes), "input_features": sound.astype(np.float32)}


def _boxes(config: Any, sizes: Sizes) -> Inputs:
    """Each token stands in a box of its own."""
    inputs = _texts(config, sizes)
    highest = config.max_2d_position_embeddings
    corners = np.random.default_rng((sizes.seed, 4)).integers(0, highest // 2, (*inputs["input_ids"].shape, 2))
    return {**inputs, "bbox": np.concatenate([corners, corners + highest // 8], axis=-1)}


def _entities(config: Any, sizes: Sizes) -> Inputs:
    """Two entities in each text, of two tokens each."""
    inputs = _texts(config, sizes)
    batch = len(inputs["input_ids"])
    positions = np.full((batch, 2, 4), -1, np.int64)
    positions[:, 0, :2], positions[:, 1, :2] = [1, 2], [3, 4]
    positions[1::2, 0, :2], positions[1::2, 1, :2] = [0, 1], [2, 3]
    return {
        **inputs,
        "entity_ids": np.arange(batch * 2, dtype=np.int64).reshape(batch, 2) % (config.entity_vocab_size - 3) + 3,
        "entity_position_ids": positions,
        "entity_attention_mask": np.ones((batch, 2), np.int64),
        "token_type_ids": np.zeros_like(inputs["input_ids"]),
        "entity_token_type_ids": np.zeros((batch, 2), np.int64),
    }


def _spans(config: Any, sizes: Sizes) -> Inputs:
    """And where each of them starts and ends."""
    inputs = _entities(config, sizes)
    start = inputs["entity_position_ids"][:, :, 0]
    return {**inputs, "entity_start_positions": start, "entity_end_positions": start + 1}


def _languages(config: Any, sizes: Sizes) -> Inputs:
    """In the last language the model knows, where it knows several."""
    inputs = _texts(config, sizes)
    several = getattr(config, "n_langs", 1) > 1 and getattr(config, "use_lang_emb", True)
    return {**inputs, "langs": np.full_like(inputs["input_ids"], config.n_langs - 1)} if several else inputs


def _spectrogram(config: Any, sizes: Sizes) -> Inputs:
    shape = (sizes.batch, sizes.length, config.model_in_dim)
    return {"spectrogram": np.random.default_rng((sizes.seed, 5)).normal(size=shape).astype(np.float32)}


KINDS: Final[dict[str, Callable[[Any, Sizes], Inputs]]] = {
    "ids": _texts,
    "choices": _choices,
    "sequences": _sequences,
    "ended": _ended,
    "image": _image,
    "text and image": _text_and_image,
    "answered": _answered,
    "text and sound": _text_and_sound,
    "boxes": _boxes,
    "entities": _entities,
    "spans": _spans,
    "languages": _languages,
    "spectrogram": _spectrogram,
    "places": _places,
}
"""What there is to ask; the keys are those of ``manners.toml``."""
