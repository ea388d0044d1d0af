"""The perceptron in PyTorch."""

import math

import torch
from torch import nn

from ..layers.torch import he_normal, lecun_normal
from . import MLPConfig


class MLP(nn.Module):
    """float [batch, ...] of `shape`, which is flattened -> float [batch, outputs]."""

    def __init__(self, config: MLPConfig, shape: tuple[int, ...], outputs: int):
        super().__init__()
        self.hidden = he_normal(nn.Linear(math.prod(shape), config.hidden))
        self.dropout = nn.Dropout(config.dropout)
        self.output = lecun_normal(nn.Linear(config.hidden, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        x = torch.relu(self.hidden(x))
        x = self.dropout(x)
        return self.output(x)
