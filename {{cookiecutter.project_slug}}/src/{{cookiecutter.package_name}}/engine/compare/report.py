"""The report of `compare`: one file of HTML that needs nothing else, and opens from disk.

What comes from runs is escaped; there is no script in it.
"""

import html
import io
import math
import os
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .. import task as tasks
from ..data.files import write_text
from ..errors import InputError
from . import comparison
from .comparison import Column, FinishedRun, Row

# Told apart by the colour-blind, on white and on black.
COLORS = ("#0a84c6", "#dd6b10", "#0b9e73", "#c56ba0", "#c99700", "#8a7ff0")
DASHES = ("solid", "dashed", "dashdot", "dotted")
INK = "#010203"  # of axes and texts in a plot: put there by matplotlib, replaced by the page's own colour

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child, .text td, .text th { text-align: left; }
.text td { overflow-wrap: anywhere; }
tbody tr:hover { background: var(--soft); }
small { opacity: .75; white-space: nowrap; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; break-inside: avoid; }
svg { width: 100%; height: auto; }
pre { background: var(--soft); padding: .5rem .8rem; margin: .4rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
@media print {
  body { max-width: none; margin: 0; font-size: 11px; }
  .plots { grid-template-columns: 1fr 1fr; }
  h2, tr { break-after: avoid; break-inside: avoid; }
}
"""


def write(runs: Sequence[FinishedRun], folder: Path, target: float | None, typed: str) -> str:
    """Writes the report into `folder`. Returns what the terminal shows of it.

    Args:
        target: of the task's monitored metric; None: the worst of the runs' bests, which all of them reach.
        typed: the command that asks for it.

    Raises:
        InputError: where it cannot be written.
    """
    columns = comparison.columns_of(runs)
    rows = comparison.rows_of(columns, target)
    labels, parents = [column.label for column in columns], [column.runs[0].parent for column in columns]
    said = comparison.verdict(rows, labels, comparison.unit(columns), parents) + comparison.disturbed(columns)
    look = comparison.board(runs)
    commands = [typed, *dict.fromkeys(comparison.command(run) for run in runs), look]
    path = folder / comparison.REPORT
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, _page(columns, rows, said, commands, folder))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another --run_dir") from error
    return "\n".join([*comparison.table(columns, rows), "", *said, "", f"Report: {path}", f"See them: {look}"])


def _page(
    columns: Sequence[Column], rows: Sequence[Row], said: Sequence[str], commands: Sequence[str], folder: Path
) -> str:
    runs = [run for column in columns for run in column.runs]
    task = tasks.find(str(runs[0].config["task"]))
    presets = dict.fromkeys(str(run.config["preset"] or "default") for run in runs)
    title = f"{task.name}/{', '.join(presets)}: {' and '.join(column.label for column in columns)}"
    plots = [
        _plot(columns, tag, by_seconds, log=log)
        for tag, log in (("train/loss", True), (task.monitor, False))
        for by_seconds in (False, True)
        if any(tag in run.curves for run in runs)
    ]
    head = ["", *(column.label for column in columns)]
    figures = [[row.name, *(_cell(row.cell(i)) for i in range(len(columns)))] for row in rows]
    differing = comparison.differing([column.runs[0] for column in columns])
    others = [[key, *(_escape(str(value)) for value in values)] for key, values in differing.items()]
    each = [_run_cells(column, run, folder) for column in columns for run in column.runs]
    several = any(len(column.runs) > 1 for column in columns)
    notes = [
        "Of several runs: the mean, the smallest and the largest." * several,
        f"Metrics of the test split and <i>best</i> ones are of the checkpoint with the best {_escape(task.monitor)}.",
        "Times begin with the process: imports and compilation are in them.",
        "Memory is that of the process that trained.",
        "Lines of code are those that are neither blank nor a comment.",
    ]
    parts = {
        "In words": "<ul>" + "".join(f"<li>{_escape(line)}</li>" for line in said) + "</ul>",
        "Figures": f"{_html_table(head, figures)}<p>{' '.join(notes)}</p>",
        "Curves": f'<div class="plots">{"".join(plots)}</div>' if plots else "",
        "What else differs": _html_table(head, others, "text") if others else "",
        "Runs": _html_table(["", "run", "seed", "steps", "finished"], each, "text"),
        "Versions": _html_table(head, _versions(columns)),
        "Machine": _html_table(head, _machine(columns), "text"),
        "Commands": "".join(f"<pre>{_escape(line)}</pre>" for line in commands),
    }
    body = "".join(f"<section><h2>{name}</h2>{part}</section>\n" for name, part in parts.items() if part)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{_escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{_escape(title)}</h1>\n{body}</body></html>\n"
    )


def _escape(text: str) -> str:
    return html.escape(text)


def _cell(text: str) -> str:
    """The spread smaller than the mean."""
    mean, bracket, spread = text.partition(" (")
    return f"{_escape(mean)} <small>{_escape(bracket.strip() + spread)}</small>" if spread else _escape(mean)


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """head and the first cell of each row: plain texts; the other cells: HTML."""
    top = "".join(f"<th>{_escape(name)}</th>" for name in head)
    lines = ("".join(f"<td>{cell}</td>" for cell in [_escape(name), *cells]) for name, *cells in rows)
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _run_cells(column: Column, run: FinishedRun, folder: Path) -> list[str]:
    path = Path(os.path.relpath(run.folder.resolve(), folder.resolve())).as_posix()
    link = f'<a href="{_escape(quote(path))}/">{_escape(path)}</a>'
    rest = (run.config["seed"], f"{run.result['steps']:,}", run.result["finished"])
    return [column.label, link, *map(_escape, map(str, rest))]


def _versions(columns: Sequence[Column]) -> list[list[str]]:
    runs = [column.runs[0] for column in columns]
    found = [{"python": run.environment["python"], **run.result["versions"]} for run in runs]
    names = dict.fromkeys(chain(*found))
    return [[name, *(_escape(str(one.get(name, ""))) for one in found)] for name in names]


def _machine(columns: Sequence[Column]) -> list[list[str]]:
    found = [column.runs[0].environment for column in columns]
    keys = {"devices": "devices", "CPU": "cpu", "system": "platform", "git commit": "git_commit"}
    rows = [[name, *(_escape(str(one.get(key, ""))) for one in found)] for name, key in keys.items()]
    return [row for row in rows if any(row[1:])]


def _plot(columns: Sequence[Column], tag: str, by_seconds: bool, log: bool) -> str:
    """The curves of a tag as SVG, in the page's own colours; a column has one colour, a run one line."""
    import matplotlib
    from matplotlib.figure import Figure

    ink = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    settings: dict[Any, Any] = {
        **ink,
        "svg.fonttype": "none",
        "svg.hashsalt": "compare",
        "legend.frameon": False,
        "font.size": 9,
    }
    with matplotlib.rc_context(settings):
        figure = Figure((5, 3.2), layout="constrained")
        axes = figure.subplots()
        seen = []
        for number, column in enumerate(columns):
            color, dashes = COLORS[number % len(COLORS)], DASHES[number % len(DASHES)]
            for i, run in enumerate(column.runs):
                points = [point for point in run.curves.get(tag, ()) if math.isfinite(point.value)]
                seen += [point.value for point in points]
                x = [point.seconds if by_seconds else point.step for point in points]
                y = [point.value for point in points]
                dot = "o" if len(points) == 1 else ""  # which is no line
                label = "" if i else column.label
                axes.plot(x, y, color=color, linestyle=dashes, linewidth=1.3, alpha=0.85, label=label, marker=dot)
        if by_seconds:
            axes.set_xlim(left=0)  # imports and compilation are part of the time
        if log and (above := [value for value in seen if value > 0]):
            narrow = max(above) < 10 * min(above)  # else the powers of ten are enough
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:.3g}" if narrow else "")
        axes.set(xlabel="seconds" if by_seconds else "step", ylabel=tag)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2, color=INK)
        axes.legend()
        file = io.StringIO()
        without = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=without)
    svg = "<svg" + file.getvalue().partition("<svg")[2]  # without the head of a file of its own
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)  # each plot has the same ones
    about = f"{tag} by {'second' if by_seconds else 'step'}"
    return f'<figure role="img" aria-label="{_escape(about)}">{svg.replace(INK, "currentColor")}</figure>'
