"""The weights that runs of every framework begin with, where they are to begin with the same."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import task as tasks
from .. import weights
from ..registry import load_config
from ..workflow import create_engine, on_one_device


def write_initial(saved: Mapping[str, Any], path: Path) -> None:
    """The weights that a run of a config begins with, as a file.

    saved: the config as plain values, which go from one process to another.
    """
    config = load_config(saved=saved)
    data = tasks.find(config.task).load(config, None)
    found = create_engine(on_one_device(config), data.spec).weights(None)
    beside = path.with_name(f".{path.name}")
    beside.parent.mkdir(parents=True, exist_ok=True)
    weights.write(beside, found)
    os.replace(beside, path)
