"""The residual network in PyTorch."""

import torch
from torch import nn

from ..layers.torch import BatchNorm, max_pool
from . import VARIANTS, ResNetConfig


class ResNet(nn.Module):
    """float [batch, height, width, channel] of `shape` -> float [batch, outputs]. Takes other heights and widths, too.

    Initialised after Goyal et al. (2017): convolutions after He et al. (2015), from the fan-out; the last scale of each
    block 0, so that it begins as the identity; the last layer's kernel from a normal distribution of deviation 0.01.
    """

    def __init__(self, config: ResNetConfig, shape: tuple[int, int, int], outputs: int):
        super().__init__()
        blocks, channels, bottleneck = VARIANTS[config.name]
        block = Bottleneck if bottleneck else BasicBlock
        self.stem = config.stem
        if self.stem == "imagenet":
            self.conv1 = convolution(shape[-1], channels, 7, stride=2)
        else:
            self.conv1 = convolution(shape[-1], channels, 3)
        self.bn1 = BatchNorm(channels)
        self.layer1 = stage(block, channels, channels, blocks[0])
        self.layer2 = stage(block, block.expansion * channels, 2 * channels, blocks[1], stride=2)
        self.layer3 = stage(block, block.expansion * 2 * channels, 4 * channels, blocks[2], stride=2)
        self.layer4 = stage(block, block.expansion * 4 * channels, 8 * channels, blocks[3], stride=2)
        self.fc = nn.Linear(block.expansion * 8 * channels, outputs)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 3, 1, 2)  # a view: NHWC memory is the fast `channels_last`
        x = torch.relu(self.bn1(self.conv1(x)))
        if self.stem == "imagenet":
            x = max_pool(x, 3, 2, 1)
        for blocks in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in blocks:
                x = block(x)
        return self.fc(x.mean((2, 3)))


class BasicBlock(nn.Module):
    """float [batch, inputs, height, width] -> float [batch, channels, height / stride, width / stride]."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = convolution(inputs, channels, 3, stride)
        self.bn1 = BatchNorm(channels)
        self.conv2 = convolution(channels, channels, 3)
        self.bn2 = BatchNorm(channels)
        nn.init.zeros_(self.bn2.weight)
        self.downsample = projection(inputs, channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        for layer in self.downsample:
            x = layer(x)
        return torch.relu(x + y)


class Bottleneck(nn.Module):
    """float [batch, inputs, height, width] -> float [batch, 4 * channels, height / stride, width / stride]."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = convolution(inputs, channels, 1)
        self.bn1 = BatchNorm(channels)
        self.conv2 = convolution(channels, channels, 3, stride)
        self.bn2 = BatchNorm(channels)
        self.conv3 = convolution(channels, self.expansion * channels, 1)
        self.bn3 = BatchNorm(self.expansion * channels)
        nn.init.zeros_(self.bn3.weight)
        self.downsample = projection(inputs, self.expansion * channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        for layer in self.downsample:
            x = layer(x)
        return torch.relu(x + y)


def stage(
    block: type[BasicBlock | Bottleneck], inputs: int, channels: int, count: int, stride: int = 1
) -> nn.Sequential:
    first = block(inputs, channels, stride)
    return nn.Sequential(first, *(block(block.expansion * channels, channels, 1) for _ in range(count - 1)))


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """What brings a block's input into the shape of its output: nothing where it has that already."""
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(convolution(inputs, outputs, 1, stride), BatchNorm(outputs))


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
