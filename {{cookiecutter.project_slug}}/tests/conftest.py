"""What the tests share: a folder of their own to run in, the commands, the project's frameworks and tasks."""

import contextlib
import csv
import dataclasses
import io
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from {{cookiecutter.package_name}} import load_config, train
from {{cookiecutter.package_name}}.engine import registry
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.commands import main
from {{cookiecutter.package_name}}.engine.data import files
from {{cookiecutter.package_name}}.engine.data.batches import TrainBatches
from {{cookiecutter.package_name}}.engine.data.sources import Arrays
from {{cookiecutter.package_name}}.engine.folder import plain_values, read_config, read_record

FRAMEWORKS = list(registry.frameworks())
TASKS = tasks.names()
# For what takes a minute and more of a detector, which its own tests show, too.
EACH = [pytest.param(task, marks=[pytest.mark.slow] * (task == "object_detection")) for task in TASKS]

# What a preset may set and tests do not expect: events at steps of its own, and what changes a step's arithmetic.
PLAIN = [f"--trainer.{key}=0" for key in ("val_every", "checkpoint_every", "patience", "max_minutes")]
PLAIN += [f"--optimizer.{key}=0" for key in ("warmup_steps", "min_learning_rate", "clip_norm", "ema_decay")]
PLAIN += ["--trainer.accumulate=1", "--optimizer.schedule=constant"]

pytest.register_assert_rewrite("helpers", "parity", "exporting")  # in tests/engine, where the project has it


def small(task):
    """Options with which a task's runs are small and short: those of its file in `small/`, on the CPU.

    Options of the form `--a.b value` win over the file; of two that are the same the last wins.
    """
    return f"--config={Path(__file__).parent / 'small' / task}.yaml", "--accelerator=cpu", *PLAIN


def steps(count):
    """Options for a run of so many steps."""
    return f"--trainer.max_steps={count}", "--trainer.epochs=0"


def history(folder):
    """What a run has logged by itself, without what measures time and memory: callbacks may log other tags beside."""
    measured = ("train/steps_per_second", "train/examples_per_second", "train/memory_bytes")
    own = ("train/", "val/", "test/")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = [{tag: line[tag] for tag in line if tag.startswith(own) and tag not in measured} for line in lines]
    return [{"step": line["step"], **tags} for line, tags in zip(lines, found, strict=True) if tags]


def filled_up(source):
    """(five examples of a source, the same as the whole of a batch that is filled up with others)."""
    rows = {name: value for name, value in source[np.arange(8)].items() if value.dtype != object}
    return {name: value[:5] for name, value in rows.items()}, {**rows, "mask": np.arange(8) < 5}


def values_of(folder, tag):
    """A tag's logged values, by step."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line[tag] for line in lines if tag in line}


def metrics_of(folder):
    """What a finished run's `result.json` says of the best checkpoint."""
    return json.loads((folder / "result.json").read_text())["metrics"]


def everything(source):
    """All examples of a source as one batch."""
    return source[np.arange(len(source))]


def write_csv(path, rows):
    """Writes mappings of columns to values."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def without_dropout(settings):
    """Options that take dropout away, of a model that has it."""
    names = [item.name for item in dataclasses.fields(settings.model) if item.name.endswith("dropout")]
    return [f"--model.{name}=0" for name in names]


def make_engine(settings, spec):
    """The engine of a config, with what a dataset's spec, or a run's, tells models."""
    return registry.frameworks()[settings.framework].engine()(settings, tasks.find(settings.task), plain_values(spec))


def first_loss(run, *options):
    """(`train/loss` of a first batch, that batch, what the model gives for it), of a run's best model.

    It trains a step that is too small to change anything, without dropout, on the run's data.
    """
    saved = read_config(run)
    words = [*without_dropout(load_config(saved=saved)), "--optimizer.learning_rate=1e-12", *PLAIN, *steps(1)]
    words += [f"--init={run}", f"--run_dir={run / 'first'}", "--name=", "--trainer.log_every=1", *options]
    settings = load_config("", words, saved=saved)
    data = tasks.find(settings.task).load(settings, None)
    batch = TrainBatches(data, settings.data.batch_size, settings.seed)[0]
    folder = train(settings)
    path = folder / "checkpoints" / read_record(folder).last
    return values_of(folder, "train/loss")[1], batch, make_engine(settings, data.spec).predict(path, Arrays(**batch))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module", params=FRAMEWORKS)  # not "session": pytest would go back and forth between files
def framework(request):
    """The test once for each framework of the project, by its name."""
    return request.param


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty folder to stand in, so that `runs/` and `data/` land there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    """What is said once in a process is said once in each test."""
    monkeypatch.setattr(files, "_said", set())


@pytest.fixture(scope="session")
def cli():
    """`cli(*words)` runs a command in this process."""

    def run(*words):
        # Not capsys: that serves one test only, and some runs serve a whole file.
        out, err = io.StringIO(), io.StringIO()
        argv = ["train.py", *map(str, words)]
        with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main()
        return Outcome(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def trained(cli):
    """`trained(folder, target, *options)` trains on data in a folder, and gives the folder of the run."""

    def run(folder, target, *options):
        words = ("--accelerator=cpu", *PLAIN, f"--data.root={folder}", f"--run_dir={folder / 'runs'}", *options)
        outcome = cli("train", target, *words)
        assert outcome.code == 0, outcome.err
        [config] = (folder / "runs").rglob("config.yaml")
        return config.parent

    return run


@pytest.fixture
def complaint(cli, project):
    """`complaint(*words)` is the line that a command ends with, which has exit code 2 and leaves no file."""

    def line(*words):
        before = sorted(project.rglob("*"))
        outcome = cli(*words)
        assert outcome.code == 2, outcome
        assert outcome.out == ""
        assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
        assert sorted(project.rglob("*")) == before
        return outcome.err

    return line
