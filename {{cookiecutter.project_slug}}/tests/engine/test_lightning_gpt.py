"""GPT in PyTorch: sizes, published weights, the cache, initial values."""

import numpy as np
import pytest
import torch
from test_gpt import CONFIG, PARAMETERS, TOKENS, VOCABULARY, expected_logits, published_weights

from {{cookiecutter.package_name}}.engine.lightning.weights import put
from {{cookiecutter.package_name}}.models.gpt import VARIANTS
from {{cookiecutter.package_name}}.models.gpt.torch import GPT


def published(dtype):
    net = GPT(CONFIG, VOCABULARY).to(dtype).eval()
    put(CONFIG.adopt(published_weights(np.float64)), net, "the test")
    return net


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_the_published_number_of_parameters(name):
    with torch.device("meta"):
        net = GPT(VARIANTS[name](name=name), 50257)
    assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_published_weights_give_the_published_logits(dtype, tolerance):
    with torch.no_grad():
        found = published(dtype)(torch.tensor(TOKENS)).numpy()
    expected = expected_logits()
    assert np.ptp(expected) > 1 and found.dtype == str(dtype).removeprefix("torch.")
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def test_a_cache_changes_nothing():
    net, tokens = published(torch.float64), torch.tensor(TOKENS)
    cache, found, position = net.create_cache(2), [], 0
    with torch.no_grad():
        for step in (3, 1, 1, 1):
            found.append(net.logits(net.read(tokens[:, position : position + step], cache, position)))
            position += step
        assert torch.allclose(torch.cat(found, 1), net(tokens), rtol=0, atol=1e-12)


def test_it_begins_as_it_is_told():
    torch.manual_seed(0)
    net = GPT(VARIANTS["gpt_micro"](layers=2), 1000)
    block = net.h[1]
    assert net.wte.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.attn.c_attn.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert block.mlp.c_proj.weight.std().item() == pytest.approx(0.02 / np.sqrt(4), rel=0.02)
    assert block.attn.c_proj.weight.std().item() == pytest.approx(0.02 / np.sqrt(4), rel=0.03)
    assert not any(value.any() for name, value in net.named_parameters() if name.endswith("bias"))


def test_without_biases_it_has_none():
    net = GPT(VARIANTS["gpt_micro"](bias=False), 65)
    assert [name for name, _ in net.named_parameters() if name.endswith("bias")] == []
