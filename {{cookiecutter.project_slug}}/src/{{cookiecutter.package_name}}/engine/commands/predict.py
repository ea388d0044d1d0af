"""Shows what a run's model says of each input, as a table.

With --output as CSV, too: in a new file, or with --force in the place of one that is no input. Some tasks have options
of their own here: predict RUN --help. After -- every word is an input, also one that begins with a dash.
"""

import argparse
import csv
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..arguments import Parser, add_force, add_options, add_run, given_options, open_run
from ..console import beginning, shown
from ..errors import InputError, on_one_line
from ..folder import read_config
from ..task import Task, find

USAGE = "RUN INPUT... [--output FILE [--force]] [--KEY VALUE ...] [-- INPUT...]"
KEYS = "run"

MOST_LINES = 25  # of a table whose rest stands in a file


def arguments(parser: Parser, first: str) -> None:
    add_run(parser)
    parser.add_argument("inputs", metavar="INPUT", nargs="*", help="paths or texts, as the task takes them")
    parser.add_argument("--output", default="", metavar="FILE", help="a CSV file to write")
    add_force(parser, "in the place of a file that is there")
    if first:
        add_options(parser, _task(Path(first)).options)


def run(given: argparse.Namespace) -> int:
    config, task = open_run(given), _task(given.folder)
    if given.output:
        places = [Path(place, word) for word in given.inputs for place in ("", config.data.root)]
        _check_output(Path(given.output), places, given.force)
    elif given.force:
        raise InputError(f"--force is for --output FILE: predict {USAGE}")
    options = given_options(given, task.options)
    if task.stream and (given.inputs or given.output or not options.get("prompt")):
        raise InputError(f"{task.name} continues a text, and prints it: predict RUN --prompt TEXT")
    if not task.stream and not given.inputs:
        raise InputError(f"predict needs inputs: predict {USAGE}")
    from .. import workflow

    predictor = workflow.Predictor(given.folder, config, given.checkpoint)
    if task.stream:
        for piece in predictor.stream(**options):
            print(piece, end="", flush=True)
        print()
        return 0
    rows = predictor.predict(given.inputs, **options)
    if given.output:
        _write_csv(Path(given.output), rows)
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    print(beginning(lines, MOST_LINES if given.output else len(lines)))
    if given.output:
        print(f"\n{len(rows)} rows in {given.output}")
    return 0


def _task(folder: Path) -> Task:
    return find(read_config(folder)["task"])


def _cell(value: Any) -> str:
    return shown(value) if isinstance(value, float) else on_one_line(str(value))


def _check_output(path: Path, inputs: Sequence[Path], force: bool) -> None:
    """Raises InputError where a file may not be written: over an input never, over another one with force."""
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"--output {path}: no file can be written there")
    if not os.path.lexists(path) or (path.exists() and not path.is_file()) or _stream(path) is not None:
        return
    for given in inputs if path.exists() else ():
        if os.path.exists(given) and os.path.samefile(path, given):
            raise InputError(f"--output {path} is the input {given}: choose another file")
        if os.path.isdir(given) and path.resolve().is_relative_to(given.resolve()):
            raise InputError(f"--output {path} is there and lies in the input {given}: choose another file")
    if not force:
        raise InputError(f"--output {path} is there: choose another file, or --force to write it anew")


def _stream(path: Path) -> int | None:
    """The number of stdout or stderr where a path is one of them, as /dev/stdout is, also redirected to a file."""
    there = os.stat(path) if path.exists() else None
    return next((number for number in (1, 2) if there and os.path.samestat(there, os.fstat(number))), None)


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    stream = _stream(path)
    beside = None
    if stream is not None:
        sys.stdout.flush()
        target: Any = os.dup(stream)
    elif path.exists() and not path.is_file():  # a device, as /dev/null, which stays one
        target = path
    else:
        target = beside = path.resolve().with_name(f".predictions-{os.getpid()}")  # a link stays one, too
    try:
        with open(target, "x" if beside else "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        if beside:
            os.replace(beside, path.resolve())
    except OSError as error:
        raise InputError(f"--output {path}: {error.strerror}") from error
    finally:
        if beside:
            beside.unlink(missing_ok=True)
