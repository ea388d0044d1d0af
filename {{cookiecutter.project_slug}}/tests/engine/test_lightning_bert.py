"""BERT in PyTorch: sizes, published weights, half precision, initial values."""

import numpy as np
import pytest
import torch
from test_bert import CLASSES, PADDING, POSITIONS, SIZES, TINY, TOKENS, VOCABULARY, expected, published

from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.lightning.weights import put
from {{cookiecutter.package_name}}.models.bert import BertConfig
from {{cookiecutter.package_name}}.models.bert.torch import BertClassifier


@pytest.fixture
def net():
    """With published weights, to evaluate."""
    net = BertClassifier(TINY, VOCABULARY, TOKENS.shape[1], CLASSES).eval()
    put(TINY.adopt(published()), net, "the test")
    return net


def logits(net, tokens):
    with torch.no_grad():
        return net(torch.tensor(tokens)).numpy()


@pytest.mark.parametrize("name", SIZES)
def test_it_has_the_published_number_of_parameters(name):
    with torch.device("meta"):
        net = BertClassifier(BertConfig(name), 30_522, 128, CLASSES)
    sizes = {name: p.numel() for name, p in net.named_parameters() if not name.startswith("classifier")}
    assert sum(sizes.values()) == SIZES[name][-1]


def test_published_weights_give_the_published_logits(net):
    assert logits(net, TOKENS) == pytest.approx(expected(), abs=1e-5)
    assert logits(net.double(), TOKENS) == pytest.approx(expected(), abs=1e-12)


def test_weights_without_a_classifier_are_refused(net):
    weights = {name: value for name, value in TINY.adopt(published()).items() if not name.startswith("classifier")}
    with pytest.raises(InputError, match=r"another model: missing: classifier\.bias, classifier\.weight$"):
        put(weights, net, "the test")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_a_row_of_padding_and_its_gradient_are_finite(net, dtype):
    with torch.autocast("cpu", dtype):
        found = net(torch.tensor(np.concatenate([TOKENS, PADDING])))
    found.float().sum().backward()
    assert found.isfinite().all() and all(p.grad.isfinite().all() for p in net.parameters())
    assert found[:-1].detach().float().numpy() == pytest.approx(expected(), abs=0.1)


def test_it_drops_something_only_in_training(net):
    net.train()
    assert np.abs(logits(net, TOKENS) - logits(net, TOKENS)).max() > 1e-3


def test_texts_longer_than_the_table_of_positions_are_refused():
    with pytest.raises(InputError, match=r"model\.positions"):
        BertClassifier(TINY, VOCABULARY, POSITIONS + 1, CLASSES)


def test_it_begins_as_it_is_told():
    torch.manual_seed(0)
    net = BertClassifier(TINY, 1_000, POSITIONS, CLASSES)
    drawn = [net.embeddings.word_embeddings.weight, net.layers[1].intermediate.weight, net.pooler.weight]
    for weight in drawn:
        assert weight.std().item() == pytest.approx(0.88 * 0.02, rel=0.02)  # 0.88: of a normal one cut off at 2
        assert 0.039 < weight.abs().max().item() <= 0.04
    assert not net.classifier.bias.any() and not net.layers[0].query.bias.any()
