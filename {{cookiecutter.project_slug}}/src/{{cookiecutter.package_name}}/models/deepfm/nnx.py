"""DeepFM in Flax NNX."""

from collections.abc import Sequence

import jax
import numpy as np
from flax import nnx

from ..layers.nnx import he_normal, lecun_normal
from . import DeepFMConfig


class DeepFM(nnx.Module):
    """int32 [batch, fields], each >= 0 -> float [batch]: the logit of a click.

    sizes: rows of the tables that each field has; a value counts modulo its field's.

    Initialised with embeddings from a normal distribution of deviation 0.01 and linear weights of 0.
    """

    def __init__(self, config: DeepFMConfig, sizes: Sequence[int], *, rngs: nnx.Rngs, **dtypes):
        options = {"rngs": rngs, **dtypes}
        normal, zeros = nnx.initializers.normal(0.01), nnx.initializers.zeros_init()
        self.embedding = nnx.Embed(sum(sizes), config.width, embedding_init=normal, **options)
        self.linear = nnx.Embed(sum(sizes), 1, embedding_init=zeros, **options)
        widths = [len(sizes) * config.width, *[config.hidden] * config.layers]
        self.hidden = nnx.List(
            nnx.Linear(*pair, kernel_init=he_normal, **options) for pair in zip(widths[:-1], widths[1:], strict=True)
        )
        self.dropout = nnx.Dropout(config.dropout)
        # Its bias is that of the whole sum.
        self.output = nnx.Linear(config.hidden, 1, kernel_init=lecun_normal, **options)
        self.sizes = tuple(sizes)

    def __call__(self, fields: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        sizes = np.array(self.sizes, np.int32)
        rows = fields % sizes + (np.cumsum(sizes, dtype=np.int32) - sizes)
        vectors = self.embedding(rows)  # [batch, fields, width]
        x = vectors.reshape(vectors.shape[0], -1)
        for layer in self.hidden:
            x = self.dropout(nnx.relu(layer(x)), rngs=rngs)
        return self.linear(rows).sum((1, 2)) + interactions(vectors) + self.output(x)[:, 0]


def interactions(vectors: jax.Array) -> jax.Array:
    """float [batch, fields, width] -> float [batch]: the dot products of all pairs of fields, summed.

    Half of (the square of the sum - the sum of the squares), which takes no pairs (Rendle 2010).
    """
    return ((vectors.sum(1) ** 2) - (vectors**2).sum(1)).sum(1) / 2
