"""When what happens: the learning rates, and the plan of a run."""

import dataclasses
import itertools
import math

import pytest

from {{cookiecutter.package_name}}.engine.config import OptimizerConfig
from {{cookiecutter.package_name}}.engine.errors import InputError
from {{cookiecutter.package_name}}.engine.registry import check, frameworks, load_config
from {{cookiecutter.package_name}}.engine.schedule import Plan, learning_rate, schedule_steps

EVENTS = Plan(total_steps=50, steps_per_epoch=9, val_every=7, log_every=4, checkpoint_every=10)


def rates(schedule, steps, warmup=0, end=None, peak=1.0):
    optimizer = OptimizerConfig(schedule=schedule, warmup_steps=warmup, learning_rate=peak)
    return [learning_rate(step, optimizer, end or steps) for step in range(steps)]


def plan(*options, steps_per_epoch=10, start=0):
    """A run's plan; two epochs of ten steps but for the options."""
    return Plan.of(load_config("", ["--trainer.epochs=2", *options]), steps_per_epoch, start, overfit_steps=77)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "inverse_sqrt"])
def test_warm_up_rises_in_equal_parts_to_the_peak(schedule):
    assert rates(schedule, 40, warmup=4)[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "inverse_sqrt"])
def test_warm_up_takes_a_tenth_of_the_schedule_at_most(schedule):
    assert rates(schedule, 40, warmup=50) == rates(schedule, 40, warmup=4)
    assert rates(schedule, 9, warmup=50) == rates(schedule, 9)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "inverse_sqrt"])
def test_without_warm_up_the_first_update_has_the_peak(schedule):
    assert rates(schedule, 20)[0] == 1.0


def test_constant_stays_at_the_peak():
    assert set(rates("constant", 40, warmup=4)[4:]) == {1.0}


def test_linear_falls_in_equal_parts_to_zero():
    assert rates("linear", 20, warmup=2)[2:] == pytest.approx([1 - i / 18 for i in range(18)])


def test_cosine_falls_along_half_a_cosine():
    assert rates("cosine", 20, warmup=2)[2:] == pytest.approx([(1 + math.cos(math.pi * i / 18)) / 2 for i in range(18)])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_after_the_end_of_its_schedule_the_rate_is_zero(schedule):
    assert rates(schedule, 25, warmup=2, end=20)[20:] == pytest.approx([0.0] * 5)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_may_end_above_zero(schedule):
    optimizer = OptimizerConfig(schedule=schedule, learning_rate=1.0, min_learning_rate=0.1)
    assert [learning_rate(step, optimizer, 100) for step in (0, 50, 100, 150)] == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_a_schedule_that_ends_above_its_peak_is_refused():
    with pytest.raises(InputError, match="optimizer.min_learning_rate = 0.5 is above the peak"):
        options = {"framework": list(frameworks())[0], "optimizer.learning_rate": 0.1}
        check(load_config("", {**options, "optimizer.min_learning_rate": 0.5}))


def test_inverse_sqrt_falls_with_the_root_of_the_step():
    expected = [math.sqrt(4 / step) for step in range(4, 65, 4)]
    assert rates("inverse_sqrt", 64, warmup=4)[3::4] == pytest.approx(expected)


def test_inverse_sqrt_does_not_depend_on_the_end():
    assert rates("inverse_sqrt", 40, warmup=4, end=40) == rates("inverse_sqrt", 40, warmup=4, end=1000)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "inverse_sqrt"])
def test_the_rate_is_proportional_to_its_peak(schedule):
    assert rates(schedule, 30, warmup=3, peak=0.02) == pytest.approx([0.02 * rate for rate in rates(schedule, 30, 3)])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "inverse_sqrt"])
def test_the_rate_is_never_above_its_peak_nor_below_zero(schedule):
    assert all(0.0 <= rate <= 1.0 for warmup in (0, 1, 5, 20) for rate in rates(schedule, 20, warmup))


def test_a_run_is_as_long_as_its_epochs():
    assert plan().total_steps == 20


