"""Both halves of translation are the same algorithm, also with normalization in front."""

from conftest import small
from parity import assert_gradients_agree, assert_weights_go_across_and_back

TASK = "translation"
PRE_NORM = "--model.pre_norm=true"


def test_outputs_and_gradients_are_the_same_with_normalization_in_front():
    assert_gradients_agree(TASK, *small(TASK), PRE_NORM)


def test_weights_with_normalization_in_front_go_across_and_back():
    assert_weights_go_across_and_back(TASK, *small(TASK), PRE_NORM)
