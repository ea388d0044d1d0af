"""Layers in Flax NNX, against the same in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.models.layers.nnx import BatchNorm, max_pool


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 1)])
@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (1, 7, 5, 2)])
def test_pooling_takes_the_largest_of_each_window(shape, size, stride, padding):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    edges = ((padding, padding),) * 2
    assert np.array_equal(max_pool(x, size, stride, padding), nnx.max_pool(x, (size, size), (stride, stride), edges))


def test_the_first_of_equal_values_gets_the_gradient():
    x = jnp.zeros((1, 2, 2, 1))
    assert jax.grad(lambda x: max_pool(x).sum())(x).ravel().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("place", range(4))
def test_pooling_lets_nan_through(place):
    x = np.zeros(4, np.float32)
    x[place] = np.nan
    assert np.isnan(max_pool(x.reshape(1, 2, 2, 1))).all()


def test_batch_normalization_keeps_unbiased_statistics():
    x = np.random.default_rng(0).normal(3, 2, (4, 2, 3, 5)).astype(np.float32)
    norm = BatchNorm(5, rngs=nnx.Rngs(0))
    y = norm(jnp.asarray(x))
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    assert np.asarray(y) == pytest.approx((x - mean) / np.sqrt(var + 1e-5), rel=1e-5, abs=1e-5)
    assert norm.mean[...] == pytest.approx(0.1 * mean, rel=1e-5)
    assert norm.var[...] == pytest.approx(0.9 + 0.1 * x.var((0, 1, 2), ddof=1), rel=1e-5)


def test_evaluation_takes_the_statistics_and_leaves_them():
    norm = BatchNorm(2, rngs=nnx.Rngs(0))
    norm.mean[...], norm.var[...] = jnp.array([1.0, 2.0]), jnp.array([4.0, 9.0])
    norm.eval()
    assert norm(jnp.full((1, 1, 1, 2), 5.0)).ravel() == pytest.approx([2, 1], rel=1e-5)
    assert norm.mean[...].tolist() == [1, 2] and norm.var[...].tolist() == [4, 9]


@pytest.mark.parametrize("training", [True, False])
def test_bfloat16_is_for_what_goes_in_and_out_only(training):
    x = np.random.default_rng(0).normal(100, 0.1, (64, 1, 1, 1)).astype(jnp.bfloat16)
    exact, norm = (BatchNorm(1, dtype=dtype, rngs=nnx.Rngs(0)) for dtype in (jnp.float32, jnp.bfloat16))
    for model in (exact, norm):
        model.mean[...], model.var[...] = jnp.array([100.123]), jnp.array([0.01])
        model.train() if training else model.eval()
    y = norm(jnp.asarray(x))
    assert y.dtype == jnp.bfloat16 and norm.mean.dtype == norm.var.dtype == jnp.float32
    assert np.array_equal(y, exact(jnp.asarray(x, jnp.float32)).astype(jnp.bfloat16))


def test_statistics_are_as_precise_as_the_parameters():
    with jax.enable_x64(True):
        norm = BatchNorm(2, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        norm(jnp.ones((2, 1, 1, 2)))
    assert norm.mean.dtype == norm.var.dtype == np.float64


def test_a_single_value_to_normalize_is_one_line():
    with pytest.raises(InputError, match=r"a single value of each channel.*data\.batch_size"):
        BatchNorm(2, rngs=nnx.Rngs(0))(jnp.ones((1, 1, 1, 2)))
