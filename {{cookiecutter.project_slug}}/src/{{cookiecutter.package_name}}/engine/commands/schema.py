"""Writes JSON Schemas of the tasks' configs, by which an editor completes and checks them.

FOLDER/TASK.json is that of configs/TASK/*.yaml. Write them anew after a change of a config's keys.
"""

import argparse
from pathlib import Path

from .. import registry
from ..arguments import Parser

USAGE = "[FOLDER]"
KEYS = ""


def arguments(parser: Parser, first: str) -> None:
    parser.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, default=Path("build/schema"))


def run(given: argparse.Namespace) -> int:
    from ..folder import to_json
    from ..schema import of_task

    given.folder.mkdir(parents=True, exist_ok=True)
    for task in registry.presets():
        file = given.folder / f"{task}.json"
        file.write_text(to_json(of_task(task), indent=2, ensure_ascii=False), encoding="utf-8")
        print(file)
    return 0
