"""Work in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from {{cookiecutter.package_name}}.engine.errors import InputError, RunError
from {{cookiecutter.package_name}}.engine.processes import apart

LONG = """
import os, signal, sys, time
from pathlib import Path
from {{cookiecutter.package_name}}.engine.processes import apart

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
