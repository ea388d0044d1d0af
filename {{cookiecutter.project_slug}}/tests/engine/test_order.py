"""The order of very many examples: a permutation that is computed index by index."""

import numpy as np
import pytest

from {{cookiecutter.package_name}}.engine.data import batches
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches, shuffled_index
from {{cookiecutter.package_name}}.engine.data.sources import Arrays, Dataset


def shuffled(n, seed=0):
    return shuffled_index(np.random.default_rng(seed), n)(np.arange(n))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 1000, 4097])
def test_it_is_a_permutation(n):
    assert np.array_equal(np.sort(shuffled(n)), np.arange(n))


def test_it_looks_random():
    n = 20_000
    order = shuffled(n)
    assert abs(np.corrcoef(order, np.arange(n))[0, 1]) < 0.03
    assert np.abs(np.diff(order)).mean() == pytest.approx(n / 3, rel=0.03)
    assert (order == np.arange(n)).sum() < 10


def test_it_depends_on_the_generator():
    assert not np.array_equal(shuffled(1000), shuffled(1000, seed=1))
    assert np.array_equal(shuffled(1000), shuffled(1000))


def test_it_is_the_same_for_any_part():
    order = shuffled_index(np.random.default_rng(0), 45_000_000)
    whole = order(np.arange(1000))
    assert np.array_equal(order(np.arange(400, 450)), whole[400:450])
    assert len(set(whole.tolist())) == 1000 and whole.max() > 40_000_000


def test_batches_of_very_many_examples_show_every_one_once(monkeypatch):
    monkeypatch.setattr(batches, "LARGEST_PERMUTATION", 10)
    source = Arrays(x=np.arange(60))
    stream = TrainBatches(Dataset(source, source, source, {}), 6, seed=0)
    epochs = [np.concatenate([stream[step]["x"] for step in range(10 * i, 10 * i + 10)]) for i in range(2)]
    assert all(np.array_equal(np.sort(epoch), np.arange(60)) for epoch in epochs)
    assert not np.array_equal(*epochs)
