"""DeepFM in PyTorch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ..layers.torch import he_normal, lecun_normal
from . import DeepFMConfig


class DeepFM(nn.Module):
    """int32 [batch, fields], each >= 0 -> float [batch]: the logit of a click.

    sizes: rows of the tables that each field has; a value counts modulo its field's.

    Initialised with embeddings from a normal distribution of deviation 0.01 and linear weights of 0.
    """

    def __init__(self, config: DeepFMConfig, sizes: Sequence[int]):
        super().__init__()
        self.embedding = nn.Embedding(sum(sizes), config.width)
        nn.init.normal_(self.embedding.weight, std=0.01)
        self.linear = nn.Embedding(sum(sizes), 1)
        nn.init.zeros_(self.linear.weight)
        widths = [len(sizes) * config.width, *[config.hidden] * config.layers]
        self.hidden = nn.ModuleList(he_normal(nn.Linear(*pair)) for pair in zip(widths[:-1], widths[1:], strict=True))
        self.dropout = nn.Dropout(config.dropout)
        self.output = lecun_normal(nn.Linear(config.hidden, 1))  # its bias is that of the whole sum
        self.register_buffer("sizes", torch.tensor(sizes, dtype=torch.int32), persistent=False)
        offsets = torch.tensor(np.cumsum([0, *sizes[:-1]]), dtype=torch.int32)
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        rows = fields % self.sizes + self.offsets
        vectors = self.embedding(rows)  # [batch, fields, width]
        x = vectors.flatten(1)
        for layer in self.hidden:
            x = self.dropout(torch.relu(layer(x)))
        return self.linear(rows).sum((1, 2)) + interactions(vectors) + self.output(x)[:, 0]


def interactions(vectors: torch.Tensor) -> torch.Tensor:
    """float [batch, fields, width] -> float [batch]: the dot products of all pairs of fields, summed.

    Half of (the square of the sum - the sum of the squares), which takes no pairs (Rendle 2010).
    """
    return (vectors.sum(1).square() - vectors.square().sum(1)).sum(1) / 2
