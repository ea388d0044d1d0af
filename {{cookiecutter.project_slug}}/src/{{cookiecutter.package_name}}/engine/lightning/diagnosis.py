"""Where values cease to be finite: a run's steps taken once more, with an eye on every module."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import BaseFinetuning
from torch.utils._pytree import tree_leaves

from ...extensions import lightning as extensions
from ..data.sources import Dataset
from ..errors import RunError
from ..schedule import Plan
from ..session import OF_THE_BATCH
from .counts import begin_at
from .data import DataModule
from .flags import make_trainer
from .module import TaskModule
from .optimizers import group_sizes
from .weights import freeze


def first_not_finite(
    module: TaskModule, start: Path | None, data: Dataset, plan: Plan, end: int
) -> tuple[int, str] | None:
    """(step, what) between a checkpoint, or the beginning, and step `end`; None where all is finite this time.

    Raises RunError where these steps cannot be taken again.
    """
    config = module.config
    # Of the person's callbacks those that say what is trained; others would write or end once more.
    callbacks: list[L.Callback] = [one for one in extensions.callbacks(config) if isinstance(one, BaseFinetuning)]
    callbacks.append(Watch(plan, end))
    trainer = make_trainer(config, plan, type(module), callbacks=callbacks, limit_val_batches=0)
    try:
        trainer.fit(module, datamodule=DataModule(config, data), ckpt_path=start, weights_only=True)
    except Found as found:
        return found.step, found.what
    return None


class Found(Exception):
    def __init__(self, step: int, what: str):
        super().__init__(what)
        self.step, self.what = step, what


class Watch(L.Callback):
    """Ends training with `Found` at the first value that is not finite, or at step `end`."""

    def __init__(self, plan: Plan, end: int):
        self.plan, self.end, self.step = plan, end, 0
        self.groups: list[list[int]] | None = None  # sizes of the optimizers', in the checkpoint

    def on_load_checkpoint(self, trainer: L.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        step = checkpoint["global_step"] // module.updates()
        begin_at(step, checkpoint, trainer, module.updates(), self.plan.steps_per_epoch)
        freeze(module.net, checkpoint)
        self.groups = group_sizes(checkpoint["optimizer_states"])

    def on_fit_start(self, trainer: L.Trainer, module: Any) -> None:
        if self.groups not in (None, group_sizes(optimizer.state_dict() for optimizer in trainer.optimizers)):
            raise RunError("these steps cannot be repeated, as a callback has changed the optimizer's parameter groups")

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        for name, part in module.net.named_modules():
            part.register_forward_hook(self._output_hook(f"the output of {name or 'the model'}"))
        for name, p in module.net.named_parameters():
            if p.requires_grad:
                p.register_post_accumulate_grad_hook(self._gradient_hook(f"the gradient of {name}"))

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        self.step = module.step + 1
        for name, value in batch.items():
            self._check(value, f"{name!r} {OF_THE_BATCH}")

    def on_before_backward(self, trainer: L.Trainer, module: Any, loss: torch.Tensor) -> None:
        self._check(loss, "the loss, though what the model gave it is finite")

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        for name, p in module.net.named_parameters():
            self._check(p, f"the update of {name}")
        trainer.should_stop = module.step >= self.end

    def _output_hook(self, what: str) -> Callable[..., None]:
        def hook(part: torch.nn.Module, inputs: Any, outputs: Any) -> None:
            for value in tree_leaves(outputs):
                self._check(value, what)

        return hook

    def _gradient_hook(self, what: str) -> Callable[[torch.Tensor], None]:
        return lambda p: self._check(p.grad, what)

    def _check(self, value: Any, what: str) -> None:
        if isinstance(value, torch.Tensor) and not value.isfinite().all():
            raise Found(self.step, what)
