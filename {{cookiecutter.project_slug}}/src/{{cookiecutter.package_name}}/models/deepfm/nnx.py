"""DeepFM in Flax NNX."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..layers.nnx import he_normal, lecun_normal
from . import DeepFMConfig


class DeepFM(nnx.Module):
    """int32 [batch, fields] -> float [batch]: the logit of a click.

    sizes: how many values each field has in training; one more is what training has not seen.

    Initialised with embeddings from a normal distribution of deviation 0.01 and linear weights of 0.
    """

    def __init__(self, config: DeepFMConfig, sizes: Sequence[int], *, rngs: nnx.Rngs, **dtypes):
        options = {"rngs": rngs, **dtypes}
        normal, zeros = nnx.initializers.normal(0.01), nnx.initializers.zeros_init()
        self.embedding = FieldVectors(sizes, config.width, embedding_init=normal, **options)
        self.linear = FieldVectors(sizes, 1, embedding_init=zeros, **options)
        widths = [len(sizes) * config.width, *[config.hidden] * config.layers]
        self.hidden = nnx.List(
            nnx.Linear(*pair, kernel_init=he_normal, **options) for pair in zip(widths[:-1], widths[1:], strict=True)
        )
        self.dropout = nnx.Dropout(config.dropout)
        # Its bias is that of the whole sum.
        self.output = nnx.Linear(config.hidden, 1, kernel_init=lecun_normal, **options)

    def __call__(self, fields: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        vectors = self.embedding(fields)  # [batch, fields, width]
        x = vectors.reshape(vectors.shape[0], -1)
        for layer in self.hidden:
            x = self.dropout(nnx.relu(layer(x)), rngs=rngs)
        return self.linear(fields).sum((1, 2)) + interactions(vectors) + self.output(x)[:, 0]


class FieldVectors(nnx.Embed):
    """Vectors of each field's values, one table below the other: int [batch, fields] -> float [batch, fields, width].

    Number sizes[i] of field i, which training has not seen, has the mean of the field's others.
    """

    def __init__(self, sizes: Sequence[int], width: int, **options):
        super().__init__(sum(sizes), width, **options)
        self.sizes = tuple(sizes)
        self.deterministic = False  # whether it evaluates, as dropout has it

    def __call__(self, fields: jax.Array) -> jax.Array:  # type: ignore[override]  # no sharding of its own
        sizes = np.array(self.sizes, np.int32)
        vectors = super().__call__(jnp.minimum(fields, sizes - 1) + (np.cumsum(sizes, dtype=np.int32) - sizes))
        if not self.deterministic:  # training, where all is known
            return vectors
        weight, count = jnp.asarray(self.embedding[...], vectors.dtype), len(sizes)
        sums = jax.ops.segment_sum(weight, np.repeat(np.arange(count), sizes), count, indices_are_sorted=True)
        return jnp.where((fields >= sizes)[..., None], sums / sizes[:, None], vectors)


def interactions(vectors: jax.Array) -> jax.Array:
    """float [batch, fields, width] -> float [batch]: the dot products of all pairs of fields, summed.

    Half of (the square of the sum - the sum of the squares), which takes no pairs (Rendle 2010).
    """
    return ((vectors.sum(1) ** 2) - (vectors**2).sum(1)).sum(1) / 2
