"""The Transformer in Flax NNX: its logits, its searches with a cache, initial values."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_transformer import (
    CONFIG,
    EOS,
    SOURCE,
    TARGET,
    VOCABULARY,
    beam_search,
    exhaustive,
    greedy,
    reference,
    shapes,
    some_weights,
)

from {{cookiecutter.package_name}}.engine.nnx import weights as nnx_weights
from {{cookiecutter.package_name}}.models.transformer import VARIANTS, TransformerConfig
from {{cookiecutter.package_name}}.models.transformer.nnx import Transformer


def create(config, weights, dtype=jnp.float64):
    """With these weights, to evaluate."""
    count = len(weights["embedding.weight"])
    model = nnx.eval_shape(lambda: Transformer(config, count, rngs=nnx.Rngs(0), dtype=dtype, param_dtype=dtype))
    nnx_weights.put(weights, model, "the test")
    model.eval()
    return model


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_logits_are_those_of_the_formulas(pre_norm, dtype, tolerance):
    config = dataclasses.replace(CONFIG, pre_norm=pre_norm)
    weights = some_weights(config)
    expected = reference(config, weights, SOURCE, TARGET)
    with jax.enable_x64(dtype == "float64"):
        model = create(config, weights, jnp.dtype(dtype))
        found = np.asarray(nnx.jit(lambda model: model(jnp.asarray(SOURCE), jnp.asarray(TARGET)))(model))
    assert found.dtype == dtype and np.abs(found - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("pre_norm", [False, True])
def test_greedy_search_with_a_cache_is_that_without(pre_norm):
    config = dataclasses.replace(CONFIG, pre_norm=pre_norm)
    with jax.enable_x64(True):
        for seed in range(3):
            weights = some_weights(config, seed=seed)
            model = create(config, weights)
            found = np.asarray(nnx.jit(lambda model: model(jnp.asarray(SOURCE)))(model))
            assert found.tolist() == [greedy(config, weights, row[row > 0]) for row in SOURCE]


def test_a_beam_gives_what_the_search_without_a_cache_gives():
    with jax.enable_x64(True):
        for seed in range(3):
            weights = some_weights(seed=seed)
            model = create(CONFIG, weights)
            search = nnx.jit(lambda model: model(jnp.asarray(SOURCE), beam=3, length_penalty=0.6))
            expected = [beam_search(CONFIG, weights, row[row > 0], 3, 0.6) for row in SOURCE]
            assert np.asarray(search(model)).tolist() == expected


@pytest.mark.parametrize("strength", [0.0, 0.6, 2.0])
def test_a_beam_that_holds_every_beginning_finds_the_best_text(strength):
    """There are 27 of three tokens, each with four that follow: 54 are followed, twice as many looked at."""
    config = TransformerConfig("", layers=1, heads=2, width=8, hidden=12, context=4)
    source = np.array([[3, 5, EOS, 0], [4, 4, 3, EOS]])
    with jax.enable_x64(True):
        for seed in range(3):
            weights = some_weights(config, 6, seed)
            model = create(config, weights)
            search = nnx.jit(lambda model: model(jnp.asarray(source), beam=54, length_penalty=strength))
            expected = [exhaustive(config, weights, row[row > 0], strength) for row in source]
            assert np.asarray(search(model)).tolist() == expected


def test_it_begins_as_it_is_told():
    model = Transformer(VARIANTS["transformer_tiny"](), 1000, rngs=nnx.Rngs(0))
    block, width, hidden = model.decoder[1], 128, 512
    assert np.std(model.embedding.embedding[...]) == pytest.approx(width**-0.5, rel=0.02)
    for kernel, limit in (
        (block.cross.query.kernel, np.sqrt(6 / (2 * width))),
        (block.feed_forward.hidden.kernel, np.sqrt(6 / (width + hidden))),
    ):
        assert np.abs(kernel[...]).max() == pytest.approx(limit, rel=0.01) and np.abs(kernel[...]).max() <= limit
    params = nnx.to_flat_state(nnx.state(model, nnx.Param))
    assert not any(leaf[...].any() for path, leaf in params if path[-1] == "bias")


@pytest.mark.parametrize("pre_norm", [False, True])
def test_it_has_the_parameters_of_the_paper_and_no_more(pre_norm):
    config = dataclasses.replace(CONFIG, pre_norm=pre_norm)
    model = nnx.eval_shape(lambda: Transformer(config, VOCABULARY, rngs=nnx.Rngs(0)))
    found = {place.name: place.shape for place in nnx_weights.layout(model).values()}
    assert found == shapes(config, VOCABULARY)
