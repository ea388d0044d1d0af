"""DeepFM in PyTorch."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from {{cookiecutter.package_name}}.models.deepfm import DeepFMConfig
from {{cookiecutter.package_name}}.models.deepfm.torch import DeepFM, interactions

SIZES = [3, 5, 2]


def create(**options):
    """A model whose tables are not all but 0, as they are at the start."""
    config = DeepFMConfig(**{"width": 4, "layers": 2, "hidden": 8, **options})
    net = DeepFM(config, SIZES).eval()
    for table in (net.embedding, net.linear):
        nn.init.normal_(table.weight)
    return net


def logits(net, rows):
    return net(torch.tensor(rows, dtype=torch.int32)).detach().numpy()


def test_interactions_are_the_dot_products_of_all_pairs():
    vectors = np.random.default_rng(0).normal(size=(6, 5, 3))
    pairs = itertools.combinations(range(5), 2)
    expected = sum((vectors[:, i] * vectors[:, j]).sum(-1) for i, j in pairs)
    assert interactions(torch.tensor(vectors)).numpy() == pytest.approx(expected, rel=1e-5)


def test_a_logit_is_the_sum_of_its_parts():
    model, rows = create(), np.array([[2, 4, 1], [0, 0, 0]])
    offsets = [0, 3, 8]
    table, linear = (part.weight.detach().numpy() for part in (model.embedding, model.linear))
    vectors, x = table[rows + offsets], torch.tensor(table[rows + offsets]).flatten(1)
    for layer in model.hidden:
        x = torch.relu(layer(x))
    deep = model.output(x)[:, 0].detach().numpy()
    expected = linear[rows + offsets].sum((1, 2)) + deep
    expected += sum((vectors[:, i] * vectors[:, j]).sum(-1) for i, j in itertools.combinations(range(3), 2))
    assert logits(model, rows) == pytest.approx(expected, rel=1e-4)


def test_what_training_has_not_seen_has_the_mean_of_the_values_of_its_field():
    rows, offsets = [[3, 4, 2], [0, 5, 1]], np.array([0, 3, 8])
    for table in (create().embedding, create().linear):
        weight, found = table.weight.detach().numpy(), table(torch.tensor(rows, dtype=torch.int32)).detach().numpy()
        means = [part.mean(0) for part in np.split(weight, offsets[1:])]
        assert found[0] == pytest.approx(np.stack([means[0], weight[7], means[2]]), rel=1e-5)
        assert found[1] == pytest.approx(np.stack([weight[0], means[1], weight[9]]), rel=1e-5)


def test_it_begins_with_small_embeddings_and_no_linear_weights():
    net = DeepFM(DeepFMConfig(width=16), [5000])
    assert net.embedding.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not net.linear.weight.any()
