"""Both halves of click prediction are the same algorithm."""

from conftest import small
from parity import assert_runs_agree, assert_weights_go_across_and_back

TASK = "click_prediction"
OPTIONS = small(TASK)[:1]


def test_a_run_is_the_same(project):
    assert_runs_agree(TASK, *OPTIONS)


def test_weights_go_across_and_back():
    assert_weights_go_across_and_back(TASK, *OPTIONS)
