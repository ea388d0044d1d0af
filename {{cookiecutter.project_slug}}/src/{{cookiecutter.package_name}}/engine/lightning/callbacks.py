"""The run's folder as a Lightning callback: logs, pictures, checkpoints, signals and the end of the run."""

import contextlib
import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import _TunerExitException  # ends `fit` as one that has succeeded

from .. import task as tasks
from ..session import Session, check_parts, sampled
from . import SUFFIX
from .counts import as_saved, begin_at, numbers
from .manual import ManualModule
from .mesh import local, norm, whole
from .module import TaskModule


class RunFolder(Checkpoint):
    """Keeps a run's folder. A `Checkpoint`, as Lightning calls these after the others, and so it sees what they did.

    A step is saved when all that follows it is done, its validation, the schedules, the other callbacks: before the
    next batch, or at the end.
    """

    def __init__(self, session: Session):
        self.session, self.validating = session, contextlib.ExitStack()
        self.profiler = torch.profiler.profile() if session.plan.profile and session.run.leads else None
        self.due = False  # the last step is to be saved
        self.between = False  # two steps, of which the first was taken here
        self.outputs: list[dict[str, torch.Tensor]] = []  # of each micro-batch of a step that is logged
        self.rate = 0.0  # the optimizer's, in the last step
        self.metrics: dict[str, float] = {}  # that a checkpoint has brought
        self.resumed = False

    def setup(self, trainer: L.Trainer, module: TaskModule, stage: str) -> None:
        module.recorded = True

    @property
    def _begins(self) -> bool:
        """With the state of another run, or with one that was converted."""
        return self.session.step == self.session.run.record.start > 0

    def on_load_checkpoint(self, trainer: L.Trainer, module: TaskModule, checkpoint: dict[str, Any]) -> None:
        self.metrics, self.resumed = checkpoint.get("callback_metrics", {}), True
        if self._begins:
            begin_at(self.session.step, checkpoint, trainer, self.session.plan.steps_per_epoch)
        else:
            freeze(module, checkpoint)

    def on_save_checkpoint(self, trainer: L.Trainer, module: TaskModule, checkpoint: dict[str, Any]) -> None:
        as_saved(checkpoint)
        checkpoint["module"] = own_class(module)
        checkpoint["frozen"] = frozen(module)
        checkpoint["callback_metrics"] = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def on_train_start(self, trainer: L.Trainer, module: TaskModule) -> None:
        if self._begins:
            follow_config(trainer, module)
        # What a callback or a schedule monitors may have been validated before the run was stopped.
        trainer.callback_metrics.update(exact(self.metrics))
        monitors = [getattr(callback, "monitor", None) for callback in trainer.callbacks]
        self.monitored = "train/loss" in [*monitors, *(config.monitor for config in trainer.lr_scheduler_configs)]
        self.session.begin({path: p.shape for path, p in by_path(module)}, frozen(module))
        self.session.listen()  # again: the handler that Lightning has set since would leave with nothing saved

    def on_train_batch_start(self, trainer: L.Trainer, module: TaskModule, batch: Any, batch_idx: int) -> None:
        session, plan = self.session, self.session.plan
        if self.resumed:
            # Or Lightning, which keeps no metrics, would pass by ReduceLROnPlateau at the end of this epoch.
            trainer.fit_loop.on_iteration_done()
            self.resumed = False
        if self.between:
            self.between = False
            stopping = session.stopping  # asked once: a later signal waits for the next step
            if self.due or stopping:
                self._save(trainer, module)
            if stopping:
                # Between two batches: `should_stop` would validate once more, and end the epoch.
                trainer.fit_loop.on_run_end()
                for callback in trainer.callbacks:
                    callback.on_fit_end(trainer, module)
                module.on_fit_end()
                raise _TunerExitException
        if self.profiler and session.step == plan.profile.start:
            self.profiler.start()
        module.norm_wanted = plan.logs(session.step + 1)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, module: TaskModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: L.Trainer, module: TaskModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        session, plan = self.session, self.session.plan
        found = numbers(outputs, trainer) if outputs and (module.norm_wanted or self.monitored) else {}
        if module.norm_wanted and found:
            self.outputs.append(found)
        if self.monitored and "loss" in found:  # over an epoch, which is when that is looked at
            module.log("train/loss", found["loss"], on_step=False, on_epoch=True, logger=False, batch_size=1)
        if module.step == session.step:  # micro-batches follow
            return
        self.between = True
        session.advance(1)
        if self.profiler and session.step == plan.profile.stop:
            self.profiler.stop()
            folder = session.run.folder / "plugins" / "profile" / time.strftime("%Y_%m_%d_%H_%M_%S")
            folder.mkdir(parents=True)
            self.profiler.export_chrome_trace(str(folder / "torch.trace.json.gz"))
        if module.norm_wanted and (self.outputs or module.automatic_optimization):
            self._log(trainer, module)
        self.due |= plan.saves(session.step)
        last_epoch = trainer.current_epoch + 1 == trainer.max_epochs
        if session.step >= plan.total_steps or (last_epoch and trainer.is_last_batch):
            trainer.should_stop = True  # the last step is validated, too: Lightning does so before it stops

    def on_validation_start(self, trainer: L.Trainer, module: TaskModule) -> None:
        self.session.check(is_finite(module))
        self.validating.enter_context(self.session.pause())

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: TaskModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0:
            self.first = batch

    def on_validation_end(self, trainer: L.Trainer, module: TaskModule) -> None:
        session = self.session
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            outputs = module(self.first)
        self.due |= session.validated(
            module.measured,
            values(module, module.config.trainer.histograms),
            functools.partial(rows, module),
            numpy(self.first),
            numpy(outputs),
        )
        self.validating.close()
        trainer.should_stop |= session.run.out_of_patience

    def on_train_end(self, trainer: L.Trainer, module: TaskModule) -> None:
        if self.due or self.session.step > self.session.run.record.step:  # a callback may have ended the run
            self._save(trainer, module)

    def _log(self, trainer: L.Trainer, module: TaskModule) -> None:
        """The step's losses, and what these name beside them: the mean over micro-batches and devices."""
        # Without any, the update has been left out.
        found, self.outputs = self.outputs or [{"loss": torch.zeros((), device=module.device)}], []
        check_parts(name for name in found[0] if name != "loss" and not name.startswith("loss/"))
        means = {name: torch.stack([values[name] for values in found]).mean() for name in found[0]}
        logs = {name: float(trainer.strategy.reduce(value, reduce_op="mean")) for name, value in means.items()}
        if "loss" in logs:
            logs = {"loss/loss": logs.pop("loss"), **logs}
        if module.grad_norm is not None:
            logs["grad_norm"] = float(module.grad_norm)
        logs["skipped_updates"] = float(module.skipped)
        if scaler := getattr(trainer.precision_plugin, "scaler", None):
            logs["loss_scale"] = scaler.get_scale()
        self.session.log(logs, self.rate, peak_memory(module.device))
        shown = {"train/learning_rate": self.rate} | ({} if self.monitored else {"train/loss": self.session.loss})
        # Not by `log`, after which Lightning would gather the same numbers again in each step.
        trainer.callback_metrics.update(exact(shown))
        trainer.progress_bar_metrics.update(shown)

    def _save(self, trainer: L.Trainer, module: TaskModule) -> None:
        self.due = False
        with self.session.pause():
            self.session.save(trainer.save_checkpoint, is_finite(module), SUFFIX)


