"""Metrics that clu lacks."""

import jax.numpy as jnp
import numpy as np
from clu import metrics

from {{cookiecutter.package_name}}.engine.nnx.metrics import collected


def gathered(*batches):
    Metrics = metrics.Collection.create(tokens=collected("tokens"))
    found = Metrics.empty()
    for batch in batches:
        found = found.merge(Metrics.single_from_model_output(**batch))
    return found.compute()["tokens"]


def test_outputs_are_gathered_in_order_and_of_real_examples_only():
    mask = [np.array([True, True]), np.array([True, False])]
    batches = [{"tokens": jnp.full((2, 3), i, jnp.int32), "mask": mask[i]} for i in range(2)]
    found = gathered(*batches)
    assert found.dtype == np.int32 and found.tolist() == [[0] * 3, [0] * 3, [1] * 3]


def test_an_example_is_real_where_any_of_its_tokens_counts():
    mask = np.array([[True, False], [False, False], [False, True]])
    assert gathered({"tokens": jnp.arange(3), "mask": mask}).tolist() == [0, 2]
