"""The convolutional network in Flax NNX."""

import jax
from flax import nnx

from ..layers.nnx import he_normal, lecun_normal, max_pool
from . import ConvNetConfig


class ConvNet(nnx.Module):
    """float [batch, height, width, channel] of `shape` -> float [batch, outputs]."""

    def __init__(self, config: ConvNetConfig, shape: tuple[int, int, int], outputs: int, *, rngs: nnx.Rngs, **dtypes):
        height, width, channels = shape
        features = (height // 4) * (width // 4) * 2 * config.width
        options = {"kernel_init": he_normal, "rngs": rngs, **dtypes}
        self.conv1 = nnx.Conv(channels, config.width, (3, 3), padding="SAME", **options)
        self.conv2 = nnx.Conv(config.width, 2 * config.width, (3, 3), padding="SAME", **options)
        self.hidden = nnx.Linear(features, config.hidden, **options)
        self.dropout = nnx.Dropout(config.dropout)
        self.output = nnx.Linear(config.hidden, outputs, kernel_init=lecun_normal, rngs=rngs, **dtypes)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        x = max_pool(nnx.relu(self.conv1(x)))
        x = max_pool(nnx.relu(self.conv2(x)))
        x = x.reshape(x.shape[0], -1)
        x = nnx.relu(self.hidden(x))
        x = self.dropout(x, rngs=rngs)
        return self.output(x)