class SkipNotFinite(L.Callback):
    """Leaves out an update whose loss or gradient is not finite: optimizers pass by parameters without a gradient.

    Running statistics become again what they were. In float16 it is the loss's scaler that leaves the update out.
    """

    def on_train_start(self, trainer: L.Trainer, module: TaskModule) -> None:
        self.step = -1  # the one that is being taken

    def on_train_batch_start(self, trainer: L.Trainer, module: TaskModule, batch: Any, batch_idx: int) -> None:
        if module.step != self.step:
            self.step, self.before = module.step, [buffer.clone() for buffer in module.net.buffers()]
            self.finite = torch.tensor(True, device=module.device)

    def on_before_backward(self, trainer: L.Trainer, module: TaskModule, loss: torch.Tensor) -> None:
        self.finite = self.finite & loss.detach().isfinite()

    def on_before_optimizer_step(self, trainer: L.Trainer, module: TaskModule, optimizer: Any) -> None:
        found = norm(p for group in optimizer.param_groups for p in group["params"]).isfinite() & self.finite
        finite = bool(trainer.strategy.reduce(found.float(), reduce_op="mean") == 1)
        if not finite:
            module.skipped += 1
            for buffer, before in zip(module.net.buffers(), self.before, strict=True):
                buffer.copy_(before)
            if getattr(trainer.precision_plugin, "scaler", None) is None:
                optimizer.zero_grad()
        self.finite = torch.ones_like(self.finite)  # of the next loss


