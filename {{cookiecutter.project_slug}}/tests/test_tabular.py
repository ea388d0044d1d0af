"""The tabular perceptron, in what both halves share."""

from {{cookiecutter.package_name}}.models.tabular import TabularConfig


def test_a_categorys_vectors_are_half_as_wide_as_there_are_categories_up_to_a_limit():
    assert TabularConfig("mlp", embedding=16).widths([1, 2, 5, 31, 1000]) == [1, 1, 3, 16, 16]
