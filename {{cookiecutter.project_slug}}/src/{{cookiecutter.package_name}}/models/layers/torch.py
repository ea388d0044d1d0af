"""Initialisers, pooling, attention and normalization in PyTorch."""

from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from . import EPSILON, MOMENTUM, check_values

Layer = TypeVar("Layer", nn.Linear, nn.Conv1d, nn.Conv2d)


def he_normal(layer: Layer) -> Layer:
    """The layer with kernels for what goes through a ReLU (He et al. 2015) and biases of zero."""
    return _normal(layer, "relu")


def lecun_normal(layer: Layer) -> Layer:
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
    """Batch normalization (Ioffe and Szegedy, 2015) of float [batch, channel, height, width], over all processes.

    torch's own over processes refuses a CPU.
    """

    def __init__(self, channels: int):
        super().__init__(channels, EPSILON, MOMENTUM)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        processes = dist.get_world_size() if self.training and dist.is_initialized() else 1
        values = processes * x.numel() // x.shape[1]
        if self.training:
            check_values(values)
        if processes == 1:
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        found = wide.new_zeros(processes, 2, x.shape[1])  # of each process, of as many values
        found[dist.get_rank()] = torch.stack([wide.mean((0, 2, 3)), wide.var((0, 2, 3), correction=0)])
        means, variances = Sum.apply(found).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean) ** 2).mean(0)
        with torch.no_grad():
            self.get_buffer("running_mean").lerp_(mean, MOMENTUM)
            self.get_buffer("running_var").lerp_(variance * (values / (values - 1)), MOMENTUM)
            self.get_buffer("num_batches_tracked").add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (wide * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


class Sum(torch.autograd.Function):
    """Over all processes, in both directions."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
        return Sum.forward(ctx, grad)


def _normal(layer: Layer, nonlinearity: Literal["relu", "linear"]) -> Layer:
    nn.init.kaiming_normal_(layer.weight, nonlinearity=nonlinearity)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
