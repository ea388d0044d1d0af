"""Matrix factorization in Flax NNX."""

import jax
import jax.numpy as jnp
from flax import nnx

from . import DEVIATION, MatrixFactorizationConfig


class MatrixFactorization(nnx.Module):
    """rating = mean + unit * (bias of the user + bias of the item + product of their vectors).

    The last row of each table is that of unknown users and items: zeros, which no training touches.

    Args:
        users, items: how many are known.
        mean, unit: of the ratings in training, their mean and deviation: so ratings of any range are learnt alike.
        lowest, highest: the range that ratings are in.
    """

    def __init__(
        self,
        config: MatrixFactorizationConfig,
        users: int,
        items: int,
        mean: float,
        unit: float,
        lowest: float,
        highest: float,
        *,
        rngs: nnx.Rngs,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
        **dtypes,
    ):
        self.mean, self.unit, self.lowest, self.highest = mean, unit, lowest, highest
        self.user_vectors = vectors(users, config.width, rngs=rngs, param_dtype=param_dtype, **dtypes)
        self.item_vectors = vectors(items, config.width, rngs=rngs, param_dtype=param_dtype, **dtypes)
        self.user_bias = nnx.Param(jnp.zeros(users + 1, param_dtype))
        self.item_bias = nnx.Param(jnp.zeros(items + 1, param_dtype))

    def __call__(self, user: jax.Array, item: jax.Array) -> tuple[jax.Array, jax.Array]:
        """int [batch] each -> (rating, not clipped, and the squares of all that it is made of): float [batch] each."""
        p, q = self.user_vectors(user), self.item_vectors(item)
        b, c = self.user_bias[user], self.item_bias[item]
        return self.mean + self.unit * (b + c + (p * q).sum(-1)), b**2 + c**2 + (p**2).sum(-1) + (q**2).sum(-1)

    def every_item(self, user: jax.Array) -> jax.Array:
        """int [batch] -> the ratings of all known items, not clipped: float [batch, items]."""
        p, q = self.user_vectors(user), self.item_vectors.embedding[:-1]
        return self.mean + self.unit * (self.user_bias[user][:, None] + self.item_bias[:-1] + p @ q.T)


def vectors(rows: int, width: int, **options) -> nnx.Embed:
    """A table of so many vectors, and one of zeros after them."""

    def init(key: jax.Array, shape: tuple[int, int], dtype: jax.typing.DTypeLike, **_) -> jax.Array:
        return (DEVIATION * jax.random.normal(key, shape, dtype)).at[-1].set(0)

    return nnx.Embed(rows + 1, width, embedding_init=init, **options)
