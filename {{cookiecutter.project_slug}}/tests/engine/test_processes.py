"""One process, and work in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import FRAMEWORKS
from helpers import SMALL, TASK

from {{cookiecutter.package_name}}.engine import processes, registry
from {{cookiecutter.package_name}}.engine.apart import apart
from {{cookiecutter.package_name}}.engine.errors import InputError, RunError

LONG = """
import os, signal, sys, time
from pathlib import Path
from {{cookiecutter.package_name}}.engine.apart import apart

def work(folder):
    try:
        Path(folder, "began").touch()
        time.sleep(600)
    finally:
        Path(folder, "ended").touch()

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
    apart(work, sys.argv[1])
"""


def answer(value):
    return value, os.getpid()


def mistake():
    raise InputError("the thing: the way out")


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(path):
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear within a minute")


def test_it_gives_what_the_work_gives_there():
    value, process = apart(answer, {"a": 1})
    assert value == {"a": 1} and process != os.getpid()


def test_a_mistake_there_is_one_here():
    with pytest.raises(InputError, match="^the thing: the way out$"):
        apart(mistake)


def test_a_process_that_was_killed_is_told():
    with pytest.raises(RunError, match="ended with exit code -9: out of memory?"):
        apart(kill)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_and_cleans_up_with_the_process_that_began_it(tmp_path, number):
    Path(tmp_path, "work.py").write_text(LONG)
    process = subprocess.Popen([sys.executable, "work.py", tmp_path], cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_for(tmp_path / "began")
    process.send_signal(number)
    process.wait(timeout=60)
    wait_for(tmp_path / "ended")


# One device and one process, which need no room for several.


@pytest.fixture
def without_scale(monkeypatch, tmp_path):
    """The project as it is without the feature, of which an update has left the folder behind, with its caches."""
    (tmp_path / "scale" / "__pycache__").mkdir(parents=True)
    monkeypatch.setattr(processes, "__file__", str(tmp_path / "processes.py"))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("asked", ["devices=2", "devices=0", "nodes=2", "mesh.data=2", "mesh.fsdp=0", "mesh.tensor=2"])
def test_several_devices_are_refused_by_a_project_that_is_made_for_one(complaint, without_scale, framework, asked):
    key, _, number = asked.partition("=")
    line = complaint("train", TASK, f"--framework={framework}", *SMALL, f"--accelerator.{asked}")
    assert line == f"error: accelerator.{key} = {number}: this project was made without the feature 'scale'\n"


def test_one_device_is_not(without_scale):
    registry.check(registry.load_config(TASK, [f"--framework={FRAMEWORKS[0]}", *SMALL, "--accelerator.mesh.data=1"]))


RUN = """
import sys
from {{cookiecutter.package_name}}.engine.commands import main

sys.argv = ["train.py", "train", *sys.argv[1:]]
code = main()
print("loaded", *[name for name in sys.modules if ".engine.scale" in name])
sys.exit(code)
"""


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_run_on_one_device_loads_nothing_of_what_several_need(project, framework):
    words = [sys.executable, "-c", RUN, TASK, f"--framework={framework}", *SMALL, "--debug=fast"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded"
