"""GPT in Flax NNX: sizes, published weights, the cache, initial values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_gpt import CONFIG, PARAMETERS, TOKENS, VOCABULARY, expected_logits, published_weights

from {{cookiecutter.package_name}}.engine.nnx.weights import put
from {{cookiecutter.package_name}}.models.gpt import VARIANTS
from {{cookiecutter.package_name}}.models.gpt.nnx import GPT


def abstract(config, vocabulary, dtype=jnp.float32):
    dtypes = {"dtype": dtype, "param_dtype": dtype}
    model = nnx.eval_shape(lambda: GPT(config, vocabulary, rngs=nnx.Rngs(0), **dtypes))
    model.eval()
    return model


def published(dtype):
    model = abstract(CONFIG, VOCABULARY, dtype)
    put(CONFIG.adopt(published_weights(np.float64)), model, "the test")
    return model


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_the_published_number_of_parameters(name):
    params = nnx.state(abstract(VARIANTS[name](name=name), 50257), nnx.Param)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == PARAMETERS[name]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_published_weights_give_the_published_logits(dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        found = np.asarray(nnx.jit(lambda model: model(jnp.asarray(TOKENS)))(published(jnp.dtype(dtype))))
    expected = expected_logits()
    assert np.ptp(expected) > 1 and found.dtype == dtype
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def test_a_cache_changes_nothing():
    @nnx.jit
    def read(model, tokens, cache, position):
        x, cache = model.read(tokens, cache, position)
        return model.logits(x), cache

    with jax.enable_x64(True):
        model, tokens = published(jnp.float64), jnp.asarray(TOKENS)
        cache, found, position = model.create_cache(2), [], 0
        for step in (3, 1, 1, 1):
            logits, cache = read(model, tokens[:, position : position + step], cache, position)
            found.append(logits)
            position += step
        expected = nnx.jit(lambda model: model(tokens))(model)
        assert np.abs(np.concatenate(found, 1) - expected).max() < 1e-12


def test_a_cache_is_no_part_of_the_model():
    model = abstract(CONFIG, VOCABULARY)
    before = jax.tree.structure(nnx.state(model))
    tokens = jnp.asarray(TOKENS, jnp.int32)
    nnx.eval_shape(lambda model: model.read(tokens, model.create_cache(2))[1], model)
    assert jax.tree.structure(nnx.state(model)) == before


def test_it_begins_as_it_is_told():
    model = GPT(VARIANTS["gpt_micro"](layers=2), 1000, rngs=nnx.Rngs(0))
    block = model.h[1]
    assert np.std(model.wte.embedding[...]) == pytest.approx(0.02, rel=0.02)
    assert np.std(block.attn.c_attn.kernel[...]) == pytest.approx(0.02, rel=0.02)
    assert np.std(block.mlp.c_proj.kernel[...]) == pytest.approx(0.02 / np.sqrt(4), rel=0.02)
    assert np.std(block.attn.c_proj.kernel[...]) == pytest.approx(0.02 / np.sqrt(4), rel=0.03)
    assert not any(leaf.any() for path, leaf in nnx.to_flat_state(nnx.state(model)) if path[-1] == "bias")


def test_without_biases_it_has_none():
    model = abstract(VARIANTS["gpt_micro"](bias=False), 65)
    assert [path for path, _ in nnx.to_flat_state(nnx.state(model)) if path[-1] == "bias"] == []
