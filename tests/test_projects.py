"""The tests that a project brings, run in baked projects: with one framework as if the other were not installed."""

import os
import re

import pytest
from baking import FRAMEWORKS, TABLES, TASKS, bake, command, hook

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


@pytest.fixture
def run_tests_of(tmp_path_factory):
    """`run_tests_of(project, *arguments)` runs a project's own tests.

    In processes of their own, with one thread each, as several suites run side by side. JAX keeps what it compiles for
    all of them: most compile the same programs. What two of them write at once is compiled again, so it warns.
    """
    temporary = tmp_path_factory.getbasetemp()
    compiled = (temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary) / "compiled"
    warned = [f"-Wignore:Error {done} persistent compilation cache" for done in ("reading", "writing")]

    def run(project, *arguments, hidden=None, processes=1):
        paths = [project / "src", *([hidden] if hidden else [])]
        environment = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
        environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # as the project's `make test` has it
        environment |= {"JAX_COMPILATION_CACHE_DIR": str(compiled), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        words = ["-n", processes, "--dist", "worksteal"] if processes > 1 else []
        words += ["-q", "--no-header", "-p", "no:cacheprovider", *warned, *arguments]
        words += ["--basetemp", project.parents[1] / "temporary"]  # pytest warns where several clean up the same folder
        result = command("pytest", *words, cwd=project, **environment)
        assert result.returncode == 0, "\n".join([*result.stdout.splitlines()[-80:], result.stderr[-2000:]])

    return run


QUICK = ("-m", "not slow")  # as the project's `make test` has it


def each_with_one(tasks, slow=()):
    """Each task with one of the frameworks, as each takes minutes; with the other, it is slow."""
    return [
        pytest.param(framework, task, marks=[pytest.mark.slow] * bool((i + j) % 2 or task in slow))
        for i, task in enumerate(tasks)
        for j, framework in enumerate(FRAMEWORKS)
    ]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_hiding_a_framework_hides_it(tmp_path, framework):
    package = {"lightning": "torch", "nnx": "jax"}[framework]
    path = str(without(framework, tmp_path / "hide"))
    result = command("timeit", "-n1", "-r1", f"import {package}", cwd=tmp_path, PYTHONPATH=path)
    assert result.returncode != 0 and f"No module named '{package}'" in result.stderr


def test_a_project_with_everything_passes_its_own_tests_and_the_proofs_of_the_engine(run_tests_of, tmp_path):
    run_tests_of(bake(tmp_path), *QUICK, processes=2)  # the longest


# The other half is among the quick ones, with either framework; these take longer to compile, or are like one of them.
LONG_ALONE = ("image_generation", "language_modeling", "rating_prediction", "speech_recognition", "translation")


@pytest.mark.parametrize(("framework", "task"), each_with_one(TASKS, slow=LONG_ALONE))
def test_a_project_with_one_task_and_one_framework_passes_its_own_tests(run_tests_of, tmp_path, framework, task):
    """Without features: those only add."""
    [other] = set(FRAMEWORKS) - {framework}
    project = bake(tmp_path, framework=framework, tasks=task, features="none")
    run_tests_of(project, *QUICK, hidden=without(other, tmp_path / "hide"))


def shared_proofs(project):
    """The files of the engine's proofs that belong to no task and run with whichever is the first, or the default."""
    task_of_test = hook("post_gen_project").task_of_test
    proofs = [path for path in project.glob("tests/engine/test_*.py") if not task_of_test(f"tests/{path.name}", TASKS)]
    return [
        path for path in sorted(proofs) if re.search(r'\bTASK\b|load_config\("",', path.read_text(encoding="utf-8"))
    ]


def proofs_of_any_task(project):
    """Of these, the ones that show something else with each task: not those of a framework's own, or of the commands
    that look at a config, at the machine, or at runs."""
    left_out = ("lightning", "nnx", "config", "doctor", "compare", "processes", "twins_compare", "twins_export")
    return [path for path in shared_proofs(project) if not path.stem.startswith(tuple(f"test_{x}" for x in left_out))]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_proofs_of_the_engine_import_nothing_of_the_other_framework(run_tests_of, tmp_path, framework):
    [other] = set(FRAMEWORKS) - {framework}
    run_tests_of(bake(tmp_path, framework=framework), "--collect-only", hidden=without(other, tmp_path / "hide"))


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_proofs_of_the_engine_that_need_no_task_pass_without_the_other_framework(run_tests_of, tmp_path, framework):
    """Those with any task are below, those of the tasks are slow.

    Those of readers and of what is put together at random ask for no framework, and those of a framework's own models
    and meshes not for the other's absence: a project with both has run them.
    """
    [other] = set(FRAMEWORKS) - {framework}
    project, hidden = bake(tmp_path, framework=framework), without(other, tmp_path / "hide")
    names = (*TASKS, "bad", "fuzz", "download", "conversions", "tables", "images", f"{framework}_")
    left_out = [f"--ignore-glob=*/test_*{name}*.py" for name in names]
    left_out += [f"--ignore={path}" for path in shared_proofs(project)]
    run_tests_of(project, *QUICK, "tests/engine", *left_out, hidden=hidden)


OTHER_TASKS = sorted(TASKS)[1:]  # the project with everything runs with the first
# With each of the others these take minutes; the project with everything has their own tests and their twins'.
LONG = tuple(task for task in OTHER_TASKS if task != "regression")


@pytest.mark.parametrize(("framework", "task"), each_with_one(OTHER_TASKS, slow=LONG))
def test_what_holds_with_any_task_holds_in_a_project_with_each_alone(run_tests_of, tmp_path, framework, task):
    [other] = set(FRAMEWORKS) - {framework}
    project, hidden = bake(tmp_path, framework=framework, tasks=task), without(other, tmp_path / "hide")
    run_tests_of(project, *QUICK, *proofs_of_any_task(project), hidden=hidden)


@pytest.mark.slow
@pytest.mark.parametrize("task", OTHER_TASKS)
def test_what_twins_of_any_task_promise_holds_in_a_project_with_each_alone(run_tests_of, tmp_path, task):
    project = bake(tmp_path, tasks=task)
    twins = [path for path in proofs_of_any_task(project) if path.name.startswith("test_twins")]
    run_tests_of(project, *QUICK, *twins)


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_project_with_one_framework_passes_all_its_tests_without_the_other(run_tests_of, tmp_path, framework):
    [other] = set(FRAMEWORKS) - {framework}
    project = bake(tmp_path, framework=framework)
    run_tests_of(project, hidden=without(other, tmp_path / "hide"), processes=2)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_project_with_one_task_passes_all_its_tests(run_tests_of, tmp_path, task):
    run_tests_of(bake(tmp_path, tasks=task), processes=2)
