"""What is done around the steps of every module, in any Trainer."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch

from ..config import flatten, to_dict
from ..schedule import average_weight
from . import mesh
from .counts import numbers
from .devices import seed, seed_of


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
        self.step, self.part = module.step, mesh.part(trainer.strategy)  # the step that the average knows of
        self.taken = False  # by a micro-batch, the update of this step

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        # Dropout is a function of (seed, step, micro-batch, part): no checkpoint has to hold a generator's state.
        piece = batch_idx % trainer.accumulate_grad_batches
        seed(module.device, seed_of(module.config.seed, module.step, piece, self.part))

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Mapping[str, Any], batch: Any, batch_idx: int
    ) -> None:
        self.taken |= bool(outputs)
        if module.step > self.step:
            if module.ema is not None:
                mesh.average(module.ema, module.net, average_weight(self.step, module.config.optimizer.ema_decay))
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


def log_metrics(module: Any, split: str) -> None:
    """What the metrics gathered over a split: numbers are logged, all of it stands in `measured`."""
    found = module.metrics.compute()
    values = {name: value.to(torch.promote_types(value.dtype, torch.float32)).cpu() for name, value in found.items()}
    module.metrics.reset()
    numbers = {name: value for name, value in values.items() if not value.ndim}
    module.measured = {name: float(value) if name in numbers else value.numpy() for name, value in values.items()}
    logger = False if module.recorded else None  # a run's record logs by itself
    module.log_dict({f"{split}/{name}": value for name, value in numbers.items()}, logger=logger)
