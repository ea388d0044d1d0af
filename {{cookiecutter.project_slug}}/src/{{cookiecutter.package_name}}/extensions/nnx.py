"""What is yours of training in JAX: the loggers and optimizers of every run."""

from collections.abc import Callable, Mapping

import optax

from ..engine.api import Config, OptimizerConfig

# By `optimizer.name`, before those in engine/nnx/optimizers.py. Each is a whole optimizer, as the documentation of
# optax makes them; it is made anew for each step, of which `config.learning_rate` is the learning rate, by
# `optimizer.schedule`. One of its own, or a schedule of optax, goes in its place. Other keys of `optimizer` count where
# it uses them, but for `clip_norm`, which always does. For example, where biases and norms do not decay,
#
#     matrices = lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
#     "lion": lambda config: optax.lion(config.learning_rate, weight_decay=config.weight_decay, mask=matrices)
#     "mine": lambda config: optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 1e-3, 500, 10_000))
OPTIMIZERS: dict[str, Callable[[OptimizerConfig], optax.GradientTransformation]] = {}


def loggers(config: Config) -> list[Callable[[int, Mapping[str, float]], None]]:
    """Beside the run's own events and `metrics.jsonl`; made anew for each run. They get the step, and what is logged
    there by tag. For example

    run = wandb.init(project=config.task, name=config.name or None)
    return [lambda step, values: run.log(dict(values), step)]
    """
    return []