def follow_config(trainer: L.Trainer, module: TaskModule) -> None:
    """The config rules, also over the hyper-parameters that the state of another run has brought along.

    Not over those of a `configure_optimizers` of one's own.
    """
    if type(module).configure_optimizers not in (TaskModule.configure_optimizers, ManualModule.configure_optimizers):
        return
    schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
    for part, optimizer, schedule in zip(module.parts(), trainer.optimizers, schedules, strict=True):
        for group, fresh in zip(optimizer.param_groups, module.create_optimizer(part).param_groups, strict=True):
            rate = fresh["lr"] * schedule.lr_lambdas[0](module.step)
            group.update({**fresh, "params": group["params"], "initial_lr": fresh["lr"], "lr": rate})
        schedule.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]


def own_class(module: TaskModule) -> str:
    """The name of a module's class, where it is not the task's."""
    found = type(module)
    shipped = found is tasks.twin(tasks.find(module.config.task), "lightning").Module
    return "" if shipped else f"{found.__module__}.{found.__qualname__}"


def is_finite(module: TaskModule) -> bool:
    """Whether all of this process's weights are."""
    return all(bool(local(p).isfinite().all()) for p in module.net.parameters())


def values(module: TaskModule, most: int) -> dict[str, np.ndarray]:
    """At most so many values of each parameter, by its path, on all processes; the others stay on the device.

    A path is named after what it does: `hidden/kernel`, `norm/scale`.
    """
    return {path: array(whole(p.detach()).reshape(-1)[sampled(p.numel(), most)]) for path, p in by_path(module) if most}


def rows(module: TaskModule, path: str, count: int) -> np.ndarray:
    """The first ones of a parameter."""
    return array(whole(dict(by_path(module))[path].detach())[:count])


def array(value: torch.Tensor) -> np.ndarray:
    # A copy: between steps FSDP may free what it had put together.
    return value.to("cpu", torch.float32, copy=True).numpy()


def frozen(module: TaskModule) -> list[str]:
    """The paths of the parameters that are not trained."""
    return [path for path, p in by_path(module) if not p.requires_grad]


def freeze(module: TaskModule, checkpoint: Mapping[str, Any]) -> None:
    """As it was: BaseFinetuning freezes anew what it has unfrozen."""
    if "frozen" in checkpoint:
        for path, p in by_path(module):
            p.requires_grad_(path not in checkpoint["frozen"])


def by_path(module: TaskModule) -> Iterator[tuple[str, torch.nn.Parameter]]:
    for prefix, part in module.net.named_modules():
        for name, value in part.named_parameters(recurse=False):
            yield "/".join([*prefix.split("."), leaf_name(part, name)] if prefix else [leaf_name(part, name)]), value


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


def exact(values: Mapping[str, float]) -> dict[str, torch.Tensor]:
    """As Lightning's metrics are."""
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def peak_memory(device: torch.device) -> int:
    """Bytes on the device; 0 where it does not tell."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
