"""What is yours of training in PyTorch Lightning: the callbacks, loggers and optimizers of every run."""

from collections.abc import Callable

import lightning as L
import torch
from lightning.pytorch.loggers.logger import Logger

from ..engine.api import Config, OptimizerConfig

# By `optimizer.name`, before those in engine/lightning/optimizers.py. Each gets the trained parameters and their
# weight_decay in groups, as torch's optimizers take them, and the config. For example
#
#     "nadam": lambda groups, config: torch.optim.NAdam(groups, config.learning_rate)
OPTIMIZERS: dict[str, Callable[[list[dict], OptimizerConfig], torch.optim.Optimizer]] = {}


def callbacks(config: Config) -> list[L.Callback]:
    """Beside the one that keeps the run's folder; made anew for each run. For example

    return [EarlyStopping("val/loss"), LearningRateMonitor()]
    """
    return []


def loggers(config: Config) -> list[Logger]:
    """Beside the run's own events and `metrics.jsonl`; made anew for each run. They get the config and all that is
    logged. For example

    return [MLFlowLogger(config.task, run_name=config.name or None, tracking_uri="sqlite:///mlflow.db")]
    """
    return []
