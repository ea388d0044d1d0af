"""Both halves of regression are the same algorithm."""

from parity import assert_runs_agree, assert_weights_go_across_and_back

TASK = "regression"


def test_a_run_is_the_same(project):
    assert_runs_agree(TASK)


def test_weights_go_across_and_back():
    assert_weights_go_across_and_back(TASK)
