"""Where values cease to be finite: a run's steps taken once more, with an eye on every module."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ...data.batches import TrainBatches
from ...data.sources import Dataset
from ...task import Loss
from ..schedule import Plan
from .data import DataModule
from .module import Batch, Module
from .trainer import Engine, make_trainer


def first_not_finite(
    engine: Engine, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, end: int
) -> tuple[int, str] | None:
    """(step, what) between a checkpoint, or the beginning, and step `end`; None where all is finite this time."""
    plan = dataclasses.replace(plan, log_every=1)  # one step a call, and its loss
    module = engine.prepared(batches, data, plan)
    watch = Watch(end)
    trainer = make_trainer(engine.config, limit_val_batches=0, enable_checkpointing=False)
    trainer.callbacks, trainer.loggers = [watch], []  # those of one's own have had these steps
    try:
        trainer.fit(module, datamodule=DataModule(data, batches, plan), ckpt_path=start, weights_only=True)
    except Found as found:
        return found.step, found.what
    return None


class Found(Exception):
    def __init__(self, step: int, what: str):
        super().__init__(what)
        self.step, self.what = step, what


class Watch(L.Callback):
    """Ends training with `Found` at the first value that is not finite, or at step `end`."""

    def __init__(self, end: int):
        self.end = end

    def on_train_start(self, trainer: L.Trainer, module: Module) -> None:
        module.losses = {name: loss._replace(fn=_checked(module, name, loss)) for name, loss in module.losses.items()}
        for name, part in module.net.named_modules():
            part.register_forward_hook(_output_hook(module, f"the output of {name or 'the model'}"))
        for name, p in module.net.named_parameters():
            p.register_post_accumulate_grad_hook(_gradient_hook(module, f"the gradient of {name}"))

    def on_train_batch_end(self, trainer: L.Trainer, module: Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        for name, p in module.net.named_parameters():
            _check(module, p, f"the update of {name}")
        trainer.should_stop = module.step >= self.end


def _checked(module: Module, name: str, loss: Loss) -> Callable[[nn.Module, Batch], tuple]:
    def fn(net: nn.Module, batch: Batch) -> tuple:
        for key, value in batch.items():
            _check(module, value, f"{key!r} of the batch")
        total, weight = loss.fn(net, batch)
        _check(module, total / weight, f"loss/{name}, though what the model gave it is finite")
        return total, weight

    return fn


def _output_hook(module: Module, what: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(part: nn.Module, inputs: Any, outputs: Any) -> None:
        for value in tree_leaves(outputs):
            _check(module, value, what)

    return hook


def _gradient_hook(module: Module, what: str) -> Callable[[nn.Parameter], None]:
    return lambda p: _check(module, p.grad, what)


def _check(module: Module, value: Any, what: str) -> None:
    if isinstance(value, torch.Tensor) and not value.isfinite().all():
        raise Found(module.step, what)
