"""The convolutional network in PyTorch."""

import torch
from torch import nn

from ..layers.torch import he_normal, lecun_normal, max_pool
from . import ConvNetConfig


class ConvNet(nn.Module):
    """float [batch, height, width, channel] of `shape` -> float [batch, outputs]."""

    def __init__(self, config: ConvNetConfig, shape: tuple[int, int, int], outputs: int):
        super().__init__()
        height, width, channels = shape
        features = (height // 4) * (width // 4) * 2 * config.width
        self.conv1 = he_normal(nn.Conv2d(channels, config.width, 3, padding="same"))
        self.conv2 = he_normal(nn.Conv2d(config.width, 2 * config.width, 3, padding="same"))
        self.hidden = he_normal(nn.Linear(features, config.hidden))
        self.dropout = nn.Dropout(config.dropout)
        self.output = lecun_normal(nn.Linear(config.hidden, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 3, 1, 2)  # a view: NHWC memory is the fast `channels_last`
        x = max_pool(torch.relu(self.conv1(x)))
        x = max_pool(torch.relu(self.conv2(x)))
        x = x.permute(0, 2, 3, 1).flatten(1)
        x = torch.relu(self.hidden(x))
        x = self.dropout(x)
        return self.output(x)
