"""Runs side by side: their figures, and in words which is ahead on what. `report` makes a page of it.

Knows finished runs by their folders only, of whichever framework. Runs that differ in their seed only stand in one
column, as a mean and a spread: the smallest and the largest. One column is ahead of another only where their spreads do
not overlap.
"""

import ast
import importlib.util
import itertools
import json
import math
import os
import shlex
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .. import task as tasks
from ..config import Config, FolderName, PositiveInt, flatten, option, to_dict
from ..errors import InputError, on_one_line
from ..folder import finite, read_config, read_environment, read_result, write_json
from ..run import HARMLESS
from ..runs import ABSENT, short_names
from ..runs import differing as differing_configs

REPORT, SETTINGS = "report.html", "compare.json"
BUSY = 0.1  # the share of the cores from which on it is told that other processes had it

# What tells nothing about a column, and is told by its label all the same where it differs.
TOLD = ("seed", "data.root", "accelerator.platform")


@dataclass(frozen=True)
class Options:
    """What `compare` takes beside the config."""

    seeds: PositiveInt = option(1, "runs of each framework: with --seed and the numbers that follow it")
    same_weights: bool = option(False, "both frameworks begin with the weights that the first one draws")
    target: str = option("", "value of the monitored metric whose time is told; without: the worst of the runs' bests")
    name: FolderName = option("", "of the report's folder, and of its runs, NAME-SEED; without: the next number")
    force: bool = option(False, "write the report in the place of one of that name")

    def check(self) -> None:
        """What can be refused before anything is trained. Raises InputError."""
        if importlib.util.find_spec("matplotlib") is None:
            raise InputError("compare draws with matplotlib, which is not installed: pip install -e '.[compare]'")
        self.wanted()

    def wanted(self) -> float | None:
        """The target, where one is given."""
        try:
            value = float(self.target or 0)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"--target {self.target}: a number is wanted")
        return value if self.target else None


class Point(NamedTuple):
    """A logged value. seconds: of the run so far."""

    step: int
    seconds: float
    value: float


@dataclass(frozen=True)
class FinishedRun:
    """What a run's folder holds. curves: by tag."""

    folder: Path
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    environment: Mapping[str, Any]
    curves: Mapping[str, Sequence[Point]]

    @property
    def parent(self) -> str:
        """The run whose state it began with, if any."""
        return str(self.result.get("parent", ""))

    def best(self, task: tasks.Task) -> float:
        """Of the monitored metric; NaN where it was never logged."""
        found = [point.value for point in self.curves.get(task.monitor, ()) if not math.isnan(point.value)]
        return (max if task.mode == "max" else min)(found, default=math.nan)

    def seconds_to(self, task: tasks.Task, target: float) -> float:
        """Until the monitored metric is as good as the target; infinite where it never is."""
        sign = 1 if task.mode == "max" else -1
        reached = (point.seconds for point in self.curves.get(task.monitor, ()) if sign * point.value >= sign * target)
        return min(reached, default=math.inf)


@dataclass(frozen=True)
class Column:
    """Runs that differ in their seed only. label: tells them from the others."""

    label: str
    runs: Sequence[FinishedRun]


@dataclass(frozen=True)
class Row:
    """A figure of every run.

    Attributes:
        name: what it is.
        values: of each column a sequence, one a run.
        show: a value as text.
        better: which is, max or min; "" where neither is.
        does, of: words of a verdict that tells a ratio: "a {does} 1.31 times the {of} of b".
    """

    name: str
    values: Sequence[Sequence[float]]
    show: Callable[[float], str]
    better: str = ""
    does: str = ""
    of: str = ""

    def cell(self, column: int) -> str:
        """A column's mean, and the spread where there are several runs."""
        values = self.values[column]
        if any(math.isnan(value) for value in values):
            return ABSENT
        mean, low, high = (self.show(value) for value in (statistics.fmean(values), min(values), max(values)))
        return f"{mean} ({low} to {high})" if low != high else mean


