"""A model made trainable: LoRA on every linear layer, or all weights; and rows for added tokens.

In: a causal model of transformers and its tokenizer. Out: the same model, its tokenizer with
`added_tokens()`, and the parameters to train. Always holds: the base's own rows of the embedding
are not changed by LoRA, so that a delta need not carry them.

LoRA: Hu et al. 2021, section 4.1; the update is `scale * B A`, B begins at zero.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.training.samples import starts


class Lora(nn.Module):
    """A frozen linear layer and an update of low rank, x of shape (..., in) to (..., out)."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scale = scale
        self.a = nn.Parameter(torch.empty(rank, linear.in_features, dtype=torch.float32))
        self.b = nn.Parameter(torch.zeros(linear.out_features, rank, dtype=torch.float32))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        low = functional.linear(x, self.a.to(x.dtype))
        return self.linear(x) + self.scale * functional.linear(low, self.b.to(x.dtype))  # type: ignore[no-any-return]


class Rows(nn.Module):
    """An embedding whose first rows are frozen and whose last ones are trained."""

    def __init__(self, base: Tensor, added: Tensor) -> None:
        super().__init__()
        self.base = nn.Parameter(base, requires_grad=False)
        self.added = nn.Parameter(added.float())

    def forward(self, ids: Tensor) -> Tensor:
        known = len(self.base)
        old = functional.embedding(ids.clamp(max=known - 1), self.base)
        new = functional.embedding((ids - known).clamp(min=0), self.added.to(self.base.dtype))
        return torch.where((ids >= known).unsqueeze(-1), new, old)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of shape (positions, tokens)."""
        old = functional.linear(hidden, self.base)
        return torch.cat([old, functional.linear(hidden, self.added.to(hidden.dtype))], dim=-1)


def add_tokens(tokenizer: Any, weight: Tensor) -> Tensor:
    """Adds the language's tokens to the tokenizer; their rows of shape (tokens, width).

    A row starts as the mean of the rows of the words that tell what the token is for. Raises
    `ValueError` if the tokenizer has them already.
    """
    from transformers import AddedToken

    words = starts()
    means = [
        weight[tokenizer.encode(" " + text, add_special_tokens=False)].float().mean(0)
        for text in words.values()
    ]
    added = [AddedToken(t, normalized=False, special=False) for t in words]
    if tokenizer.add_tokens(added) != len(words):
        raise ValueError(
            "the base is tuned already: name it with --start, and what it was tuned from"
        )
    return torch.stack(means)


def with_lora(model: Any, tokenizer: Any, rank: int, alpha: float) -> dict[str, nn.Parameter]:
    """Puts LoRA around every linear layer but the head, and trains the added rows."""
    model.requires_grad_(False)
    layers = model.get_decoder()
    for name, module in list(layers.named_modules()):
        if isinstance(module, nn.Linear):
            parent, _, child = name.rpartition(".")
            setattr(layers.get_submodule(parent), child, Lora(module, rank, alpha / rank))
    weight = _rows_in_use(model, tokenizer)
    layers.set_input_embeddings(Rows(weight, add_tokens(tokenizer, weight)))
    return {name: p for name, p in layers.named_parameters() if p.requires_grad}


def with_all(model: Any, tokenizer: Any) -> dict[str, nn.Parameter]:
    """Trains every weight, the embedding of old and added tokens included, in float32."""
    model.float().requires_grad_(True)
    layers = model.get_decoder()
    weight = _rows_in_use(model, tokenizer)
    rows = Rows(weight, add_tokens(tokenizer, weight))
    rows.base.requires_grad_(True)
    layers.set_input_embeddings(rows)
    return dict(layers.named_parameters())


def _rows_in_use(model: Any, tokenizer: Any) -> Tensor:
    """The embedding without the rows that pad it. Raises `ValueError` if the head has its own."""
    if not model.config.tie_word_embeddings:
        raise ValueError("the base has a head of its own; only tied embeddings can be trained")
    weight: Tensor = model.get_decoder().get_input_embeddings().weight.data
    return weight[: len(tokenizer)].clone()
