"""The residual GAN in Flax NNX."""

import jax
import jax.numpy as jnp
from flax import nnx

from ..dcgan import pyramid
from ..layers.nnx import BatchNorm, he_normal, lecun_normal
from . import EPSILON, ITERATIONS, ResnetGanConfig


class ResnetGan(nnx.Module):
    """A generator and a discriminator of images of `shape`. loss: what they are trained with, by its name."""

    def __init__(self, config: ResnetGanConfig, shape: tuple[int, int, int], *, rngs: nnx.Rngs, **dtypes):
        self.loss = config.loss
        self.generator = Generator(config, shape, rngs=rngs, **dtypes)
        self.discriminator = Discriminator(config, shape, rngs=rngs, **dtypes)


class Generator(nnx.Module):
    """Noise, float [batch, latent] -> float [batch, height, width, channel] in [-1, 1]."""

    def __init__(self, config: ResnetGanConfig, shape: tuple[int, int, int], *, rngs: nnx.Rngs, **dtypes):
        self.side, halvings = pyramid(shape)
        self.width = config.width
        options = {"kernel_init": lecun_normal, "rngs": rngs, **dtypes}
        self.project = nnx.Linear(config.latent, self.side**2 * config.width, **options)
        self.blocks = nnx.List([UpBlock(config.width, rngs=rngs, **dtypes) for _ in range(halvings)])
        self.norm = BatchNorm(config.width, rngs=rngs, **dtypes)
        self.output = nnx.Conv(config.width, shape[-1], (3, 3), **options)

    def __call__(self, noise: jax.Array) -> jax.Array:
        x = self.project(noise).reshape(-1, self.side, self.side, self.width)
        for block in self.blocks:
            x = block(x)
        x = nnx.relu(self.norm(x))
        return jnp.tanh(self.output(x))


class UpBlock(nnx.Module):
    """float [batch, side, side, width] -> float [batch, 2 * side, 2 * side, width]."""

    def __init__(self, width: int, *, rngs: nnx.Rngs, **dtypes):
        options = {"kernel_init": he_normal, "rngs": rngs, **dtypes}
        self.norm1 = BatchNorm(width, rngs=rngs, **dtypes)
        self.conv1 = nnx.Conv(width, width, (3, 3), use_bias=False, **options)
        self.norm2 = BatchNorm(width, rngs=rngs, **dtypes)
        self.conv2 = nnx.Conv(width, width, (3, 3), use_bias=False, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv1(double(nnx.relu(self.norm1(x))))
        y = self.conv2(nnx.relu(self.norm2(y)))
        return double(x) + y


class Discriminator(nnx.Module):
    """float [batch, height, width, channel] -> float [batch], positive for what looks real."""

    def __init__(self, config: ResnetGanConfig, shape: tuple[int, int, int], *, rngs: nnx.Rngs, **dtypes):
        _, halvings = pyramid(shape)
        options = {"rngs": rngs, **dtypes}
        self.blocks = nnx.List(
            Block(config.width if i else shape[-1], config.width, first=not i, down=i < halvings, **options)
            for i in range(halvings + 1)
        )
        self.output = SpectralLinear(config.width, 1, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return self.output(nnx.relu(x).sum((1, 2)))[:, 0]


class Block(nnx.Module):
    """float [batch, side, side, inputs] -> float [batch, side, side, width], or with `down` of half the side.

    The first one does not cut off what is negative in an image.
    """

    def __init__(self, inputs: int, width: int, *, first: bool, down: bool, **options):
        self.first, self.down = first, down
        self.conv1 = SpectralConv(inputs, width, 3, **options)
        self.conv2 = SpectralConv(width, width, 3, **options)
        self.shortcut = SpectralConv(inputs, width, 1, **options) if first else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv1(x if self.first else nnx.relu(x))
        y = self.conv2(nnx.relu(y))
        x = x if self.shortcut is None else self.shortcut(x)
        return halve(x + y) if self.down else x + y


class SpectralConv(nnx.Conv):
    """A convolution whose kernel is divided by its largest singular value, as a matrix [outputs, inputs * size * size].

    u, v: the estimate of its singular vectors. In training one step of power iteration moves them at every pass, so
    three times in a step of a GAN; the gradient takes them as constants.
    """

    use_running_average = False  # as of batch normalization: `eval` of the module sets it
    bias: nnx.Param
    u: nnx.BatchStat
    v: nnx.BatchStat

    def __init__(self, inputs: int, outputs: int, size: int, *, rngs: nnx.Rngs, **dtypes):
        super().__init__(inputs, outputs, (size, size), kernel_init=he_normal, rngs=rngs, **dtypes)
        begin(self, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:  # type: ignore[override]  # it is on one device
        kernel, bias = self.kernel[...] / norm(self), self.bias[...]
        x, kernel, bias = self.promote_dtype((x, kernel, bias), dtype=self.dtype)
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers) + bias


class SpectralLinear(nnx.Linear):
    """The same of a linear layer."""

    use_running_average = False
    bias: nnx.Param
    u: nnx.BatchStat
    v: nnx.BatchStat

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs, **dtypes):
        super().__init__(inputs, outputs, kernel_init=lecun_normal, rngs=rngs, **dtypes)
        begin(self, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:  # type: ignore[override]  # it is on one device
        kernel, bias = self.kernel[...] / norm(self), self.bias[...]
        x, kernel, bias = self.promote_dtype((x, kernel, bias), dtype=self.dtype)
        return x @ kernel + bias


def begin(layer: SpectralConv | SpectralLinear, rngs: nnx.Rngs) -> None:
    """Makes u and v, from random ones."""
    matrix = flat(layer.kernel[...])
    u, v = (normalize(jax.random.normal(rngs.params(), (size,), matrix.dtype)) for size in matrix.shape)
    u, v = jax.lax.fori_loop(0, ITERATIONS, lambda _, uv: iterate(matrix, uv[1]), (u, v))
    layer.u, layer.v = nnx.BatchStat(u), nnx.BatchStat(v)


def iterate(matrix: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    u = normalize(matrix @ v)
    return u, normalize(matrix.T @ u)


def norm(layer: SpectralConv | SpectralLinear) -> jax.Array:
    """The estimate of the largest singular value, after an iteration in training."""
    matrix = flat(layer.kernel[...])
    if not layer.use_running_average:
        constant = jax.lax.stop_gradient(matrix)
        layer.u[...], layer.v[...] = iterate(constant, layer.v[...])
    return layer.u[...] @ (matrix @ layer.v[...])


def flat(kernel: jax.Array) -> jax.Array:
    """[..., inputs, outputs] -> [outputs, inputs * ...]; at least in float32."""
    axes = tuple(range(kernel.ndim))
    matrix = kernel.transpose((*axes[:-3:-1], *axes[:-2])).reshape(kernel.shape[-1], -1)
    return matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32))


def normalize(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x), EPSILON)


def double(x: jax.Array) -> jax.Array:
    return x.repeat(2, 1).repeat(2, 2)


def halve(x: jax.Array) -> jax.Array:
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
