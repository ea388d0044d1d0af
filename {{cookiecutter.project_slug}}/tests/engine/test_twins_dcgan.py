"""Both deep convolutional GANs give the same with the same weights, whatever the size of the images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from {{cookiecutter.package_name}}.engine.lightning import weights as lightning_weights
from {{cookiecutter.package_name}}.engine.nnx import weights as nnx_weights
from {{cookiecutter.package_name}}.models.dcgan import DcganConfig
from {{cookiecutter.package_name}}.models.dcgan import nnx as nnx_half
from {{cookiecutter.package_name}}.models.dcgan import torch as torch_half

DTYPES = {"dtype": jnp.float64, "param_dtype": jnp.float64}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("bias", [True, False])
def test_a_transposed_convolution_is_that_of_torch(bias):
    rng = np.random.default_rng(0)
    layer = torch.nn.ConvTranspose2d(6, 7, 4, 2, 1, bias=bias).double()
    up = nnx_half.Up(6, 7, use_bias=bias, rngs=nnx.Rngs(0), **DTYPES)
    nnx_weights.put(lightning_weights.get(layer), up, "the test")
    x, slope = rng.normal(size=(2, 3, 5, 6)), rng.normal(size=(2, 6, 10, 7))
    given = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
    expected = layer(given).permute(0, 2, 3, 1)
    grads = torch.autograd.grad((expected * torch.tensor(slope)).sum(), [given, layer.weight])
    graphdef, state = nnx.split(up)

    def total(state, x):
        found = nnx.merge(graphdef, state)(x)
        return (found * slope).sum(), found

    (_, found), (of_weights, of_x) = jax.value_and_grad(total, (0, 1), has_aux=True)(state, jnp.asarray(x))
    assert np.asarray(found) == pytest.approx(expected.detach().numpy(), abs=1e-12)
    assert np.asarray(of_x) == pytest.approx(grads[0].permute(0, 2, 3, 1).numpy(), abs=1e-12)
    kernel = np.asarray(of_weights["kernel"][...])  # [height, width, output, input]
    assert kernel == pytest.approx(grads[1].permute(2, 3, 1, 0).numpy(), abs=1e-12)


@pytest.mark.parametrize(
    ("side", "channels", "hidden", "norm"),
    [(8, 1, 8, "batch"), (10, 1, 8, "batch"), (28, 1, 0, "batch"), (32, 3, 8, "none")],
)
def test_the_same_weights_give_the_same(side, channels, hidden, norm):
    config = DcganConfig(name="dcgan", width=4, latent=5, hidden=hidden, discriminator_hidden=hidden, norm=norm)
    shape = (side, side, channels)
    net = torch_half.Dcgan(config, shape).double()
    model = nnx_half.Dcgan(config, shape, rngs=nnx.Rngs(0), **DTYPES)
    rng = np.random.default_rng(0)
    weights = {name: value + rng.uniform(0, 0.3, value.shape) for name, value in lightning_weights.get(net).items()}
    lightning_weights.put(weights, net, "the test")
    nnx_weights.put(weights, model, "the test")
    noise = rng.normal(size=(6, 5))
    for mode in ("train", "eval"):  # the first moves running statistics
        getattr(net, mode)()
        getattr(model, mode)()
        ours, theirs = net.generator(torch.tensor(noise)), model.generator(jnp.asarray(noise))
        assert np.asarray(theirs) == pytest.approx(ours.detach().numpy(), abs=1e-10)
        scores = model.discriminator(theirs)
        assert scores.shape == (6,)
        assert np.asarray(scores) == pytest.approx(net.discriminator(ours).detach().numpy(), abs=1e-9)
