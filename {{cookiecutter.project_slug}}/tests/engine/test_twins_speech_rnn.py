"""Both halves of the recurrent network of speech are the formulas in NumPy, with each cell, whatever is padded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from test_speech_rnn import rnn_log_probs

from {{cookiecutter.package_name}}.engine.lightning import weights as lightning_weights
from {{cookiecutter.package_name}}.engine.nnx import weights as nnx_weights
from {{cookiecutter.package_name}}.models.speech_rnn import SpeechRnnConfig
from {{cookiecutter.package_name}}.models.speech_rnn import nnx as nnx_half
from {{cookiecutter.package_name}}.models.speech_rnn import torch as torch_half

MELS, TOKENS, LENGTHS = 6, 5, [13, 4, 1]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def features():
    """Of three utterances, with numbers that are no zeros behind their ends."""
    return np.random.default_rng(0).normal(0, 1, (3, 13, MELS))


def twins(config):
    """(net, model, their weights), of numbers that are all different."""
    net = torch_half.SpeechRnn(config, MELS, TOKENS).double().eval()
    rng = np.random.default_rng(1)
    weights = {name: rng.normal(0, 0.4, value.shape) for name, value in lightning_weights.get(net).items()}
    lightning_weights.put(weights, net, "the test")
    dtypes = {"dtype": jnp.float64, "param_dtype": jnp.float64}
    model = nnx.eval_shape(lambda: nnx_half.SpeechRnn(config, MELS, TOKENS, rngs=nnx.Rngs(0), **dtypes))
    nnx_weights.put(weights, model, "the test")
    model.eval()
    return net, model, weights


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("factor", [2, 4])
def test_log_probabilities_are_those_of_the_formulas(cell, factor):
    net, model, weights = twins(SpeechRnnConfig(cell=cell, layers=2, width=4, channels=3, subsampling=factor))
    with torch.no_grad():
        ours, our_frames = net(torch.tensor(features()), torch.tensor(LENGTHS))
    theirs, their_frames = model(jnp.asarray(features()), jnp.asarray(LENGTHS))
    assert our_frames.tolist() == their_frames.tolist() == [-(-length // factor) for length in LENGTHS]
    for i, (length, frames) in enumerate(zip(LENGTHS, our_frames.tolist(), strict=True)):
        expected = rnn_log_probs(weights, features()[i, :length], cell, factor)
        for found in (ours.numpy(), np.asarray(theirs)):
            logits = found[i, :frames]
            logits = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            assert logits == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weights_begin_within_the_same_bounds(cell):
    config = SpeechRnnConfig(cell=cell, layers=1, width=64, channels=8)
    ours = lightning_weights.get(torch_half.SpeechRnn(config, MELS, TOKENS))
    theirs = nnx_weights.get(nnx_half.SpeechRnn(config, MELS, TOKENS, rngs=nnx.Rngs(0)))
    assert ours.keys() == theirs.keys()
    for name in ours:
        if ".weight_" in name or ".bias_" in name:
            for found in (ours[name], theirs[name]):
                assert 0.1 < np.abs(found).max() <= 0.125 and abs(found.mean()) < 0.02
        elif ours[name].ndim > 1:
            assert ours[name].std() == pytest.approx(theirs[name].std(), rel=0.3)
        else:
            assert np.array_equal(ours[name], theirs[name])
