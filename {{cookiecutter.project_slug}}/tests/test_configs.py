"""Presets and accelerators: each is a config of every framework, and each preset says what it is and how it is run."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import TASKS

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine.registry import check
from {{cookiecutter.package_name}}.engine.task import find

FOLDER = Path(__file__).parents[1] / "configs"
PRESETS = [f"{task}/{file.stem}" for task in TASKS for file in sorted((FOLDER / task).glob("*.yaml"))]
ACCELERATORS = sorted(file.stem for file in (FOLDER / "accelerator").glob("*.yaml"))


def header(preset):
    """The lines of comment that a preset's file begins with."""
    lines = (FOLDER / f"{preset}.yaml").read_text(encoding="utf-8").splitlines()
    return [line[2:] for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("# "))]]


def command(preset):
    """The words of the command in a preset's header, after `train.py`."""
    return next(shlex.split(line)[2:] for line in header(preset) if line.startswith("python train.py "))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_can_be_trained_by_the_command_in_its_header(framework, preset):
    target, *options = command(preset)
    config = load_config(target, [*options, "--framework", framework, "--accelerator=cpu"])
    check(config)
    assert (config.task, config.preset or "default") == tuple(preset.split("/"))


@pytest.mark.parametrize("preset", PRESETS)
def test_the_header_of_a_preset_says_what_the_data_are_and_what_to_expect(preset):
    about, *others = header(preset)
    assert len(about) > 20 and not about.startswith("python")
    assert re.search("mean of seeds|depend on your data|not measured yet", " ".join(others)), others


@pytest.mark.parametrize("task", TASKS)
def test_the_default_of_a_task_is_of_the_data_that_come_with_it(task):
    assert load_config(task).data.name == next(iter(find(task).datasets))


@pytest.mark.parametrize("name", ACCELERATORS)
def test_an_accelerator_is_a_config_by_its_name(name):
    assert load_config("", ["--accelerator", name]).accelerator.name == name
