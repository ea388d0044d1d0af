"""The Transformer in PyTorch: its logits, its searches with a cache, initial values."""

import dataclasses

import numpy as np
import pytest
import torch
from test_transformer import (
    CONFIG,
    EOS,
    SOURCE,
    TARGET,
    VOCABULARY,
    beam_search,
    exhaustive,
    greedy,
    reference,
    shapes,
    some_weights,
)

from {{cookiecutter.package_name}}.engine.lightning import weights as lightning_weights
from {{cookiecutter.package_name}}.models.transformer import VARIANTS, TransformerConfig
from {{cookiecutter.package_name}}.models.transformer.torch import Transformer, top


def create(config, weights, dtype=torch.float64):
    """With these weights, to evaluate."""
    net = Transformer(config, len(weights["embedding.weight"])).to(dtype).eval()
    lightning_weights.put(weights, net, "the test")
    return net


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_logits_are_those_of_the_formulas(pre_norm, dtype, tolerance):
    config = dataclasses.replace(CONFIG, pre_norm=pre_norm)
    weights = some_weights(config)
    expected = reference(config, weights, SOURCE, TARGET)
    found = create(config, weights, getattr(torch, dtype))(torch.tensor(SOURCE), torch.tensor(TARGET)).numpy()
    assert found.dtype == dtype and np.abs(found - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("pre_norm", [False, True])
def test_greedy_search_with_a_cache_is_that_without(pre_norm):
    config = dataclasses.replace(CONFIG, pre_norm=pre_norm)
    for seed in range(3):
        weights = some_weights(config, seed=seed)
        found = create(config, weights)(torch.tensor(SOURCE))
        assert found.tolist() == [greedy(config, weights, row[row > 0]) for row in SOURCE]


def test_a_beam_gives_what_the_search_without_a_cache_gives():
    for seed in range(3):
        weights = some_weights(seed=seed)
        found = create(CONFIG, weights)(torch.tensor(SOURCE), beam=3, length_penalty=0.6)
        assert found.tolist() == [beam_search(CONFIG, weights, row[row > 0], 3, 0.6) for row in SOURCE]


@pytest.mark.parametrize("strength", [0.0, 0.6, 2.0])
def test_a_beam_that_holds_every_beginning_finds_the_best_text(strength):
    """There are 27 of three tokens, each with four that follow: 54 are followed, twice as many looked at."""
    config = TransformerConfig("", layers=1, heads=2, width=8, hidden=12, context=4)
    source = np.array([[3, 5, EOS, 0], [4, 4, 3, EOS]])
    for seed in range(3):
        weights = some_weights(config, 6, seed)
        found = create(config, weights)(torch.tensor(source), beam=54, length_penalty=strength)
        assert found.tolist() == [exhaustive(config, weights, row[row > 0], strength) for row in source]


def test_of_equal_values_the_first_is_taken():
    values = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0]])
    found, places = top(values, 4)
    assert (found.tolist(), places.tolist()) == ([[3.0, 3.0, 3.0, 2.0]], [[1, 2, 4, 3]])
    assert top(torch.tensor([[1.0, -np.inf]]), 2)[0].tolist() == [[1.0, -np.inf]]


def test_it_begins_as_it_is_told():
    torch.manual_seed(0)
    net = Transformer(VARIANTS["transformer_tiny"](), 1000)
    block, width, hidden = net.decoder[1], 128, 512
    assert net.embedding.weight.std().item() == pytest.approx(width**-0.5, rel=0.02)
    for kernel, limit in (
        (block.cross.query.weight, np.sqrt(6 / (2 * width))),
        (block.feed_forward.hidden.weight, np.sqrt(6 / (width + hidden))),
    ):
        assert kernel.abs().max().item() == pytest.approx(limit, rel=0.01) and kernel.abs().max().item() <= limit
    assert not any(value.any() for name, value in net.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("pre_norm", [False, True])
def test_it_has_the_parameters_of_the_paper_and_no_more(pre_norm):
    config = dataclasses.replace(CONFIG, pre_norm=pre_norm)
    found = {name: tuple(value.shape) for name, value in Transformer(config, VOCABULARY).state_dict().items()}
    assert found == shapes(config, VOCABULARY)
