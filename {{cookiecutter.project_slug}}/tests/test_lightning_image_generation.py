"""The losses of a GAN in PyTorch are those of their formulas."""

import numpy as np
import pytest
import torch

from {{cookiecutter.package_name}}.tasks.image_generation.lightning import taken_for_real, told_apart


@pytest.mark.parametrize("name", ["non_saturating", "hinge"])
def test_losses_are_those_of_their_formulas(name):
    real, fake = (np.random.default_rng(seed).normal(0, 2, 20).astype(np.float32) for seed in (0, 1))
    sigmoid = 1 / (1 + np.exp(-np.stack([real, fake]).astype(np.float64)))
    discriminator, generator = {
        "non_saturating": (-np.log(sigmoid[0]) - np.log(1 - sigmoid[1]), -np.log(sigmoid[1])),
        "hinge": (np.maximum(0, 1 - real) + np.maximum(0, 1 + fake), -fake),
    }[name]
    real, fake = torch.from_numpy(real), torch.from_numpy(fake)
    assert np.asarray(told_apart(real, fake, name)) == pytest.approx(discriminator, rel=1e-5)
    assert np.asarray(taken_for_real(fake, name)) == pytest.approx(generator, rel=1e-5)
