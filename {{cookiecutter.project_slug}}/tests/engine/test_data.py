"""Sources and batches: what every dataset is made of."""

import dataclasses
import itertools
import threading

import numpy as np
import pytest

from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches, ahead, eval_batches, make_batch
from {{cookiecutter.package_name}}.engine.data.sources import Arrays, Dataset
from {{cookiecutter.package_name}}.engine.errors import InputError

NUMBERS = Arrays(x=np.arange(10), y=np.arange(20, dtype=np.int32).reshape(10, 2))


PLAIN = Dataset(NUMBERS, NUMBERS, NUMBERS, {})


def jitter(batch):
    noise = batch["noise"]
    return {"x": batch["x"] + noise, "y": batch["y"]}


JITTERED = dataclasses.replace(PLAIN, draw=lambda rng, n: {"noise": rng.random(n)}, augment=jitter)


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def drawn(batches, epoch):
    """The examples of an epoch, in their order."""
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    return np.concatenate([batches[step]["x"] for step in steps]).tolist()


def test_a_batch_depends_on_seed_and_step_alone():
    straight, crooked = (TrainBatches(JITTERED, 3, 7) for _ in range(2))
    forwards = [straight[step] for step in range(9)]
    backwards = [crooked[step] for step in reversed(range(9))]
    assert all(same(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))


def test_another_seed_gives_another_order():
    assert drawn(TrainBatches(PLAIN, 2, 0), 0) != drawn(TrainBatches(PLAIN, 2, 1), 0)


def test_seed_zero_is_a_seed_like_others():
    assert drawn(TrainBatches(PLAIN, 2, 0), 0) != NUMBERS.arrays["x"].tolist()


@pytest.mark.parametrize("epoch", range(4))
def test_an_epoch_shows_every_example_once(epoch):
    assert sorted(drawn(TrainBatches(PLAIN, 2, 0), epoch)) == list(range(10))


@pytest.mark.parametrize("epoch", range(4))
def test_an_epoch_shows_no_example_twice_where_its_last_batch_is_partial(epoch):
    assert len(set(drawn(TrainBatches(PLAIN, 3, 0), epoch))) == 9


def test_the_last_partial_batch_of_an_epoch_is_dropped():
    batches = TrainBatches(PLAIN, 3, 0)
    assert batches.steps_per_epoch == 3
    assert [len(batches[step]["x"]) for step in range(7)] == [3] * 7


def test_what_is_dropped_differs_from_epoch_to_epoch():
    batches = TrainBatches(PLAIN, 3, 0)
    assert len({frozenset(drawn(batches, epoch)) for epoch in range(5)}) > 1


def test_each_epoch_is_shuffled_anew():
    batches = TrainBatches(PLAIN, 2, 0)
    assert len({tuple(drawn(batches, epoch)) for epoch in range(5)}) == 5


def test_the_arrays_of_a_batch_belong_together():
    batch = TrainBatches(PLAIN, 5, 0)[1]
    assert np.array_equal(batch["y"][:, 0], 2 * batch["x"])


def test_a_batch_may_hold_every_example():
    assert TrainBatches(PLAIN, 10, 0).steps_per_epoch == 1


def test_fewer_examples_than_a_batch_is_an_error():
    with pytest.raises(InputError, match="data.batch_size = 11, but there are only 10 training examples: lower it"):
        TrainBatches(PLAIN, 11, 0)


def test_an_augmentation_depends_on_the_seed():
    a, b = (TrainBatches(JITTERED, 10, seed)[0]["x"] % 1 for seed in (0, 1))
    assert not np.array_equal(a, b)


def test_an_augmentation_differs_from_step_to_step():
    batches = TrainBatches(JITTERED, 2, 0)
    assert len({tuple(batches[step]["x"] % 1) for step in range(10)}) == 10


