"""A run's first step, rehearsed without its hardware."""

import importlib
from collections.abc import Mapping
from typing import Any

from .. import task as tasks
from ..folder import plain_values
from ..registry import check, load_config


def rehearse(saved: Mapping[str, Any]) -> dict[str, int]:
    """One step as the devices of a config would take it, on as many that the CPU is taken for.

    saved: the config as plain values, which go from one process to another.

    Returns the bytes that each would hold, by what they are. Raises InputError for what would end the run before its
    first step.
    """
    config = load_config(saved=saved)
    check(config)
    task = tasks.find(config.task)
    data = task.load(config, None)
    room = importlib.import_module(f".{config.framework}.rehearsal", __package__)
    return room.rehearse(config, task, plain_values(data.spec), data)
