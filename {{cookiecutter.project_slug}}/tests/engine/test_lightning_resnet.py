"""Residual networks in PyTorch: sizes, weights of timm, initial values."""

import numpy as np
import pytest
import torch
from test_resnet import PARAMETERS, timm_file, timm_weights

from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.lightning.weights import get, put
from {{cookiecutter.package_name}}.engine.weights import read
from {{cookiecutter.package_name}}.models.layers.torch import BatchNorm
from {{cookiecutter.package_name}}.models.resnet import ResNetConfig
from {{cookiecutter.package_name}}.models.resnet.torch import ResNet


def create(name):
    """For colour images and 1,000 classes."""
    return ResNet(ResNetConfig(name=name), (224, 224, 3), 1000)


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_the_published_number_of_parameters(name):
    assert sum(parameter.numel() for parameter in create(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_weights_of_timm_fit(tmp_path, name):
    weights, net = timm_weights(name), create(name)
    put(read(timm_file(tmp_path, name)), net, "timm")
    assert net.state_dict().keys() == weights.keys()
    norm = net.layer2[0].bn2
    pairs = {
        "conv1.weight": net.conv1.weight,
        "layer2.0.bn2.weight": norm.weight,
        "layer2.0.bn2.bias": norm.bias,
        "layer2.0.bn2.running_mean": norm.running_mean,
        "layer2.0.bn2.running_var": norm.running_var,
        "layer3.0.downsample.0.weight": net.layer3[0].downsample[0].weight,
        "fc.weight": net.fc.weight,
        "fc.bias": net.fc.bias,
    }
    found = {entry: tensor.detach().numpy() for entry, tensor in pairs.items()}
    assert [entry for entry, value in found.items() if not np.array_equal(value, weights[entry])] == []
    assert [entry for entry, value in get(net).items() if not np.array_equal(value, weights[entry])] == []


def test_other_weights_are_refused_in_one_line_and_none_is_written(tmp_path):
    before, net = read(timm_file(tmp_path, "resnet18")), create("resnet18")
    put(before, net, "timm")
    wrong = {name: value + 1 for name, value in before.items() if name != "layer1.0.bn1.running_var"}
    wrong = {**wrong, "head.bias": wrong["fc.bias"], "fc.weight": wrong["fc.weight"][:7]}
    with pytest.raises(InputError) as caught:
        put(wrong, net, "wrong.safetensors")
    assert str(caught.value) == (
        "wrong.safetensors: the weights are of another model: missing: layer1.0.bn1.running_var; "
        "not in the model: head.bias; fc.weight is [7, 512] and should be [1000, 512]"
    )
    assert all(np.array_equal(value, before[name]) for name, value in get(net).items())


def test_weights_keep_the_precision_of_the_model():
    net = BatchNorm(3).bfloat16()
    put({name: np.arange(3.0) for name in get(net)}, net, "the test")
    assert net.weight.dtype == torch.bfloat16
    assert {value.dtype for value in get(net).values()} == {np.dtype(np.float32)}  # NumPy has no bfloat16


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (33, 20)])
def test_it_takes_images_of_any_size(stem, size):
    assert ResNet(ResNetConfig("resnet18", stem), (8, 8, 1), 10)(torch.zeros(2, *size, 1)).shape == (2, 10)


def test_it_begins_as_it_is_told():
    torch.manual_seed(0)
    net = ResNet(ResNetConfig("resnet18", "small"), (8, 8, 1), 1000)
    block = net.layer3[0]
    assert block.conv1.weight.std().item() == pytest.approx(np.sqrt(2 / (256 * 9)), rel=0.02)  # the fan-out
    assert block.downsample[0].weight.std().item() == pytest.approx(np.sqrt(2 / 256), rel=0.02)
    assert net.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert (block.bn1.weight.unique().item(), block.bn2.weight.unique().item()) == (1, 0)
    assert not net.fc.bias.any() and not block.bn1.bias.any()


def test_images_stay_in_the_layout_that_they_come_in():
    net, layouts = ResNet(ResNetConfig(name="resnet50"), (16, 16, 3), 10), {}

    def note(name):
        return lambda layer, inputs, y: layouts.update({name: y.is_contiguous(memory_format=torch.channels_last)})

    for name, layer in net.named_modules():
        if isinstance(layer, torch.nn.Conv2d | BatchNorm):
            layer.register_forward_hook(note(name))
    net(torch.zeros(2, 16, 16, 3))
    assert len(layouts) > 100 and all(layouts.values()), layouts
