"""The base of tasks with several losses, each of which moves a part of the model, in order, within a step."""

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from .counts import count_update
from .data import split
from .losses import clip
from .module import Batch, TaskModule


class ManualModule(TaskModule):
    """Of a task with several losses: optimization is manual, as Lightning's own knows one optimizer.

    A task gives it `PARTS`, by the name of each loss the attribute of the model whose parameters it moves, and
    `loss_fn`. What Lightning leaves to manual optimization is done here: micro-batches, clipping, schedules.
    """

    PARTS: Mapping[str, str]

    def __init__(self, config: Mapping[str, Any], spec: Mapping[str, Any]):
        super().__init__(config, spec)
        self.automatic_optimization = False

    @property
    def total_steps(self) -> float:
        # Lightning's `max_steps` counts those of each optimizer, its epochs do not.
        limit = self.trainer.max_steps
        return super().total_steps if limit == -1 else limit // self.updates()

    def loss_fn(self, name: str, batch: Batch) -> tuple:
        """(sum, weight) of a loss, or (sum, weight, {name: a sum to log beside it})."""
        raise NotImplementedError  # each task has its own

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer and one schedule for each loss."""
        optimizers = list(map(self.create_optimizer, self.parts()))
        return optimizers, list(map(self.schedule, optimizers))

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        self.squares: list[torch.Tensor] = []  # of the norm, by loss
        pieces = split(batch, self.config.trainer.accumulate)
        schedules = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        for name, optimizer, schedule in zip(self.PARTS, self.optimizers(), schedules, strict=True):
            self.toggle_optimizer(optimizer)
            means = []
            for i, piece in enumerate(pieces, 1):
                if mean := self.mean(self.loss_fn(name, piece), piece):
                    means.append(mean)
                    with self.exchange(last=i == len(pieces)):
                        self.manual_backward(mean["loss"] / len(pieces))
            if means:
                optimizer.step()
                optimizer.zero_grad()
            else:  # of what weighs nothing: it is left out, and counts as a step
                zero = torch.zeros((), device=self.device)
                self.skipped += 1
                count_update(self.trainer)
                means.append({"loss": zero})
                self.squares.append(zero)
            schedule.step()
            self.untoggle_optimizer(optimizer)
            for key in means[0]:
                value = torch.stack([mean[key].detach() for mean in means]).mean()
                found[f"loss/{name}" if key == "loss" else key] = value
        if self.squares:
            self.grad_norm = torch.stack(self.squares).sum().sqrt()
        return found

    def exchange(self, last: bool) -> contextlib.AbstractContextManager:
        """Copies of the model exchange their gradients after the last micro-batch only."""
        strategy = self.trainer.strategy
        if isinstance(strategy, ParallelStrategy) and not last:
            return strategy.block_backward_sync()
        return contextlib.nullcontext()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        limit = self.config.optimizer.clip_norm
        if limit or self.norm_wanted:
            self.squares.append(clip(optimizer, limit, self.trainer.precision_plugin) ** 2)
