"""Blocks that are computed twice: less is kept for the backward pass, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.nnx.remat import recompute


class Block(nnx.Module):
    def __init__(self, rngs):
        self.into, self.out = nnx.Linear(8, 64, rngs=rngs), nnx.Linear(64, 8, rngs=rngs)
        self.norm, self.drop = nnx.BatchNorm(8, rngs=rngs), nnx.Dropout(0.5)

    def __call__(self, x, rngs):
        return x + self.drop(self.out(jnp.tanh(self.into(self.norm(x)))), rngs=rngs)


class Model(nnx.Module):
    def __init__(self, blocks=3):
        rngs = nnx.Rngs(0)
        self.blocks = nnx.List([Block(rngs) for _ in range(blocks)])

    def __call__(self, x, rngs):
        for block in self.blocks:
            x = block(x, rngs)
        return x


def passes(model):
    """(loss, gradients, statistics afterwards, bytes kept for the backward pass)."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    x = np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32)

    def loss(params):
        merged = nnx.merge(graphdef, params, rest, copy=True)
        y = merged(x, nnx.Rngs(dropout=jax.random.key(1)))
        return (y**2).mean(), nnx.state(merged, nnx.BatchStat)

    (value, statistics), grads = jax.value_and_grad(loss, has_aux=True)(params)
    kept = jax.eval_shape(lambda params: jax.vjp(lambda params: loss(params)[0], params)[1], params)
    return value, grads, statistics, sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def test_blocks_keep_their_inputs_only():
    *expected, whole = passes(Model())
    model = Model()
    recompute(model, "the test")
    *found, kept = passes(model)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert kept < whole / 3


def test_what_a_model_is_called_stays():
    model = Model()
    before = [path for path, _ in nnx.to_flat_state(nnx.state(model))]
    recompute(model, "the test")
    assert [path for path, _ in nnx.to_flat_state(nnx.state(model))] == before
    assert type(model.blocks[0]).__name__ == "Block"


def test_a_model_without_blocks_is_refused():
    with pytest.raises(InputError, match="^nnx.remat = True, but .* has no blocks to compute twice$"):
        recompute(nnx.Linear(1, 1, rngs=nnx.Rngs(0)), "the test")


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_program_is_the_same_for_equal_models(blocks):
    first, second = Model(blocks), Model(blocks)
    recompute(first, "the test")
    recompute(second, "the test")
    assert nnx.graphdef(first) == nnx.graphdef(second)
