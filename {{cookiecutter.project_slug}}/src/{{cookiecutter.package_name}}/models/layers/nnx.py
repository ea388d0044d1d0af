"""Initialisers, pooling, attention and normalization in Flax NNX."""

import functools
import math
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from . import EPSILON, MOMENTUM, check_values

Arrays = TypeVar("Arrays", bound=tuple)

# For what goes through a ReLU (He et al. 2015), and to keep the variance (LeCun et al. 1998).
he_normal = nnx.initializers.variance_scaling(2.0, "fan_in", "normal")
lecun_normal = nnx.initializers.variance_scaling(1.0, "fan_in", "normal")


def max_pool(x: jax.Array, size: int = 2, stride: int = 2, padding: int = 0) -> jax.Array:
    """float [batch, height, width, channel] -> the largest of each window; what fills none is left out."""
    # On a CPU, forward and backward of 3 x 3 windows take 10 ms where nnx.max_pool takes 70, jnp.maximum here 45.
    pad = (padding, padding)
    x = jnp.pad(x, ((0, 0), pad, pad, (0, 0)), constant_values=-jnp.inf)
    height, width = ((length - size) // stride * stride + 1 for length in x.shape[1:3])
    largest = x[:, :height:stride, :width:stride]
    for i in range(size):
        for j in range(size):
            other = x[:, i : i + height : stride, j : j + width : stride]
            largest = jnp.where((other <= largest) | jnp.isnan(largest), largest, other)  # of equals, the first
    return largest


def attention(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None, causal: bool = False
) -> jax.Array:
    """Scaled dot-product attention (Vaswani et al. 2017), fused.

    Args:
        q: float [batch, queries, heads, width]; k, v: float [batch, keys, heads, width].
        mask: bool, broadcast to [batch, heads, queries, keys]: true where a query sees a key.
        causal: query i sees keys 0 to i.
    """

    def fused(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None) -> jax.Array:
        return jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=causal)

    if q.dtype == jnp.float64:  # the fused call computes its softmax in float32
        return _attention(q, k, v, mask, causal)
    if q.dtype == jnp.float16:  # of which a CPU has no fused call
        written_out = functools.partial(_attention, causal=causal)
        return jax.lax.platform_dependent(q, k, v, mask, cpu=written_out, default=fused)
    return fused(q, k, v, mask)


def _attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None, causal: bool) -> jax.Array:
    scores = jnp.einsum("bqhd,bkhd->bhqk", q / math.sqrt(q.shape[-1]), k)
    scores = scores.astype(jnp.promote_types(q.dtype, jnp.float32))
    if causal:
        seen = jnp.tri(q.shape[1], k.shape[1], dtype=bool)
        mask = seen if mask is None else mask & seen
    scores = scores if mask is None else jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores).astype(v.dtype), v)


class BatchNorm(nnx.BatchNorm):
    """Batch normalization (Ioffe and Szegedy, 2015) of float [..., channel].

    Unlike nnx.BatchNorm it keeps the running variance unbiased, as the paper does, running statistics at least as
    precise as the parameters, and both out of bfloat16.
    """

    def __init__(self, channels: int, *, param_dtype: jax.typing.DTypeLike = jnp.float32, **options):
        super().__init__(
            channels,
            momentum=1 - MOMENTUM,
            epsilon=EPSILON,
            use_fast_variance=False,
            promote_dtype=as_they_are,
            param_dtype=param_dtype,
            **options,
        )
        dtype = jnp.promote_types(param_dtype, jnp.float32)
        self.mean, self.var = nnx.BatchStat(jnp.zeros(channels, dtype)), nnx.BatchStat(jnp.ones(channels, dtype))

    def __call__(self, x: jax.Array) -> jax.Array:  # type: ignore[override]  # no mask, and its mode is its own
        if self.use_running_average:
            return super().__call__(x)
        values = x.size // x.shape[-1]
        check_values(values)
        before = self.var[...]
        y = super().__call__(x)
        self.var[...] += (self.var[...] - self.momentum * before) / (values - 1)  # what the biased one lacks
        return y


def as_they_are(arrays: Arrays, /, *, dtype: jax.typing.DTypeLike | None = None, inexact: bool = True) -> Arrays:
    return arrays
