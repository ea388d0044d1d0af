"""When what happens: a run's length, learning rates, validations, logs and checkpoints. The only formulas."""

import math
from dataclasses import dataclass

from ..config import Config, OptimizerConfig
from ..errors import InputError


@dataclass(frozen=True)
class Plan:
    """The course of a run, in steps. Step n is the state after n updates.

    `total_steps` is the end; `eval_batches` limits each evaluation (None: every batch).
    """

    total_steps: int
    steps_per_epoch: int
    val_every: int
    log_every: int
    checkpoint_every: int
    eval_batches: int | None = None

    @classmethod
    def of(cls, config: Config, steps_per_epoch: int, start: int = 0) -> "Plan":
        """The plan of a run that begins at step `start`, where it carries on another run's state."""
        trainer = config.trainer
        if config.debug == "fast":
            return cls(start + 3, steps_per_epoch, val_every=2, log_every=1, checkpoint_every=2, eval_batches=2)
        if not trainer.epochs and not trainer.max_steps:
            raise InputError("trainer.epochs = 0 and trainer.max_steps = 0: the run would never end, set one of them")
        limits = [trainer.epochs * steps_per_epoch, trainer.max_steps]
        return cls(
            total_steps=start + min(limit for limit in limits if limit),
            steps_per_epoch=steps_per_epoch,
            val_every=trainer.val_every or steps_per_epoch,
            log_every=trainer.log_every or steps_per_epoch,
            checkpoint_every=trainer.checkpoint_every or steps_per_epoch,
        )

    def validates(self, step: int) -> bool:
        return step % self.val_every == 0 or step == self.total_steps

    def logs(self, step: int) -> bool:
        return step % self.log_every == 0 or step == self.total_steps

    def saves(self, step: int) -> bool:
        return step % self.checkpoint_every == 0 or step == self.total_steps

    def steps_at_once(self, step: int, wanted: int) -> int:
        """How many steps one call takes from `step` on: `wanted`, or 1 where that would cross an event."""
        return wanted if wanted <= self.until_event(step) else 1

    def until_event(self, step: int) -> int:
        """Steps from `step` to the next validation, log, checkpoint or the end."""
        intervals = (self.val_every, self.log_every, self.checkpoint_every)
        return min(self.total_steps - step, *(every - step % every for every in intervals))


def learning_rate(step: int, optimizer: OptimizerConfig, schedule_steps: int) -> float:
    """The learning rate of the update that leads from `step` to `step + 1`.

    Linear warm-up reaches the peak with update number `warmup_steps`; then cosine or linear decay reaches zero at
    `schedule_steps`, and inverse_sqrt falls with the square root of the step ("Attention Is All You Need", 5.3).
    """
    peak, warmup = optimizer.learning_rate, optimizer.warmup_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, schedule_steps - warmup))
    if optimizer.schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * done))
    if optimizer.schedule == "linear":
        return peak * (1.0 - done)
    if optimizer.schedule == "inverse_sqrt":
        return peak * math.sqrt(max(1, warmup) / (step + 1))
    return peak


def schedule_steps(config: Config, plan: Plan) -> int:
    """Where the schedule ends."""
    return config.optimizer.schedule_steps or plan.total_steps
