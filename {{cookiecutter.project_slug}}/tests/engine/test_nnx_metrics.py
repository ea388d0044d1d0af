"""Metrics that clu lacks."""

import jax.numpy as jnp
import numpy as np
from clu import metrics

from {{cookiecutter.package_name}}.engine.nnx.metrics import ProbabilityCounts, collected


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


def test_probabilities_of_the_second_of_two_classes_are_counted_by_thresholds():
    found = ProbabilityCounts.empty()
    for odds, labels in ([[1, 3, 3, 9], [0, 1, 0, 0]], [[1e6], [1]]):  # probabilities of 0.5, 0.75 and nearly 1
        logits = jnp.log(jnp.array([[1, odd] for odd in odds]))
        mask = jnp.array(odds) != 9
        found = found.merge(ProbabilityCounts.from_model_output(logits, jnp.array(labels), mask=mask))
    nan = ProbabilityCounts.from_model_output(jnp.full((1, 2), jnp.nan), jnp.array([1]), mask=jnp.array([True]))
    counts = np.asarray(found.merge(nan).compute())
    assert np.argwhere(counts).tolist() == [[0, 100], [0, 150], [1, 0], [1, 150], [1, 199]]
