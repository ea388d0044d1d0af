"""What is yours of training in JAX: the optimizers of every run."""

from collections.abc import Callable

import optax

from ..config import OptimizerConfig

# Beside those in trainers/nnx/optimizers.py, and before them, by `optimizer.name`. Each is a whole optimizer, as the
# documentation of optax makes them: the learning rate is a part of it, and the schedule multiplies what it gives by its
# share of the peak. For example
#
#     "lion": lambda config: optax.lion(config.learning_rate, weight_decay=config.weight_decay)
OPTIMIZERS: dict[str, Callable[[OptimizerConfig], optax.GradientTransformation]] = {}
