"""Layers in PyTorch, where they are more than PyTorch's own."""

import pytest
import torch

from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.models.layers.torch import BatchNorm


def test_a_single_value_to_normalize_is_one_line():
    with pytest.raises(InputError, match=r"a single value of each channel.*data\.batch_size"):
        BatchNorm(2)(torch.ones(1, 2, 1, 1))


def test_a_single_value_can_be_evaluated():
    assert BatchNorm(2).eval()(torch.ones(1, 2, 1, 1)).shape == (1, 2, 1, 1)
