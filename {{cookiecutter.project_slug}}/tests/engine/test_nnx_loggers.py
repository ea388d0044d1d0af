"""Loggers of one's own in extensions/nnx.py get what the run logs; those of CONTRIBUTING.md, without a network."""

import pytest
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


def test_weights_and_biases_has_what_the_run_has(project, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")

    def loggers(config):
        run = wandb.init(project=config.task, name=config.name or None, dir=project)
        return [lambda step, values: run.log(dict(values), step)]

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr(extensions, "loggers", loggers)
    run = train(load_config(TASK, [*small(TASK), *steps(2), "--framework=nnx"]))
    wandb.finish()
    wandb.teardown()  # all is written then
    [kept] = project.glob("wandb/offline-run-*/*.wandb")
    content = kept.read_bytes()
    logged = [(tag, value) for line in history(run) for tag, value in line.items() if "/" in tag]
    assert [one for one in logged if not all(str(part).encode() in content for part in one)] == []


# MLflow takes what SQLAlchemy has deprecated.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
def test_mlflow_has_what_the_run_has(project, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    store = f"sqlite:///{project}/mlflow.db"  # a process keeps what it has opened by its name

    def loggers(config):
        mlflow.set_experiment(config.task)
        mlflow.start_run(run_name=config.name or None)
        return [lambda step, values: mlflow.log_metrics(dict(values), step)]

    mlflow.set_tracking_uri(store)
    monkeypatch.setattr(extensions, "loggers", loggers)
    run = train(load_config(TASK, [*small(TASK), *steps(2), "--framework=nnx"]))
    mlflow.end_run()
    [found] = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert found.info.status == "FINISHED"
    last = {tag: value for line in history(run) for tag, value in line.items() if "/" in tag}
    assert {tag: found.data.metrics[tag] for tag in last} == pytest.approx(last)
