"""Conformer in PyTorch."""

import math

import torch
from torch import nn

from ..layers.torch import lecun_normal
from ..speech_rnn import EPSILON
from ..speech_rnn.torch import Subsampling, is_real, masked
from . import ConformerConfig, check_sizes, distances


class Conformer(nn.Module):
    """float [batch, frames, mels], padded, and how many frames are real, int [batch] -> logits, float [batch, fewer
    frames, tokens], and how many of these are real, int [batch]."""

    def __init__(self, config: ConformerConfig, mels: int, tokens: int):
        super().__init__()
        check_sizes(config)
        self.width = config.width
        self.subsampling = Subsampling(mels, config.channels, config.width, config.subsampling)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head = lecun_normal(nn.Linear(config.width, tokens))

    def forward(self, features: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, frames = self.subsampling(features, frames)
        x, positions = self.dropout(x), torch.from_numpy(distances(x.shape[1], self.width)).to(x)
        for block in self.blocks:
            x = block(x, positions, frames)
        return self.head(x), frames


class Block(nn.Module):
    """float [batch, frames, width] -> the same: half a feed-forward module before and after attention and convolution.

    positions: of `distances`, float [2 * frames - 1, width].
    """

    def __init__(self, config: ConformerConfig):
        super().__init__()
        self.first = FeedForward(config)
        self.attention = Attention(config)
        self.convolution = Convolution(config)
        self.last = FeedForward(config)
        self.norm = nn.LayerNorm(config.width, EPSILON)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, positions: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        x = x + 0.5 * self.dropout(self.first(x))
        x = x + self.dropout(self.attention(x, positions, frames))
        x = x + self.dropout(self.convolution(x, frames))
        x = x + 0.5 * self.dropout(self.last(x))
        return masked(self.norm(x), frames)


class FeedForward(nn.Module):
    """float [..., width] -> the same, with four times as many numbers between, and Swish."""

    def __init__(self, config: ConformerConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.width, EPSILON)
        self.expand = lecun_normal(nn.Linear(config.width, 4 * config.width))
        self.reduce = lecun_normal(nn.Linear(4 * config.width, config.width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reduce(self.dropout(nn.functional.silu(self.expand(self.norm(x)))))


class Attention(nn.Module):
    """float [batch, frames, width] -> the same: self-attention that knows how far frames lie apart (Dai et al. 2019).

    A query meets a key, to which a bias is added that all queries share, and the key's distance, with another bias.
    """

    def __init__(self, config: ConformerConfig):
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(config.width, EPSILON)
        self.query = lecun_normal(nn.Linear(config.width, config.width))
        self.key = lecun_normal(nn.Linear(config.width, config.width, bias=False))  # its bias would change nothing
        self.value = lecun_normal(nn.Linear(config.width, config.width))
        self.position = lecun_normal(nn.Linear(config.width, config.width, bias=False))
        self.key_bias = nn.Parameter(torch.zeros(config.heads, config.width // config.heads))
        self.position_bias = nn.Parameter(torch.zeros(config.heads, config.width // config.heads))
        self.output = lecun_normal(nn.Linear(config.width, config.width))

    def forward(self, x: torch.Tensor, positions: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        q, k, v, p = (
            layer(y).unflatten(-1, (self.heads, -1))
            for layer, y in ((self.query, x), (self.key, x), (self.value, x), (self.position, positions))
        )
        near = torch.einsum("bqhd,bkhd->bhqk", q + self.key_bias, k)
        far = shift(torch.einsum("bqhd,phd->bhqp", q + self.position_bias, p))
        scores = (near + far) / math.sqrt(q.shape[-1])
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        scores = scores.masked_fill(~is_real(x.shape[1], frames)[:, None, None], torch.finfo(scores.dtype).min)
        y = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1).to(v.dtype), v)
        return self.output(y.flatten(2))


class Convolution(nn.Module):
    """float [batch, frames, width] -> the same: a gate, a convolution of each channel by itself, a norm, and Swish."""

    def __init__(self, config: ConformerConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.width, EPSILON)
        self.expand = lecun_normal(nn.Linear(config.width, 2 * config.width))
        self.depthwise = lecun_normal(
            nn.Conv1d(config.width, config.width, config.kernel, padding=config.kernel // 2, groups=config.width)
        )
        self.inner_norm = nn.LayerNorm(config.width, EPSILON)
        self.reduce = lecun_normal(nn.Linear(config.width, config.width))

    def forward(self, x: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        x = masked(nn.functional.glu(self.expand(self.norm(x)), -1), frames)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.reduce(nn.functional.silu(self.inner_norm(x)))


def shift(x: torch.Tensor) -> torch.Tensor:
    """Of each query and each distance, float [batch, heads, frames, 2 * frames - 1] -> of each query and each key,
    [batch, heads, frames, frames]: that of query i begins frames - 1 - i places on.

    With a column in front, and read in rows one shorter, each row begins a place further on than the one above.
    """
    *batch, frames, places = x.shape
    x = nn.functional.pad(x, (1, 0)).reshape(*batch, places + 1, frames)
    return x[..., 1:, :].reshape(*batch, frames, places)[..., :frames]
