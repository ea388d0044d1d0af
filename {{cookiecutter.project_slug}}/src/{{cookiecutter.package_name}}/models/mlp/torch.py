"""The perceptron in PyTorch."""

import math

import torch
from torch import nn

from . import MLPConfig


class MLP(nn.Module):
    """float [batch, ...] of `shape`, which is flattened -> float [batch, outputs]."""

    def __init__(self, config: MLPConfig, shape: tuple[int, ...], outputs: int):
        super().__init__()
        self.hidden = nn.Linear(math.prod(shape), config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, outputs)
        nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")
        nn.init.kaiming_normal_(self.output.weight, nonlinearity="linear")
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        x = torch.relu(self.hidden(x))
        x = self.dropout(x)
        return self.output(x)
