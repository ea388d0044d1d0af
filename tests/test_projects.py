"""The tests that a project brings, run in baked projects: with one framework as if the other were not installed."""

import os

import pytest
from baking import FRAMEWORKS, TABLES, TASKS, bake, command

# Python runs a `sitecustomize` at every start, so this holds for what the tests start, too. To look for such a package
# finds nothing, and to import it fails as it does where it was never installed.
HIDE = """
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec


@classmethod
def find_spec_of_others(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in {words!r} else find_spec(name, path, target)


PathFinder.find_spec = find_spec_of_others
"""


def without(framework, folder):
    """A folder for PYTHONPATH that hides a framework's packages."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDE.format(words=set(TABLES["_frameworks"][framework]["words"])))
    return folder


def run_tests_of(project, *arguments, hidden=None, processes=1):
    """Run a project's own tests in processes of their own; one thread each, as several suites run side by side."""
    paths = [project / "src", *([hidden] if hidden else [])]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # as the project's `make test` has it
    words = ["-n", processes, "--dist", "worksteal"] if processes > 1 else []
    result = command(
        "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *words, *arguments, cwd=project, **environment
    )
    assert result.returncode == 0, "\n".join([*result.stdout.splitlines()[-80:], result.stderr[-2000:]])


QUICK = ("-m", "not slow")  # as the project's `make test` has it


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_hiding_a_framework_hides_it(tmp_path, framework):
    package = {"lightning": "torch", "nnx": "jax"}[framework]
    path = str(without(framework, tmp_path / "hide"))
    result = command("timeit", "-n1", "-r1", f"import {package}", cwd=tmp_path, PYTHONPATH=path)
    assert result.returncode != 0 and f"No module named '{package}'" in result.stderr


def test_a_project_with_both_frameworks_passes_its_own_tests(tmp_path):
    run_tests_of(bake(tmp_path, framework="both", tasks="all"), *QUICK, processes=2)  # the longest


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_project_with_one_framework_passes_the_tests_of_what_tasks_share_without_the_other(tmp_path, framework):
    """Those of the tasks, of which there are many, are slow below; all are collected, which imports what they need.

    Those of readers and of what is put together at random ask for no framework, and those of a framework's own models
    and meshes not for the other's absence: a project with both has run them.
    """
    [other] = set(FRAMEWORKS) - {framework}
    project, hidden = bake(tmp_path, framework=framework, tasks="all"), without(other, tmp_path / "hide")
    run_tests_of(project, "--collect-only", hidden=hidden)
    names = (*TASKS, "bad", "fuzz", "archives", "tables", "images", f"{framework}_")
    left_out = [f"--ignore-glob=*/test_*{name}*.py" for name in names]
    run_tests_of(project, *QUICK, *left_out, hidden=hidden)


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_project_with_one_framework_passes_its_own_tests_without_the_other(tmp_path, framework):
    [other] = set(FRAMEWORKS) - {framework}
    project = bake(tmp_path, framework=framework, tasks="all")
    run_tests_of(project, hidden=without(other, tmp_path / "hide"), processes=2)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_project_with_one_task_passes_its_own_tests(tmp_path, task):
    run_tests_of(bake(tmp_path, framework="both", tasks=task), processes=2)
