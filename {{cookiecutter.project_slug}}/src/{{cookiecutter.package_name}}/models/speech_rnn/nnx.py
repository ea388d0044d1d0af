"""The recurrent network of speech in Flax NNX."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from ..layers.nnx import he_normal, lecun_normal
from . import EPSILON, SpeechRnnConfig, strides, subsampled

Linear = functools.partial(nnx.Linear, kernel_init=lecun_normal)
Conv = functools.partial(nnx.Conv, kernel_init=he_normal)
# Of E[x^2] - E[x]^2, the faster form of the variance, float32 would leave too little.
LayerNorm = functools.partial(nnx.LayerNorm, epsilon=EPSILON, use_fast_variance=False)


State = tuple[jax.Array, jax.Array]


class SpeechRnn(nnx.Module):
    """float [batch, frames, mels], padded, and how many frames are real, int [batch] -> logits, float [batch, fewer
    frames, tokens], and how many of these are real, int [batch]."""

    def __init__(self, config: SpeechRnnConfig, mels: int, tokens: int, *, rngs: nnx.Rngs, **dtypes):
        options = {"rngs": rngs, **dtypes}
        self.subsampling = Subsampling(mels, config.channels, config.width, config.subsampling, **options)
        inputs = [config.width, *[2 * config.width] * (config.layers - 1)]
        self.layers = nnx.List([Bidirectional(config.cell, size, config.width, **options) for size in inputs])
        self.dropout = nnx.Dropout(config.dropout)
        self.head = Linear(2 * config.width, tokens, **options)

    def __call__(
        self, features: jax.Array, frames: jax.Array, rngs: nnx.Rngs | None = None
    ) -> tuple[jax.Array, jax.Array]:
        x, frames = self.subsampling(features, frames)
        for layer in self.layers:
            x = self.dropout(layer(x, frames), rngs=rngs)
        return self.head(x), frames


class Subsampling(nnx.Module):
    """float [batch, frames, mels] -> [batch, fewer frames, width]: two convolutions of 3 x 3 with ReLU, a linear layer.

    What is no real frame is 0 before and after, so that an example is the same in every batch.
    """

    def __init__(self, mels: int, channels: int, width: int, subsampling: int, **options):
        self.subsampling = subsampling
        first, second = strides(subsampling)
        self.first = Conv(1, channels, (3, 3), (first, 2), padding=1, **options)
        self.second = Conv(channels, channels, (3, 3), (second, 2), padding=1, **options)
        self.project = Linear(-(-mels // 4) * channels, width, **options)

    def __call__(self, features: jax.Array, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = masked(features, frames)[..., None]
        x = nnx.relu(self.first(x))
        x = x * is_real(x.shape[1], -(-frames // 2))[:, :, None, None]
        x = nnx.relu(self.second(x))
        frames = subsampled(frames, self.subsampling)
        return masked(self.project(x.reshape(*x.shape[:2], -1)), frames), frames


class Bidirectional(nnx.Module):
    """float [batch, frames, inputs] -> [batch, frames, 2 * width]: a norm, then a cell from the front and one from the
    last real frame."""

    def __init__(self, cell: str, inputs: int, width: int, **options):
        kind = {"lstm": Lstm, "gru": Gru}[cell]
        self.norm = LayerNorm(inputs, **options)
        self.ahead = kind(inputs, width, **options)
        self.back = kind(inputs, width, **options)

    def __call__(self, x: jax.Array, frames: jax.Array) -> jax.Array:
        x = self.norm(x)
        ahead = self.ahead(x)
        back = self.back(reverse(x, frames))
        return masked(jnp.concatenate([ahead, reverse(back, frames)], -1), frames)


class Cell(nnx.Module):
    """float [batch, frames, inputs] -> the states, [batch, frames, width].

    A recurrent layer whose weights have the names, the layout and the order of gates that they have in files.

    Weights and biases are from a uniform distribution, up to 1 / sqrt(width).
    """

    GATES: int

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        rngs: nnx.Rngs,
        dtype: jax.typing.DTypeLike = jnp.float32,
        param_dtype: jax.typing.DTypeLike = jnp.float32,
    ):
        def uniform(*shape: int) -> nnx.Param:
            return nnx.Param(jax.random.uniform(rngs.params(), shape, param_dtype, -(width**-0.5), width**-0.5))

        self.width, self.dtype = width, dtype
        self.weight_ih_l0 = uniform(self.GATES * width, inputs)
        self.weight_hh_l0 = uniform(self.GATES * width, width)
        self.bias_ih_l0 = uniform(self.GATES * width)
        self.bias_hh_l0 = uniform(self.GATES * width)

    def __call__(self, x: jax.Array) -> jax.Array:
        w_x, w_h, b_x, b_h = (
            weight[...].astype(self.dtype)
            for weight in (self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)
        )
        projected = x.astype(self.dtype) @ w_x.T + b_x  # of all frames at once

        def step(state: State, of_x: jax.Array) -> tuple[State, jax.Array]:
            state = self.next(state, of_x, state[0] @ w_h.T + b_h)
            return state, state[0]

        zero = jnp.zeros((x.shape[0], self.width), self.dtype)
        _, states = jax.lax.scan(step, (zero, zero), projected.swapaxes(0, 1))
        return states.swapaxes(0, 1)

    def next(self, state: State, of_x: jax.Array, of_h: jax.Array) -> State:
        """The state, of which the first is what the layer gives, after a frame. of_x, of_h: what the gates see."""
        raise NotImplementedError


class Lstm(Cell):
    GATES = 4  # input, forget, new, output

    def next(self, state: State, of_x: jax.Array, of_h: jax.Array) -> State:
        i, f, g, o = jnp.split(of_x + of_h, 4, -1)
        c = nnx.sigmoid(f) * state[1] + nnx.sigmoid(i) * jnp.tanh(g)
        return nnx.sigmoid(o) * jnp.tanh(c), c


class Gru(Cell):
    GATES = 3  # reset, update, new

    def next(self, state: State, of_x: jax.Array, of_h: jax.Array) -> State:
        (r_x, z_x, n_x), (r_h, z_h, n_h) = jnp.split(of_x, 3, -1), jnp.split(of_h, 3, -1)
        z = nnx.sigmoid(z_x + z_h)
        h = (1 - z) * jnp.tanh(n_x + nnx.sigmoid(r_x + r_h) * n_h) + z * state[0]
        return h, h


def reverse(x: jax.Array, frames: jax.Array) -> jax.Array:
    """The real frames of each example in the opposite order; what is padded stays."""
    places = jnp.arange(x.shape[1])
    turned = jnp.where(places < frames[:, None], frames[:, None] - 1 - places, places)
    return jnp.take_along_axis(x, turned[..., None], 1)


def masked(x: jax.Array, frames: jax.Array) -> jax.Array:
    """float [batch, frames, ...] with 0 where there is no real frame."""
    return x * is_real(x.shape[1], frames)[..., None]


def is_real(length: int, frames: jax.Array) -> jax.Array:
    """bool [batch, length]."""
    return jnp.arange(length) < frames[:, None]
