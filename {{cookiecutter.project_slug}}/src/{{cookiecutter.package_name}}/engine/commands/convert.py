"""Makes a run of the other framework that goes on from where RUN is.

It has its weights, averages, the optimizer's state, steps and the best so far. `train` with RUN's options and
--framework FRAMEWORK goes on with it, --trainer.max_steps more. To go on at once, or with other options: train
--framework FRAMEWORK --resume RUN [--KEY VALUE ...]
"""

import argparse

from .. import registry
from ..arguments import Parser, add_run, suggest
from ..errors import InputError

USAGE = "RUN --to FRAMEWORK [--name NAME] [--run_dir DIR]"
KEYS = ""


def arguments(parser: Parser, first: str) -> None:
    names = list(registry.frameworks())
    if len(names) == 1:
        raise InputError(f"convert: this project has one framework, {names[0]}")
    add_run(parser, checkpoint=False)
    parser.words += "; other options are for train --resume RUN"
    suggest(parser.add_argument("--to", default="", metavar="FRAMEWORK", help=" or ".join(names)), names)
    parser.add_argument("--name", default="", metavar="NAME", help="of the new run; without it the next number")
    parser.add_argument("--run_dir", metavar="DIR", help="folder of the runs; without it as RUN says")


def run(given: argparse.Namespace) -> int:
    from ..folder import read_config

    saved = read_config(given.folder)
    names = list(registry.frameworks())
    if given.to not in names or given.to == saved["framework"]:
        others = " or ".join(f"--to {name}" for name in names if name != saved["framework"])
        raise InputError(f"{given.folder} is a run of {saved['framework']}: convert it {others}")
    begin = {"name": given.name, "init": "", "init_skip": "", "framework": given.to, "resume": str(given.folder)}
    options = begin | ({"run_dir": given.run_dir} if given.run_dir else {})
    from ..twins.convert import convert_apart

    print(convert_apart(registry.load_config("", options, saved=saved), best=True))
    return 0
