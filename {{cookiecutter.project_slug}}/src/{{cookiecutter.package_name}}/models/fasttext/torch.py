"""fastText's classifier in PyTorch."""

import torch
from torch import nn

from ..layers.torch import lecun_normal
from . import DEVIATION, FastTextConfig


class FastText(nn.Module):
    """int32 [batch, n-grams], where 0 is none -> logits, float [batch, classes]."""

    def __init__(self, config: FastTextConfig, vocabulary: int, classes: int):
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocabulary, config.width, mode="mean", padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=DEVIATION)
        self.output = lecun_normal(nn.Linear(config.width, classes))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.output(self.embedding(tokens))
