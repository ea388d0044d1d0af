"""new-task: what it writes runs as it is; and where it can write nothing whole, it writes nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FRAMEWORKS, TASKS

import {{cookiecutter.package_name}} as package

PROJECT = Path(package.__file__).parents[2]
NAMES = ["sketches", "x1", "a_b_c", "a" * 30]  # lines of code are wrapped by how long they are


def run(project, *words):
    """Its standard output. A command of Python in a project, with the project's own package."""
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run([sys.executable, *words], cwd=project, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def files_of(project):
    return {path for room in ("src", "configs", "tests") for path in (project / room).rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A project like this one, with new tasks."""
    project = tmp_path_factory.mktemp("copy") / "project"
    for room in ("src", "configs", "tests"):
        leave = shutil.ignore_patterns("__pycache__", "engine" if room == "tests" else "")
        shutil.copytree(PROJECT / room, project / room, ignore=leave)
    for name in ("train.py", "pyproject.toml"):
        shutil.copy(PROJECT / name, project)
    before = files_of(project)
    told = [run(project, "train.py", "new-task", name) for name in NAMES]
    listed = {project / line for lines in told for line in lines.partition("\n\n")[0].splitlines()}
    assert listed == files_of(project) - before
    return project


def test_a_new_task_is_short(copy):
    files = [path for path in copy.rglob("*.py") if "sketches" in path.parts]
    assert len(files) == 3 + 2 * len(FRAMEWORKS)
    assert sum(len(path.read_text().splitlines()) for path in files) < 140 + 80 * len(FRAMEWORKS)


@pytest.mark.parametrize("name", NAMES)
def test_a_new_task_passes_the_linter(copy, name):
    files = [str(path) for path in copy.rglob("*.py") if name in path.parts or path.stem == f"test_{name}"]
    assert len(files) == 4 + 2 * len(FRAMEWORKS)
    run(copy, "-m", "ruff", "check", "--no-cache", *files)
    run(copy, "-m", "ruff", "format", "--no-cache", "--check", *files)


def test_a_new_task_passes_its_own_tests_and_those_of_every_task(copy):
    found = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "sketches", "tests")
    assert " passed" in found and "skipped" not in found


BAD = ["", "Words", "two-words", "9a", "class", "../a", "a" * 31, "train", "accelerator", "layers"]


@pytest.mark.parametrize("name", [*BAD, *TASKS])
def test_a_name_that_it_cannot_take_is_told_and_nothing_is_written(complaint, name):
    before = files_of(PROJECT)
    assert complaint("new-task", name).startswith("error: new-task")
    assert files_of(PROJECT) == before


def test_the_files_of_another_task_are_left_alone(copy):
    before = {path: path.read_bytes() for path in files_of(copy)}
    for path in (copy / "tests" / "test_taken.py", copy / "configs" / "taken" / "mine.yaml"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
        command = [sys.executable, "train.py", "new-task", "taken"]
        environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
        result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        assert result.returncode == 2 and result.stderr.count("\n") == 1, result
        assert "is there already: choose another name" in result.stderr
        path.unlink()
    assert {path: path.read_bytes() for path in files_of(copy) if path.suffix != ".pyc"} == before