def read(folders: Sequence[Path]) -> list[FinishedRun]:
    """Runs to compare. What is none, or not at its end, is passed by with a line on stderr.

    Raises:
        InputError: for fewer than two, the same one twice, one that is damaged, or different tasks.
    """
    if twice := [folder for i, folder in enumerate(folders) if folder.resolve() in [f.resolve() for f in folders[:i]]]:
        raise InputError(f"{twice[0]} is given twice")
    if gone := [folder for folder in folders if not folder.exists()]:
        raise InputError(f"{gone[0]} is not there: compare RUN RUN... takes folders of runs")
    others = {folder: why for folder in folders if (why := _is_none(folder))}
    folders = [folder for folder in folders if folder not in others]
    if len(folders) < 2:
        first = "".join(f"; {folder} {why}" for folder, why in [*others.items()][:1])
        raise InputError(f"compare needs two runs at least, that are finished: compare RUN RUN...{first}")
    for folder, why in others.items():
        print(on_one_line(f"{folder} {why}: passed by"), file=sys.stderr)
    tasks_of = [read_config(folder)["task"] for folder in folders]
    for folder, task in zip(folders, tasks_of, strict=True):
        if task != tasks_of[0]:
            raise InputError(f"{folders[0]} is of {tasks_of[0]}, {folder} of {task}: runs of one task can be compared")
    return [_read(folder) for folder in folders]


def _is_none(folder: Path) -> str:
    """Why it is no finished run; empty where it is one."""
    if not (folder / "config.yaml").is_file():
        return "is no run"
    return "" if (folder / "result.json").exists() else "is unfinished"


def _read(folder: Path) -> FinishedRun:
    config = read_config(folder)
    result = read_result(folder)
    curves: dict[str, list[Point]] = {}
    try:
        environment = read_environment(folder)
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            step, seconds = int(entry.pop("step")), float(entry.pop("seconds"))
            for tag, value in entry.items():
                number = math.nan if value is None else float(value)
                curves.setdefault(tag, []).append(Point(step, seconds, number))
        run = FinishedRun(folder, {"init": "", "preset": "", **config}, result, environment, curves)
        # What is needed later is there.
        rows_of([Column("", [run])], None)
        _ = _alike(run, run), command(run), [*result["versions"].items()], result["finished"], environment["python"]
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{folder} is damaged, or older than compare: {' '.join(str(error).split())}") from error
    return run


def place(config: Config, options: Options, settings: Mapping[str, Any] | None = None) -> Path:
    """The folder of a report, `<run_dir>/<task>/<preset>/compare/<name>`. Writes nothing.

    Without a name: the newest one that waits for runs of these settings, so that the same command goes on with them;
    else the next number.
    """
    parent = Path(config.run_dir, config.task, config.preset or "default", "compare")
    if options.name:
        return parent / options.name
    numbers = sorted(int(path.name) for path in parent.glob("*") if path.name.isdecimal())
    waiting = [n for n in numbers if settings and _waits(parent / f"{n:03d}", settings)]
    return parent / f"{waiting[-1] if waiting else max(numbers, default=0) + 1:03d}"


def check_place(folder: Path, options: Options, settings: Mapping[str, Any] | None = None) -> None:
    """Raises InputError where another report is there, which no `force` gives up. The same settings make the same."""
    if (folder / REPORT).exists() and not options.force and not (settings and _is_of(folder, settings)):
        raise InputError(f"{folder / REPORT} is there: choose another --name, or --force to replace it")


def settings_of(config: Config, options: Options) -> dict[str, Any]:
    """What makes runs those of one comparison, as plain values."""
    plain = {key: value for key, value in flatten(to_dict(config)).items() if key not in HARMLESS}
    return json.loads(json.dumps(finite({"seeds": options.seeds, "same_weights": options.same_weights, **plain})))


