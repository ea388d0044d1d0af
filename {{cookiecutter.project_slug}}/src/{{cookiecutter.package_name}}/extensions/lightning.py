"""Your own parts of training in PyTorch Lightning."""

from collections.abc import Callable

import torch

from ..config import OptimizerConfig

# Beside those in trainers/lightning/optimizers.py, and before them, by `optimizer.name`. The first argument holds
# parameters and their weight_decay in groups, as torch's optimizers take them. For example
#
#     "nadam": lambda groups, config: torch.optim.NAdam(groups, config.learning_rate)
OPTIMIZERS: dict[str, Callable[[list[dict], OptimizerConfig], torch.optim.Optimizer]] = {}
