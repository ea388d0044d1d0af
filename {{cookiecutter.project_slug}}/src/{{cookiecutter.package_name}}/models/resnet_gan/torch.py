"""The residual GAN in PyTorch."""

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, linear, normalize

from ..dcgan import pyramid
from ..layers.torch import BatchNorm, he_normal, lecun_normal
from . import EPSILON, ITERATIONS, ResnetGanConfig


class ResnetGan(nn.Module):
    """A generator and a discriminator of images of `shape`. loss: what they are trained with, by its name."""

    def __init__(self, config: ResnetGanConfig, shape: tuple[int, int, int]):
        super().__init__()
        self.loss = config.loss
        self.generator = Generator(config, shape)
        self.discriminator = Discriminator(config, shape)


class Generator(nn.Module):
    """Noise, float [batch, latent] -> float [batch, height, width, channel] in [-1, 1]."""

    def __init__(self, config: ResnetGanConfig, shape: tuple[int, int, int]):
        super().__init__()
        self.side, halvings = pyramid(shape)
        self.width = config.width
        self.project = lecun_normal(nn.Linear(config.latent, self.side**2 * config.width))
        self.blocks = nn.ModuleList(UpBlock(config.width) for _ in range(halvings))
        self.norm = BatchNorm(config.width)
        self.output = lecun_normal(nn.Conv2d(config.width, shape[-1], 3, padding=1))

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        x = self.project(noise).unflatten(1, (self.side, self.side, self.width))
        x = x.permute(0, 3, 1, 2)  # a view: NHWC memory is the fast `channels_last`
        for block in self.blocks:
            x = block(x)
        x = torch.relu(self.norm(x))
        return torch.tanh(self.output(x)).permute(0, 2, 3, 1)


class UpBlock(nn.Module):
    """float [batch, width, side, side] -> float [batch, width, 2 * side, 2 * side]."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1 = BatchNorm(width)
        self.conv1 = he_normal(nn.Conv2d(width, width, 3, padding=1, bias=False))
        self.norm2 = BatchNorm(width)
        self.conv2 = he_normal(nn.Conv2d(width, width, 3, padding=1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(double(torch.relu(self.norm1(x))))
        y = self.conv2(torch.relu(self.norm2(y)))
        return double(x) + y


class Discriminator(nn.Module):
    """float [batch, height, width, channel] -> float [batch], positive for what looks real."""

    def __init__(self, config: ResnetGanConfig, shape: tuple[int, int, int]):
        super().__init__()
        _, halvings = pyramid(shape)
        self.blocks = nn.ModuleList(
            Block(config.width if i else shape[-1], config.width, first=not i, down=i < halvings)
            for i in range(halvings + 1)
        )
        self.output = SpectralLinear(config.width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 3, 1, 2)
        for block in self.blocks:
            x = block(x)
        return self.output(torch.relu(x).sum((2, 3)))[:, 0]


class Block(nn.Module):
    """float [batch, inputs, side, side] -> float [batch, width, side, side], or with `down` of half the side.

    The first one does not cut off what is negative in an image.
    """

    def __init__(self, inputs: int, width: int, *, first: bool, down: bool):
        super().__init__()
        self.first, self.down = first, down
        self.conv1 = SpectralConv(inputs, width, 3)
        self.conv2 = SpectralConv(width, width, 3)
        self.shortcut = SpectralConv(inputs, width, 1) if first else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(x if self.first else torch.relu(x))
        y = self.conv2(torch.relu(y))
        x = x if self.shortcut is None else self.shortcut(x)
        return avg_pool2d(x + y, 2) if self.down else x + y


class SpectralConv(nn.Conv2d):
    """A convolution whose kernel is divided by its largest singular value, as a matrix [outputs, inputs * size * size].

    u, v: the estimate of its singular vectors. In training one step of power iteration moves them at every pass, so
    three times in a step of a GAN; the gradient takes them as constants.
    """

    def __init__(self, inputs: int, outputs: int, size: int):
        super().__init__(inputs, outputs, size, padding=size // 2)
        he_normal(self)
        begin(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return conv2d(x, self.weight / norm(self), self.bias, padding=self.padding)


class SpectralLinear(nn.Linear):
    """The same of a linear layer."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        lecun_normal(self)
        begin(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight / norm(self), self.bias)


def begin(layer: SpectralConv | SpectralLinear) -> None:
    """Makes u and v, from random ones."""
    matrix = layer.weight.detach().flatten(1)
    u, v = (normalize(torch.randn(size), dim=0, eps=EPSILON) for size in matrix.shape)
    for _ in range(ITERATIONS):
        u, v = iterate(matrix, v)
    layer.register_buffer("u", u)
    layer.register_buffer("v", v)


def iterate(matrix: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    u = normalize(matrix @ v, dim=0, eps=EPSILON)
    return u, normalize(matrix.T @ u, dim=0, eps=EPSILON)


def norm(layer: SpectralConv | SpectralLinear) -> torch.Tensor:
    """The estimate of the largest singular value, after an iteration in training."""
    matrix = layer.weight.flatten(1)
    u, v = layer.get_buffer("u"), layer.get_buffer("v")
    if layer.training:
        with torch.no_grad():
            for buffer, value in zip((u, v), iterate(matrix, v), strict=True):
                buffer.copy_(value)
    return u.clone() @ (matrix @ v.clone())  # which the next pass overwrites


def double(x: torch.Tensor) -> torch.Tensor:
    return interpolate(x, scale_factor=2, mode="nearest")
