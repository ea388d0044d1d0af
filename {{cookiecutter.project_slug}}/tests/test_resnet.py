"""Residual networks as timm has them: names and shapes stand here once more, by rules of their own."""

import functools
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from {{cookiecutter.package_name}}.engine.weights import read
from {{cookiecutter.package_name}}.models.resnet import VARIANTS, ResNetConfig, SmallResNetConfig

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
PARAMETERS = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032}  # for 1,000 classes


def timm_shapes(name):
    """Every entry of timm's state dict: colour images, 1,000 classes."""
    shapes, inputs = {}, 64

    def convolution(conv, norm, outputs, inputs, size):
        shapes[f"{conv}.weight"] = (outputs, inputs, size, size)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{leaf}"] = (outputs,)
        shapes[f"{norm}.num_batches_tracked"] = ()

    convolution("conv1", "bn1", 64, 3, 7)
    for stage, count in enumerate(BLOCKS[name], 1):
        width = 32 * 2**stage
        outputs = 4 * width if name == "resnet50" else width
        for i in range(count):
            block = f"layer{stage}.{i}"
            if name == "resnet50":
                convolution(f"{block}.conv1", f"{block}.bn1", width, inputs, 1)
                convolution(f"{block}.conv2", f"{block}.bn2", width, width, 3)
                convolution(f"{block}.conv3", f"{block}.bn3", outputs, width, 1)
            else:
                convolution(f"{block}.conv1", f"{block}.bn1", width, inputs, 3)
                convolution(f"{block}.conv2", f"{block}.bn2", width, width, 3)
            if inputs != outputs:
                convolution(f"{block}.downsample.0", f"{block}.downsample.1", outputs, inputs, 1)
            inputs = outputs
    return {**shapes, "fc.weight": (1000, inputs), "fc.bias": (1000,)}


@functools.cache
def timm_weights(name):
    """What a file of timm's could hold."""
    rng = np.random.default_rng(0)
    weights = {}
    for entry, shape in timm_shapes(name).items():
        if len(shape) > 1:  # the variance stays
            weights[entry] = rng.standard_normal(shape, np.float32) * np.float32(math.sqrt(2 / math.prod(shape[1:])))
        else:
            weights[entry] = rng.uniform(0.5, 1.5, shape).astype(np.float32) if shape else np.array(1000)
    return weights


def timm_file(folder, name):
    save_file(timm_weights(name), folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


@pytest.mark.parametrize(("name", "entries"), [("resnet18", 122), ("resnet34", 218), ("resnet50", 320)])
def test_the_rules_here_give_the_published_sizes(name, entries):
    shapes = timm_shapes(name)
    learned = [shape for entry, shape in shapes.items() if not entry.split(".")[-1].startswith(("running", "num"))]
    assert len(shapes) == entries
    assert sum(map(math.prod, learned)) == PARAMETERS[name]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_file_is_read_without_counts_of_batches(tmp_path, name):
    weights, found = timm_weights(name), read(timm_file(tmp_path, name))
    assert found.keys() == {entry for entry in weights if "num_batches" not in entry}
    assert all(np.array_equal(value, weights[entry]) for entry, value in found.items())


def test_only_the_small_network_begins_with_the_small_stem():
    assert (ResNetConfig().stem, SmallResNetConfig().stem) == ("imagenet", "small")
    assert set(VARIANTS) == {"resnet_small", *BLOCKS}
