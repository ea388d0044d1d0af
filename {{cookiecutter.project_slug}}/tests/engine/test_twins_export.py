"""Exports of each half's runs by the other half: they give what the run gives."""

import pytest
from conftest import FRAMEWORKS, steps
from exporting import assert_exported, case, short_run
from helpers import SMALL, TASK, final_weights

from {{cookiecutter.package_name}} import load_config
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine import workflow
from {{cookiecutter.package_name}}.engine.export import formats
from {{cookiecutter.package_name}}.engine.weights import read

ACROSS = [
    case(framework, name)
    for name, format in formats().items()
    for framework in FRAMEWORKS
    if format.framework not in ("", framework)
]
EACH = [
    pytest.param(task, *across.values, marks=[*across.marks, *[pytest.mark.slow] * (task != TASK)])
    for task in tasks.names()
    for across in ACROSS
    if tasks.find(task).signature
]


@pytest.mark.parametrize(("task", "framework", "format"), EACH)
def test_the_other_half_writes_what_the_run_predicts(cli, tmp_path, task, framework, format):
    assert_exported(cli, short_run(cli, tmp_path, task, framework), format, tmp_path / "elsewhere")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_exported_weights_of_one_half_are_those_that_the_other_begins_with(cli, tmp_path, framework):
    [other] = set(FRAMEWORKS) - {framework}
    run, folder = short_run(cli, tmp_path, TASK, framework), tmp_path / "weights"
    assert cli("export", run, "--format=safetensors", f"--output={folder}").code == 0
    options = (*SMALL, *steps(1), "--optimizer.learning_rate=1e-9", f"--init={folder}", f"--run_dir={tmp_path}")
    now, given = final_weights(workflow.train(load_config(TASK, ["--framework", other, *options]))), read(folder)
    assert now.keys() == given.keys()
    assert all(now[name] == pytest.approx(given[name], abs=1e-6) for name in now)
