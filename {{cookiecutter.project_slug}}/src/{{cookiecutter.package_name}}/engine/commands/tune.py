"""Searches for a task's best settings, or runs a grid of them: each trial is a run.

FILE says what to search, in YAML: optimizer.learning_rate: {low: 1e-4, high: 1e-1, log: true}, model.width: [32, 64].
--grid runs every combination in place of it: --optimizer.learning_rate 1e-3,3e-3 --seed 0,1,2. There a value with a
comma of its own stands in double quotes: '"a,b",c'. Two frameworks are searched one after the other, each by itself.
The best config and a picture lie in <run_dir>/<task>/<preset>/tune/<name>/. After an interruption the same command goes
on, and loses nothing; in another terminal, or on another machine, it works on the same trials: give it a --name then.
"""

import argparse
import dataclasses
import importlib.util
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import registry
from .. import task as tasks
from ..arguments import Parser, add_options, add_task, given_options
from ..config import FolderName, PositiveInt, option
from ..errors import InputError, RunError
from ..layers import read_options

USAGE = "[TASK[/PRESET]] (--trials N --search FILE | --grid) [--name NAME] [--KEY VALUE ...]"
KEYS = "task"


@dataclass(frozen=True)
class Options:
    """What `tune` takes beside the config."""

    trials: PositiveInt = option(20, "of each framework; with more the same command goes on with a search that is done")
    search: str = option("", "the FILE")
    grid: bool = option(False, "every combination of values, which are separated by commas")
    prune: bool = option(True, "stop trials whose validations are worse than the median of the others'")
    name: FolderName = option("", "of the search, and of its runs, tune-NAME-TRIAL; without: the next number")


def arguments(parser: Parser, first: str) -> None:
    add_task(parser)
    add_options(parser, Options)


def run(given: argparse.Namespace) -> int:
    taken = given_options(given, Options)
    options = read_options(Options, taken)
    _check(options, taken, given.keys)
    from ..tune import space as room

    read, keys = room.split(given.keys) if options.grid else (room.read(Path(options.search)), given.keys)
    config = registry.load_config(given.target, keys)
    if config.trainer.max_minutes:
        raise InputError("trainer.max_minutes: a trial ends with its steps: --trainer.max_minutes 0")
    try:
        space = room.checked(read, lambda word: registry.load_config(given.target, [*keys, word]))
    except InputError as error:
        raise InputError(f"{options.search or '--grid'}: {error}") from error
    frameworks = registry.chosen(config)
    configs = [dataclasses.replace(config, framework=name) for name in frameworks]
    for one in configs:  # a mistake that can be told now is told before the first of them trains
        registry.check(one)
        tasks.check_twin(tasks.find(one.task), one.framework)
    count = math.prod(map(len, space.values())) if options.grid else options.trials
    settings = room.settings_of(config, space, options.grid, options.prune)
    folder = room.place(config, options.name, settings, count, frameworks)
    room.begin(folder, settings)
    print(f"{folder}: {count} trials of {' and '.join(frameworks)}", file=sys.stderr)
    from ..tune.study import Study

    worst = 0
    words = [given.target] * bool(given.target) + [word for word in keys if not word.startswith("--framework=")]
    for one in configs:
        study = Study(folder, one, tasks.find(one.task), space, words, count)
        if options.grid:
            study.queue()
        if code := study.search(options.prune and not options.grid):
            return code
        try:
            print("\n".join(study.conclude(["python", "train.py", *words, "--framework", one.framework])))
        except RunError as error:  # of this framework
            print(f"error: {error}", file=sys.stderr)
            worst = error.exit_code
    return worst


def _check(options: Options, taken: Mapping[str, str], keys: Sequence[str]) -> None:
    """What can be refused at once. Raises InputError."""
    if missing := [name for name in ("optuna", "matplotlib") if importlib.util.find_spec(name) is None]:
        raise InputError(f"tune needs {missing[0]}, which is not installed: pip install -e '.[tune]'")
    if options.grid == bool(options.search):
        raise InputError(f"tune takes one of --search FILE and --grid: tune {USAGE}")
    if options.grid and (more := [name for name in ("trials", "prune") if name in taken]):
        raise InputError(f"--{more[0]} is for --search: a grid has a trial for each combination, to its end")
    if any(word.partition("=")[0] == "--resume" for word in keys):
        raise InputError("--resume: a trial begins with fresh weights, or those of --init, and goes on by itself")
