"""Removes what was not chosen, and prints the next steps.

Choosing is deleting: the template holds the whole project, and what stays is a pure function of the answers and of the
tables in cookiecutter.json. Nothing is named here that a table names, so a new task needs no line in this file.

Standard library only; no network, no git, no prompts. cookiecutter renders this file, so it holds no double braces but
the ones in main().
"""

import json
import os
import re
import shlex
import sys
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

CACHES = {"__pycache__", ".ruff_cache", ".pytest_cache", ".hypothesis"}


def chosen_frameworks(answers):
    return list(answers["_frameworks"]) if answers["framework"] == "both" else [answers["framework"]]


def chosen_tasks(answers):
    tasks = [task.strip() for task in answers["tasks"].split(",")]
    return list(answers["_tasks"]) if tasks == ["all"] else tasks


def chosen_features(answers):
    names = [name.strip() for name in answers["features"].split(",")]
    if names == ["all"]:
        return [name for name, row in answers["_features"].items() if row["in_all"]]
    return [] if names == ["none"] else names


def unwanted(answers):
    """Patterns of the files that the answers leave out; see `matches`.

    Only names in the tables are ever removed, so baking over an existing project leaves a person's own tasks alone.
    """
    frameworks, tasks, table = chosen_frameworks(answers), chosen_tasks(answers), answers["_tasks"]
    rooms = {name: row["files"] for name, row in [*answers["_frameworks"].items(), *answers["_features"].items()]}
    rooms["both"] = answers["_both"]
    chosen = {*frameworks, *chosen_features(answers), *["both"] * (len(frameworks) == len(answers["_frameworks"]))}
    # What several rooms name is there for each of them.
    needed = {pattern for room in chosen for pattern in rooms[room]}
    for room, patterns in rooms.items():
        if room not in chosen:
            yield from (pattern for pattern in patterns if pattern not in needed)
    for task in table:
        if task not in tasks:
            yield f"src/*/tasks/{task}/"
            yield f"configs/{task}/"
    shared = {name for row in table.values() for name in row["engine"]}
    for name in sorted(shared - {name for task in tasks for name in table[task]["engine"]}):
        yield f"src/*/engine/{name}.py"
        yield f"tests/engine/test_{name.rpartition('/')[2]}.py"
        yield f"tests/engine/test_*_{name.rpartition('/')[2]}.py"
    families = {family for row in table.values() for family in row["models"]}
    for family in sorted(families - {family for task in tasks for family in table[task]["models"]}):
        yield f"src/*/models/{family}/"
        for room in ("tests", "tests/engine"):
            yield f"{room}/test_{family}.py"
            yield f"{room}/test_*_{family}.py"


def matches(path, pattern):
    """Whether a path, written with '/', is the file that a pattern names or lies in its folder (a final '/').

    A '*' stands for one folder or for a part of one name, never for a '/'.
    """
    names, wanted = path.split("/"), pattern.rstrip("/").split("/")
    fits = len(names) > len(wanted) if pattern.endswith("/") else len(names) == len(wanted)
    return fits and all(map(fnmatchcase, names, wanted))


def task_of_test(path, table):
    """The task that a file of the tests belongs to, None where it is no task's: the longest name that fits.

    These are `test_<task>.py`, `test_<task>_*.py` and `test_*_<task>.py` of `tests/` and `tests/engine/`, and
    `tests/small/<task>.yaml`.
    """
    small = re.fullmatch(r"tests/small/(\w+)\.yaml", path)
    found = re.fullmatch(r"tests/(?:engine/)?test_(\w+)\.py", path)
    words = f"_{found[1]}_" if found else ""
    fitting = [
        task
        for task in table
        if (small and small[1] == task) or words.startswith(f"_{task}_") or words.endswith(f"_{task}_")
    ]
    return max(fitting, key=len, default=None)


