"""Metrics that torchmetrics lacks."""

import torch

from {{cookiecutter.package_name}}.engine.lightning.metrics import Collected


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
