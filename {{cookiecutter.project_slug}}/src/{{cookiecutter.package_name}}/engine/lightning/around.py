"""What is done around the steps of every module, in any Trainer."""

from typing import Any

import lightning as L
import torch
from torch import nn

from .. import task as tasks
from ..config import flatten, to_dict
from ..schedule import average_weight
from .data import part_of
from .devices import seed, seed_of
from .losses import gradients, norm, numbers
from .weights import array, local


class AroundSteps(L.Callback):
    """Seeds dropout, moves the average, and logs, hyper-parameters too: a callback, so that a module's own hooks
    replace none of it.
    """

    def setup(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        for metric in module.metrics.values():
            metric.process_group = getattr(trainer.strategy, "metrics_group", None)
        for logger in trainer.loggers if stage == "fit" else ():
            logger.log_hyperparams(flatten(to_dict(module.config)))

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        self.step, (self.part, _) = module.step, part_of(trainer)  # the step that the average knows of
        self.taken = False  # by a micro-batch, the update of this step

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        # Dropout is a function of (seed, step, micro-batch, part): no checkpoint has to hold a generator's state.
        piece = batch_idx % trainer.accumulate_grad_batches
        seed(module.device, seed_of(module.config.seed, module.step, piece, self.part))

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.taken |= bool(outputs)
        if module.step > self.step:
            if module.ema is not None:
                average(module.ema, module.net, average_weight(self.step, module.config.optimizer.ema_decay))
            if not self.taken and module.automatic_optimization:
                module.skipped += 1
            self.step, self.taken = module.step, False
        if not module.recorded and outputs:
            found = numbers(outputs, trainer)
            module.log_dict({f"train/{name}": value for name, value in found.items()}, prog_bar=True)

    def on_validation_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        log_metrics(module, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        log_metrics(module, "test")


class SkipNotFinite(L.Callback):
    """Leaves out an update whose loss or gradient is not finite: optimizers pass by parameters without a gradient.

    Running statistics become again what they were. In float16 it is the loss's scaler that leaves the update out.
    """

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        self.step = -1  # the one that is being taken

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        if module.step != self.step:
            self.step, self.before = module.step, [buffer.clone() for buffer in module.net.buffers()]
            self.finite = torch.tensor(True, device=module.device)

    def on_before_backward(self, trainer: L.Trainer, module: Any, loss: torch.Tensor) -> None:
        self.finite = self.finite & loss.detach().isfinite()

    def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, optimizer: Any) -> None:
        found = norm(gradients(optimizer)).isfinite() & self.finite
        finite = bool(trainer.strategy.reduce(found.float(), reduce_op="mean") == 1)
        if not finite:
            module.skipped += 1
            for buffer, before in zip(module.net.buffers(), self.before, strict=True):
                buffer.copy_(before)
            if getattr(trainer.precision_plugin, "scaler", None) is None:
                optimizer.zero_grad()
        self.finite = torch.ones_like(self.finite)  # of the next loss


@torch.no_grad()
def average(ema: nn.Module, net: nn.Module, weight: float) -> None:
    """Moves an average of the parameters towards a network's by `weight`, and copies what else there is."""
    ours, theirs = ([local(p) for p in module.parameters()] for module in (ema, net))
    torch._foreach_lerp_(ours, theirs, weight)
    if buffers := list(ema.buffers()):
        torch._foreach_copy_(buffers, list(net.buffers()))


def at_least_float32(value: torch.Tensor) -> torch.Tensor:
    return value.to(torch.promote_types(value.dtype, torch.float32))


def log_metrics(module: Any, split: str) -> None:
    """What the metrics gathered over a split: numbers are logged, all of it stands in `measured`."""
    found = module.metrics.compute()
    values = {name: (value if value.ndim else at_least_float32(value)).cpu() for name, value in found.items()}
    module.metrics.reset()
    arrays = {name: array(value) for name, value in values.items() if value.ndim}
    scores = tasks.find(module.config.task).scores(arrays, module.spec)
    numbers = {name: value for name, value in values.items() if not value.ndim}
    numbers |= {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}
    module.measured = {name: float(value) for name, value in numbers.items()} | arrays
    logger = False if module.recorded else None  # a run's record logs by itself
    module.log_dict({f"{split}/{name}": value for name, value in numbers.items()}, logger=logger)
