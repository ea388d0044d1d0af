"""fastText's classifier in Flax NNX."""

import jax
import jax.numpy as jnp
from flax import nnx

from ..layers.nnx import lecun_normal
from . import DEVIATION, FastTextConfig

normal = nnx.initializers.normal(DEVIATION)


class FastText(nnx.Module):
    """int32 [batch, n-grams], where 0 is none -> logits, float [batch, classes]."""

    def __init__(self, config: FastTextConfig, vocabulary: int, classes: int, *, rngs: nnx.Rngs, **dtypes):
        self.embedding = nnx.Embed(vocabulary, config.width, embedding_init=normal, rngs=rngs, **dtypes)
        self.output = nnx.Linear(config.width, classes, kernel_init=lecun_normal, rngs=rngs, **dtypes)

    def __call__(self, tokens: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        return self.output(self.mean(tokens))

    def mean(self, tokens: jax.Array) -> jax.Array:
        """Of the vectors of a row's n-grams, summed up at least in float32; 0 where it has none."""
        vectors, counted = self.embedding(tokens), (tokens != 0)[..., None]
        total = vectors.sum(1, jnp.promote_types(vectors.dtype, jnp.float32), where=counted)
        return total / jnp.maximum(counted.sum(1), 1)
