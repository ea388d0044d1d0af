"""The tabular perceptron, in what both halves share."""

import numpy as np

from {{cookiecutter.package_name}}.models.tabular import TabularConfig, bin_edges, pieces


def test_a_categorys_vectors_are_half_as_wide_as_there_are_categories_up_to_a_limit():
    assert TabularConfig("mlp", embedding=16).widths([1, 2, 5, 31, 1000]) == [1, 1, 3, 16, 16]


def test_bins_hold_about_as_many_rows_each_and_are_fewer_where_values_repeat():
    rng = np.random.default_rng(0)
    numbers = np.stack([rng.exponential(size=1000), np.arange(1000) % 2, np.zeros(1000)], 1).astype(np.float32)
    first, second, third = bin_edges(numbers, 10)
    counts, _ = np.histogram(numbers[:, 0], first)
    assert len(counts) == 10
    assert set(counts) <= {99, 100, 101}
    assert (second, third) == ([0.0, 1.0], [0.0])


def test_pieces_are_those_of_each_bin_and_the_outer_ones_go_on():
    found = pieces([[0.0, 1.0, 3.0], [5.0], [-1.0, 1.0]])
    assert found.columns.tolist() == [0, 0, 2]
    assert found.starts.tolist() == [0.0, 1.0, -1.0]
    assert found.widths.tolist() == [1.0, 2.0, 2.0]
    assert found.lowest.tolist() == [-np.inf, 0.0, -np.inf]
    assert found.highest.tolist() == [1.0, np.inf, np.inf]
