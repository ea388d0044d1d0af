"""Writes a small task of your own that runs at once, to be changed from there.

Its data, losses and metrics are in tasks/NAME/, its network in models/NAME/, its preset in configs/NAME/, its test in
tests/test_NAME.py. CONTRIBUTING.md says what to change in which order.
"""

import argparse
import keyword
import re
from pathlib import Path

from .. import registry
from ..arguments import Parser
from ..errors import InputError
from . import names

USAGE = "NAME"
KEYS = ""

PACKAGE = Path(__file__).parents[2]
LONGEST = 30  # letters of a name, so that no line gets too long
# Of a file that tells of new files: the path of each, and what stands in it.
FILE = re.compile(r"^## (\S+)\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def arguments(parser: Parser, first: str) -> None:
    parser.add_argument("name", metavar="NAME", help="what it is called: small letters, digits and _, as in my_task")


def run(given: argparse.Namespace) -> int:
    project, name = PACKAGE.parents[1], given.name
    if not (project / "configs").is_dir():
        raise InputError(f"{PACKAGE} is no package of a project that can be changed: new-task is for a checkout of one")
    _check(name)
    files = {project / path: text for path, text in _files(name).items()}
    places = dict.fromkeys(path.parent if path.parent.name == name else path for path in files)
    if taken := [place for place in places if place.exists()]:
        raise InputError(f"new-task {name}: {taken[0].relative_to(project)} is there already: choose another name")
    for path, text in sorted(files.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(project))
    print(f"\nIt runs as it is: python train.py {name}\nCONTRIBUTING.md says how to go on from there.")
    return 0


def _check(name: str) -> None:
    """Raises InputError where a task cannot have the name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or len(name) > LONGEST:
        wanted = f"small letters, digits and _, {LONGEST} at most, and no word of Python's own"
        raise InputError(f"new-task {name!r}: a task's name has {wanted}")
    if name.replace("_", "-") in names() or name == "accelerator":
        raise InputError(f"new-task {name}: a command has that name, or a folder of configs: choose another one")


def _files(name: str) -> dict[str, str]:
    """By its path in the project, what stands in each file of the new task."""
    told = [Path(__file__).with_suffix(".md")]
    told += [PACKAGE / "engine" / framework / "new_task.md" for framework in registry.frameworks()]
    words = {
        "new_task": name,
        "NewTask": name.title().replace("_", ""),
        "new task": name.replace("_", " "),
        "New task": name.replace("_", " ").capitalize(),
        "PACKAGE": PACKAGE.name,
    }
    text = "\n".join(path.read_text(encoding="utf-8") for path in told)
    text = re.sub("|".join(words), lambda found: words[found[0]], text)
    return dict(FILE.findall(text))
