"""What both trainers promise, whatever the framework: exact resume, the rhythm of a run, how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from {{cookiecutter.package_name}} import trainers
from {{cookiecutter.package_name}}.errors import RunError
from {{cookiecutter.package_name}}.run import read_config, read_record, read_result
from {{cookiecutter.package_name}}.trainers import session, workflow

FRAMEWORKS = list(trainers.frameworks())
SMALL = ("--model.name=mlp", "--model.hidden=16", "--data.batch_size=128", "--accelerator=cpu")
# Ten steps an epoch, and nothing falls together: validations at 4, 8, ..., checkpoints at 3, 6, ..., epochs at 10, 20.
BUSY = (*SMALL, "--trainer.max_steps=22", "--trainer.epochs=0", "--trainer.val_every=4", "--trainer.checkpoint_every=3")
BUSY += ("--trainer.log_every=1", "--trainer.accumulate=2", "--model.dropout=0.3", "--data.shift=1")


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return request.param


def config(framework, *options):
    return trainers.load_config("image_classification", ["--framework", framework, *SMALL, *options])


def history(folder):
    """Every logged value but those that measure time and memory."""
    measured = ("train/steps_per_second", "train/examples_per_second", "train/memory_bytes")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{tag: value for tag, value in line.items() if tag not in measured} for line in lines]


def steps_with(folder, tag):
    return [line["step"] for line in history(folder) if tag in line]


class PowerCut(Exception):
    pass


def cut_power(monkeypatch, at):
    """The process dies after the update that leads to step `at`, before anything that is due there."""
    advance = session.Progress.advance

    def advance_and_die(self, steps):
        advance(self, steps)
        if self.step == at:
            raise PowerCut

    monkeypatch.setattr(session.Progress, "advance", advance_and_die)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The history of a whole run, by framework."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    return {name: history(workflow.train(config(name, *BUSY, f"--run_dir={folder}"))) for name in FRAMEWORKS}


@pytest.mark.parametrize("at", [2, 12, 22])
def test_an_interrupted_run_ends_as_if_it_had_not_been(project, framework, uninterrupted, monkeypatch, at):
    with monkeypatch.context() as patch:
        cut_power(patch, at)
        with pytest.raises(PowerCut):
            workflow.train(config(framework, *BUSY))
    folder = workflow.train(config(framework, *BUSY))
    assert folder.name == "001"
    assert history(folder) == uninterrupted[framework]


def test_a_run_can_be_interrupted_often(project, framework, uninterrupted, monkeypatch):
    for at in (4, 5, 9, 17):
        with monkeypatch.context() as patch:
            cut_power(patch, at)
            with pytest.raises(PowerCut):
                workflow.train(config(framework, *BUSY))
    assert history(workflow.train(config(framework, *BUSY))) == uninterrupted[framework]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_state_and_ends_the_run(project, framework, number, code):
    command = [sys.executable, "-m", workflow.__name__.partition(".")[0], "train", "--framework", framework]
    command += [*SMALL, "--trainer.epochs=2000", "--trainer.log_every=10", "--trainer.val_every=100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    metrics = Path("runs/image_classification/default", framework, "001/metrics.jsonl")
    while process.poll() is None and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    record = read_record(metrics.parent)
    assert f"step {record.step} is saved" in errors
    assert record.last


def test_what_happens_when_follows_the_config(project, framework):
    folder = workflow.train(config(framework, *BUSY))
    assert steps_with(folder, "train/loss") == list(range(1, 23))
    assert steps_with(folder, "val/loss") == [4, 8, 12, 16, 20, 22]
    assert steps_with(folder, "test/loss") == [22]
    assert read_record(folder).step == 22


def test_zero_means_once_an_epoch(project, framework):
    folder = workflow.train(config(framework, "--trainer.epochs=2", "--trainer.log_every=0"))
    assert steps_with(folder, "train/loss") == steps_with(folder, "val/loss") == [10, 20]
    assert read_result(folder)["epochs"] == 2


def test_training_stops_when_validation_no_longer_gets_better(project, framework, monkeypatch):
    values = iter([0.5, 0.7, 0.6, 0.65, 0.9])
    validated = session.Session.validated
    monkeypatch.setattr(session.Session, "validated", lambda self, m: validated(self, {**m, "accuracy": next(values)}))
    folder = workflow.train(config(framework, "--trainer.epochs=5", "--trainer.patience=2"))
    record = read_record(folder)
    assert (record.step, record.best_step) == (40, 20)
    assert read_result(folder)["checkpoints"]["best"].startswith("00000020")


def test_the_test_is_of_the_best_checkpoint(project, framework, monkeypatch):
    values = iter([0.9, 0.1])
    validated = session.Session.validated
    monkeypatch.setattr(session.Session, "validated", lambda self, m: validated(self, {**m, "accuracy": next(values)}))
    folder = workflow.train(config(framework, "--trainer.epochs=2"))
    saved = trainers.load_config(saved=read_config(folder))
    best, last = (workflow.evaluate(folder, saved, checkpoint) for checkpoint in ("best", "last"))
    assert {tag: read_result(folder)["metrics"][tag] for tag in best} == best != last


def test_a_loss_that_is_not_finite_fails_the_run(project, framework):
    with pytest.raises(RunError, match=r"train/loss is (nan|inf) at step \d+: lower optimizer.learning_rate"):
        diverging = ("--optimizer.name=sgd", "--optimizer.learning_rate=1e30", "--trainer.log_every=1")
        workflow.train(config(framework, *diverging))


def test_debug_fast_runs_everything_in_three_steps(project, framework):
    folder = workflow.train(config(framework, "--debug=fast"))
    assert read_result(folder)["steps"] == 3
    assert steps_with(folder, "val/loss") == [2, 3]


WAYS = ["--optimizer.name=sgd", "--accelerator.precision=bfloat16", "--optimizer.clip_norm=0.1"]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_train_learns(project, framework, way):
    folder = workflow.train(config(framework, "--trainer.epochs=3", "--optimizer.learning_rate=0.02", way))
    losses = [line["val/loss"] for line in history(folder) if "val/loss" in line]
    assert losses[-1] < losses[0]


def test_a_run_carries_on_the_state_of_another(project, framework):
    first = workflow.train(config(framework, "--trainer.epochs=1", "--name=first"))
    options = ("--trainer.epochs=1", "--name=second", f"--resume={first}", "--optimizer.learning_rate=0.5")
    folder = workflow.train(config(framework, *options))
    assert steps_with(folder, "train/loss") == [20]
    [logged] = [line for line in history(folder) if "train/loss" in line]
    assert logged["train/learning_rate"] > 0.1  # the config's, not the one that came with the state
    assert read_result(folder)["parent"] == str(first)


def test_accumulation_changes_no_loss(project, framework):
    runs = []
    for pieces in (1, 4):
        options = ("--trainer.epochs=1", "--trainer.log_every=1", "--accelerator.precision=float64")
        options += ("--model.dropout=0", f"--trainer.accumulate={pieces}", f"--name={pieces}")
        folder = workflow.train(config(framework, *options))
        runs.append([line["train/loss"] for line in history(folder) if "train/loss" in line])
    assert runs[0] == pytest.approx(runs[1], rel=1e-12)
