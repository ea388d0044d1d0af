"""Residual networks in Flax NNX: sizes, weights of timm, initial values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_resnet import PARAMETERS, timm_file, timm_weights

from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.nnx.weights import get, put
from {{cookiecutter.package_name}}.engine.weights import read
from {{cookiecutter.package_name}}.models.layers.nnx import BatchNorm
from {{cookiecutter.package_name}}.models.resnet import ResNetConfig
from {{cookiecutter.package_name}}.models.resnet.nnx import ResNet


def abstract(name):
    """For colour images and 1,000 classes, without arrays."""
    return nnx.eval_shape(lambda: ResNet(ResNetConfig(name=name), (224, 224, 3), 1000, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_the_published_number_of_parameters(name):
    params = nnx.state(abstract(name), nnx.Param)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_weights_of_timm_fit(tmp_path, name):
    weights, model = timm_weights(name), abstract(name)
    put(read(timm_file(tmp_path, name)), model, "timm")
    norm, down = model.layer2[0].bn2, model.layer3[0].downsample[0]
    pairs = {
        "conv1.weight": model.conv1.kernel[...].transpose(3, 2, 0, 1),
        "layer2.0.bn2.weight": norm.scale[...],
        "layer2.0.bn2.bias": norm.bias[...],
        "layer2.0.bn2.running_mean": norm.mean[...],
        "layer2.0.bn2.running_var": norm.var[...],
        "layer3.0.downsample.0.weight": down.kernel[...].transpose(3, 2, 0, 1),
        "fc.weight": model.fc.kernel[...].T,
        "fc.bias": model.fc.bias[...],
    }
    assert [entry for entry, value in pairs.items() if not np.array_equal(value, weights[entry])] == []
    assert [entry for entry, value in get(model).items() if not np.array_equal(value, weights[entry])] == []


def test_other_weights_are_refused_in_one_line_and_none_is_written(tmp_path):
    before, model = read(timm_file(tmp_path, "resnet18")), abstract("resnet18")
    put(before, model, "timm")
    wrong = {name: value + 1 for name, value in before.items() if name != "layer1.0.bn1.running_var"}
    wrong = {**wrong, "head.bias": wrong["fc.bias"], "fc.weight": wrong["fc.weight"][:7]}
    with pytest.raises(InputError) as caught:
        put(wrong, model, "wrong.safetensors")
    assert str(caught.value) == (
        "wrong.safetensors: the weights are of another model: missing: layer1.0.bn1.running_var; "
        "not in the model: head.bias; fc.weight is [7, 512] and should be [1000, 512]"
    )
    assert all(np.array_equal(value, before[name]) for name, value in get(model).items())


def test_weights_keep_the_precision_of_the_model():
    model = BatchNorm(3, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    weights = {name: np.arange(3.0) for name in get(model)}
    put(weights, model, "the test")
    assert (model.scale.dtype, model.var.dtype) == (jnp.bfloat16, jnp.float32)
    assert {value.dtype for value in get(model).values()} == {np.dtype(np.float32)}  # NumPy has no bfloat16


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (33, 20)])
def test_it_takes_images_of_any_size(stem, size):
    model = nnx.eval_shape(lambda: ResNet(ResNetConfig("resnet18", stem), (8, 8, 1), 10, rngs=nnx.Rngs(0)))
    assert nnx.eval_shape(lambda m, x: m(x), model, jnp.zeros((2, *size, 1))).shape == (2, 10)


@pytest.mark.slow
def test_it_begins_as_it_is_told():
    model = ResNet(ResNetConfig("resnet_small", "small"), (8, 8, 1), 1000, rngs=nnx.Rngs(0))
    block = model.layer4[0]
    assert np.std(block.conv1.kernel[...]) == pytest.approx(np.sqrt(2 / (128 * 9)), rel=0.02)  # the fan-out
    assert np.std(block.downsample[0].kernel[...]) == pytest.approx(np.sqrt(2 / 128), rel=0.02)
    assert np.std(model.fc.kernel[...]) == pytest.approx(0.01, rel=0.02)
    assert (np.unique(block.bn1.scale[...]), np.unique(block.bn2.scale[...])) == (1, 0)
    assert not model.fc.bias[...].any() and not block.bn1.bias[...].any()