def begin(folder: Path, settings: Mapping[str, Any]) -> None:
    """Makes a report's folder, which waits for runs. Raises InputError where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / SETTINGS, settings)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): choose another --run_dir") from error


def _waits(folder: Path, settings: Mapping[str, Any]) -> bool:
    return not (folder / REPORT).exists() and _is_of(folder, settings)


def _is_of(folder: Path, settings: Mapping[str, Any]) -> bool:
    try:
        return json.loads((folder / SETTINGS).read_text(encoding="utf-8")) == settings
    except (FileNotFoundError, ValueError):  # of finished runs, or damaged: it is left alone
        return False


# Which runs stand in one column, and what the columns are called.


def columns_of(runs: Sequence[FinishedRun]) -> list[Column]:
    groups: list[list[FinishedRun]] = []
    for run in runs:
        group = next((group for group in groups if _alike(group[0], run)), None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    labels = _labels(groups)
    return [Column(label, group) for label, group in zip(labels, groups, strict=True)]


def _alike(a: FinishedRun, b: FinishedRun) -> bool:
    """Whether two runs differ in their seed only: also the hardware and the versions are equal."""
    keys = {"framework": "config", "preset": "config", "devices": "environment", "versions": "result"}
    alike = all(getattr(a, of)[key] == getattr(b, of)[key] for key, of in keys.items())
    return alike and not differing([a, b]) and a.parent == b.parent


def _labels(groups: Sequence[Sequence[FinishedRun]]) -> list[str]:
    """The framework of each column, and every key that differs between them; their folders where that is not enough."""
    firsts = [group[0] for group in groups]
    labels, presets = [[str(run.config["framework"])] for run in firsts], [run.config["preset"] for run in firsts]
    if len(set(presets)) > 1:
        labels = [[*label, preset or "default"] for label, preset in zip(labels, presets, strict=True)]
    # Keys that go with another model or dataset are told by its name.
    chosen = ("model", "data")
    differs = {k: v for k, v in differing(firsts).items() if ABSENT not in v or k.split(".")[0] not in chosen}
    for key in TOLD:
        told = [dict.fromkeys(str(flatten(run.config).get(key, "")) for run in group) for group in groups]
        if any(one.keys() != told[0].keys() for one in told):
            differs[key] = [",".join(one) for one in told]
    for key, name in short_names(differs).items():
        values = _told_apart([str(value) for value in differs[key]])
        labels = [
            [*label, *([] if value == ABSENT else [f"{name}={value}"])]
            for label, value in zip(labels, values, strict=True)
        ]
    if len({*map(tuple, labels)}) < len(labels):
        labels = [[*label, run.folder.name] for label, run in zip(labels, firsts, strict=True)]
    return [" ".join(label) for label in labels]


def _told_apart(values: Sequence[str]) -> list[str]:
    """Paths without the folders that they begin with in common."""
    parts = [value.split("/") for value in values]
    common = len(os.path.commonprefix([part[:-1] for part in parts]))
    return ["/".join(part[common:]) for part in parts]


def differing(runs: Sequence[FinishedRun]) -> dict[str, list[Any]]:
    """As `runs.differing`, beside the seed and the platform."""
    return differing_configs([run.config for run in runs], ignored=TOLD)


# The figures.


def rows_of(columns: Sequence[Column], target: float | None) -> list[Row]:
    task = tasks.find(str(columns[0].runs[0].config["task"]))
    monitored = task.monitor.removeprefix("val/")

    def row(name: str, value: Callable[[FinishedRun], float], show: Callable[[float], str], *words: str) -> Row:
        return Row(name, [[float(value(run)) for run in column.runs] for column in columns], show, *words)

    def metric(tag: str) -> Callable[[FinishedRun], float]:
        return lambda run: run.result["metrics"].get(tag, math.nan)

    def last(tag: str) -> Callable[[FinishedRun], float]:
        return lambda run: _last(run, tag)

    def measure(key: str) -> Callable[[FinishedRun], float]:
        """What nothing has measured is 0: memory that is not told, the speed of a single step."""
        return lambda run: run.result[key] or math.nan

    runs = [run for column in columns for run in column.runs]
    tags = sorted({tag for run in runs for tag in run.result["metrics"]}, key=lambda tag: (tag.startswith("val/"), tag))
    judged = {"test/loss": "min", f"test/{monitored}": task.mode}
    found = []
    for tag in tags:
        name = tag if tag.startswith("test/") else f"{tag}, best"
        better = judged.get(tag, "")
        found.append(row(name, metric(tag), _plain, better))
    for tag in [*(tag for tag in tags if tag.startswith("val/")), "train/loss"]:
        found.append(row(f"{tag}, final", last(tag), _plain))

    bests = [best for run in runs if not math.isnan(best := run.best(task))]
    if target is None and bests:
        target = (min if task.mode == "max" else max)(bests)
    if target is not None:
        wanted, goal = target, f"{task.monitor} {_plain(target)}"
        words = ("min", f"reaches {goal} in", "time")
        found.append(row(f"time to {goal}", lambda run: run.seconds_to(task, wanted), _seconds, *words))
    # Steps of different sizes do not compare: then examples do.
    sizes = {run.config["data"]["batch_size"] for run in runs}
    steps, examples = ("max", "") if len(sizes) == 1 else ("", "max")
    found += [
        row("time to first step", measure("first_step_seconds"), _seconds, "min", "gets to its first step in", "time"),
        row("steps a second", measure("steps_per_second"), _rate, steps, "takes", "steps a second"),
        row("examples a second", measure("examples_per_second"), _rate, examples, "takes", "examples a second"),
        row("time of the whole run", measure("seconds"), _seconds, "min", "is done in", "time"),
        row("peak memory, host", measure("peak_host_memory_bytes"), _memory, "min", "takes", "host memory"),
        row("peak memory, device", measure("peak_device_memory_bytes"), _memory, "min", "takes", "device memory"),
        row("steps", measure("steps"), _count),
        row("parameters", measure("parameters"), _count),
    ]
    configs = [column.runs[0].config for column in columns]
    counts = [lines_of_code(config["task"], config["framework"], config["model"]["name"]) for config in configs]
    for part in ("task", "model", "engine"):
        found.append(Row(f"lines of code: {part}", [[count.get(part, math.nan)] for count in counts], _count))
    return [row for row in found if not all(map(math.isnan, itertools.chain(*row.values)))]


def lines_of_code(task: str, framework: str, model: str) -> dict[str, int]:
    """Lines that are neither blank nor a comment, of a twin: of its task's file, its model's and its engine's room.

    Empty where the project does not have the framework.
    """
    package = Path(__file__).parents[2]
    file = package / "tasks" / task / f"{framework}.py"
    if not file.exists():
        return {}
    # A model's config is of its family's room, or made from one that is.
    families = {base.__module__.rpartition(".")[2] for base in tasks.find(task).models[model].__mro__}
    models, todo = set(), [path for path in _models(file) if path.parent.name in families]
    while todo:
        models.add(path := todo.pop())
        todo += set(_models(path)) - models
    parts = {"task": [file], "model": models, "engine": (package / "engine" / framework).rglob("*.py")}
    return {part: sum(map(_lines, files)) for part, files in parts.items()}


def _models(file: Path) -> Iterator[Path]:
    """The files in `models/` that a file imports from."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level and node.module:
            path = file.parents[node.level - 1].joinpath(*node.module.split(".")).with_suffix(".py")
            if path.is_file() and path.parents[1].name == "models":
                yield path


