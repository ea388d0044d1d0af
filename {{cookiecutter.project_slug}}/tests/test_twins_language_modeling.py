"""Both halves of language modelling are the same algorithm, step for step."""

import pytest
from conftest import small
from parity import assert_runs_agree, assert_weights_go_across_and_back

TASK = "language_modeling"
# Every size of the model is the same code with other numbers.
TINY = (*small(TASK), "--model.width=8", "--model.context=32", "--data.batch_size=8")
TINY += ("--data.val_fraction=0.01", "--data.test_fraction=0.01")


def test_a_run_is_the_same(project):
    assert_runs_agree(TASK, *TINY)


@pytest.mark.parametrize("bias", ["true", "false"])
def test_weights_go_across_and_back(bias):
    assert_weights_go_across_and_back(TASK, *TINY, f"--model.bias={bias}")
