"""Both halves of language modelling have the same weights."""

import pytest
from conftest import small
from parity import assert_weights_go_across_and_back

TASK = "language_modeling"


@pytest.mark.parametrize("bias", ["true", "false"])
def test_weights_go_across_and_back(bias):
    assert_weights_go_across_and_back(TASK, *small(TASK), f"--model.bias={bias}")
