"""Examples of several shapes: each batch is of one group."""

import numpy as np
import pytest

from {{cookiecutter.package_name}}.engine.data.batches import Share, TrainBatches, eval_batches, eval_spans
from {{cookiecutter.package_name}}.engine.data.sources import Dataset
from {{cookiecutter.package_name}}.engine.errors import InputError

GROUPS = np.array([2, 0, 1, 0, 0, 2, 0, 0, 1, 0, 0, 2, 1, 0])  # 8 of the first, 3 each of the others
WHOLE = Share()


class Ragged:
    """Examples that are as long as the number of their group and one more."""

    def __init__(self, groups=GROUPS):
        self.groups = groups

    def __len__(self):
        return len(self.groups)

    def __getitem__(self, indices):
        return {"index": indices, "x": np.zeros((len(indices), self.groups[indices].max() + 1))}


def batches(batch_size=3, seed=0, share=WHOLE):
    source = Ragged()
    return TrainBatches(
        Dataset(source, source, source, {}, weights=1.0 + np.arange(len(source))), batch_size, seed, share=share
    )


def epoch(stream, number=0):
    steps = stream.steps_per_epoch
    return [stream[step] for step in range(number * steps, (number + 1) * steps)]


def test_a_batch_is_of_one_group_and_an_epoch_has_no_example_twice():
    found = epoch(batches())
    assert len(found) == 2 + 1 + 1
    assert all(len(set(GROUPS[batch["index"]])) == 1 for batch in found)
    seen = np.concatenate([batch["index"] for batch in found])
    assert len(seen) == len(set(seen)) == 12


def test_the_order_is_a_function_of_the_seed_and_the_epoch():
    orders = [
        [batch["index"].tolist() for batch in epoch(batches(seed=seed), i)]
        for seed, i in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    assert orders[0] == orders[1] and orders[0] != orders[2] and orders[0] != orders[3]


def test_groups_follow_each_other_in_random_order():
    kinds = {tuple(int(GROUPS[batch["index"][0]]) for batch in epoch(batches(), i)) for i in range(20)}
    assert len(kinds) > 5


def test_devices_and_micro_batches_share_the_same_batches():
    whole = batches(batch_size=2)
    halves = [batches(batch_size=2, share=Share(2, (part,))) for part in range(2)]
    for step in range(whole.steps_per_epoch):
        together = np.concatenate([half[step]["index"] for half in halves])
        assert together.tolist() == whole[step]["index"].tolist()
        assert whole.weight(step) == (1 + whole[step]["index"]).sum() == 2 * halves[0].weight(step)


def test_the_largest_batch_is_of_the_longest_group():
    stream = batches()
    assert stream[stream.largest()]["x"].shape == (3, 3)


@pytest.mark.parametrize("size", [2, 3, 5, 100])
def test_an_evaluation_has_every_example_once_and_each_batch_is_of_one_group(size):
    source, found = Ragged(), list(eval_batches(Ragged(), size))
    assert len(found) == len(eval_spans(source, size))
    assert all(len(batch["mask"]) == size and len(set(GROUPS[batch["index"]])) == 1 for batch in found)
    assert sorted(np.concatenate([batch["index"][batch["mask"]] for batch in found])) == list(range(len(source)))


def test_no_group_with_a_whole_batch_is_refused():
    with pytest.raises(InputError, match="data.batch_size = 9, but there are only 8 training examples of one length"):
        batches(batch_size=9)


def test_examples_of_groups_without_a_whole_batch_are_counted():
    assert batches(batch_size=4).too_few == 6 and batches(batch_size=3).too_few == 0
