"""Residual GANs: the discriminator's kernels are divided by their largest singular values, as NumPy finds them."""

import numpy as np
import pytest
from conftest import PLAIN, make_engine, small, steps

from {{cookiecutter.package_name}} import load, load_config, train

WORDS = [*small("image_generation"), "--model.name=resnet_gan", "--model.width=6"]


@pytest.fixture(scope="module")
def begun(framework):
    """The weights that training begins with, by name."""
    settings = load_config("image_generation", [f"--framework={framework}", *WORDS])
    return make_engine(settings, {"shape": [8, 8, 1], "classes": [], "latent": 8}).weights(None)


@pytest.fixture(scope="module")
def ended(framework, tmp_path_factory):
    """Those after some steps."""
    words = [f"--framework={framework}", *WORDS, *PLAIN, *steps(10), "--optimizer.learning_rate=0.001"]
    folder = train(load_config("image_generation", [*words, f"--run_dir={tmp_path_factory.mktemp('run')}"]))
    return load(folder, "last").weights()


def spectral(weights):
    """(kernel as a matrix, u, v) of each layer that has these."""
    layers = [name.removesuffix(".u") for name in weights if name.endswith(".u")]
    assert len(layers) == 8 and all(name.startswith("discriminator.") for name in layers)
    for name in layers:
        kernel = weights[f"{name}.weight"]
        yield kernel.reshape(len(kernel), -1), weights[f"{name}.u"], weights[f"{name}.v"]


def test_the_estimate_is_about_the_largest_singular_value_and_never_more(begun, ended):
    for matrix, u, v in [*spectral(begun), *spectral(ended)]:
        largest = np.linalg.svd(matrix, compute_uv=False)[0]
        assert 0.8 * largest < u @ matrix @ v < 1.00001 * largest
        assert (np.linalg.norm(u), np.linalg.norm(v)) == pytest.approx((1, 1), rel=1e-5)


def test_training_moves_the_estimate(begun, ended):
    for (_, u, v), (_, later_u, later_v) in zip(spectral(begun), spectral(ended), strict=True):
        for before, after in ((u, later_u), (v, later_v)):
            assert before.size == 1 or np.abs(before - after).max() > 1e-6
