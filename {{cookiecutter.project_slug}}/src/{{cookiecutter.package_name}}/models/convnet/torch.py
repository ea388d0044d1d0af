"""The convolutional network in PyTorch."""

import torch
from torch import nn

from . import ConvNetConfig


class ConvNet(nn.Module):
    """float [batch, height, width, channel] of `shape` -> float [batch, outputs]."""

    def __init__(self, config: ConvNetConfig, shape: tuple[int, int, int], outputs: int):
        super().__init__()
        height, width, channels = shape
        features = (height // 4) * (width // 4) * 2 * config.width
        self.conv1 = nn.Conv2d(channels, config.width, 3, padding="same")
        self.conv2 = nn.Conv2d(config.width, 2 * config.width, 3, padding="same")
        self.hidden = nn.Linear(features, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, outputs)
        for layer in (self.conv1, self.conv2, self.hidden, self.output):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if layer is self.output else "relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 3, 1, 2)  # a view: NHWC memory is the fast `channels_last`
        x = max_pool(torch.relu(self.conv1(x)))
        x = max_pool(torch.relu(self.conv2(x)))
        x = x.permute(0, 2, 3, 1).flatten(1)
        x = torch.relu(self.hidden(x))
        x = self.dropout(x)
        return self.output(x)


def max_pool(x: torch.Tensor) -> torch.Tensor:
    """2 x 2 windows; an odd last row or column is left out."""
    return nn.functional.max_pool2d(x, 2)
