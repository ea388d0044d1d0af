"""The tabular perceptron in Flax NNX."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from ..layers.nnx import he_normal
from . import TabularConfig, pieces


class Tabular(nnx.Module):
    """numeric: float [batch, numbers], categorical: int [batch, columns] -> float [batch].

    Args:
        numbers: how many numeric inputs there are; 0: `numeric` is None.
        categories: how many categories each categorical column has; empty: `categorical` is None. Number 0 is what is
            missing; the number after the last, what training has not seen.
        edges: of the bins of each numeric input, where `bins` of the config are wanted.

    The last layer sees the inputs, too: linear regression, to which the hidden layers add what is not linear (Cheng et
    al. 2016, "Wide & Deep Learning"). Its kernel begins at 0, and so does every prediction.
    """

    def __init__(
        self,
        config: TabularConfig,
        numbers: int,
        categories: list[int],
        edges: Sequence[Sequence[float]] = (),
        *,
        rngs: nnx.Rngs,
        **dtypes,
    ):
        widths = config.widths(categories)
        self.encode = PiecewiseLinear(edges, **dtypes) if edges else None
        numbers = self.encode.size if self.encode else numbers
        options = {"rngs": rngs, **dtypes}
        self.embed = nnx.List([Categories(*size, **options) for size in zip(categories, widths, strict=True)])
        sizes = [numbers + sum(widths), *[config.hidden] * config.layers]
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.hidden = nnx.List([nnx.Linear(*pair, kernel_init=he_normal, **options) for pair in pairs])
        self.dropout = nnx.Dropout(config.dropout)
        self.output = nnx.Linear(sizes[0] + sizes[-1], 1, kernel_init=nnx.initializers.zeros_init(), **options)

    def __call__(
        self, numeric: jax.Array | None, categorical: jax.Array | None, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        columns = [] if numeric is None else [self.encode(numeric) if self.encode else numeric]
        if categorical is not None:
            columns += [embed(categorical[:, i]) for i, embed in enumerate(self.embed)]
        inputs = x = jnp.concatenate(columns, 1)
        for hidden in self.hidden:
            x = self.dropout(nnx.relu(hidden(x)), rngs=rngs)
        return self.output(jnp.concatenate([inputs, x], 1)).squeeze(1)


class PiecewiseLinear(nnx.Module):
    """float [batch, columns] -> float [batch, size]: of each bin, the share of it that lies below the number."""

    def __init__(self, edges: Sequence[Sequence[float]], *, param_dtype: jax.typing.DTypeLike = jnp.float32, **_):
        self.edges, self.dtype = tuple(map(tuple, edges)), param_dtype
        self.size = len(pieces(edges).columns)

    def __call__(self, x: jax.Array) -> jax.Array:
        columns, *bounds = pieces(self.edges)
        x = x.astype(jnp.promote_types(x.dtype, self.dtype))
        starts, widths, lowest, highest = (jnp.asarray(bound, x.dtype) for bound in bounds)
        shares = (x[:, columns] - starts) / widths
        return jnp.clip(shares, lowest, highest)


class Categories(nnx.Embed):
    """Vectors of a column's categories, int [batch] -> float [batch, width].

    Number 0, of what is missing, begins as zeros, the mean of the others. That after the last, of what training has not
    seen, is the mean of the others as they are.
    """

    def __init__(self, count: int, width: int, **options):
        super().__init__(count, width, embedding_init=normal_but_first, **options)

    def __call__(self, number: jax.Array) -> jax.Array:  # type: ignore[override]  # no sharding of its own
        weight = jnp.asarray(self.embedding[...], self.dtype)
        vectors = jnp.concatenate([weight, weight[1:].mean(0, keepdims=True)])
        return vectors[number]


def normal_but_first(key: jax.Array, shape: tuple[int, int], dtype: jax.typing.DTypeLike) -> jax.Array:
    return nnx.initializers.normal(1.0)(key, shape, dtype).at[0].set(0)
