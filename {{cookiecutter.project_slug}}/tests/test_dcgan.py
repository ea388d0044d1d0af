"""Deep convolutional GANs: their sizes, and the distributions that their weights are drawn from."""

import numpy as np
import pytest
from conftest import make_engine, small

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.models.dcgan import pyramid


@pytest.mark.parametrize(
    ("side", "found"), [(8, (2, 2)), (10, (5, 1)), (28, (7, 2)), (32, (4, 3)), (48, (6, 3)), (64, (4, 4))]
)
def test_a_pyramid_ends_with_the_image(side, found):
    smallest, doublings = pyramid((side, side, 3))
    assert (smallest, doublings) == found
    assert smallest * 2**doublings == side


@pytest.mark.parametrize("shape", [(28, 32, 1), (9, 9, 1), (22, 22, 3), (7, 7, 1), (4, 4, 1)])
def test_an_image_of_another_size_is_refused(shape):
    with pytest.raises(InputError, match=f"images of {shape[1]} x {shape[0]} pixels"):
        pyramid(shape)


@pytest.fixture(scope="module")
def weights(framework):
    """Those of a model of colour images of 32 x 32 pixels, by name, as training begins."""
    words = [f"--framework={framework}", *small("image_generation"), "--model.name=dcgan", "--model.width=32"]
    words.append("--model.discriminator_hidden=12")
    settings = load_config("image_generation", words)
    spec = {"shape": [32, 32, 3], "classes": [], "latent": settings.model.latent}
    return make_engine(settings, spec).weights(None)


def test_weights_begin_as_radford_et_al_have_them(weights):
    kernels = [value for name, value in weights.items() if value.ndim > 1]
    scales = np.concatenate([w for name, w in weights.items() if "norm" in name and name.endswith(".weight")])
    others = [value for name, value in weights.items() if name.endswith(("bias", "running_mean"))]
    assert len(kernels) == 10 and all(0.016 < kernel.std() < 0.024 for kernel in kernels if kernel.size > 500)
    assert all(abs(kernel.mean()) < 0.002 for kernel in kernels if kernel.size > 5000)
    assert abs(scales.mean() - 1) < 0.005 and 0.016 < scales.std() < 0.024
    assert not any(value.any() for value in others)


def test_channels_double_where_sides_are_halved(weights):
    shapes = {name: value.shape for name, value in weights.items() if value.ndim > 1}
    assert shapes == {
        "generator.hidden.weight": (16, 8),
        "generator.project.weight": (4 * 4 * 128, 16),
        "generator.ups.0.weight": (128, 64, 4, 4),
        "generator.ups.1.weight": (64, 32, 4, 4),
        "generator.output.weight": (32, 3, 4, 4),
        "discriminator.input.weight": (32, 3, 4, 4),
        "discriminator.downs.0.weight": (64, 32, 4, 4),
        "discriminator.downs.1.weight": (128, 64, 4, 4),
        "discriminator.hidden.weight": (12, 4 * 4 * 128),
        "discriminator.output.weight": (1, 12),
    }
