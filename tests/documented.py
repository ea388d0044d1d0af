"""Run in a baked project with everything: each command line of standard input is parsed as its program does it, but
nothing is trained. Prints what is wrong with them, a line each.

The config that a command asks for is read and checked, for every framework that it would train. Data that lie in the
working folder are loaded.
"""

import contextlib
import dataclasses
import importlib
import io
import os
import re
import shlex
import sys
from pathlib import Path

import yaml

PACKAGE, RUN = "my_project", "runs/image_classification/default/nnx/001"
commands = importlib.import_module(f"{PACKAGE}.engine.commands")
config = importlib.import_module(f"{PACKAGE}.engine.config")
registry = importlib.import_module(f"{PACKAGE}.engine.registry")
tasks = importlib.import_module(f"{PACKAGE}.engine.task")


def check_config(given):
    """In place of a command's `run`."""
    words = [getattr(given, name) for name in ("target", "folder") if hasattr(given, name)] or [*given.named]
    first, keys = (os.fspath(words[0]) if words else ""), given.keys
    if first.startswith("runs/"):
        first = "/".join(Path(first).parts[1:3]).removesuffix("/default")
    if getattr(given, "grid", "") == "true":
        keys = importlib.import_module(f"{PACKAGE}.engine.tune.space").split(keys)[1]
    read = registry.load_config(first, keys)
    if hasattr(given, "folder"):  # of a run, which was checked when it began
        return 0
    for name in registry.chosen(read):
        registry.check(dataclasses.replace(read, framework=name))
    if os.path.exists(getattr(read.data, "path", "") or "nowhere"):
        tasks.find(read.task).load(read)
    return 0


def begin(folder):
    """A run there, which has its config alone."""
    _, task, preset, framework, _ = Path(folder).parts
    begun = registry.load_config(f"{task}/{preset}", {"framework": framework})
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, "config.yaml").write_text(yaml.safe_dump(config.to_dict(begun)), encoding="utf-8")


def problem(line):
    """What is wrong with a command line, or nothing."""
    words = [{"RUN": RUN}.get(word, word) for word in shlex.split(line, comments=True)]
    for word in words:
        if re.fullmatch(r"runs(/\w+){4}", word):
            begin(word)
    sys.argv = words[2:] if words[1] == "-m" else words[1:]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = commands.main("train" if words[1] == "train.py" else "")
    return f"{line}: {said.getvalue()}" if code else ""


if __name__ == "__main__":
    for name in commands.names():
        module = importlib.import_module(f"{PACKAGE}.engine.commands.{name.replace('-', '_')}")
        if module.KEYS:
            module.run = check_config
        elif name != "new-task":  # which others are about
            module.run = lambda given: 0
    for found in filter(None, map(problem, sys.stdin.read().splitlines())):
        print(found)
