"""Both halves of text classification are the same algorithm, with BERT too."""

import pytest
from parity import assert_steps_agree, assert_weights_go_across_and_back

TASK = "text_classification"
BERT = ["--model.name=bert_tiny", "--model.positions=16", "--data.length=16", "--data.vocabulary=300"]


@pytest.mark.slow
def test_a_hundred_steps_of_bert_are_the_same():
    """Of plain gradient descent: the bias of an attention's keys has no gradient, and AdamW would enlarge rounding."""
    assert_steps_agree(TASK, *BERT, count=100, examples=4)


def test_weights_of_bert_go_across_and_back():
    assert_weights_go_across_and_back(TASK, *BERT)
