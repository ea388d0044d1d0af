"""Language modelling in PyTorch Lightning: how a token is chosen."""

import numpy as np
import pytest
import torch

from {{cookiecutter.package_name}}.tasks.language_modeling.lightning import choose

PROBABILITIES = np.array([0.1, 0.4, 0.2, 0.3])
LOGITS = torch.tensor(np.log(PROBABILITIES)).expand(4000, 4)


def shares(temperature, top_k, dtype=torch.float32):
    """How often each token is chosen."""
    chosen = choose(LOGITS.to(dtype), torch.Generator().manual_seed(0), temperature, top_k)
    return np.bincount(chosen.numpy(), minlength=4) / len(LOGITS)


def test_tokens_are_chosen_as_often_as_they_are_likely():
    assert shares(1.0, 0) == pytest.approx(PROBABILITIES, abs=0.03)
    assert shares(1.0, 9, torch.bfloat16) == pytest.approx(PROBABILITIES, abs=0.03)


def test_a_low_temperature_makes_likely_tokens_likelier():
    assert shares(0.5, 0) == pytest.approx(PROBABILITIES**2 / (PROBABILITIES**2).sum(), abs=0.03)
    assert shares(1e-30, 0).tolist() == [0, 1, 0, 0]


def test_only_the_likeliest_are_chosen_from():
    assert shares(1.0, 2) == pytest.approx([0, 4 / 7, 0, 3 / 7], abs=0.03)
    assert shares(1.0, 1).tolist() == [0, 1, 0, 0]
