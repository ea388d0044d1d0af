"""Both halves of the Transformer are the same function, and find the same translations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from test_lightning_transformer import create as create_torch
from test_nnx_transformer import create as create_nnx
from test_transformer import CONFIG, EOS, VOCABULARY, some_weights

BATCH, LENGTH = 16, 7


def sources(rng):
    """Of several lengths."""
    lengths = rng.integers(1, LENGTH, BATCH)
    tokens = rng.integers(3, VOCABULARY, (BATCH, LENGTH))
    places = np.arange(LENGTH)
    return np.where(places < lengths[:, None], tokens, np.where(places == lengths[:, None], EOS, 0))


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize(("beam", "length_penalty"), [(1, 0.0), (4, 0.6), (7, 2.0)])
def test_translations_are_the_same_token_for_token(pre_norm, beam, length_penalty):
    options = {"beam": beam, "length_penalty": length_penalty}
    config = dataclasses.replace(CONFIG, context=20, pre_norm=pre_norm)
    found = []
    for seed in range(3):
        weights, source = some_weights(config, seed=seed), sources(np.random.default_rng(seed))
        with torch.inference_mode():
            ours = create_torch(config, weights)(torch.tensor(source), **options).numpy()
        with jax.enable_x64(True):
            model = create_nnx(config, weights)
            theirs = np.asarray(nnx.jit(lambda model, source: model(source, **options))(model, jnp.asarray(source)))
        assert ours.tolist() == theirs.tolist()
        found += ours.tolist()
    assert len({*map(tuple, found)}) > 2  # not all are the same


def test_equal_values_are_taken_in_the_same_order():
    """With weights of 0 every token is as likely as another one."""
    weights = {name: np.zeros_like(value) for name, value in some_weights().items()}
    source = sources(np.random.default_rng(0))
    for options in ({"beam": 1}, {"beam": 3, "length_penalty": 0.6}):
        with torch.inference_mode():
            ours = create_torch(CONFIG, weights)(torch.tensor(source), **options).numpy()
        with jax.enable_x64(True):
            theirs = create_nnx(CONFIG, weights)(jnp.asarray(source), **options)
        assert ours.tolist() == np.asarray(theirs).tolist()


def test_a_translation_does_not_depend_on_what_stands_beside_it():
    config, source = dataclasses.replace(CONFIG, context=20), sources(np.random.default_rng(0))
    net = create_torch(config, some_weights(config))
    for options in ({"beam": 1}, {"beam": 4, "length_penalty": 0.6}):
        with torch.inference_mode():
            together = net(torch.tensor(source), **options)
            alone = [net(torch.tensor(row[None, : (row > 0).sum()]), **options)[0] for row in source]
        assert together.tolist() == [row.tolist() for row in alone]
