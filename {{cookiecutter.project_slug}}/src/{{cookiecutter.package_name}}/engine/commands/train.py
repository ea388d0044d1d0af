"""Trains a task, or goes on with an interrupted run, and tests its best checkpoint."""

import argparse
import os
import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .. import registry
from ..arguments import Parser, add_task, docstring
from ..config import Config, to_dict
from ..console import shown
from ..errors import EVIDENCE, RunError, on_one_line, place

USAGE = "[TASK[/PRESET]] [--config FILE] [--accelerator NAME|FILE] [--KEY VALUE ...]"
KEYS = "task"

MOST_USED = {
    "config FILE": "keys of the config in YAML; options win over it",
    "accelerator NAME": "the hardware: a name of configs/accelerator/, or a YAML file",
    "framework NAME": "",
    "name NAME": "of the run; without it an unfinished one goes on, else a new one is begun",
    "resume RUN": "begin with its state; without TASK with its config, too",
    "debug MODE": "fast: three steps; overfit: learn one batch by heart; profile: a trace",
    "data.root FOLDER": "of the datasets' files",
    "data.batch_size N": "examples of one step, over all devices",
    "optimizer.learning_rate X": "the peak, after warm-up",
    "trainer.epochs N": "trainer.min_steps at least; --trainer.max_steps N at most",
}


def arguments(parser: Parser, first: str) -> None:
    add_task(parser, help=argparse.SUPPRESS)
    parser.add_argument("--print_config", action="store_true", help="the config that all this makes, and no training")
    tasks, task = registry.presets(), first.partition("/")[0]
    if first and task not in tasks:
        registry.load_config(first)  # says so
    if first:
        about = docstring(Path(__file__).parents[2] / "tasks" / task / "__init__.py").partition("\n")[0]
        names = f"{about} Presets, as {task}/default: {', '.join(tasks[task])}"
    else:
        names = f"Tasks, whose presets TASK --help tells: {', '.join(tasks)}"
    parser.description = f"{parser.description}\n{textwrap.fill(names, 100)}"
    frameworks = [*registry.frameworks(), "both"]
    keys = [f"  --{key:27}{about or ', '.join(frameworks)}" for key, about in MOST_USED.items()]
    if len(frameworks) == 2:  # there is one, which needs no choice
        keys = [line for line in keys if not line.startswith("  --framework ")]
    head = "keys of the config that are most used (--help all: every one, with its value):"
    parser.epilog = "\n".join([head, *keys, "", f"Other commands: python -m {__package__.partition('.')[0]} --help"])


def run(given: argparse.Namespace) -> int:
    config = registry.load_config(given.target, given.keys, saved=None if given.target else _parent(given.keys))
    if given.print_config:
        print(yaml.safe_dump(to_dict(config), sort_keys=False), end="")
        return 0
    if config.framework == "both":
        from ..twins.both import train_both

        folders, code = train_both(config, [given.target] * bool(given.target) + given.keys)
        if folders:
            _show_results(folders, config.run_dir)
        return code
    return _train_one(config)


def _parent(keys: list[str]) -> dict[str, Any] | None:
    """The config of the run that `--resume PATH` names: without TASK it is taken over, but for name and beginning."""
    paths = [key.partition("=")[2] for key in keys if key.startswith("--resume=")]
    if not paths or paths[-1] in ("auto", "never"):
        return None
    from ..folder import read_config

    return {**read_config(Path(paths[-1])), "name": "", "init": "", "init_skip": ""}


def train(config: Config, module: type | None = None) -> Path:
    """Trains, or goes on training. Returns the run's folder. See `workflow.train`.

    A run of another framework that `resume` names is converted before.
    """
    from .. import workflow

    if (Path(__file__).parents[1] / "twins" / "convert.py").is_file():
        from ..twins.convert import taken_over

        config = taken_over(config)
    return workflow.train(config, module)


def _train_one(config: Config) -> int:
    from ..folder import FOLDER_FILE

    if FOLDER_FILE in os.environ:
        from ..apart import follow

        follow()
    try:
        folder = train(config)
    except Exception as error:  # of any kind: the run has kept its traceback, where one was begun
        kept = next((note for note in getattr(error, "__notes__", ()) if note.startswith(EVIDENCE)), "")
        if not kept:  # one that is told in its own words, or that comes before there is a run
            raise
        print(on_one_line(f"error: {type(error).__name__}: {error} ({place(error)})"), file=sys.stderr)
        raise RunError(kept) from error
    leads = registry.frameworks()[config.framework].join(config).rank == 0
    if not leads or not (folder / "result.json").exists():
        return 0
    if FOLDER_FILE in os.environ:
        Path(os.environ[FOLDER_FILE]).write_text(str(folder), encoding="utf-8")
    else:
        _show_results([folder], config.run_dir)
    return 0


def _show_results(folders: Sequence[Path], run_dir: str) -> None:
    """One column a run."""
    from ..folder import read_result

    results = [read_result(folder) for folder in folders]
    rows = {"": [result["framework"] for result in results]}
    for tag in dict.fromkeys(tag for result in results for tag in result["metrics"]):
        rows[tag] = [shown(result["metrics"][tag]) for result in results]
    rows["steps"] = [f"{result['steps']:,}" for result in results]
    rows["steps/s"] = [f"{result['steps_per_second']:,.0f}" for result in results]
    rows["seconds"] = [f"{result['seconds']:.1f}" for result in results]
    rows["parameters"] = [f"{result['parameters']:,}" for result in results]
    rows["run"] = [result["name"] for result in results]
    for name, cells in rows.items():
        print(f"{name:20}" + "".join(f"{cell:>14}" for cell in cells))
    words = ["python", "-m", __package__.partition(".")[0], "board", results[0]["task"]]
    print(f"\nSee them: {shlex.join([*words, *(['--run_dir', run_dir] if run_dir != 'runs' else [])])}")
