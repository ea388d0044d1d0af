"""Spectral normalization is torch's own in both halves, and both residual GANs give the same with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch.nn.utils.parametrizations import spectral_norm

from {{cookiecutter.package_name}}.engine.lightning import weights as lightning_weights
from {{cookiecutter.package_name}}.engine.nnx import weights as nnx_weights
from {{cookiecutter.package_name}}.models.resnet_gan import ResnetGanConfig
from {{cookiecutter.package_name}}.models.resnet_gan import nnx as nnx_half
from {{cookiecutter.package_name}}.models.resnet_gan import torch as torch_half

DTYPES = {"dtype": jnp.float64, "param_dtype": jnp.float64}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_spectral_normalization_is_that_of_torch():
    """Through passes in training, which move it, and in evaluation, with its gradient."""
    ours = torch_half.SpectralConv(3, 5, 3).double()
    theirs = spectral_norm(torch.nn.Conv2d(3, 5, 3, padding=1).double())
    given = lightning_weights.get(ours)
    lightning_weights.put(
        {
            "bias": given["bias"],
            "parametrizations.weight.original": given["weight"],
            "parametrizations.weight.0._u": given["u"],
            "parametrizations.weight.0._v": given["v"],
        },
        theirs,
        "the test",
    )
    layer = nnx_half.SpectralConv(3, 5, 3, rngs=nnx.Rngs(0), **DTYPES)
    nnx_weights.put(given, layer, "the test")
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3))
    for mode in ("train", "train", "eval"):
        for each in (ours, theirs, layer):
            getattr(each, mode)()
        found = [each(torch.tensor(x).permute(0, 3, 1, 2)) for each in (ours, theirs)]
        y = layer(jnp.asarray(x))
        assert found[0].detach().numpy() == pytest.approx(found[1].detach().numpy(), abs=1e-12)
        assert np.asarray(y) == pytest.approx(found[0].permute(0, 2, 3, 1).detach().numpy(), abs=1e-12)
    grads = [
        torch.autograd.grad((each**2).sum(), weight)[0].numpy()
        for each, weight in zip(found, (ours.weight, theirs.parametrizations.weight.original), strict=True)
    ]
    graphdef, state = nnx.split(layer)
    gradient = jax.grad(lambda state: (nnx.merge(graphdef, state)(jnp.asarray(x)) ** 2).sum())(state)
    assert grads[0] == pytest.approx(grads[1], abs=1e-10)
    assert np.asarray(gradient["kernel"][...]).transpose(3, 2, 0, 1) == pytest.approx(grads[0], abs=1e-10)


def test_the_same_weights_give_the_same():
    config, shape = ResnetGanConfig(name="resnet_gan", width=4, latent=5), (8, 8, 3)
    net = torch_half.ResnetGan(config, shape).double()
    model = nnx_half.ResnetGan(config, shape, rngs=nnx.Rngs(0), **DTYPES)
    nnx_weights.put(lightning_weights.get(net), model, "the test")
    noise = np.random.default_rng(0).normal(size=(6, 5))
    for mode in ("train", "train", "eval"):
        getattr(net, mode)()
        getattr(model, mode)()
        ours, theirs = net.generator(torch.tensor(noise)), model.generator(jnp.asarray(noise))
        assert np.asarray(theirs) == pytest.approx(ours.detach().numpy(), abs=1e-10)
        scores = model.discriminator(theirs)
        assert np.asarray(scores) == pytest.approx(net.discriminator(ours).detach().numpy(), abs=1e-10)
    here, there = nnx_weights.get(model), lightning_weights.get(net)
    assert here.keys() == there.keys()
    assert all(here[name] == pytest.approx(there[name], abs=1e-10) for name in here)
