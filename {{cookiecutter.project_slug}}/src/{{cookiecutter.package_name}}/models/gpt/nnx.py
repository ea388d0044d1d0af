"""GPT in Flax NNX."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from ..layers.nnx import attention
from . import DEVIATION, EPSILON, GptConfig

# Of each block, the keys and values of what was read so far; None without a cache.
Cache = Sequence[tuple[jax.Array, jax.Array] | None]

Embed = functools.partial(nnx.Embed, embedding_init=nnx.initializers.normal(DEVIATION))
# Of E[x^2] - E[x]^2, the faster form of the variance, float32 would leave too little.
LayerNorm = functools.partial(nnx.LayerNorm, epsilon=EPSILON, use_fast_variance=False)


class GPT(nnx.Module):
    """int [batch, length <= context] -> logits of the token after each, float [batch, length, vocabulary].

    Begins as GPT-2: normal with deviation 0.02, on the way into a sum divided by the root of the number of sums; biases
    of 0. The embedding of tokens is the last layer's kernel, too. Unlike in the paper, attention's probabilities have
    no dropout: not every fused call can do that.
    """

    def __init__(self, config: GptConfig, vocabulary: int, *, rngs: nnx.Rngs, **dtypes):
        options = {"rngs": rngs, **dtypes}
        self.context, self.heads, self.width = config.context, config.heads, config.width
        self.wte = Embed(vocabulary, config.width, **options)
        self.wpe = Embed(config.context, config.width, **options)
        self.drop = nnx.Dropout(config.dropout)
        self.h = nnx.List([Block(config, **options) for _ in range(config.layers)])
        self.ln_f = LayerNorm(config.width, use_bias=config.bias, **options)

    def __call__(self, tokens: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        return self.logits(self.read(tokens, rngs=rngs)[0])

    def read(
        self,
        tokens: jax.Array,
        cache: Cache | None = None,
        position: int | jax.Array = 0,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[jax.Array, Cache]:
        """float [batch, length, width]. With a cache, whose first `position` tokens were read: these and the new ones.

        The new cache comes second.
        """
        x = self.drop(self.wte(tokens) + self.wpe(position + jnp.arange(tokens.shape[1])), rngs=rngs)
        after = []
        for i, block in enumerate(self.h):
            x, kept = block(x, cache[i] if cache else None, position, rngs)
            after.append(kept)
        return self.ln_f(x), after

    def logits(self, x: jax.Array) -> jax.Array:
        return self.wte.attend(x)

    def create_cache(self, batch: int) -> Cache:
        """An empty one, for `context` tokens."""
        shape = (batch, self.context, self.heads, self.width // self.heads)
        return [(jnp.zeros(shape, self.wte.dtype), jnp.zeros(shape, self.wte.dtype)) for _ in self.h]


class Block(nnx.Module):
    """float [batch, length, width] -> the same."""

    def __init__(self, config: GptConfig, **options):
        self.ln_1 = LayerNorm(config.width, use_bias=config.bias, **options)
        self.attn = Attention(config, **options)
        self.ln_2 = LayerNorm(config.width, use_bias=config.bias, **options)
        self.mlp = MLP(config, **options)
        self.drop = nnx.Dropout(config.dropout)

    def __call__(
        self,
        x: jax.Array,
        cache: tuple[jax.Array, jax.Array] | None,
        position: int | jax.Array,
        rngs: nnx.Rngs | None,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array] | None]:
        y, cache = self.attn(self.ln_1(x), cache, position)
        x = x + self.drop(y, rngs=rngs)
        return x + self.drop(self.mlp(self.ln_2(x)), rngs=rngs), cache


class Attention(nnx.Module):
    """float [batch, length, width] -> the same. Of a cache's keys and values, those up to the query are seen."""

    def __init__(self, config: GptConfig, **options):
        self.heads = config.heads
        self.c_attn = linear(config, config.width, 3 * config.width, **options)
        # Queries, keys and values head by head, so that where heads are cut nothing has to move. In files it is the
        # other way round.
        self.c_attn.output_groups = (config.heads, 3)  # type: ignore[attr-defined]  # for `engine.nnx.weights`
        self.c_proj = linear(config, config.width, config.width, into_sum=True, **options)

    def __call__(
        self, x: jax.Array, cache: tuple[jax.Array, jax.Array] | None, position: int | jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array] | None]:
        q, k, v = jnp.moveaxis(self.c_attn(x).reshape(*x.shape[:2], self.heads, 3, -1), 3, 0)
        if cache is None:
            y = attention(q, k, v, causal=True)
        else:
            write = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=position, axis=1)
            k, v = cache = (write(cache[0], k), write(cache[1], v))
            seen = jnp.arange(k.shape[1]) <= position + jnp.arange(x.shape[1])[:, None]
            y = attention(q, k, v, seen[None, None])
        return self.c_proj(y.reshape(x.shape)), cache


class MLP(nnx.Module):
    """float [..., width] -> the same; GELU in its tanh form."""

    def __init__(self, config: GptConfig, **options):
        self.c_fc = linear(config, config.width, 4 * config.width, **options)
        self.c_proj = linear(config, 4 * config.width, config.width, into_sum=True, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.c_proj(nnx.gelu(self.c_fc(x), approximate=True))


def linear(config: GptConfig, inputs: int, outputs: int, into_sum: bool = False, **options) -> nnx.Linear:
    normal = nnx.initializers.normal(DEVIATION / (2 * config.layers) ** 0.5 if into_sum else DEVIATION)
    return nnx.Linear(inputs, outputs, use_bias=config.bias, kernel_init=normal, **options)