def kept(answers, paths):
    """What stays of the template's files, as a dict from each path to the name that it gets."""
    patterns, result = list(unwanted(answers)), {}
    left_out = set(answers["_tasks"]) - set(chosen_tasks(answers))
    for path in paths:
        if CACHES & set(path.split("/")):  # of a template that was run or linted where it stands
            continue
        if any(matches(path, pattern) for pattern in patterns):
            continue
        if task_of_test(path, answers["_tasks"]) in left_out:
            continue
        if path.startswith("LICENSE-"):
            if path == f"LICENSE-{answers['license']}":
                result[path] = "LICENSE"
            continue
        result[path] = path
    return result


def trimmed(text, names):
    """A config or launch file without what is only about the frameworks in `names`.

    That is: comment lines that begin `# <name>:`, and the top-level YAML section `<name>:` with its indented body.
    """
    lines, skipping = [], False
    for line in text.splitlines(keepends=True):
        if skipping and (not line.strip() or line[0] in " \t"):
            continue
        section = re.match(r"(\w+):(?=\s|$)", line)
        skipping = section is not None and section[1] in names
        comment = re.match(r"\s*#\s*(\w+):", line)
        if not skipping and not (comment and comment[1] in names):
            lines.append(line)
    return "".join(lines).rstrip() + "\n" if lines else ""


def clean(project, answers):
    """Apply `kept` and `trimmed` to the files of a project's folder."""
    folders = [project / name for name in ("src", "configs", "launch", "notebooks", "tests")]
    files = [*project.glob("LICENSE-*"), *(file for folder in folders for file in files_in(folder))]
    names = {file.relative_to(project).as_posix(): file for file in files}
    stays = kept(answers, names)
    for path, file in names.items():
        if path not in stays:
            file.unlink()
            remove_if_empty(file.parent)
        elif stays[path] != path:
            file.replace(project / stays[path])

    others = set(answers["_frameworks"]) - set(chosen_frameworks(answers))
    for path in stays:
        if others and re.match(r"configs/.*\.ya?ml$|launch/", path):
            before = names[path].read_bytes().decode()  # bytes: line ends stay what they are
            after = trimmed(before, others)
            if after != before:
                names[path].write_bytes(after.encode())


def files_in(folder):
    """Every file below a folder, in order. A linked folder is not entered: what lies there is not ours."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))


def remove_if_empty(folder):
    while not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def next_steps(answers, project, windows):
    """Four lines at most, each a command that can be typed."""
    extra = answers["accelerator"]
    train = "train.py"
    if answers["framework"] == "both" and extra == "tpu":
        train += "    # trains nnx: Lightning has no TPU today, as torch_xla stopped at 2.9"
    if windows:
        return [
            f'cd "{project}"',
            "py -m venv .venv",
            f'.venv\\Scripts\\pip install -e ".[{extra}]"',
            f".venv\\Scripts\\python {train}",  # its last line says how to start TensorBoard
        ]
    return [
        f"cd {shlex.quote(project)}",
        "make install",
        f".venv/bin/python {train}",
        ".venv/bin/tensorboard --logdir runs",
    ]


def way(project, shell):
    """How to get to the project's folder from the shell's; None where a person is at the project already.

    cruft's update and diff bake into a temporary folder, which is gone when this is read.
    """
    passing = [
        folder
        for folder in project.parents
        if folder.parent == Path(tempfile.gettempdir()).resolve() and re.fullmatch(r"tmp[a-z0-9_]{8}", folder.name)
    ]
    if passing and passing[0] not in (shell.resolve(), *shell.resolve().parents):
        return None if (shell / ".cruft.json").exists() else project.name
    return min(str(project), os.path.relpath(project, shell), key=len)


def tell(lines):
    """Prints them. Where nobody reads, the project stays: a hook that fails has cookiecutter remove it."""
    if sys.stdout is None:  # closed
        return
    sys.stdout.reconfigure(errors="backslashreplace")  # a folder above may have any name, a console any encoding
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main():
    # The only safe way for a value to get in: quotes and backslashes arrive as JSON escapes.
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    project = Path.cwd()
    clean(project, answers)

    # The shell's own folder is not this one, so say how to get here from there.
    path = way(project, Path(os.environ.get("PWD") or project.parent))
    if path is not None:
        tell(["\nNext:\n", *(f"  {line}" for line in next_steps(answers, path, windows=os.name == "nt")), ""])
    return 0


if __name__ == "__main__":
    sys.exit(main())
