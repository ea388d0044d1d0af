"""Runs, read for a table of them: where each stands, what it has reached, and what tells it from the others."""

import fnmatch
import functools
import itertools
import json
import math
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from . import task as tasks
from .config import flatten
from .console import shown
from .errors import InputError, on_one_line
from .folder import read_config, read_record, read_result

ABSENT = "–"  # in place of a value that a run does not have
SEVERAL = 2**16  # bytes at the end of metrics.jsonl, among which its last line is

# Of a run's config, what tells nothing about it, or is told elsewhere.
NAMING = (
    *("task", "preset", "framework", "name", "run_dir", "resume", "trainer.max_minutes"),
    *("data.root", "data.download", "accelerator.name"),
)


@dataclass(frozen=True)
class Listed:
    """A run as it stands.

    Attributes:
        id: task/preset/framework/name.
        state: finished; running, while a process is at it; or unfinished.
        monitor: the metric that its best checkpoint is chosen by; "" where the project does not have the task.
        mode: whether the best is the largest or the smallest.
        figures: metrics, keyed as the tags are, and what else the result measures, as `steps_per_second`.
    """

    id: str
    folder: Path
    config: Mapping[str, Any]
    state: str
    step: int
    seconds: float
    monitor: str
    mode: str
    figures: Mapping[str, float]

    @property
    def best(self) -> float:
        """Of the monitored metric; NaN before the first validation."""
        return self.figures.get(self.monitor, math.nan)


def find(run_dir: Path, patterns: Sequence[str] = ()) -> list[Listed]:
    """The runs below a folder, by their ids. One that is damaged is told on stderr, and passed by.

    patterns: globs of an id, or parts of it, of which one fits; none: every run.
    """
    found = []
    for path in sorted(run_dir.glob("*/*/*/*/config.yaml")):
        name = path.parent.relative_to(run_dir).as_posix()
        if patterns and not any(pattern in name or fnmatch.fnmatch(name, pattern) for pattern in patterns):
            continue
        try:
            found.append(read(path.parent, name))
        except InputError as error:
            print(f"{error}: passed by", file=sys.stderr)
    return found


def read(folder: Path, id: str = "") -> Listed:
    """Raises InputError where it is no run, or damaged."""
    config = read_config(folder)
    monitor, mode = _monitored(config["task"])
    if (folder / "result.json").exists():
        state, result = "finished", read_result(folder)
        measured = {key: value for key, value in result.items() if type(value) in (int, float) and key != "seed"}
        if missing := {"steps", "seconds"} - measured.keys():
            raise InputError(f"{folder / 'result.json'} is damaged: it has no {' and no '.join(sorted(missing))}")
        step, seconds, figures = result["steps"], result["seconds"], measured | result["metrics"]
    else:
        state, record = "running" if is_locked(folder / ".lock") else "unfinished", read_record(folder)
        step, seconds, figures = record.step, record.seconds, dict(record.best_metrics)
        if state == "running":
            step, seconds = _last_logged(folder) or (step, seconds)
    return Listed(id or "/".join(folder.parts[-4:]), folder, config, state, step, seconds, monitor, mode, figures)


@functools.cache
def _monitored(task: str) -> tuple[str, str]:
    """The metric that a task's best is chosen by, and whether that is the largest or the smallest."""
    found = tasks.find(task) if task in tasks.names() else None
    return (found.monitor, found.mode) if found else ("", "max")


def is_locked(file: Path) -> bool:
    """Whether a process holds a lock, as that of a run. One that may not be opened, as of another person, is none."""
    if not file.exists():
        return False
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except PermissionError:
        return False
    lock.release()
    return False


def _last_logged(folder: Path) -> tuple[int, float] | None:
    """Step and seconds of a running run's newest entry; None before the first."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - SEVERAL))
        lines = file.read().split(b"\n")[:-1]  # the last one may be on its way
    try:
        entry = json.loads(lines[-1]) if lines else None
        return entry and (int(entry["step"]), float(entry["seconds"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


# What tells runs apart.


def settings(config: Mapping[str, Any], ignored: Collection[str] = ()) -> dict[str, Any]:
    """A run's config, flat, without what only names. A path of initial weights that goes by the seed is one for all."""
    seed, own = config.get("seed"), {"model", "data", "optimizer", "trainer", "accelerator", config["framework"]}
    flat = flatten({key: value for key, value in config.items() if key in own or not isinstance(value, Mapping)})
    init = str(flat.get("init", ""))
    flat["init"] = re.sub(rf"(.*)(?<!\d){seed}(?!\d)", r"\1SEED", init)  # the last: folders have numbers, too
    return {key: value for key, value in flat.items() if key not in (*NAMING, *ignored)}


def differing(configs: Sequence[Mapping[str, Any]], ignored: Collection[str] = ()) -> dict[str, list[Any]]:
    """The values of each key of runs' configs that they do not have in common, ABSENT where one has no such key.

    A key of a framework's own section is compared between the runs of that framework.
    """
    frameworks, flat = {str(config["framework"]) for config in configs}, [settings(one, ignored) for one in configs]
    found = {}
    for key in dict.fromkeys(itertools.chain(*flat)):
        own = key.split(".")[0] in frameworks
        values = [one[key] for one in flat if key in one] if own else [one.get(key, ABSENT) for one in flat]
        if any(value != values[0] for value in values):
            found[key] = [one.get(key, ABSENT) for one in flat]
    return found


def short_names(keys: Collection[str]) -> dict[str, str]:
    """The last part of each key, or all of it where that says too little."""
    lasts = [key.rpartition(".")[2] for key in keys]
    return {
        key: key if last == "name" or lasts.count(last) > 1 else last for key, last in zip(keys, lasts, strict=True)
    }


def differences(runs: Sequence[Listed]) -> list[dict[str, Any]]:
    """Of each run, the keys by which those of the same task and preset differ, with its values."""
    kinds = [run.id.split("/")[:2] for run in runs]
    found: list[dict[str, Any]] = [{} for _ in runs]
    for kind in {tuple(kind): None for kind in kinds}:
        group = [i for i, other in enumerate(kinds) if tuple(other) == kind]
        for key, values in differing([runs[i].config for i in group]).items():
            there = [value for value in values if value != ABSENT]
            # Keys that go with another model or dataset are told by its name.
            if key.startswith(("model.", "data.")) and len(there) < len(values) and there.count(there[0]) == len(there):
                continue
            for i, value in zip(group, values, strict=True):
                found[i] |= {} if value == ABSENT else {key: value}
    return found


def brief(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def table(runs: Sequence[Listed], metric: str = "") -> list[str]:
    """Lines of a table, a run each. metric: a further one to be shown."""
    differ = differences(runs)
    names = short_names(list(dict.fromkeys(itertools.chain(*differ))))
    rows = [["run", "state", "step", "best", *[metric] * bool(metric), "seconds", "differs in"]]
    for run, values in zip(runs, differ, strict=True):
        best = ABSENT if math.isnan(run.best) else f"{run.monitor} {shown(run.best)}"
        further = [shown(run.figures[metric]) if metric in run.figures else ABSENT] if metric else []
        told = " ".join(f"{names[key]}={brief(value)}" for key, value in values.items())
        rows.append([run.id, run.state, f"{run.step:,}", best, *further, f"{run.seconds:,.0f}", told])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = {"step", "seconds", metric}
    lines = (
        "  ".join(
            f"{cell:>{width}}" if head in right else f"{cell:{width}}"
            for head, cell, width in zip(rows[0], row, widths, strict=True)
        )
        for row in rows
    )
    return [on_one_line(line.rstrip()) for line in lines]
