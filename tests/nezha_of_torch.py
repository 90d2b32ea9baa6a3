"""NEZHA for torch, which transformers has no more: a BERT whose attention knows how far two tokens are apart.

Written after the paper (Wei et al. 2019), with the names that the checkpoints of transformers 4 have.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.models.bert.modeling_bert import (
    BertForPreTrainingOutput,
    BertIntermediate,
    BertOutput,
    BertPooler,
    BertPreTrainingHeads,
    BertSelfOutput,
)


class NezhaConfig(BertConfig):  # type: ignore[misc]
    """BERT's, and how far apart two tokens can be told to be."""

    model_type = "nezha"
    max_relative_position: int = 64


def distances(length: int, size: int, furthest: int) -> Tensor:
    """For each pair of positions, sines and cosines in turn of how far the second is after the first."""
    steps = torch.arange(length)
    apart = (steps[None, :] - steps[:, None]).clamp(-furthest, furthest) + furthest
    angles = torch.arange(2 * furthest + 1)[:, None] / 10000 ** (torch.arange(0, size, 2) / size)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[apart]


class Attention(nn.Module):  # type: ignore[misc]
    """The distance is added to every key and to every value."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads, self.furthest = config.num_attention_heads, config.max_relative_position
        for name in ("query", "key", "value"):
            setattr(self, name, nn.Linear(config.hidden_size, config.hidden_size))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            layer(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        apart = distances(states.shape[1], query.shape[-1], self.furthest)
        scores = query @ key.transpose(2, 3) + torch.einsum("bhid,ijd->bhij", query, apart)
        weights = (scores / query.shape[-1] ** 0.5 + mask).softmax(-1)
        found = weights @ value + torch.einsum("bhij,ijd->bhid", weights, apart)
        return found.transpose(1, 2).flatten(2)


class Layer(nn.Module):  # type: ignore[misc]
    """A layer of BERT with the other attention."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": Attention(config), "output": BertSelfOutput(config)})
        self.intermediate, self.output = BertIntermediate(config), BertOutput(config)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        seen = self.attention["output"](self.attention["self"](states, mask), states)
        found: Tensor = self.output(self.intermediate(seen), seen)
        return found


class Embeddings(nn.Module):  # type: ignore[misc]
    """Words and types; positions are what the attention knows."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.LayerNorm(self.word_embeddings(ids) + self.token_type_embeddings.weight[0])
        return found


class _Nezha(PreTrainedModel):  # type: ignore[misc]
    config_class = NezhaConfig
    base_model_prefix = "nezha"


class NezhaModel(_Nezha):
    """The base model."""

    def __init__(self, config: Any, *, pooled: bool = True) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layer": layers})
        self.pooler = BertPooler(config) if pooled else None
        self.post_init()

    def get_input_embeddings(self) -> Any:
        return self.embeddings.word_embeddings

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.embeddings(input_ids)
        for layer in self.encoder["layer"]:
            states = layer(states, (1.0 - mask[:, None, None, :]) * torch.finfo(states.dtype).min)
        pooled = None if self.pooler is None else self.pooler(states)
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooled)


class NezhaForPreTraining(_Nezha):
    """Words, and whether the second sentence follows the first."""

    _tied_weights_keys = {  # noqa: RUF012  transformers' own form
        "cls.predictions.decoder.weight": "nezha.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.nezha, self.cls = NezhaModel(config), BertPreTrainingHeads(config)
        self.post_init()

    def get_output_embeddings(self) -> Any:
        return self.cls.predictions.decoder

    def forward(self, **inputs: Tensor) -> Any:
        found = self.nezha(**inputs)
        words, follows = self.cls(found.last_hidden_state, found.pooler_output)
        return BertForPreTrainingOutput(prediction_logits=words, seq_relationship_logits=follows)


class _Classifier(_Nezha):
    def __init__(self, config: Any, *, labels: int, pooled: bool) -> None:
        super().__init__(config)
        self.nezha = NezhaModel(config, pooled=pooled)
        self.classifier = nn.Linear(config.hidden_size, labels)
        self.post_init()


class NezhaForSequenceClassification(_Classifier):
    """A label of a text."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, labels=config.num_labels, pooled=True)

    def forward(self, **inputs: Tensor) -> Any:
        return SequenceClassifierOutput(logits=self.classifier(self.nezha(**inputs).pooler_output))


class NezhaForTokenClassification(_Classifier):
    """A label of each token."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, labels=config.num_labels, pooled=False)

    def forward(self, **inputs: Tensor) -> Any:
        return TokenClassifierOutput(logits=self.classifier(self.nezha(**inputs).last_hidden_state))


class NezhaForMultipleChoice(_Classifier):
    """Which of several texts."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, labels=1, pooled=True)

    def forward(self, **inputs: Tensor) -> Any:
        shape = inputs["input_ids"].shape[:2]
        flat = self.nezha(**{name: value.flatten(0, 1) for name, value in inputs.items()})
        return MultipleChoiceModelOutput(logits=self.classifier(flat.pooler_output).view(shape))


class NezhaForQuestionAnswering(_Nezha):
    """Where the answer begins and ends."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.nezha = NezhaModel(config, pooled=False)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    def forward(self, **inputs: Tensor) -> Any:
        start, end = self.qa_outputs(self.nezha(**inputs).last_hidden_state).unbind(-1)
        return QuestionAnsweringModelOutput(start_logits=start, end_logits=end)
