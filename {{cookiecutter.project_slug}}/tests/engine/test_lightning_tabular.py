"""The tabular perceptron in PyTorch: its inputs and its initial values."""

import numpy as np
import pytest
import torch

from {{cookiecutter.package_name}}.models.tabular import TabularConfig
from {{cookiecutter.package_name}}.models.tabular.torch import PiecewiseLinear, Tabular


@pytest.mark.parametrize(("numbers", "categories"), [(3, []), (0, [4, 9]), (3, [4])])
def test_it_takes_what_a_table_has_and_begins_with_the_mean(numbers, categories):
    net = Tabular(TabularConfig("mlp", hidden=5), numbers, categories)
    numeric = torch.ones(2, numbers) if numbers else None
    categorical = torch.ones(2, len(categories), dtype=torch.int32) if categories else None
    assert net(numeric, categorical).tolist() == [0, 0]


def test_it_begins_as_it_is_told():
    net = Tabular(TabularConfig("mlp", hidden=400, embedding=100), 200, [301])
    assert net.hidden[0].weight.std().item() == pytest.approx(np.sqrt(2 / 300), rel=0.02)
    assert not net.hidden[0].bias.any()
    assert net.embed[0].weight[1:].std().item() == pytest.approx(1, rel=0.02)
    assert not net.embed[0].weight[0].any()


def test_a_number_becomes_the_share_of_each_bin_that_lies_below_it():
    encode = PiecewiseLinear([[0.0, 1.0, 3.0], [-1.0, 1.0]])
    x = torch.tensor([[0.5, 0.0], [2.0, 3.0], [-1.0, -2.0], [4.0, 1.0]])
    assert encode(x).tolist() == [[0.5, 0, 0.5], [1, 0.5, 2], [-1, 0, -0.5], [1, 1.5, 1]]