def test_an_augmentation_does_not_change_the_order():
    plain, changed = TrainBatches(PLAIN, 3, 5), TrainBatches(JITTERED, 3, 5)
    assert all(np.array_equal(plain[step]["x"], changed[step]["x"] // 1) for step in range(8))


def test_an_augmentation_does_not_reach_the_source():
    def blank(batch):
        batch["x"][:] = 0
        return batch

    numbers = Arrays(x=np.arange(10))
    TrainBatches(Dataset(numbers, numbers, numbers, {}, augment=blank), 5, 0)[0]
    assert numbers.arrays["x"].tolist() == list(range(10))


def test_data_on_a_device_are_sent_as_indices_and_random_numbers():
    batch = TrainBatches(JITTERED, 3, 0, on_device=True)[0]
    assert {name: value.shape for name, value in batch.items()} == {"index": (3,), "noise": (3,)}


def test_of_indices_and_random_numbers_the_same_batch_is_made():
    there, here = TrainBatches(JITTERED, 3, 0, on_device=True), TrainBatches(JITTERED, 3, 0)
    assert all(same(make_batch(there[step], jitter, there.resident), here[step]) for step in range(8))


def test_data_that_do_not_lie_in_memory_are_not_kept_on_a_device():
    class Files:
        def __len__(self):
            return 10

    with pytest.raises(InputError, match="data.on_device = true: .* set it to false"):
        TrainBatches(dataclasses.replace(PLAIN, train=Files()), 3, 0, on_device=True)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_reading_ahead_keeps_the_order(workers):
    assert list(ahead(lambda x: x * x, range(20), workers)) == [x * x for x in range(20)]


def test_reading_ahead_of_an_endless_stream_reads_no_further_than_there_are_workers():
    read = []
    stream = ahead(lambda x: read.append(x) or x, itertools.count(), 3)
    assert [next(stream) for _ in range(5)] == list(range(5))
    stream.close()
    assert set(range(5)) <= set(read) <= set(range(5 + 3))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_while_reading_ahead_comes_in_its_place(workers):
    stream = ahead(lambda x: 1 // (3 - x), range(10), workers)
    assert [next(stream) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_readers_are_parallel():
    both = threading.Barrier(2, timeout=10)
    assert list(ahead(lambda x: both.wait() * 0 + x, range(2), 2)) == [0, 1]  # one alone would wait for ever


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_stack_is_the_batches_of_its_steps(count):
    batches = TrainBatches(JITTERED, 3, 0)
    stacked = batches.stack(2, count)
    pieces = [{name: value[i] for name, value in stacked.items()} for i in range(count)]
    assert all(same(piece, batches[2 + i]) for i, piece in enumerate(pieces))


@pytest.mark.parametrize("batch_size", [1, 3, 5, 10, 16])
def test_evaluation_shows_every_example_once_in_order(batch_size):
    shown = np.concatenate([batch["x"][batch["mask"]] for batch in eval_batches(NUMBERS, batch_size)])
    assert shown.tolist() == list(range(10))


@pytest.mark.parametrize("batch_size", [1, 3, 5, 10, 16])
def test_every_batch_of_evaluation_has_the_full_shape(batch_size):
    shapes = {tuple(value.shape for value in batch.values()) for batch in eval_batches(NUMBERS, batch_size)}
    assert shapes == {((batch_size,), (batch_size, 2), (batch_size,))}


def test_the_padding_of_evaluation_is_masked():
    *_, last = eval_batches(NUMBERS, 4)
    assert last["mask"].tolist() == [True, True, False, False]


def test_evaluation_can_be_limited_to_some_batches():
    assert len(list(eval_batches(NUMBERS, 3, limit=2))) == 2


def test_evaluation_of_nothing_has_no_batches():
    assert list(eval_batches(Arrays(x=np.arange(0)), 3)) == []


def test_a_split_gives_every_example_to_one_side():
    rest, part = NUMBERS.split(0.3)
    assert len(part) == 3
    assert sorted([*rest.arrays["x"], *part.arrays["x"]]) == list(range(10))


def test_a_split_is_the_same_each_time():
    assert same(NUMBERS.split(0.3)[1].arrays, NUMBERS.split(0.3)[1].arrays)


def test_a_split_is_random():
    numbers = Arrays(x=np.arange(1000))
    assert 400 < numbers.split(0.5)[1].arrays["x"].mean() < 600


def test_a_split_keeps_the_arrays_of_an_example_together():
    for part in NUMBERS.split(0.5):
        assert np.array_equal(part.arrays["y"][:, 0], 2 * part.arrays["x"])


def test_a_split_by_nothing_is_empty():
    rest, part = NUMBERS.split(0.0)
    assert (len(rest), len(part)) == (10, 0)
