"""Trains a task by every framework, or takes finished runs, and puts them side by side.

One run after the other, so that none takes time from another. Prints their figures and which is ahead on what, and
writes a report with curves into <run_dir>/<task>/<preset>/compare/<name>/report.html. After an interruption the same
command goes on. What is no finished run, as runs/TASK/PRESET/*/* may have, is passed by. With runs that are finished it
takes --target, --name, --force and --run_dir.
"""

import argparse
import dataclasses
import shlex
import sys
from pathlib import Path

from .. import registry
from .. import task as tasks
from ..apart import apart, train_apart
from ..arguments import Parser, add_options, given_options, suggest
from ..compare import comparison as room
from ..compare import report
from ..config import to_dict
from ..errors import InputError
from ..layers import read_options

USAGE = "[TASK[/PRESET] | RUN RUN...] [--seeds N] [--KEY VALUE ...]"
KEYS = "task"


def arguments(parser: Parser, first: str) -> None:
    action = parser.add_argument("named", metavar="TASK or RUN", nargs="*", help="without it the first task")
    suggest(action, registry.presets())
    add_options(parser, room.Options)


def run(given: argparse.Namespace) -> int:
    named, taken = given.named, given_options(given, room.Options)
    options = read_options(room.Options, taken)
    options.check()
    if len(named) > 1 or (named and named[0].split("/")[0] not in registry.presets() and Path(named[0]).is_dir()):
        refused = [word for word in ("seeds", "same_weights") if word in taken]
        refused += [word.partition("=")[0].removeprefix("--") for word in given.keys if word.startswith("--")]
        if refused := [word for word in refused if word != "run_dir"]:
            raise InputError(f"--{refused[0]} is for compare TASK, which trains: these runs are finished")
        runs = room.read([Path(word) for word in named])
        config = registry.load_config(runs[0].config["task"], given.keys)
        folder = room.place(dataclasses.replace(config, preset=runs[0].config["preset"]), options)
        room.check_place(folder, options)
    else:
        code, folders, place = _train_each(named[0] if named else "", given.keys, options)
        if code or not place:
            return code
        runs, folder = room.read(folders), place
    command = ["python", "-m", __package__.partition(".")[0], *sys.argv[1:]]
    print(report.write(runs, folder, options.wanted(), shlex.join(command)))
    return 0


def _train_each(target: str, keys: list[str], options: room.Options) -> tuple[int, list[Path], Path | None]:
    """Trains a task by every framework with every seed.

    Returns the exit code, the runs' folders, and that of the report: None where a run is not at its end yet.
    """
    from ..compare.initial import write_initial

    names = list(registry.frameworks())
    if len(names) < 2:
        raise InputError(f"compare TASK needs two frameworks, and here is {names[0]} only: compare RUN RUN...")
    if {word.partition("=")[0] for word in keys} & {"--framework", "--resume"}:
        raise InputError("compare TASK trains every framework and goes on by itself: without --framework and --resume")
    config = registry.load_config(target, keys)
    if options.same_weights and config.init:
        raise InputError(f"--same_weights true: with --init {config.init} both begin with the same ones anyway")
    seeds = range(config.seed, config.seed + options.seeds)
    configs = [dataclasses.replace(config, framework=name, seed=seed) for seed in seeds for name in names]
    for one in configs:  # a mistake that can be told now is told before the first of them trains
        registry.check(one)
        tasks.check_twin(tasks.find(one.task), one.framework)
    settings = room.settings_of(config, options)
    folder = room.place(config, options, settings)
    room.check_place(folder, options, settings)
    print(f"{folder}: {len(configs)} runs", file=sys.stderr)
    folders: list[Path] = []
    for i, seed in enumerate(seeds):
        extra = ["--seed", f"{seed}", "--name", f"{folder.name}-{seed}"]
        if options.same_weights:
            path = folder / f"initial-{seed}.safetensors"
            extra += ["--init", f"{path}"]
            if not path.exists():
                first = dataclasses.replace(config, framework=names[0], seed=seed)
                apart(write_initial, to_dict(first), path)
        for name in names if i % 2 == 0 else reversed(names):  # what drifts, as a machine's heat, is of both
            print(f"\nrun {len(folders) + 1} of {len(configs)}: {name}, seed {seed}", file=sys.stderr, flush=True)
            code, trained = train_apart([*[target] * bool(target), *keys, "--framework", name, *extra])
            if code != InputError.exit_code:  # else nothing was begun
                room.begin(folder, settings)
            if code in (0, 130, 143) and not trained:
                print(f"{folder} waits for its runs: the same command goes on", file=sys.stderr)
            if code or not trained:
                return code, folders, None
            folders.append(trained)
    return 0, folders, folder
