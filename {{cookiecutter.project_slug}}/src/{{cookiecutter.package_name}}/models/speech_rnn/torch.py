"""The recurrent network of speech in PyTorch."""

import torch
from torch import nn

from ..layers.torch import he_normal, lecun_normal
from . import EPSILON, SpeechRnnConfig, strides, subsampled


class SpeechRnn(nn.Module):
    """float [batch, frames, mels], padded, and how many frames are real, int [batch] -> logits, float [batch, fewer
    frames, tokens], and how many of these are real, int [batch]."""

    def __init__(self, config: SpeechRnnConfig, mels: int, tokens: int):
        super().__init__()
        self.subsampling = Subsampling(mels, config.channels, config.width, config.subsampling)
        inputs = [config.width, *[2 * config.width] * (config.layers - 1)]
        self.layers = nn.ModuleList(Bidirectional(config.cell, size, config.width) for size in inputs)
        self.dropout = nn.Dropout(config.dropout)
        self.head = lecun_normal(nn.Linear(2 * config.width, tokens))

    def forward(self, features: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, frames = self.subsampling(features, frames)
        for layer in self.layers:
            x = self.dropout(layer(x, frames))
        return self.head(x), frames


class Subsampling(nn.Module):
    """float [batch, frames, mels] -> [batch, fewer frames, width]: two convolutions of 3 x 3 with ReLU, a linear layer.

    What is no real frame is 0 before and after, so that an example is the same in every batch.
    """

    def __init__(self, mels: int, channels: int, width: int, subsampling: int):
        super().__init__()
        self.subsampling = subsampling
        first, second = strides(subsampling)
        self.first = he_normal(nn.Conv2d(1, channels, 3, (first, 2), padding=1))
        self.second = he_normal(nn.Conv2d(channels, channels, 3, (second, 2), padding=1))
        self.project = lecun_normal(nn.Linear(-(-mels // 4) * channels, width))

    def forward(self, features: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = masked(features, frames)[:, None]
        x = torch.relu(self.first(x))
        x = x * is_real(x.shape[2], -(-frames // 2))[:, None, :, None]
        x = torch.relu(self.second(x))
        frames = subsampled(frames, self.subsampling)
        return masked(self.project(x.permute(0, 2, 3, 1).flatten(2)), frames), frames


class Bidirectional(nn.Module):
    """float [batch, frames, inputs] -> [batch, frames, 2 * width]: a norm, then a cell from the front and one from the
    last real frame."""

    def __init__(self, cell: str, inputs: int, width: int):
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.norm = nn.LayerNorm(inputs, EPSILON)
        self.ahead = uniform(kind(inputs, width, batch_first=True))
        self.back = uniform(kind(inputs, width, batch_first=True))

    def forward(self, x: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        ahead = states(self.ahead, x)
        back = states(self.back, reverse(x, frames))
        return masked(torch.cat([ahead, reverse(back, frames)], -1), frames)


def states(cell: nn.RNNBase, x: torch.Tensor) -> torch.Tensor:
    """What a layer gives, by its parameters: of the list of them that it keeps itself, neither an export nor what cuts
    weights into parts knows."""
    weights = tuple(cell.parameters())
    zero, options = x.new_zeros(1, x.shape[0], cell.hidden_size), (True, 1, 0.0, cell.training, False, True)
    if isinstance(cell, nn.LSTM):
        return torch.lstm(x, (zero, zero), weights, *options)[0]
    return torch.gru(x, zero, weights, *options)[0]


def uniform(cell: nn.RNNBase) -> nn.RNNBase:
    """The cell with weights and biases from a uniform distribution, up to 1 / sqrt(width)."""
    for weight in cell.parameters():
        nn.init.uniform_(weight, -(cell.hidden_size**-0.5), cell.hidden_size**-0.5)
    return cell


def reverse(x: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """The real frames of each example in the opposite order; what is padded stays."""
    places = torch.arange(x.shape[1], device=x.device)
    turned = torch.where(places < frames[:, None], frames[:, None] - 1 - places, places)
    return torch.gather(x, 1, turned[..., None].expand_as(x))


def masked(x: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """float [batch, frames, ...] with 0 where there is no real frame."""
    return x * is_real(x.shape[1], frames)[..., None]


def is_real(length: int, frames: torch.Tensor) -> torch.Tensor:
    """bool [batch, length]."""
    return torch.arange(length, device=frames.device) < frames[:, None]
