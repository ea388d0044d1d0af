"""DeepFM in Flax NNX."""

import itertools

import numpy as np
import pytest
from flax import nnx

from {{cookiecutter.package_name}}.models.deepfm import DeepFMConfig
from {{cookiecutter.package_name}}.models.deepfm.nnx import DeepFM, interactions

SIZES = [3, 5, 2]


def create(**options):
    """A model whose tables are not all but 0, as they are at the start."""
    config = DeepFMConfig(**{"width": 4, "layers": 2, "hidden": 8, **options})
    model = DeepFM(config, SIZES, rngs=nnx.Rngs(0))
    for i, table in enumerate((model.embedding, model.linear)):
        table.embedding[...] = nnx.initializers.normal(1.0)(nnx.Rngs(i).params(), table.embedding.shape, np.float32)
    model.eval()
    return model


def logits(model, rows):
    return np.asarray(model(np.array(rows, np.int32)))


def test_interactions_are_the_dot_products_of_all_pairs():
    vectors = np.random.default_rng(0).normal(size=(6, 5, 3))
    pairs = itertools.combinations(range(5), 2)
    expected = sum((vectors[:, i] * vectors[:, j]).sum(-1) for i, j in pairs)
    assert interactions(vectors) == pytest.approx(expected, rel=1e-5)


def test_a_logit_is_the_sum_of_its_parts():
    model, rows = create(), np.array([[2, 4, 1], [0, 0, 0]])
    offsets = [0, 3, 8]
    table, linear = (np.asarray(part.embedding[...]) for part in (model.embedding, model.linear))
    vectors, x = table[rows + offsets], table[rows + offsets].reshape(2, -1)
    for layer in model.hidden:
        x = nnx.relu(layer(x))
    deep = np.asarray(model.output(x))[:, 0]
    expected = linear[rows + offsets].sum((1, 2)) + deep
    expected += sum((vectors[:, i] * vectors[:, j]).sum(-1) for i, j in itertools.combinations(range(3), 2))
    assert logits(model, rows) == pytest.approx(expected, rel=1e-4)


def test_what_training_has_not_seen_has_the_mean_of_the_values_of_its_field():
    rows, offsets = [[3, 4, 2], [0, 5, 1]], np.array([0, 3, 8])
    for table in (create().embedding, create().linear):
        weight, found = np.asarray(table.embedding[...]), np.asarray(table(np.array(rows, np.int32)))
        means = [part.mean(0) for part in np.split(weight, offsets[1:])]
        assert found[0] == pytest.approx(np.stack([means[0], weight[7], means[2]]), rel=1e-5)
        assert found[1] == pytest.approx(np.stack([weight[0], means[1], weight[9]]), rel=1e-5)


def test_it_begins_with_small_embeddings_and_no_linear_weights():
    model = DeepFM(DeepFMConfig(width=16), [5000], rngs=nnx.Rngs(0))
    assert model.embedding.embedding.std().item() == pytest.approx(0.01, rel=0.05)
    assert not model.linear.embedding.any()
