"""Initialisers, pooling, attention and normalization in PyTorch."""

import torch
from torch import nn

from . import EPSILON, MOMENTUM, check_values


def he_normal(layer: nn.Module) -> nn.Module:
    """The layer with kernels for what goes through a ReLU (He et al. 2015) and biases of zero."""
    return _normal(layer, "relu")


def lecun_normal(layer: nn.Module) -> nn.Module:
    """The layer with kernels that keep the variance (LeCun et al. 1998) and biases of zero."""
    return _normal(layer, "linear")


def max_pool(x: torch.Tensor, size: int = 2, stride: int = 2, padding: int = 0) -> torch.Tensor:
    """float [batch, channel, height, width] -> the largest of each window; what fills none is left out."""
    return nn.functional.max_pool2d(x, size, stride, padding)


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None, causal: bool = False
) -> torch.Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017), fused.

    Args:
        q: float [batch, queries, heads, width]; k, v: float [batch, keys, heads, width].
        mask: bool, broadcast to [batch, heads, queries, keys]: true where a query sees a key.
        causal: query i sees keys 0 to i.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return nn.functional.scaled_dot_product_attention(q, k, v, mask, is_causal=causal).transpose(1, 2)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization (Ioffe and Szegedy, 2015) of float [batch, channel, height, width]."""

    def __init__(self, channels: int):
        super().__init__(channels, EPSILON, MOMENTUM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            check_values(x.numel() // x.shape[1])
        return super().forward(x)


def _normal(layer: nn.Module, nonlinearity: str) -> nn.Module:
    nn.init.kaiming_normal_(layer.weight, nonlinearity=nonlinearity)
    nn.init.zeros_(layer.bias)
    return layer