def test_a_run_ends_with_max_steps_where_that_comes_first():
    assert plan("--trainer.max_steps=7").total_steps == 7


def test_a_run_ends_with_its_epochs_where_these_come_first():
    assert plan("--trainer.max_steps=70").total_steps == 20


def test_without_epochs_a_run_ends_with_max_steps():
    assert plan("--trainer.epochs=0", "--trainer.max_steps=70").total_steps == 70


def test_a_run_without_an_end_is_refused():
    with pytest.raises(InputError, match="trainer.epochs = 0 and trainer.max_steps = 0.*set one of them"):
        plan("--trainer.epochs=0", "--trainer.max_steps=0")


def test_steps_of_a_run_from_another_state_count_on():
    assert plan(start=100).total_steps == 120


@pytest.mark.parametrize("key", ["val_every", "log_every", "checkpoint_every"])
def test_an_interval_of_zero_is_an_epoch(key):
    assert getattr(plan(f"--trainer.{key}=0"), key) == 10


@pytest.mark.parametrize("key", ["val_every", "log_every", "checkpoint_every"])
def test_an_interval_is_as_configured(key):
    assert getattr(plan(f"--trainer.{key}=3"), key) == 3


@pytest.mark.parametrize("event, every", [("validates", 7), ("logs", 4), ("saves", 10)])
def test_an_event_comes_at_its_interval_and_at_the_end(event, every):
    steps = [step for step in range(1, 51) if getattr(EVENTS, event)(step)]
    assert steps == sorted({*range(every, 51, every), 50})


def calls(events, start, wanted):
    """(step, how many) of each call to the end."""
    return list(itertools.takewhile(lambda call: call[0] < events.total_steps, events.calls(start, wanted)))


@pytest.mark.parametrize("wanted", [1, 2, 3, 5, 100])
def test_no_call_crosses_an_event(wanted):
    for step, count in calls(EVENTS, 0, wanted):
        crossed = range(step + 1, step + count)
        assert not any(EVENTS.validates(at) or EVENTS.logs(at) or EVENTS.saves(at) for at in crossed)


@pytest.mark.parametrize("wanted", [1, 2, 3, 5, 100])
def test_calls_take_every_step_once_and_only_two_numbers_of_steps(wanted):
    found = calls(EVENTS, 3, wanted)
    assert [at for step, count in found for at in range(step, step + count)] == list(range(3, EVENTS.total_steps))
    assert {count for _, count in found} <= {1, wanted}


def test_no_call_crosses_an_end_of_the_profile():
    traced = dataclasses.replace(plan("--debug=profile"), profile=range(9, 14))
    starts = [step for step, _ in calls(traced, 0, 2)]
    assert {9, 14} <= {*starts}


def test_debug_profile_traces_some_steps_after_the_first():
    traced = plan("--debug=profile")
    assert 0 < traced.profile.start < traced.profile.stop < traced.total_steps


def test_debug_overfit_takes_the_steps_of_the_task():
    assert plan("--debug=overfit").total_steps == 77


def test_debug_fast_is_three_steps_and_two_batches_of_evaluation():
    fast = plan("--debug=fast")
    assert (fast.total_steps, fast.eval_batches) == (3, 2)


def test_debug_fast_validates_logs_and_saves_on_its_way():
    fast = plan("--debug=fast")
    assert all(any(event(step) for step in (1, 2)) for event in (fast.validates, fast.logs, fast.saves))


def test_a_schedule_ends_with_the_run():
    config = load_config("", ["--optimizer.schedule_steps=0"])
    assert schedule_steps(config, EVENTS) == 50


def test_a_schedule_ends_where_it_is_told_to():
    config = load_config("", ["--optimizer.schedule_steps=1000"])
    assert schedule_steps(config, EVENTS) == 1000


def test_a_batch_that_does_not_divide_into_micro_batches_is_refused(framework):
    options = ["--framework", framework, "--accelerator=cpu", "--data.batch_size=64", "--trainer.accumulate=3"]
    with pytest.raises(InputError, match="data.batch_size = 64 is not divisible by trainer.accumulate = 3"):
        check(load_config("", options))
