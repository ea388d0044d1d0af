"""What nobody has foreseen: two lines for the terminal, and all that a report needs in the run's folder."""

from pathlib import Path

import pytest
from conftest import FRAMEWORKS, steps
from helpers import SMALL, TASK

import {{cookiecutter.package_name}} as package
from {{cookiecutter.package_name}} import load_config, train
from {{cookiecutter.package_name}}.engine import errors
from {{cookiecutter.package_name}}.engine.run import Run

ROOT, LOG = Path(package.__file__).parent, Run.log


@pytest.fixture(params=FRAMEWORKS)
def framework(request, project, monkeypatch):
    """Where a run's second line cannot be written."""

    def fail(self, step, *values):
        if step == 2:
            raise ZeroDivisionError("a fault\nof two lines")
        LOG(self, step, *values)

    monkeypatch.setattr(Run, "log", fail)
    return request.param


def words(framework):
    return ["--framework", framework, *SMALL, *steps(4), "--trainer.log_every=1"]


def kept():
    [folder] = (path.parent for path in Path("runs").rglob("traceback.txt"))
    return folder


def test_the_terminal_has_what_where_and_the_place_of_the_rest(cli, framework):
    outcome = cli("train", TASK, *words(framework))
    *_, what, where = outcome.err.splitlines()
    assert outcome.code == 1 and "Traceback" not in outcome.err
    assert what.startswith(r"error: ZeroDivisionError: a fault\nof two lines (") and ", line " in what
    assert where == f"error: {errors.EVIDENCE}: {kept() / 'traceback.txt'}"


def test_the_folder_has_the_traceback_beside_config_environment_and_metrics(cli, framework):
    cli("train", TASK, *words(framework))
    assert "ZeroDivisionError: a fault" in (kept() / "traceback.txt").read_text(encoding="utf-8")
    assert {"config.yaml", "environment.json", "metrics.jsonl"} <= {path.name for path in kept().iterdir()}


def test_in_python_it_stays_what_it_is(framework):
    with pytest.raises(ZeroDivisionError) as caught:
        train(load_config(TASK, words(framework)))
    assert str(kept() / "traceback.txt") in caught.value.__notes__[0]


def test_a_run_that_goes_on_after_it_gets_to_its_end(cli, framework, monkeypatch):
    cli("train", TASK, *words(framework))
    monkeypatch.setattr(Run, "log", LOG)
    assert cli("train", TASK, *words(framework)).code == 0
    assert (kept() / "result.json").exists()


def failing(file):
    """A function that fails in a file."""
    space = {}
    exec(compile("def fail(): 1 / 0", str(file), "exec"), space)
    return space["fail"]


@pytest.mark.parametrize(
    ("file", "told"),
    [(ROOT / "tasks/x/data.py", "tasks"), (ROOT / "engine/run.py", "engine"), (Path("/elsewhere/y.py"), "elsewhere")],
)
def test_the_place_is_the_last_line_that_is_the_persons_own(file, told):
    def way():
        exec(compile("fail()", str(ROOT / "engine/workflow.py"), "exec"), {"fail": failing(file)})

    with pytest.raises(ZeroDivisionError) as caught:
        way()
    expected = str(ROOT / "engine/workflow.py") if told == "elsewhere" else str(file)
    assert errors.place(caught.value).startswith(f"{expected}, line 1, in ")
