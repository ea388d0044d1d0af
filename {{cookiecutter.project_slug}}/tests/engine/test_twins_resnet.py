"""With the same weights of timm's, both residual networks give the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from test_resnet import PARAMETERS, timm_weights

from {{cookiecutter.package_name}}.engine.lightning import weights as lightning_weights
from {{cookiecutter.package_name}}.engine.nnx import weights as nnx_weights
from {{cookiecutter.package_name}}.engine.weights import is_count
from {{cookiecutter.package_name}}.models.resnet import ResNetConfig
from {{cookiecutter.package_name}}.models.resnet import nnx as nnx_half
from {{cookiecutter.package_name}}.models.resnet import torch as torch_half


@pytest.mark.parametrize("name", PARAMETERS)
def test_weights_of_timm_give_the_same_logits(name):
    weights = {entry: value for entry, value in timm_weights(name).items() if not is_count(entry)}
    images = np.random.default_rng(1).standard_normal((2, 64, 48, 3))
    config, shape = ResNetConfig(name=name), images.shape[1:]
    net = torch_half.ResNet(config, shape, 1000).double().eval()
    lightning_weights.put(weights, net, "timm")
    with jax.enable_x64(True):
        dtypes = {"dtype": jnp.float64, "param_dtype": jnp.float64}
        model = nnx.eval_shape(lambda: nnx_half.ResNet(config, shape, 1000, rngs=nnx.Rngs(0), **dtypes))
        nnx_weights.put(weights, model, "timm")
        model.eval()
        logits = np.asarray(model(jnp.asarray(images)))
    expected = net(torch.tensor(images)).detach().numpy()
    assert logits.dtype == np.float64 and np.ptp(logits) > 1
    assert logits == pytest.approx(expected, rel=1e-10)
