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
        return [WandbLogger(project=config.task, name=config.name, save_dir=project)]

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


def test_mlflow_has_what_the_run_has(project, monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    from lightning.pytorch.loggers import MLFlowLogger

    def loggers(config):
        return [MLFlowLogger(config.task, run_name=config.name, tracking_uri=(project / "mlruns").as_uri())]

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setattr(extensions, "loggers", loggers)
    run = train(load_config(TASK, [*small(TASK), *steps(2), "--framework=lightning"]))
    for line in history(run):
        for tag in filter(lambda name: "/" in name, line):
            [kept] = project.glob(f"mlruns/*/*/metrics/{tag}")
            steps_of = [row.split()[2] for row in kept.read_text().splitlines()]
            assert str(line["step"]) in steps_of
