"""The perceptron in Flax NNX."""

import math

import jax
from flax import nnx

from ..layers.nnx import he_normal, lecun_normal
from . import MLPConfig


class MLP(nnx.Module):
    """float [batch, ...] of `shape`, which is flattened -> float [batch, outputs]."""

    def __init__(self, config: MLPConfig, shape: tuple[int, ...], outputs: int, *, rngs: nnx.Rngs, **dtypes):
        self.hidden = nnx.Linear(math.prod(shape), config.hidden, kernel_init=he_normal, rngs=rngs, **dtypes)
        self.dropout = nnx.Dropout(config.dropout)
        self.output = nnx.Linear(config.hidden, outputs, kernel_init=lecun_normal, rngs=rngs, **dtypes)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        x = nnx.relu(self.hidden(x))
        x = self.dropout(x, rngs=rngs)
        return self.output(x)
