"""The base of every task's LightningModule: a loss as a sum and its weight, the optimizer, the moving average."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torchmetrics import MetricCollection

from ..registry import load_config
from ..schedule import learning_rate
from .around import AroundSteps
from .losses import clip, weight_of
from .optimizers import Schedule, create_optimizer

Batch = dict[str, torch.Tensor]


class TaskModule(L.LightningModule):
    """A task's model under training. A task gives it `create_model`, `create_metrics` and the steps.

    Optimization is automatic: `trainer.accumulate`, `optimizer.clip_norm`, precision and devices are the Trainer's.

    Args:
        config: the run's, as plain values (`config.to_dict`), so that a checkpoint holds plain data only.
        spec: the dataset's.
    """

    PARTS: Mapping[str, str] = {}  # of a task with several losses; see manual.py
    skipped: torch.Tensor  # how many updates were left out, as they were not finite or weighed nothing

    def __init__(self, config: Mapping[str, Any], spec: Mapping[str, Any]):
        super().__init__()
        self.save_hyperparameters("config", "spec", logger=False)
        self.config, self.spec = load_config(saved=config), spec
        self.learning_rate = self.config.optimizer.learning_rate  # the peak; `Tuner.lr_find` sets it
        self.net = self.create_model()
        # The moving average of the network, which is what is evaluated where there is one.
        self.ema = copy.deepcopy(self.net).requires_grad_(False) if self.config.optimizer.ema_decay else None
        self.metrics = self.create_metrics()
        if self.config.accelerator.precision == "float64":
            self.metrics.set_dtype(torch.float64)
        self.measured: dict[str, Any] = {}  # what the metrics found last: numbers and arrays
        self.options: dict[str, Any] = {}  # of `predict`, for `predict_step`: see `Task.decoding`
        self.register_buffer("skipped", torch.tensor(0))
        self.grad_norm: torch.Tensor | None = None  # of the last update, before clipping, where it is wanted
        self.recorded = self.norm_wanted = False  # set by a run's record, which logs by itself

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes each hook that it calls, fifty times a step, and a module of torch looks long at each value.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def create_model(self) -> nn.Module:
        raise NotImplementedError  # each task has its own

    def create_metrics(self) -> MetricCollection:
        raise NotImplementedError  # each task has its own

    @property
    def evaluated(self) -> Any:
        """The network to evaluate and keep: the average where there is one, with the current statistics."""
        return self.net if self.ema is None else self.ema

    @classmethod
    def updates(cls) -> int:
        """What Lightning counts in a step of the task: one for each loss."""
        return max(1, len(cls.PARTS))

    @property
    def step(self) -> int:
        """Steps of the task that are done."""
        return self.trainer.global_step // self.updates()

    @property
    def total_steps(self) -> float:
        return self.trainer.estimated_stepping_batches

    def forward(self, batch: Batch) -> Batch:
        return self.predict_step(batch, 0)

    def mean(self, found: tuple, batch: Batch) -> dict[str, torch.Tensor] | None:
        """What `training_step` returns, of a loss's (sum, weight), or (sum, weight, {name: a sum to log beside it}).

        The weight is the batch's where it has one, the mean of all micro-batches' and devices', over which Lightning
        takes the mean of the gradients: so the loss is exact on any number of both. Of what weighs nothing it is None,
        and Lightning takes no update.
        """
        total, weight, parts = (*found, {})[:3]
        weight = weight_of(weight, batch, self._trainer, self.automatic_optimization)
        if not weight:
            return None
        beside = {name: torch.as_tensor(value).detach() / weight for name, value in parts.items()}
        return {"loss": total / weight, **beside}

    def generate(self, batch: Batch, **options: Any) -> Iterator[Batch]:
        raise NotImplementedError  # each task with a `stream` has its own

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer and the schedule that the config names."""
        optimizer = self.create_optimizer(self)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.schedule(optimizer), "interval": "step"}}

    def parts(self) -> list[nn.Module]:
        """What each loss moves: of one alone, all that is trained."""
        return [getattr(self.net, part) for part in self.PARTS.values()] or [self]

    def create_optimizer(self, part: nn.Module) -> torch.optim.Optimizer:
        return create_optimizer(part, dataclasses.replace(self.config.optimizer, learning_rate=self.learning_rate))

    def schedule(self, optimizer: torch.optim.Optimizer) -> Schedule:
        """`optimizer.schedule`, as shares of the peak."""
        config = self.config.optimizer
        end = config.schedule_steps or self.total_steps
        # end: inf where the run has none
        return Schedule(optimizer, lambda step: learning_rate(step, config, end) / config.learning_rate)  # type: ignore[arg-type]

    def configure_model(self) -> None:
        """Leaves each process its part of the model, where `accelerator.mesh` cuts it."""
        cut = getattr(self.trainer.strategy, "cut", None) if self._trainer else None
        if cut:
            cut([self.net] if self.ema is None else [self.net, self.ema])

    def configure_callbacks(self) -> list[L.Callback]:
        return [AroundSteps()]

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        """`gradient_clip_val` of the Trainer, also where the model is cut, and the norm that it takes."""
        if gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val or self.norm_wanted:
            self.grad_norm = clip(optimizer, gradient_clip_val, self.trainer.precision_plugin)
