"""What the engine's own proofs share beside `conftest.py`: a task to run with, and looks into runs.

Proofs of what no task has for itself run with TASK, under the options of SMALL: the first that the project has, or the
one that the environment variable TEST_TASK names.
"""

import os

import numpy as np
import pytest
from conftest import FRAMEWORKS, make_engine, small

from {{cookiecutter.package_name}}.engine import registry
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.folder import read_config, read_record, read_spec

TASK = os.environ.get("TEST_TASK") or tasks.names()[0]
SMALL = small(TASK)
MONITOR, MODE = tasks.find(TASK).monitor, tasks.find(TASK).mode

# A test of what both frameworks share, as a reader, is quick with the first of the project, and slow with the other.
with_one_framework = pytest.mark.parametrize(
    "framework", [pytest.param(name, marks=[pytest.mark.slow] * bool(i)) for i, name in enumerate(FRAMEWORKS)]
)


def load_data(settings):
    """The dataset of a config."""
    return tasks.find(settings.task).load(settings, None)


def final_weights(folder, checkpoint="last"):
    """Of a run's checkpoint, by name, in float64."""
    settings = registry.load_config(saved=read_config(folder))
    path = folder / "checkpoints" / getattr(read_record(folder), checkpoint)
    found = make_engine(settings, read_spec(folder)).weights(path)
    return {name: value.astype(np.float64) for name, value in found.items()}


class First:
    """The first examples of a source, as a source."""

    def __init__(self, source, count):
        self.source, self.count = source, count

    def __len__(self):
        return self.count

    def __getitem__(self, indices):
        return self.source[indices]


def left_in(folder):
    """What a folder holds, as paths below it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
