"""Lists tasks and presets, with what they need and are expected to reach; or all runs.

list runs has a line for each run: its state, step, the best of the metric that its task monitors, and what tells it
from the other runs of its task and preset. PATTERN is a glob of task/preset/framework/name, or a part of that. --sort
METRIC shows that, too, the best first: losses, and what is better when it is smaller, upwards. --json has every figure.
"""

import argparse
import csv
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import registry, runs
from .. import task as tasks
from ..arguments import Parser, docstring, suggest, truth
from ..errors import InputError
from ..folder import to_json
from ..layers import read_yaml
from ..meant import closest

USAGE = "[TASK... | runs [PATTERN...] [--sort METRIC] [--run_dir DIR]] [--json | --csv]"
KEYS = ""


def arguments(parser: Parser, first: str) -> None:
    suggest(parser.add_argument("what", metavar="TASK or runs", nargs="*"), ["runs", *registry.presets()])
    parser.add_argument("--sort", metavar="METRIC", default="", help="as test/loss, or steps_per_second")
    parser.add_argument("--run_dir", metavar="DIR", type=Path, help="folder of the runs (runs)")
    for name in ("json", "csv"):
        help = f"the same as data, in {name.upper()}"
        parser.add_argument(f"--{name}", nargs="?", type=truth, const=True, default=False, metavar="true", help=help)


def run(given: argparse.Namespace) -> int:
    if given.json and given.csv:
        raise InputError("--json and --csv: choose one of them")
    if given.what[:1] == ["runs"]:
        found, lines = _runs(given.run_dir or Path("runs"), given.what[1:], given.sort)
    elif given.sort or given.run_dir:
        raise InputError(f"--{'sort' if given.sort else 'run_dir'} is for list runs")
    else:
        found, lines = _presets(given.what)
    if given.json:
        print(to_json(found, indent=2, ensure_ascii=False))
    elif given.csv:
        flat = [{**row, **row.pop("differs", {}), **row.pop("expected", {})} for row in found]
        rows = [{key: value for key, value in row.items() if not isinstance(value, Mapping)} for row in flat]
        writer = csv.DictWriter(
            sys.stdout, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)
    else:
        print("\n".join(lines))
    return 0


# Runs.


def _runs(run_dir: Path, patterns: Sequence[str], metric: str) -> tuple[list[dict[str, Any]], list[str]]:
    """As data, and as lines of a table."""
    found = runs.find(run_dir, patterns)
    if not found:
        raise InputError(f"{run_dir} holds no run" + f" of {' or '.join(patterns)}" * bool(patterns))
    if metric:
        if metric not in (names := sorted({name for run in found for name in run.figures})):
            raise InputError(f"--sort {metric}: no run has it: {closest(metric, names)}")
        found.sort(key=lambda run: _rank(run, metric))
    rows = [
        {
            "run": run.id,
            **{key: getattr(run, key) for key in ("state", "step", "seconds", "monitor", "best")},
            **({metric: run.figures.get(metric)} if metric else {}),
            "differs": differs,
            "figures": run.figures,
        }
        for run, differs in zip(found, runs.differences(found), strict=True)
    ]
    return rows, runs.table(found, metric)


def _rank(run: runs.Listed, metric: str) -> float:
    """The best first, runs without the metric last."""
    value = run.figures.get(metric, math.nan)
    name = metric.rpartition("/")[2]
    falls = run.mode == "min" if name == run.monitor.rpartition("/")[2] else name == "loss"
    return math.inf if math.isnan(value) else value if falls else -value


# Tasks and presets: what the first lines of a preset's file tell.


def _presets(chosen: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """As data, and as lines to read."""
    presets = registry.presets()
    if unknown := [task for task in chosen if task not in presets]:
        raise InputError(f"no task {unknown[0]!r}: {closest(unknown[0], ['runs', *presets])}")
    rows, lines = [], []
    for task, names in presets.items():
        if chosen and task not in chosen:
            continue
        lines += ["", docstring(Path(tasks.__file__).parents[1] / "tasks" / task / "__init__.py").partition("\n")[0]]
        for name in names:
            row = _preset(task, name)
            rows.append(row)
            lines.append(f"  {row['preset']}  ({row['data']} data)  {row['about']}")
            what, *reached = [f"{key} {value}" for key, value in row["expected"].items()]
            if told := what.removeprefix("what ") + ": " * bool(reached) + "; ".join(reached):
                lines.append(f"      {told}")
    return rows, lines[1:]


def _preset(task: str, name: str) -> dict[str, Any]:
    """What the comment at the head of a preset's file says: what it is, a command, and what to expect."""
    file = registry.configs() / task / f"{name}.yaml"
    head = "".join(re.findall(r"\A(?:#.*\n)*", file.read_text(encoding="utf-8"))).replace("# ", "")
    about, command, rest = [*re.split(r"^(python .*)\n", head, maxsplit=1, flags=re.MULTILINE), "", ""][:3]
    reached = {key: found[1] for key in registry.frameworks() if (found := re.search(rf"(?m)^{key}: (.+)$", rest))}
    before = re.split(rf"(?m)^(?:{'|'.join(reached)}): ", rest)[0] if reached else rest
    said = _sentences(before)
    if reached:
        what = [text.partition(",")[0].rstrip(":") for text in said[-1:]]
    else:
        what = [text for text in said if re.search("not measured|depend on", text)]
    first = next(iter(tasks.find(task).datasets))
    fetched = "download" if "--data.download" in command else "own"
    return {
        "preset": f"{task}/{name}",
        "about": next(iter(_sentences(about)), ""),
        "data": "embedded" if (read_yaml(file).get("data") or {}).get("name", first) == first else fetched,
        "command": command,
        "expected": {"what": "".join(what[:1]), **reached},
    }


def _sentences(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"(?<=\.)\s(?=[A-Z])|\n(?=[A-Z][a-z])", text) if part.strip()]
