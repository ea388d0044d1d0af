"""What every task promises, with the data that come with it: it learns, goes on exactly, and gives the same again.

A new task is found by its folder. `small/<task>.yaml` makes its runs small here.
"""

import json
import socket

import numpy as np
import pytest
from conftest import EACH, FRAMEWORKS, TASKS, history, small, steps, values_of

from {{cookiecutter.package_name}} import load_config, train
from {{cookiecutter.package_name}}.engine.task import find

# Validations at 3, 6 and 8.
RUN = (*steps(8), "--trainer.val_every=3", "--trainer.log_every=1", "--optimizer.learning_rate=0.01")


def config(task, framework, *options):
    return load_config(task, ["--framework", framework, *small(task), *RUN, *options])


@pytest.fixture(scope="module", params=[(task, framework) for task in TASKS for framework in FRAMEWORKS], ids="-".join)
def case(request):
    """(task, framework)."""
    return request.param


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    """A run that nothing has interrupted; to be read only."""
    return train(config(*case, f"--run_dir={tmp_path_factory.mktemp('whole')}"))


@pytest.mark.parametrize("task", TASKS)
def test_the_data_come_without_a_network_and_are_the_same_for_every_seed(task, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    one, other = (find(task).load(load_config(task, [*small(task), f"--seed={seed}"]), None) for seed in (0, 1))
    assert min(len(split) for split in (one.train, one.val, one.test)) > 0
    for split in ("train", "val", "test"):
        a, b = (getattr(data, split)[np.arange(3)] for data in (one, other))
        assert a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("task", EACH)
def test_one_batch_is_learnt_by_heart(project, task, framework):
    overfit = find(task).overfit
    rate = ["--optimizer.learning_rate=0.003"] if task == "object_detection" else []  # of which 0.01 is too much
    folder = train(config(task, framework, "--data.batch_size=16", "--debug=overfit", *rate))
    *_, last = values_of(folder, "train/loss").items()
    assert last[0] == overfit.steps and last[1] < overfit.loss


def test_a_run_that_stops_goes_on_as_if_it_had_not(project, case, whole):
    for _ in range(2):  # steps, after each of which its time is over
        folder = train(config(*case, "--trainer.max_minutes=1e-9"))
        assert not (folder / "result.json").exists()
    assert train(config(*case)) == folder
    assert history(folder) == history(whole)


def test_evaluation_gives_what_training_ended_with(case, whole, cli):
    outcome = cli("evaluate", whole)
    assert outcome.code == 0, outcome.err
    metrics = json.loads((whole / "result.json").read_text())["metrics"]
    expected = [f"{tag:20} {value:.4f}" for tag, value in sorted(metrics.items()) if tag.startswith("test/")]
    assert [line for line in outcome.out.splitlines() if line.startswith("test/")] == expected


def test_the_metric_that_chooses_the_best_is_one_of_validation(case, whole):
    task, record = find(case[0]), json.loads((whole / "record.json").read_text())
    found = values_of(whole, task.monitor)
    assert list(found) == [3, 6, 8]
    assert found[record["best_step"]] == {"max": max, "min": min}[task.mode](found.values())
