"""`board`: which runs are shown, under which names, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import {{cookiecutter.package_name}}
from {{cookiecutter.package_name}}.engine import task as tasks
from {{cookiecutter.package_name}}.engine.commands import board
from {{cookiecutter.package_name}}.engine.tensorboard import Writer

TASK = tasks.names()[0]


@pytest.fixture
def runs(project):
    """Two runs of one preset of the first task, and one of another task."""
    for name in (f"{TASK}/default/a/001", f"{TASK}/default/b/001", "other/default/a/001"):
        writer = Writer(project / "runs" / name)
        writer.scalars(1, {"train/loss": 1.0})
        writer.close()
        (project / "runs" / name / "config.yaml").touch()
    return project / "runs"


def shown(*named, run_dir=Path("runs")):
    """The names of what is shown."""
    found = board.find(named, run_dir)
    return [run.relative_to(board.common(found)).as_posix() for run in found]


def test_all_runs_are_shown_where_none_is_named(runs):
    assert sorted(shown()) == sorted([f"{TASK}/default/a/001", f"{TASK}/default/b/001", "other/default/a/001"])


@pytest.mark.parametrize("word", [TASK, f"{TASK}/default", f"runs/{TASK}", f"runs/{TASK}/default"])
def test_runs_of_one_preset_have_short_names(runs, word):
    assert shown(word) == ["a/001", "b/001"]


def test_one_run_has_its_framework_in_its_name(runs):
    assert shown(f"runs/{TASK}/default/b/001") == shown(f"{TASK}/default/b/001") == ["b/001"]


def test_a_run_that_is_named_twice_is_shown_once(runs):
    assert shown(TASK, f"runs/{TASK}/default/a/001") == ["a/001", "b/001"]


def test_chosen_runs_are_links_of_the_same_names(runs, tmp_path):
    found = board.find([f"{TASK}/default/a/001", "other"], Path("runs"))
    links = tmp_path / "links"
    assert board.linked(found, board.common(found), links) == links
    names = {path.parent.relative_to(links).as_posix() for path in links.glob("*/*/*/*/config.yaml")}
    assert names == {f"{TASK}/default/a/001", "other/default/a/001"}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("nothing",), "nothing is no run, and holds none: "),
        ((f"{TASK[:-1]}",), f"did you mean '{TASK}'?"),
        (("--run_dir", "nowhere"), "nowhere is no run, and holds none: train one first"),
        ((TASK,), f"{Path('runs', TASK)} is no run, and holds none: train one first"),
        (("--port", "x"), "--port"),
        (("--reload", "5"), "board takes no --reload"),
    ],
)
def test_what_is_no_run_and_no_task_is_one_line(complaint, words, part):
    assert part in complaint("board", *words)


def test_a_port_that_is_taken_is_one_line(runs):
    served, url = begin("--port", "0")
    port = url.rstrip("/").rpartition(":")[2]
    done = subprocess.run(**command("--port", port), capture_output=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: --port {port}: ") and done.stderr.count("\n") == 1
    assert end(served) == 0


def test_it_shows_what_is_named_with_every_point_until_it_is_interrupted(runs):
    writer = Writer(runs / TASK / "default" / "a" / "001")
    for step in range(2, 1502):  # by default TensorBoard keeps a thousand
        writer.scalars(step, {"train/loss": 1.0})
    writer.close()
    served, url = begin(f"runs/{TASK}/default/a/001", "--port", "0")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # of this machine, whatever the environment

    def ask(path):
        with opener.open(f"{url}data/{path}", timeout=60) as response:
            return json.load(response)

    ended = time.monotonic() + 60
    while ask("plugin/scalars/tags") != {"a/001": {"train/loss": {"displayName": "", "description": ""}}}:
        assert time.monotonic() < ended, ask("plugin/scalars/tags")
        time.sleep(0.1)
    assert len(ask("plugin/scalars/scalars?run=a%2F001&tag=train%2Floss")) == 1501
    assert end(served) == 0


def command(*words):
    """What `subprocess` needs to run it."""
    source = Path({{cookiecutter.package_name}}.__file__).parents[1]
    path = os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")])
    line = [sys.executable, "-m", {{cookiecutter.package_name}}.__name__, "board", *words]
    return {"args": line, "env": {**os.environ, "PYTHONPATH": path}, "text": True}


def begin(*words):
    """(`board` in a process of its own, its URL)."""
    served = subprocess.Popen(**command(*words), stdout=subprocess.PIPE)
    line = served.stdout.readline()
    [url] = re.findall(r"^http://127\.0\.0\.1:\d+/", line)
    return served, url


def end(served):
    """Its exit code after Ctrl-C."""
    served.send_signal(signal.SIGINT)
    served.communicate(timeout=60)
    return served.returncode
