"""The deep convolutional GAN in PyTorch."""

import torch
from torch import nn

from ..layers.torch import BatchNorm
from . import DEVIATION, SLOPE, DcganConfig, pyramid


class Dcgan(nn.Module):
    """A generator and a discriminator of images of `shape`. loss: what they are trained with, by its name."""

    def __init__(self, config: DcganConfig, shape: tuple[int, int, int]):
        super().__init__()
        self.loss = config.loss
        self.generator = Generator(config, shape)
        self.discriminator = Discriminator(config, shape)


class Generator(nn.Module):
    """Noise, float [batch, latent] -> float [batch, height, width, channel] in [-1, 1]."""

    def __init__(self, config: DcganConfig, shape: tuple[int, int, int]):
        super().__init__()
        self.side, halvings = pyramid(shape)
        self.channels = channels = config.width << (halvings - 1)
        if config.hidden:
            self.hidden = normal(nn.Linear(config.latent, config.hidden, bias=False))
            self.hidden_norm = norm(config.hidden)
        self.project = normal(nn.Linear(config.hidden or config.latent, self.side**2 * channels, bias=False))
        self.norm = norm(channels)
        self.ups = nn.ModuleList()
        self.norms = nn.ModuleList()
        for i in range(1, halvings):
            self.ups.append(normal(nn.ConvTranspose2d(channels >> (i - 1), channels >> i, 4, 2, 1, bias=False)))
            self.norms.append(norm(channels >> i))
        self.output = normal(nn.ConvTranspose2d(config.width, shape[-1], 4, 2, 1))

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        x = noise
        if hasattr(self, "hidden"):
            x = torch.relu(self.hidden_norm(self.hidden(x)[:, :, None, None])).flatten(1)
        x = self.project(x).unflatten(1, (self.side, self.side, self.channels))
        x = x.permute(0, 3, 1, 2)  # a view: NHWC memory is the fast `channels_last`
        x = torch.relu(self.norm(x))
        for up, norm in zip(self.ups, self.norms, strict=True):
            x = torch.relu(norm(up(x)))
        return torch.tanh(self.output(x)).permute(0, 2, 3, 1)


class Discriminator(nn.Module):
    """float [batch, height, width, channel] -> float [batch], positive for what looks real."""

    def __init__(self, config: DcganConfig, shape: tuple[int, int, int]):
        super().__init__()
        side, halvings = pyramid(shape)
        batch = config.norm == "batch"
        self.input = normal(nn.Conv2d(shape[-1], config.width, 4, 2, 1))
        self.downs = nn.ModuleList()
        self.norms = nn.ModuleList()
        for i in range(1, halvings):
            inputs, channels = config.width << (i - 1), config.width << i
            self.downs.append(normal(nn.Conv2d(inputs, channels, 4, 2, 1, bias=not batch)))
            if batch:
                self.norms.append(norm(channels))
        features = side**2 * config.width << (halvings - 1)
        if config.discriminator_hidden:
            self.hidden = normal(nn.Linear(features, config.discriminator_hidden, bias=not batch))
            if batch:
                self.hidden_norm = norm(config.discriminator_hidden)
        self.output = normal(nn.Linear(config.discriminator_hidden or features, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 3, 1, 2)
        x = nn.functional.leaky_relu(self.input(x), SLOPE)
        for i, down in enumerate(self.downs):
            x = self.norms[i](down(x)) if self.norms else down(x)
            x = nn.functional.leaky_relu(x, SLOPE)
        x = x.permute(0, 2, 3, 1).flatten(1)
        if hasattr(self, "hidden"):
            x = self.hidden(x)
            x = self.hidden_norm(x[:, :, None, None]).flatten(1) if hasattr(self, "hidden_norm") else x
            x = nn.functional.leaky_relu(x, SLOPE)
        return self.output(x)[:, 0]


def normal(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> nn.Linear | nn.Conv2d | nn.ConvTranspose2d:
    """The layer with a kernel from N(0, 0.02) and a bias of zero."""
    nn.init.normal_(layer.weight, 0.0, DEVIATION)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def norm(channels: int) -> BatchNorm:
    """Batch normalization with scales from N(1, 0.02)."""
    layer = BatchNorm(channels)
    nn.init.normal_(layer.weight, 1.0, DEVIATION)
    return layer
