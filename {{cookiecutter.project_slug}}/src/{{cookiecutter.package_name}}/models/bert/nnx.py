"""BERT in Flax NNX."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from ..layers.nnx import attention
from . import DEVIATION, EPSILON, VARIANTS, BertConfig, check_length

truncated_normal = nnx.initializers.truncated_normal(DEVIATION)  # cut off at two deviations
Embed = functools.partial(nnx.Embed, embedding_init=truncated_normal)
Linear = functools.partial(nnx.Linear, kernel_init=truncated_normal)
# Of E[x^2] - E[x]^2, the faster form of the variance, float32 would leave too little.
LayerNorm = functools.partial(nnx.LayerNorm, epsilon=EPSILON, use_fast_variance=False)


class BertClassifier(nnx.Module):
    """int32 [batch, tokens <= length], padded with 0 at the end -> logits, float [batch, classes].

    Begins with numbers from a normal distribution of deviation 0.02, cut off at two of them, and biases of 0. Unlike
    in the paper, attention's probabilities have no dropout: not every fused call can do that.
    """

    def __init__(self, config: BertConfig, vocabulary: int, length: int, classes: int, *, rngs: nnx.Rngs, **dtypes):
        check_length(config, length)
        layers, width, heads = VARIANTS[config.name]
        options = {"rngs": rngs, **dtypes}
        self.embeddings = Embeddings(vocabulary, config.positions, width, config.dropout, **options)
        self.layers = nnx.List([Layer(width, heads, config.dropout, **options) for _ in range(layers)])
        self.pooler = Linear(width, width, **options)
        self.dropout = nnx.Dropout(config.dropout)
        self.classifier = Linear(width, classes, **options)

    def __call__(self, tokens: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        mask = jnp.not_equal(tokens, 0).at[:, 0].set(True)  # a row of padding only sees that
        x = self.embeddings(tokens, rngs)
        for layer in self.layers:
            x = layer(x, mask[:, None, None], rngs)
        x = jnp.tanh(self.pooler(x[:, 0]))
        return self.classifier(self.dropout(x, rngs=rngs))


class Embeddings(nnx.Module):
    """int32 [batch, tokens] -> float [batch, tokens, width]: the sum of three tables, of which the type is always 0."""

    def __init__(self, vocabulary: int, positions: int, width: int, dropout: float, **options):
        self.word_embeddings = Embed(vocabulary, width, **options)
        self.position_embeddings = Embed(positions, width, **options)
        self.token_type_embeddings = Embed(2, width, **options)
        self.norm = LayerNorm(width, **options)
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, tokens: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        positions = jnp.arange(tokens.shape[1])
        types = jnp.zeros_like(positions)
        x = self.word_embeddings(tokens) + self.position_embeddings(positions) + self.token_type_embeddings(types)
        return self.dropout(self.norm(x), rngs=rngs)


class Layer(nnx.Module):
    """float [batch, tokens, width] -> the same; mask: bool [batch, 1, 1, tokens], true where a token is seen."""

    def __init__(self, width: int, heads: int, dropout: float, **options):
        self.heads = heads
        self.query = Linear(width, width, **options)
        self.key = Linear(width, width, **options)
        self.value = Linear(width, width, **options)
        self.attention_output = Linear(width, width, **options)
        self.attention_norm = LayerNorm(width, **options)
        self.intermediate = Linear(width, 4 * width, **options)
        self.output = Linear(4 * width, width, **options)
        self.output_norm = LayerNorm(width, **options)
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x: jax.Array, mask: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        q, k, v = (y.reshape(*y.shape[:2], self.heads, -1) for y in (self.query(x), self.key(x), self.value(x)))
        y = self.attention_output(attention(q, k, v, mask).reshape(x.shape))
        x = self.attention_norm(x + self.dropout(y, rngs=rngs))
        y = self.output(nnx.gelu(self.intermediate(x), approximate=False))
        return self.output_norm(x + self.dropout(y, rngs=rngs))
