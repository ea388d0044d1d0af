"""Layers that both halves have are the same function: with weights put across, of values, gradients and statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from {{cookiecutter.package_name}}.engine.twins import bridge
from {{cookiecutter.package_name}}.models.layers import nnx as nnx_layers
from {{cookiecutter.package_name}}.models.layers import torch as torch_layers


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def channels_first(x):
    return np.moveaxis(x, -1, 1)


def as_it_is(x):
    return x


class TorchLSTM(nn.Module):
    """A cell of two linear layers, as `nnx.OptimizedLSTMCell`: one has the bias. Of a sequence, the last state."""

    def __init__(self, inputs, width):
        super().__init__()
        self.dense_i, self.dense_h = nn.Linear(inputs, 4 * width, bias=False), nn.Linear(width, 4 * width)

    def forward(self, x):
        c = h = torch.zeros(len(x), self.dense_h.in_features, dtype=x.dtype)
        for now in x.unbind(1):
            i, f, g, o = (self.dense_i(now) + self.dense_h(h)).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h


class NnxLSTM(nnx.OptimizedLSTMCell):
    def __call__(self, x):
        carry = (jnp.zeros((len(x), self.hidden_features)),) * 2
        for i in range(x.shape[1]):
            carry, y = super().__call__(carry, x[:, i])
        return y


OPTIONS = {"param_dtype": jnp.float64, "rngs": nnx.Rngs(0)}
LAYERS = {
    "Linear": (nn.Linear(3, 5), lambda: nnx.Linear(3, 5, **OPTIONS), images(4, 3), as_it_is),
    "Linear without bias": (
        nn.Linear(3, 5, bias=False),
        lambda: nnx.Linear(3, 5, use_bias=False, **OPTIONS),
        images(4, 3),
        as_it_is,
    ),
    "Conv1d": (
        nn.Conv1d(3, 5, 4, padding=1),
        lambda: nnx.Conv(3, 5, (4,), padding=1, **OPTIONS),
        images(2, 9, 3),
        channels_first,
    ),
    "Conv2d": (
        nn.Conv2d(3, 5, (3, 2), stride=2),
        lambda: nnx.Conv(3, 5, (3, 2), 2, padding=0, **OPTIONS),
        images(2, 9, 8, 3),
        channels_first,
    ),
    "Conv2d in groups": (
        nn.Conv2d(4, 6, 3, groups=2, padding=1),
        lambda: nnx.Conv(4, 6, (3, 3), padding=1, feature_group_count=2, **OPTIONS),
        images(2, 5, 6, 4),
        channels_first,
    ),
    "ConvTranspose2d": (
        nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1),
        lambda: nnx.ConvTranspose(3, 5, (4, 4), 2, padding="SAME", transpose_kernel=True, **OPTIONS),
        images(2, 5, 6, 3),
        channels_first,
    ),
    "Embedding": (
        nn.Embedding(7, 5),
        lambda: nnx.Embed(7, 5, **OPTIONS),
        np.array([[0, 6, 3], [2, 2, 1]], np.int32),
        as_it_is,
    ),
    "LayerNorm": (nn.LayerNorm(6, 1e-6), lambda: nnx.LayerNorm(6, epsilon=1e-6, **OPTIONS), images(4, 5, 6), as_it_is),
    "GroupNorm": (
        nn.GroupNorm(2, 6, 1e-6),
        lambda: nnx.GroupNorm(6, 2, epsilon=1e-6, **OPTIONS),
        images(4, 3, 5, 6),
        channels_first,
    ),
    "RMSNorm": (nn.RMSNorm(6, 1e-6), lambda: nnx.RMSNorm(6, epsilon=1e-6, **OPTIONS), images(4, 6), as_it_is),
    "LSTM": (TorchLSTM(3, 5), lambda: NnxLSTM(3, 5, **OPTIONS), images(4, 6, 3), as_it_is),
    "BatchNorm": (
        torch_layers.BatchNorm(6),
        lambda: nnx_layers.BatchNorm(6, **OPTIONS),
        images(4, 3, 5, 6),
        channels_first,
    ),
}


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_is_the_same_with_the_same_weights(case):
    net, create, x, there = LAYERS[case]
    net, model = net.double(), create()
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.copy_(torch.linspace(-1 + i, 1, parameter.numel()).reshape(parameter.shape).cos())
    bridge.to_nnx(net, model)
    expected = net(torch.tensor(there(x))).detach().numpy()
    assert there(np.asarray(model(jnp.asarray(x)))) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_transposed_convolution_with_a_mirrored_kernel_is_refused():
    with pytest.raises(ValueError, match="transpose_kernel=True"):
        bridge.to_nnx(nn.ConvTranspose2d(3, 3, 4), nnx.ConvTranspose(3, 3, (4, 4), rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (2, 1, 1, 6)])
def test_batch_normalization_gathers_the_same_statistics(shape):
    net, model = torch_layers.BatchNorm(6).double(), nnx_layers.BatchNorm(6, **OPTIONS)
    for i in range(3):
        x = images(*shape) * (i + 1) + i
        expected = net(torch.tensor(channels_first(x))).detach().numpy()
        assert channels_first(np.asarray(model(jnp.asarray(x)))) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert np.asarray(model.mean) == pytest.approx(net.running_mean.numpy(), rel=1e-12)
    assert np.asarray(model.var) == pytest.approx(net.running_var.numpy(), rel=1e-12)


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
@pytest.mark.parametrize("size", [(8, 8), (7, 6), (3, 3)])
def test_pooling_and_its_gradient_are_the_same_with_equal_values_too(window, size):
    x = np.random.default_rng(0).integers(-3, 3, (2, *size, 4)).astype(np.float64)  # most windows have two largest
    weight = np.random.default_rng(1).standard_normal(nnx_layers.max_pool(x, *window).shape)
    there = torch.tensor(channels_first(x), requires_grad=True)
    pooled = torch_layers.max_pool(there, *window)
    (pooled * torch.tensor(channels_first(weight))).sum().backward()
    grad = jax.grad(lambda x: (nnx_layers.max_pool(x, *window) * weight).sum())(jnp.asarray(x))
    assert np.array_equal(channels_first(nnx_layers.max_pool(x, *window)), pooled.detach().numpy())
    assert channels_first(np.asarray(grad)) == pytest.approx(there.grad.numpy(), rel=1e-12)


def test_pooling_lets_nan_through():
    x = np.zeros((1, 4, 4, 1))
    x[0, 1, 1] = np.nan
    expected = torch_layers.max_pool(torch.tensor(channels_first(x)), 3, 2, 1).numpy()
    assert np.array_equal(channels_first(nnx_layers.max_pool(x, 3, 2, 1)), expected, equal_nan=True)
    assert np.isnan(expected).all()
