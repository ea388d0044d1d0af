"""Both halves of text classification are the same algorithm, for each kind of model."""

import pytest
from parity import assert_runs_agree, assert_steps_agree, assert_weights_go_across_and_back

TASK = "text_classification"
FASTTEXT = ["--model.buckets=500", "--model.width=8", "--data.length=40"]
BERT = ["--model.name=bert_tiny", "--model.positions=16", "--data.length=16", "--data.vocabulary=300"]


def test_a_run_of_fasttext_is_the_same(project):
    assert_runs_agree(TASK, *FASTTEXT, "--data.batch_size=32")


def test_a_hundred_steps_of_bert_are_the_same():
    """Of plain gradient descent: the bias of an attention's keys has no gradient, and AdamW would enlarge rounding."""
    assert_steps_agree(TASK, *BERT, count=100, examples=4)


@pytest.mark.parametrize("options", [FASTTEXT, BERT])
def test_weights_go_across_and_back(options):
    assert_weights_go_across_and_back(TASK, *options)
