"""What the Lightning half counts."""

import numpy as np
import pytest
import torch

from {{cookiecutter.package_name}}.tasks.text_classification import lightning as half

# Of four classes, the third has texts but no predictions, and the last has neither: it does not count.
LABELS, PREDICTED = [0, 0, 0, 1, 1, 2, 3], [0, 0, 1, 1, 0, 1, 3]
MASK = [True] * 6 + [False]


def test_metrics_are_those_of_scikit_learn():
    """f1_score(LABELS[:6], PREDICTED[:6], average="macro") and accuracy_score, of 1.7."""
    metrics = half.create_metrics({"classes": ["a", "b", "c", "d"]})
    logits = torch.tensor(10.0 * np.eye(4, dtype=np.float32)[PREDICTED])
    for part in (slice(0, 4), slice(4, 7)):  # two batches
        batch = {"tokens": logits[part], "label": torch.tensor(LABELS)[part], "mask": torch.tensor(MASK)[part]}
        half.eval_step(torch.nn.Identity(), batch, metrics)
    found = metrics.compute()
    assert found["macro_f1"].item() == pytest.approx((2 / 3 + 2 / 5 + 0) / 3)
    assert found["accuracy"].item() == pytest.approx(3 / 6)
    assert found["loss"].item() == pytest.approx(3 / 6 * 10.0, rel=1e-3)
    assert found["confusion"].tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
