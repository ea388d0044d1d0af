"""The deep convolutional GAN in Flax NNX."""

import jax
import jax.numpy as jnp
from flax import nnx

from ..layers.nnx import BatchNorm
from . import DEVIATION, SLOPE, DcganConfig, pyramid

PADDING = ((1, 1), (1, 1))


class Dcgan(nnx.Module):
    """A generator and a discriminator of images of `shape`. loss: what they are trained with, by its name."""

    def __init__(self, config: DcganConfig, shape: tuple[int, int, int], *, rngs: nnx.Rngs, **dtypes):
        self.loss = config.loss
        self.generator = Generator(config, shape, rngs=rngs, **dtypes)
        self.discriminator = Discriminator(config, shape, rngs=rngs, **dtypes)


class Generator(nnx.Module):
    """Noise, float [batch, latent] -> float [batch, height, width, channel] in [-1, 1]."""

    def __init__(self, config: DcganConfig, shape: tuple[int, int, int], *, rngs: nnx.Rngs, **dtypes):
        self.side, halvings = pyramid(shape)
        self.channels = channels = config.width << (halvings - 1)
        options = {"kernel_init": normal, "rngs": rngs, **dtypes}
        if config.hidden:
            self.hidden = nnx.Linear(config.latent, config.hidden, use_bias=False, **options)
            self.hidden_norm = norm(config.hidden, rngs=rngs, **dtypes)
        self.project = nnx.Linear(config.hidden or config.latent, self.side**2 * channels, use_bias=False, **options)
        self.norm = norm(channels, rngs=rngs, **dtypes)
        ups, norms = [], []
        for i in range(1, halvings):
            ups.append(Up(channels >> (i - 1), channels >> i, use_bias=False, **options))
            norms.append(norm(channels >> i, rngs=rngs, **dtypes))
        self.ups, self.norms = nnx.List(ups), nnx.List(norms)
        self.output = Up(config.width, shape[-1], **options)

    def __call__(self, noise: jax.Array) -> jax.Array:
        x = noise
        if hasattr(self, "hidden"):
            x = nnx.relu(self.hidden_norm(self.hidden(x)))
        x = self.project(x).reshape(-1, self.side, self.side, self.channels)
        x = nnx.relu(self.norm(x))
        for up, norm in zip(self.ups, self.norms, strict=True):
            x = nnx.relu(norm(up(x)))
        return jnp.tanh(self.output(x))


class Discriminator(nnx.Module):
    """float [batch, height, width, channel] -> float [batch], positive for what looks real."""

    def __init__(self, config: DcganConfig, shape: tuple[int, int, int], *, rngs: nnx.Rngs, **dtypes):
        side, halvings = pyramid(shape)
        batch = config.norm == "batch"
        options = {"strides": 2, "padding": PADDING, "kernel_init": normal, "rngs": rngs, **dtypes}
        self.input = nnx.Conv(shape[-1], config.width, (4, 4), **options)
        downs, norms = [], []
        for i in range(1, halvings):
            inputs, channels = config.width << (i - 1), config.width << i
            downs.append(nnx.Conv(inputs, channels, (4, 4), use_bias=not batch, **options))
            if batch:
                norms.append(norm(channels, rngs=rngs, **dtypes))
        self.downs, self.norms = nnx.List(downs), nnx.List(norms)
        options = {"kernel_init": normal, "rngs": rngs, **dtypes}
        features = side**2 * config.width << (halvings - 1)
        if config.discriminator_hidden:
            self.hidden = nnx.Linear(features, config.discriminator_hidden, use_bias=not batch, **options)
            if batch:
                self.hidden_norm = norm(config.discriminator_hidden, rngs=rngs, **dtypes)
        self.output = nnx.Linear(config.discriminator_hidden or features, 1, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.leaky_relu(self.input(x), SLOPE)
        for i, down in enumerate(self.downs):
            x = self.norms[i](down(x)) if self.norms else down(x)
            x = nnx.leaky_relu(x, SLOPE)
        x = x.reshape(x.shape[0], -1)
        if hasattr(self, "hidden"):
            x = self.hidden(x)
            x = self.hidden_norm(x) if hasattr(self, "hidden_norm") else x
            x = nnx.leaky_relu(x, SLOPE)
        return self.output(x)[:, 0]


class Up(nnx.ConvTranspose):
    """A transposed convolution of 4 x 4 pixels with stride 2 and padding 1: sides double.

    A matrix product gives the 4 x 4 pixels that each pixel becomes; where they overlap they are added. On one core of a
    CPU, forward and backward of a generator of 64 images of 28 x 28 pixels take 25 ms so, and 87 with XLA's own
    transposed convolution.
    """

    def __init__(self, inputs: int, outputs: int, **options):
        super().__init__(inputs, outputs, (4, 4), strides=2, padding="SAME", transpose_kernel=True, **options)

    def __call__(self, x: jax.Array) -> jax.Array:  # type: ignore[override]  # its size is that of the input
        x, kernel, bias = self.promote_dtype(
            (x, self.kernel[...], None if self.bias is None else self.bias[...]), dtype=self.dtype
        )
        n, height, width, inputs = x.shape
        pair = 2 * kernel.shape[2]  # of pixels beside each other
        pixels = (x.reshape(-1, inputs) @ kernel.reshape(-1, inputs).T).reshape(n, height, width, 4, 2, pair)
        rows = [
            sum(
                jnp.pad(pixels[:, :, :, 2 * i + row, j], ((0, 0), (i, 1 - i), (j, 1 - j), (0, 0)))
                for i in (0, 1)
                for j in (0, 1)
            )
            for row in (0, 1)
        ]  # each of every second row
        y = jnp.stack(rows, 2).reshape(n, 2 * height + 2, 2 * width + 2, -1)[:, 1:-1, 1:-1]
        return y if bias is None else y + bias


def normal(key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike, **_) -> jax.Array:
    return DEVIATION * jax.random.normal(key, shape, dtype)


def norm(channels: int, **options) -> BatchNorm:
    """Batch normalization with scales from N(1, 0.02)."""
    return BatchNorm(channels, scale_init=lambda *given: 1.0 + normal(*given), **options)
