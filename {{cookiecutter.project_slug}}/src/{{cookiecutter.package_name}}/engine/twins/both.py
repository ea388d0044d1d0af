"""Training of both frameworks by one command."""

import dataclasses
import sys
import time
from pathlib import Path

from ..apart import train_apart
from ..config import Config
from ..registry import check, frameworks


def train_both(config: Config, words: list[str]) -> tuple[list[Path], int]:
    """Each framework in a process of its own, one after the other. words: of the command, after `train`.

    Returns the folders of those that got to the end, and the worst exit code; after a mistake or a signal no folders.
    """
    began, minutes = time.monotonic(), config.trainer.max_minutes
    for name in frameworks():  # a mistake that can be told now is told before the first of them trains
        check(dataclasses.replace(config, framework=name))
    print(f"{config.task}/{config.preset or 'default'}: {', then '.join(frameworks())}", file=sys.stderr)
    folders, worst = [], 0
    for name in frameworks():
        left = max(minutes - (time.monotonic() - began) / 60, 1e-9)  # of what they have together
        limit = ["--trainer.max_minutes", f"{left}"] if minutes else []
        code, folder = train_apart([*words, "--framework", name, *limit])
        folders += [folder] if folder else []
        worst = max(worst, code)
        if code in (2, 130, 143):
            return [], code
    return folders, worst