def _lines(file: Path) -> int:
    lines = map(str.strip, file.read_text(encoding="utf-8").splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def _last(run: FinishedRun, tag: str) -> float:
    return run.curves[tag][-1].value if tag in run.curves else math.nan


def _plain(value: float) -> str:
    return f"{value:,.0f}" if 1e5 > abs(value) >= 1e3 else f"{value:.5g}"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _seconds(value: float) -> str:
    return "not reached" if math.isinf(value) else f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def _memory(value: float) -> str:
    return f"{value / 2**20:,.0f} MiB"


# The words.


def unit(columns: Sequence[Column]) -> str:
    seeds = {tuple(run.config["seed"] for run in column.runs) for column in columns}
    return "seed" if all(len(set(of)) == len(of) for of in seeds) else "run"


def verdict(rows: Sequence[Row], labels: Sequence[str], unit: str = "seed", parents: Sequence[str] = ()) -> list[str]:
    """Which column is ahead on what and by how much: a sentence for each row that can be judged.

    Args:
        unit: what the runs of a column differ in.
        parents: of each column, the run whose state it began with, if any.
    """
    if len(labels) < 2:
        return ["All of these runs are of one kind: none can be ahead, and the spread is all they tell."]
    judged = [row for row in rows if row.better and not any(map(math.isnan, itertools.chain(*row.values)))]
    if alone := [label for i, label in enumerate(labels) if any(len(row.values[i]) < 2 for row in judged)]:
        of = "" if len(alone) == len(labels) else f" ({', '.join(alone)})"
        said = [f"One {unit}{of} tells nothing about the spread, so none is called ahead: more of them would tell."]
    else:
        said = []
    if carried := len(set(parents)) > 1:
        for label, parent in zip(labels, parents, strict=True):
            if parent:
                said.append(f"{label} began with the state of {parent}, whose steps and time are not counted here.")
    return said + [_sentence(row, labels, told=not alone and not carried) for row in judged]


def disturbed(columns: Sequence[Column]) -> list[str]:
    """A sentence for each column that was measured while other processes kept the machine busy, where that is known."""
    shares = {c.label: max(run.result.get("busy_elsewhere") or 0.0 for run in c.runs) for c in columns}
    return [
        f"The machine was busy: other processes had {100 * share:.0f}% of its cores while {label} was measured, "
        "whose times tell of that, too."
        for label, share in shares.items()
        if share >= BUSY
    ]


def _sentence(row: Row, labels: Sequence[str], told: bool) -> str:
    """told: whether the spread is known."""
    sign = 1 if row.better == "max" else -1
    means = [statistics.fmean(values) for values in row.values]
    best, second = sorted(range(len(labels)), key=lambda i: -sign * means[i])[:2]
    others = [value for i, values in enumerate(row.values) if i != best for value in values]
    # Those that are nearest to each other: the best column's worst, and the best of the others.
    mine = min(row.values[best], key=lambda value: sign * value)
    theirs = max(others, key=lambda value: sign * value)
    shown = f"{row.show(means[best])} against {row.show(means[second])}"
    rival = labels[second] + ", the next" * (len(labels) > 2)
    if row.show(means[best]) == row.show(means[second]):
        return f"{_capital(row.name)}: {labels[best]} and {labels[second]} are equal, {row.show(means[best])}."
    if told and sign * mine <= sign * theirs:
        spreads = ", ".join(f"{label} {row.cell(i)}" for i, label in enumerate(labels))
        return f"{_capital(row.name)}: none is ahead beyond the spread: {spreads}."
    near = f"; the nearest runs have {row.show(mine)} and {row.show(theirs)}" if told else ""
    if row.of and means[second] and math.isfinite(means[second]):
        times = means[best] / means[second]
        ahead = ", and is ahead" * told
        return f"{labels[best]} {row.does} {times:.3g} times the {row.of} of {rival}{ahead} ({shown}{near})."
    apart = f" by {row.show(abs(means[best] - means[second]))}" if math.isfinite(means[second]) else ""
    if told:
        return f"{_capital(row.name)}: {labels[best]} is ahead of {rival}{apart} ({shown}{near})."
    return f"{_capital(row.name)}: {labels[best]} has {row.show(means[best])}, {rival} {row.show(means[second])}."


def _capital(name: str) -> str:
    """A tag stays as it is."""
    return name if "/" in name.partition(" ")[0] else name[:1].upper() + name[1:]


# The terminal.


def table(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    cells = [["", *(column.label for column in columns)]]
    cells += [[row.name, *(row.cell(i) for i in range(len(columns)))] for row in rows]
    first, *others = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        f"{name:{first}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(rest, others, strict=True))
        for name, *rest in cells
    ]


def command(run: FinishedRun) -> str:
    """By which a run was trained."""
    script, *words = map(str, run.environment["command"])
    return shlex.join(
        ["python", *(["-m", __package__.partition(".")[0]] if script == "__main__.py" else [script]), *words]
    )


def board(runs: Sequence[FinishedRun]) -> str:
    common = os.path.commonpath([run.folder.resolve().parent for run in runs])
    return shlex.join(["python", "-m", __package__.partition(".")[0], "board", os.path.relpath(common)])
