"""DeepFM in PyTorch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ..layers.torch import he_normal, lecun_normal
from . import DeepFMConfig


class DeepFM(nn.Module):
    """int32 [batch, fields] -> float [batch]: the logit of a click.

    sizes: how many values each field has in training; one more is what training has not seen.

    Initialised with embeddings from a normal distribution of deviation 0.01 and linear weights of 0.
    """

    def __init__(self, config: DeepFMConfig, sizes: Sequence[int]):
        super().__init__()
        self.embedding = FieldVectors(sizes, config.width)
        nn.init.normal_(self.embedding.weight, std=0.01)
        self.linear = FieldVectors(sizes, 1)
        nn.init.zeros_(self.linear.weight)
        widths = [len(sizes) * config.width, *[config.hidden] * config.layers]
        self.hidden = nn.ModuleList(he_normal(nn.Linear(*pair)) for pair in zip(widths[:-1], widths[1:], strict=True))
        self.dropout = nn.Dropout(config.dropout)
        self.output = lecun_normal(nn.Linear(config.hidden, 1))  # its bias is that of the whole sum

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        vectors = self.embedding(fields)  # [batch, fields, width]
        x = vectors.flatten(1)
        for layer in self.hidden:
            x = self.dropout(torch.relu(layer(x)))
        return self.linear(fields).sum((1, 2)) + interactions(vectors) + self.output(x)[:, 0]


class FieldVectors(nn.Embedding):
    """Vectors of each field's values, one table below the other: int [batch, fields] -> float [batch, fields, width].

    Number sizes[i] of field i, which training has not seen, has the mean of the field's others.
    """

    sizes: torch.Tensor
    offsets: torch.Tensor

    def __init__(self, sizes: Sequence[int], width: int):
        super().__init__(sum(sizes), width)
        self.counts = list(sizes)
        offsets = np.cumsum([0, *sizes[:-1]])
        self.register_buffer("sizes", torch.tensor(sizes, dtype=torch.int32), persistent=False)
        self.register_buffer("offsets", torch.tensor(offsets, dtype=torch.int32), persistent=False)

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        vectors = super().forward(torch.minimum(fields, self.sizes - 1) + self.offsets)
        if self.training:  # where all is known
            return vectors
        means = torch.stack([part.mean(0) for part in self.weight.split(self.counts)])
        return torch.where((fields >= self.sizes)[..., None], means, vectors)


def interactions(vectors: torch.Tensor) -> torch.Tensor:
    """float [batch, fields, width] -> float [batch]: the dot products of all pairs of fields, summed.

    Half of (the square of the sum - the sum of the squares), which takes no pairs (Rendle 2010).
    """
    return (vectors.sum(1).square() - vectors.square().sum(1)).sum(1) / 2
