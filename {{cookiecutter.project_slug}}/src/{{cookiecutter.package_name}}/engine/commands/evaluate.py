"""Tells a run's metrics on its test split.

Options change its config, as --data.root or --data.batch_size.
"""

import argparse

from ..arguments import Parser, add_run, open_run
from ..console import beginning, shown

USAGE = "RUN [--checkpoint WHICH] [--KEY VALUE ...]"
KEYS = "run"

MOST_LINES = 25  # of a chart that is a text


def arguments(parser: Parser, first: str) -> None:
    add_run(parser)


def run(given: argparse.Namespace) -> int:
    config = open_run(given)
    from .. import workflow

    metrics, charts = workflow.evaluate(given.folder, config, given.checkpoint)
    for name, value in metrics.items():
        print(f"{name:20} {shown(value)}")
    for name, chart in charts.items():
        if isinstance(chart, str):
            print(f"\n{name}\n{beginning(chart.splitlines(), MOST_LINES)}")
    return 0
