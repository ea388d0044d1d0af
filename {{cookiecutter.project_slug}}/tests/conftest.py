"""What the tests share: a folder of their own to run in, the commands, the project's frameworks, and a task.

Tests of what no task has for itself run with TASK, under the options of SMALL: the first that the project has, or the
one that the environment variable TEST_TASK names.
"""

import contextlib
import dataclasses
import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine import registry
from {{cookiecutter.package_name}}.engine.cli import main
from {{cookiecutter.package_name}}.engine.data import files
from {{cookiecutter.package_name}}.engine.run import plain_values, read_config, read_record, read_spec

FRAMEWORKS = list(registry.frameworks())
TASK = os.environ.get("TEST_TASK") or tasks.names()[0]

pytest.register_assert_rewrite("exporting")
if len(FRAMEWORKS) > 1:
    pytest.register_assert_rewrite("parity")


# What a preset may set and tests do not expect: events at steps of its own, and what changes a step's arithmetic.
PLAIN = [f"--trainer.{key}=0" for key in ("val_every", "checkpoint_every", "patience", "max_minutes")]
PLAIN += [f"--optimizer.{key}=0" for key in ("warmup_steps", "min_learning_rate", "clip_norm", "ema_decay")]
PLAIN += ["--trainer.accumulate=1", "--optimizer.schedule=constant"]


def small(task):
    """Options with which a task's runs are small and short: those of its file in `small/`, on the CPU.

    Options of the form `--a.b value` win over the file; of two that are the same the last wins.
    """
    return f"--config={Path(__file__).parent / 'small' / task}.yaml", "--accelerator=cpu", *PLAIN


def steps(count):
    """Options for a run of so many steps."""
    return f"--trainer.max_steps={count}", "--trainer.epochs=0"


SMALL = small(TASK)
MONITOR, MODE = tasks.find(TASK).monitor, tasks.find(TASK).mode


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty folder to stand in, so that `runs/` and `data/` land there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    """What is said once in a process is said once in each test."""
    monkeypatch.setattr(files, "_said", set())


@pytest.fixture(scope="module", params=FRAMEWORKS)  # not "session": pytest would go back and forth between files
def framework(request):
    """The test once for each framework of the project, by its name."""
    return request.param


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


def load_data(settings):
    """The dataset of a config."""
    return tasks.find(settings.task).load(settings, None)


def make_engine(settings, spec):
    """The engine of a config, with what a dataset's spec, or a run's, tells models."""
    return registry.frameworks()[settings.framework].engine()(settings, tasks.find(settings.task), plain_values(spec))


def final_weights(folder, checkpoint="last"):
    """Of a run's checkpoint, by name, in float64."""
    settings = registry.load_config(saved=read_config(folder))
    path = folder / "checkpoints" / getattr(read_record(folder), checkpoint)
    found = make_engine(settings, read_spec(folder)).weights(path)
    return {name: value.astype(np.float64) for name, value in found.items()}


def history(folder):
    """Every logged value of a run but those that measure time and memory."""
    measured = ("seconds", "train/steps_per_second", "train/examples_per_second", "train/memory_bytes")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{tag: value for tag, value in line.items() if tag not in measured} for line in lines]


def values_of(folder, tag):
    """A tag's logged values, by step."""
    return {line["step"]: line[tag] for line in history(folder) if tag in line}


def without_dropout(settings):
    """Options that take dropout away, of a model that has it."""
    names = [item.name for item in dataclasses.fields(settings.model) if item.name.endswith("dropout")]
    return [f"--model.{name}=0" for name in names]


class First:
    """The first examples of a source, as a source."""

    def __init__(self, source, count):
        self.source, self.count = source, count

    def __len__(self):
        return self.count

    def __getitem__(self, indices):
        return self.source[indices]
