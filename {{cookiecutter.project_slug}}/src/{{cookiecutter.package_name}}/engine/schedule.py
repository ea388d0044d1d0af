"""When what happens: a run's length, learning rates, validations, logs and checkpoints. The only formulas."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .config import Config, OptimizerConfig
from .errors import InputError

# Loss scaling of float16 (Micikevicius et al., 2018): the first factor, and after how many good updates it doubles.
LOSS_SCALE, LOSS_SCALE_STEPS = 2.0**16, 2000

MOST_EVENTS = 100  # in a run, of those that come once an epoch: of more epochs, they come after every few


@dataclass(frozen=True)
class Plan:
    """The course of a run, in steps. Step n is the state after n updates.

    `total_steps` is the end; `eval_batches` limits each evaluation (None: every batch); `profile` are the steps that
    `--debug profile` traces.
    """

    total_steps: int
    steps_per_epoch: int
    val_every: int
    log_every: int
    checkpoint_every: int
    eval_batches: int | None = None
    profile: range = range(0)

    @classmethod
    def of(cls, config: Config, steps_per_epoch: int, start: int = 0, overfit_steps: int = 0) -> "Plan":
        """The plan of a run that begins at step `start`, where it carries on another run's state."""
        trainer = config.trainer
        if config.debug == "fast":
            return cls(start + 3, steps_per_epoch, val_every=2, log_every=1, checkpoint_every=2, eval_batches=2)
        if config.debug == "overfit":
            end = start + overfit_steps
            return cls(end, steps_per_epoch, val_every=end, log_every=10, checkpoint_every=end)
        if config.debug == "profile":  # ten steps to warm up, then as many as are still readable in a trace
            end = start + 20
            traced = range(start + 10, start + 15)
            return cls(end, steps_per_epoch, end, log_every=10, checkpoint_every=end, eval_batches=2, profile=traced)
        if not trainer.epochs and not trainer.max_steps:
            raise InputError("trainer.epochs = 0 and trainer.max_steps = 0: the run would never end, set one of them")
        epochs = trainer.epochs and max(trainer.epochs * steps_per_epoch, trainer.min_steps)
        total = min(limit for limit in (epochs, trainer.max_steps) if limit)
        some_epochs = steps_per_epoch * max(1, total // (MOST_EVENTS * steps_per_epoch))
        return cls(
            total_steps=start + total,
            steps_per_epoch=steps_per_epoch,
            val_every=trainer.val_every or some_epochs,
            log_every=trainer.log_every or some_epochs,
            checkpoint_every=trainer.checkpoint_every or some_epochs,
        )

    def is_longer_than_its_epochs(self, config: Config) -> bool:
        """Whether `trainer.min_steps` rules."""
        trainer = config.trainer
        return config.debug == "none" and 0 < trainer.epochs * self.steps_per_epoch < min(
            trainer.min_steps, trainer.max_steps or trainer.min_steps
        )

    def validates(self, step: int) -> bool:
        return step % self.val_every == 0 or step == self.total_steps

    def logs(self, step: int) -> bool:
        return step % self.log_every == 0 or step == self.total_steps

    def saves(self, step: int) -> bool:
        return step % self.checkpoint_every == 0 or step == self.total_steps

    def calls(self, step: int, wanted: int) -> Iterator[tuple[int, int]]:
        """(step, how many steps) of each call from `step` on, without end: `wanted`, or 1 where that crosses an event.

        Events are validations, logs, checkpoints, both ends of a profile, and the end.
        """
        while True:
            intervals = (self.val_every, self.log_every, self.checkpoint_every)
            marks = (self.total_steps, self.profile.start, self.profile.stop)
            left = min(*(every - step % every for every in intervals), *(mark - step for mark in marks if mark > step))
            steps = wanted if wanted <= left else 1
            yield step, steps
            step += steps


def warmup_steps(optimizer: OptimizerConfig, schedule_steps: int) -> int:
    """Of warm-up: a tenth of the schedule at most, so that a short run trains at its peak, too."""
    return min(optimizer.warmup_steps, schedule_steps // 10)


def learning_rate(step: int, optimizer: OptimizerConfig, schedule_steps: int) -> float:
    """The learning rate of the update that leads from `step` to `step + 1`.

    Linear warm-up reaches the peak with update number `warmup_steps(...)`; then cosine or linear decay reaches
    `min_learning_rate` at `schedule_steps`, and inverse_sqrt falls with the square root of the step ("Attention Is All
    You Need", 5.3).
    """
    peak, lowest = optimizer.learning_rate, optimizer.min_learning_rate
    warmup = warmup_steps(optimizer, schedule_steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, schedule_steps - warmup))
    if optimizer.schedule == "cosine":
        return lowest + (peak - lowest) * 0.5 * (1.0 + math.cos(math.pi * done))
    if optimizer.schedule == "linear":
        return lowest + (peak - lowest) * (1.0 - done)
    if optimizer.schedule == "inverse_sqrt":
        return peak * math.sqrt(max(1, warmup) / (step + 1))
    return peak


def average_weight(step, decay: float, largest=max):
    """What the weights of step + 1 count in their moving average, which weighs 1 - that.

    1 - decay, and more in the beginning, so that the average is none of the random start for long: its decay is
    min(decay, (1 + step) / (10 + step)).

    Args:
        step: a number, or an array.
        largest: max of two of its kind.
    """
    return largest(1 - decay, 9 / (10 + step))


def schedule_steps(config: Config, plan: Plan) -> int:
    """Where the schedule ends."""
    return config.optimizer.schedule_steps or plan.total_steps
