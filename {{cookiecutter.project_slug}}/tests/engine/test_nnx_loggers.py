"""Loggers of one's own in extensions/nnx.py get what the run logs."""

from conftest import history, small, steps
from helpers import TASK

from {{cookiecutter.package_name}} import load_config, train
from {{cookiecutter.package_name}}.extensions import nnx as extensions


def test_a_logger_gets_every_step_that_is_logged_with_all_its_values(project, monkeypatch):
    seen = []

    def loggers(config):
        seen.append(config.task)
        return [lambda step, values: seen.append({"step": step, **values})]

    monkeypatch.setattr(extensions, "loggers", loggers)
    words = [*small(TASK), *steps(4), "--framework=nnx", "--trainer.log_every=2", "--trainer.val_every=3"]
    run = train(load_config(TASK, words))
    task, *logged = seen
    assert task == TASK
    for line, found in zip(history(run), logged, strict=True):
        assert line == {tag: found[tag] for tag in line}
