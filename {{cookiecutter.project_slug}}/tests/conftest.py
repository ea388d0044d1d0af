"""What the tests share: a folder of their own to run in, the commands, and the project's frameworks."""

import contextlib
import io
import sys
from dataclasses import dataclass
from unittest import mock

import pytest

from {{cookiecutter.package_name}}.cli import main
from {{cookiecutter.package_name}}.trainers import frameworks

FRAMEWORKS = list(frameworks())


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
