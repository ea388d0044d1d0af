"""Both halves of Conformer are the formulas in NumPy, whatever is padded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from test_conformer import conformer_log_probs

from {{cookiecutter.package_name}}.engine.lightning import weights as lightning_weights
from {{cookiecutter.package_name}}.engine.nnx import weights as nnx_weights
from {{cookiecutter.package_name}}.models.conformer import VARIANTS
from {{cookiecutter.package_name}}.models.conformer import nnx as nnx_half
from {{cookiecutter.package_name}}.models.conformer import torch as torch_half

MELS, TOKENS, LENGTHS = 6, 5, [19, 8, 1]
CONFIG = VARIANTS["conformer_tiny"](layers=2, heads=2, width=8, channels=3, kernel=5)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_log_probabilities_are_those_of_the_formulas():
    net = torch_half.Conformer(CONFIG, MELS, TOKENS).double().eval()
    rng = np.random.default_rng(1)
    weights = {name: rng.normal(0, 0.4, value.shape) for name, value in lightning_weights.get(net).items()}
    lightning_weights.put(weights, net, "the test")
    dtypes = {"dtype": jnp.float64, "param_dtype": jnp.float64}
    model = nnx.eval_shape(lambda: nnx_half.Conformer(CONFIG, MELS, TOKENS, rngs=nnx.Rngs(0), **dtypes))
    nnx_weights.put(weights, model, "the test")
    model.eval()
    features = np.random.default_rng(0).normal(0, 1, (3, 19, MELS))  # no zeros behind the ends of utterances
    with torch.no_grad():
        ours, frames = net(torch.tensor(features), torch.tensor(LENGTHS))
    theirs, _ = model(jnp.asarray(features), jnp.asarray(LENGTHS))
    for i, (length, fewer) in enumerate(zip(LENGTHS, frames.tolist(), strict=True)):
        expected = conformer_log_probs(weights, features[i, :length], heads=2)
        for found in (ours.numpy(), np.asarray(theirs)):
            logits = found[i, :fewer]
            logits = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            assert logits == pytest.approx(expected, abs=1e-11)


def test_weights_begin_from_the_same_distributions():
    config = VARIANTS["conformer_tiny"](layers=1, width=64, channels=16)
    ours = lightning_weights.get(torch_half.Conformer(config, 40, 30))
    theirs = nnx_weights.get(nnx_half.Conformer(config, 40, 30, rngs=nnx.Rngs(0)))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].std() == pytest.approx(theirs[name].std(), rel=0.2, abs=1e-12), name
        assert ours[name].mean() == pytest.approx(theirs[name].mean(), abs=0.1), name
