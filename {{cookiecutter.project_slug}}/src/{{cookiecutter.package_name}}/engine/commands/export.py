"""Writes a run's model as a file for other programs.

With a card that says what it is; in the run's folder, or in FOLDER.
"""

import argparse

from ..arguments import Parser, add_force, add_run, open_run, suggest

USAGE = "RUN --format FORMAT [--output FOLDER [--force]] [--KEY VALUE ...]"
KEYS = "run"


def arguments(parser: Parser, first: str) -> None:
    from ..export import formats

    add_run(parser)
    parser.epilog = f"formats: {', '.join(formats())}"
    action = parser.add_argument("--format", default="", metavar="FORMAT", help="one of those below")
    suggest(action, formats())
    parser.add_argument("--output", default="", metavar="FOLDER", help="in place of one in the run's")
    add_force(parser, "in the place of an export that is there")


def run(given: argparse.Namespace) -> int:
    config = open_run(given)
    from .. import export

    folder = export.export(given.folder, config, given.format, given.checkpoint, given.output, given.force)
    for path in sorted(folder.iterdir()):
        print(path)
    return 0
