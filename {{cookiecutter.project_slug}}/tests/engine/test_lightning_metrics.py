"""Metrics that torchmetrics lacks."""

import numpy as np
import torch

from {{cookiecutter.package_name}}.engine.lightning.metrics import Collected, ProbabilityCounts


def test_outputs_are_gathered_in_order_with_their_dtype():
    metric = Collected()
    for values in ([[1, 2], [3, 4]], [[5, 6]]):
        metric.update(torch.tensor(values, dtype=torch.int32))
    assert metric.compute().dtype == torch.int32 and metric.compute().tolist() == [[1, 2], [3, 4], [5, 6]]


def test_nothing_is_left_after_a_reset():
    metric = Collected()
    metric.update(torch.zeros(2))
    metric.reset()
    metric.update(torch.ones(2))
    assert metric.compute().tolist() == [1, 1]


def test_probabilities_of_the_second_of_two_classes_are_counted_by_thresholds():
    metric = ProbabilityCounts()
    for odds, labels in ([[1, 3, 3], [0, 1, 0]], [[1e6], [1]]):  # probabilities of 0.5, 0.75 and nearly 1
        metric.update(torch.tensor(np.log([[1, odd] for odd in odds])), torch.tensor(labels))
    metric.update(torch.full((1, 2), torch.nan), torch.tensor([1]))
    assert np.argwhere(metric.compute().numpy()).tolist() == [[0, 100], [0, 150], [1, 0], [1, 150], [1, 199]]
