"""The session as a Lightning callback: counts, logs, pictures, checkpoints and the end of the run."""

import contextlib
import time
from typing import Any

import lightning as L
import numpy as np
import torch

from ..schedule import learning_rate, schedule_steps
from ..session import Session
from . import SUFFIX
from .mesh import local, whole
from .module import Module


class Interrupted(Exception):
    """Leaves `Trainer.fit` between two steps, after the state was saved."""


class SessionCallback(L.Callback):
    def __init__(self, session: Session):
        self.session, self.validating = session, contextlib.ExitStack()
        self.profiler = torch.profiler.profile() if session.plan.profile and session.run.leads else None

    def on_train_start(self, trainer: L.Trainer, module: Module) -> None:
        self.session.begin(parameters(module))
        self.session.listen()  # again: the handler that Lightning has set since would leave with nothing saved

    def on_train_batch_start(self, trainer: L.Trainer, module: Module, batch: Any, batch_idx: int) -> None:
        if self.profiler and self.session.step == self.session.plan.profile.start:
            self.profiler.start()

    def on_train_batch_end(self, trainer: L.Trainer, module: Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        session, plan = self.session, self.session.plan
        session.advance(len(batch))
        if self.profiler and session.step == plan.profile.stop:
            self.profiler.stop()
            folder = session.run.folder / "plugins" / "profile" / time.strftime("%Y_%m_%d_%H_%M_%S")
            folder.mkdir(parents=True)
            self.profiler.export_chrome_trace(str(folder / "torch.trace.json.gz"))
        if module.logs:
            end = schedule_steps(module.config, plan)
            session.log(
                module.logs, learning_rate(session.step - 1, module.config.optimizer, end), peak_memory(module.device)
            )
        # Validates after every batch, or never: the plan says when.
        trainer.val_check_batch = 1 if plan.validates(session.step) else float("inf")
        if session.step >= plan.total_steps:
            trainer.should_stop = True
        if not plan.validates(session.step):
            if self._save(trainer, module, plan.saves(session.step)):
                raise Interrupted  # `should_stop` would validate once more

    def on_validation_start(self, trainer: L.Trainer, module: Module) -> None:
        self.session.check(is_finite(module))
        self.validating.enter_context(self.session.pause())

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: Module, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0:
            self.first = batch

    def on_validation_end(self, trainer: L.Trainer, module: Module) -> None:
        session = self.session
        metrics = {
            tag.removeprefix("val/"): float(v) for tag, v in trainer.callback_metrics.items() if tag.startswith("val/")
        } | module.arrays
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            outputs = module(self.first)
        improved = session.validated(metrics, parameters(module), numpy(self.first), numpy(outputs))
        self.validating.close()
        trainer.should_stop |= self._save(trainer, module, session.plan.saves(session.step) or improved)

    def _save(self, trainer: L.Trainer, module: Module, save: bool) -> bool:
        """Saves where that is due, or the run stops; returns whether it does."""
        session, stopping = self.session, self.session.stopping  # asked once: a later signal waits for the next step
        if save or stopping:
            with session.pause():
                session.save(trainer.save_checkpoint, is_finite(module), SUFFIX)
        return stopping


def is_finite(module: Module) -> bool:
    """Whether all of this process's weights are."""
    return all(bool(local(p).isfinite().all()) for p in module.net.parameters())


def parameters(module: Module) -> dict[str, np.ndarray]:
    """Every parameter by its path, whole, on all processes; named after what it does: `hidden/kernel`, `norm/scale`."""
    found = {}
    for prefix, part in module.net.named_modules():
        for name, value in part.named_parameters(recurse=False):
            path = [*prefix.split("."), leaf_name(part, name)] if prefix else [leaf_name(part, name)]
            # A copy: between steps FSDP may free what it had put together.
            found["/".join(path)] = whole(value.detach()).to("cpu", torch.float32, copy=True).numpy()
    return found


def leaf_name(part: torch.nn.Module, name: str) -> str:
    """`weight` is called after what it does."""
    if name != "weight":
        return name
    if isinstance(part, torch.nn.Embedding | torch.nn.EmbeddingBag):
        return "embedding"
    return "kernel" if part.weight.ndim > 1 else "scale"


def numpy(batch: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """bfloat16, which NumPy lacks, becomes float32."""
    return {name: (v.float() if v.dtype == torch.bfloat16 else v).cpu().numpy() for name, v in batch.items()}


def peak_memory(device: torch.device) -> int:
    """Bytes on the device; 0 where it does not tell."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
