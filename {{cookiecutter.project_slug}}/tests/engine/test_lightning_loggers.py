"""Loggers of CONTRIBUTING.md in extensions/lightning.py get what the run logs, without a network."""

import pytest
from conftest import history, small, steps
from helpers import TASK

from {{cookiecutter.package_name}} import load_config, train
from {{cookiecutter.package_name}}.extensions import lightning as extensions


def test_weights_and_biases_has_what_the_run_has(project, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    from lightning.pytorch.loggers import WandbLogger

    def loggers(config):
        return [WandbLogger(project=config.task, name=config.name or None, save_dir=project)]

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr(extensions, "loggers", loggers)
    run = train(load_config(TASK, [*small(TASK), *steps(2), "--framework=lightning"]))
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
    from lightning.pytorch.loggers import MLFlowLogger

    def loggers(config):
        return [MLFlowLogger(config.task, run_name=config.name or None, tracking_uri=store)]

    mlflow.set_tracking_uri(store)
    monkeypatch.setattr(extensions, "loggers", loggers)
    run = train(load_config(TASK, [*small(TASK), *steps(2), "--framework=lightning"]))
    [found] = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert found.info.status == "FINISHED"
    last = {tag: value for line in history(run) for tag, value in line.items() if "/" in tag}
    assert {tag: found.data.metrics[tag] for tag in last} == pytest.approx(last)
