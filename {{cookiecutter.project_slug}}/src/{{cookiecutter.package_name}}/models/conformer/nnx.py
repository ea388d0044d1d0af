"""Conformer in Flax NNX."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from ..layers.nnx import lecun_normal
from ..speech_rnn.nnx import LayerNorm, Linear, Subsampling, is_real, masked
from . import ConformerConfig, check_sizes, distances


class Conformer(nnx.Module):
    """float [batch, frames, mels], padded, and how many frames are real, int [batch] -> logits, float [batch, fewer
    frames, tokens], and how many of these are real, int [batch]."""

    def __init__(self, config: ConformerConfig, mels: int, tokens: int, *, rngs: nnx.Rngs, **dtypes):
        check_sizes(config)
        options = {"rngs": rngs, **dtypes}
        self.width = config.width
        self.subsampling = Subsampling(mels, config.channels, config.width, config.subsampling, **options)
        self.dropout = nnx.Dropout(config.dropout)
        self.blocks = nnx.List([Block(config, **options) for _ in range(config.layers)])
        self.head = Linear(config.width, tokens, **options)

    def __call__(
        self, features: jax.Array, frames: jax.Array, rngs: nnx.Rngs | None = None
    ) -> tuple[jax.Array, jax.Array]:
        x, frames = self.subsampling(features, frames)
        x, positions = self.dropout(x, rngs=rngs), jnp.asarray(distances(x.shape[1], self.width), x.dtype)
        for block in self.blocks:
            x = block(x, positions, frames, rngs)
        return self.head(x), frames


class Block(nnx.Module):
    """float [batch, frames, width] -> the same: half a feed-forward module before and after attention and convolution.

    positions: of `distances`, float [2 * frames - 1, width].
    """

    def __init__(self, config: ConformerConfig, **options):
        self.first = FeedForward(config, **options)
        self.attention = Attention(config, **options)
        self.convolution = Convolution(config, **options)
        self.last = FeedForward(config, **options)
        self.norm = LayerNorm(config.width, **options)
        self.dropout = nnx.Dropout(config.dropout)

    def __call__(self, x: jax.Array, positions: jax.Array, frames: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        x = x + 0.5 * self.dropout(self.first(x, rngs), rngs=rngs)
        x = x + self.dropout(self.attention(x, positions, frames), rngs=rngs)
        x = x + self.dropout(self.convolution(x, frames), rngs=rngs)
        x = x + 0.5 * self.dropout(self.last(x, rngs), rngs=rngs)
        return masked(self.norm(x), frames)


class FeedForward(nnx.Module):
    """float [..., width] -> the same, with four times as many numbers between, and Swish."""

    def __init__(self, config: ConformerConfig, **options):
        self.norm = LayerNorm(config.width, **options)
        self.expand = Linear(config.width, 4 * config.width, **options)
        self.reduce = Linear(4 * config.width, config.width, **options)
        self.dropout = nnx.Dropout(config.dropout)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        return self.reduce(self.dropout(nnx.silu(self.expand(self.norm(x))), rngs=rngs))


class Attention(nnx.Module):
    """float [batch, frames, width] -> the same: self-attention that knows how far frames lie apart (Dai et al. 2019).

    A query meets a key, to which a bias is added that all queries share, and the key's distance, with another bias.
    """

    def __init__(self, config: ConformerConfig, **options):
        self.heads = config.heads
        shape, dtype = (config.heads, config.width // config.heads), options.get("param_dtype", jnp.float32)
        self.norm = LayerNorm(config.width, **options)
        self.query = Linear(config.width, config.width, **options)
        self.key = Linear(config.width, config.width, use_bias=False, **options)  # its bias would change nothing
        self.value = Linear(config.width, config.width, **options)
        self.position = Linear(config.width, config.width, use_bias=False, **options)
        self.key_bias = nnx.Param(jnp.zeros(shape, dtype))
        self.position_bias = nnx.Param(jnp.zeros(shape, dtype))
        self.output = Linear(config.width, config.width, **options)

    def __call__(self, x: jax.Array, positions: jax.Array, frames: jax.Array) -> jax.Array:
        x = self.norm(x)
        q, k, v, p = (
            layer(y).reshape(*y.shape[:-1], self.heads, -1)
            for layer, y in ((self.query, x), (self.key, x), (self.value, x), (self.position, positions))
        )
        near = jnp.einsum("bqhd,bkhd->bhqk", q + self.key_bias[...].astype(q.dtype), k)
        far = shift(jnp.einsum("bqhd,phd->bhqp", q + self.position_bias[...].astype(q.dtype), p))
        scores = (near + far) / math.sqrt(q.shape[-1])
        scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
        scores = jnp.where(is_real(x.shape[1], frames)[:, None, None], scores, jnp.finfo(scores.dtype).min)
        y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores).astype(v.dtype), v)
        return self.output(y.reshape(x.shape))


class Convolution(nnx.Module):
    """float [batch, frames, width] -> the same: a gate, a convolution of each channel by itself, a norm, and Swish."""

    def __init__(self, config: ConformerConfig, **options):
        self.norm = LayerNorm(config.width, **options)
        self.expand = Linear(config.width, 2 * config.width, **options)
        self.depthwise = nnx.Conv(
            config.width,
            config.width,
            (config.kernel,),
            padding=config.kernel // 2,
            feature_group_count=config.width,
            kernel_init=lecun_normal,
            **options,
        )
        self.inner_norm = LayerNorm(config.width, **options)
        self.reduce = Linear(config.width, config.width, **options)

    def __call__(self, x: jax.Array, frames: jax.Array) -> jax.Array:
        x = masked(nnx.glu(self.expand(self.norm(x)), -1), frames)
        x = self.depthwise(x)
        return self.reduce(nnx.silu(self.inner_norm(x)))


def shift(x: jax.Array) -> jax.Array:
    """Of each query and each distance, float [batch, heads, frames, 2 * frames - 1] -> of each query and each key,
    [batch, heads, frames, frames]: that of query i begins frames - 1 - i places on.

    With a column in front, and read in rows one shorter, each row begins a place further on than the one above.
    """
    *batch, frames, places = x.shape
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(1, 0)]).reshape(*batch, places + 1, frames)
    return x[..., 1:, :].reshape(*batch, frames, places)[..., :frames]
