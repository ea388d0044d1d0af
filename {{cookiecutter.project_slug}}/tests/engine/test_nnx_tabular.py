"""The tabular perceptron in Flax NNX: its inputs and its initial values."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from {{cookiecutter.package_name}}.models.tabular import TabularConfig
from {{cookiecutter.package_name}}.models.tabular.nnx import PiecewiseLinear, Tabular


@pytest.mark.parametrize(("numbers", "categories"), [(3, []), (0, [4, 9]), (3, [4])])
def test_it_takes_what_a_table_has_and_begins_with_the_mean(numbers, categories):
    model = Tabular(TabularConfig("mlp", hidden=5), numbers, categories, rngs=nnx.Rngs(0))
    model.eval()
    numeric = jnp.ones((2, numbers)) if numbers else None
    categorical = jnp.ones((2, len(categories)), jnp.int32) if categories else None
    assert model(numeric, categorical).tolist() == [0, 0]


def test_it_begins_as_it_is_told():
    model = Tabular(TabularConfig("mlp", hidden=400, embedding=100), 200, [301], rngs=nnx.Rngs(0))
    assert np.std(model.hidden[0].kernel[...]) == pytest.approx(np.sqrt(2 / 300), rel=0.02)
    assert not model.hidden[0].bias[...].any()
    assert np.std(model.embed[0].embedding[1:]) == pytest.approx(1, rel=0.02)
    assert not model.embed[0].embedding[0].any()


def test_a_number_becomes_the_share_of_each_bin_that_lies_below_it():
    encode = PiecewiseLinear([[0.0, 1.0, 3.0], [-1.0, 1.0]])
    x = jnp.array([[0.5, 0.0], [2.0, 3.0], [-1.0, -2.0], [4.0, 1.0]])
    assert encode(x).tolist() == [[0.5, 0, 0.5], [1, 0.5, 2], [-1, 0, -0.5], [1, 1.5, 1]]
