"""Training code; see README.md. What its commands do, in Python:

run = train(load_config("TASK", {"framework": "...", "trainer.epochs": 5}))
load(run).predict(INPUTS)
"""

from pathlib import Path

from .engine.config import Config
from .engine.errors import InputError
from .engine.registry import check, frameworks, load_config

__all__ = ["build", "load", "load_config", "train"]


def train(config: Config, module: type | None = None) -> Path:
    """Trains, or goes on training, as `train.py` does. Returns the run's folder. See `engine.workflow.train`."""
    from .engine.commands import train as command

    return command.train(config, module)


def build(config: Config, **options):
    """What a config trains with, for a notebook. Raises InputError where its framework has no trainer of that kind.

    options: flags of the Trainer.
    """
    check(config)
    framework = frameworks()[config.framework]
    if not hasattr(framework, "build"):
        raise InputError(f"framework = {config.framework!r} is not put together so: use train(config)")
    return framework.build(config, **options)


def load(run: str | Path, checkpoint: str = "best", module: type | None = None, **options):
    """A run's model: `load(run).predict(inputs)` gives readable rows, `.outputs(inputs)` arrays, `.model` the network.

    Args:
        run: the run's folder.
        checkpoint: best, last, or a step.
        module: the class that was given to `train`.
        options: config keys that differ here, as `load(run, **{"accelerator.platform": "cpu"})`.
    """
    from .engine import workflow
    from .engine.folder import read_config

    folder = Path(run)
    return workflow.Predictor(folder, load_config("", options, saved=read_config(folder)), str(checkpoint), module)
