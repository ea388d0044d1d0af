"""What the NNX half counts."""

import jax.numpy as jnp
import numpy as np
import pytest

from {{cookiecutter.package_name}}.tasks.text_classification import nnx as half

# Of four classes, the third has texts but no predictions, and the last has neither: it does not count.
LABELS, PREDICTED = [0, 0, 0, 1, 1, 2, 3], [0, 0, 1, 1, 0, 1, 3]
MASK = [True] * 6 + [False]


def test_metrics_are_those_of_scikit_learn():
    """f1_score(LABELS[:6], PREDICTED[:6], average="macro") and accuracy_score, of 1.7."""
    metrics = half.create_metrics({"classes": ["a", "b", "c", "d"]})
    logits, found = jnp.array(10.0 * np.eye(4, dtype=np.float32)[PREDICTED]), metrics.empty()
    for part in (slice(0, 4), slice(4, 7)):  # two batches
        batch = {"tokens": logits[part], "label": jnp.array(LABELS, jnp.int32)[part], "mask": jnp.array(MASK)[part]}
        found = found.merge(half.eval_step(lambda logits: logits, batch, metrics))
    found = found.compute()
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 5 + 0) / 3)
    assert found["accuracy"] == pytest.approx(3 / 6)
    assert found["loss"] == pytest.approx(3 / 6 * 10.0, rel=1e-3)
    assert found["confusion"].tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
