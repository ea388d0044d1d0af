"""The run's folder as a Lightning callback: logs, pictures, checkpoints, signals and the end of the run."""

import contextlib
import functools
import time
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import _TunerExitException  # ends `fit` as one that has succeeded

from ..errors import on_one_line
from ..session import Session, check_parts
from . import weights
from .counts import as_saved, begin_at
from .data import numpy
from .devices import peak_memory
from .flags import shipped
from .losses import numbers
from .optimizers import Schedule


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

    def setup(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        module.recorded = True

    @property
    def _begins(self) -> bool:
        """With the state of another run, or with one that was converted."""
        return self.session.step == self.session.run.record.start > 0

    def on_load_checkpoint(self, trainer: L.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        self.metrics, self.resumed = checkpoint.get("callback_metrics", {}), True
        if self._begins:
            begin_at(self.session.step, checkpoint, trainer, module.updates(), self.session.plan.steps_per_epoch)
        else:
            weights.freeze(module.net, checkpoint)

    def on_save_checkpoint(self, trainer: L.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        as_saved(checkpoint)
        checkpoint["module"] = own_class(module)
        checkpoint["frozen"] = weights.frozen(module.net)
        checkpoint["callback_metrics"] = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        if self._begins:
            follow_config(trainer, module)
        # What a callback or a schedule monitors may have been validated before the run was stopped.
        trainer.callback_metrics.update(exact(self.metrics))
        monitors = [getattr(callback, "monitor", None) for callback in callbacks_of(trainer)]
        self.monitored = "train/loss" in [*monitors, *(config.monitor for config in trainer.lr_scheduler_configs)]
        schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
        peaks = [rate for schedule in schedules if isinstance(schedule, Schedule) for rate in schedule.base_lrs]
        if peaks and module.learning_rate not in peaks and not own_optimizers(type(module)):
            self.session.say(
                f"optimizer.name = {module.config.optimizer.name!r} has a learning rate of its own, of which "
                "optimizer.schedule takes shares: optimizer.learning_rate is not used"
            )
        shapes = {path: p.shape for path, p in weights.by_path(module.net)}
        self.session.begin(shapes, weights.frozen(module.net))
        self.session.listen()  # again: the handler that Lightning has set since would leave with nothing saved

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
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
                for callback in callbacks_of(trainer):
                    callback.on_fit_end(trainer, module)
                module.on_fit_end()
                raise _TunerExitException
        if self.profiler and session.step == plan.profile.start:
            self.profiler.start()
        module.norm_wanted = plan.logs(session.step + 1)

    def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, optimizer: torch.optim.Optimizer) -> None:
        self.rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
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

    def on_validation_start(self, trainer: L.Trainer, module: Any) -> None:
        self.session.check(weights.is_finite(module.net))
        self.validating.enter_context(self.session.pause())

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if batch_idx == 0:
            self.first = batch

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        session = self.session
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            outputs = module(self.first)
            if self.profiler and trainer.world_size == 1:  # a model that is cut computes in all processes at once
                self._show_graph(module)
        self.due |= session.validated(
            module.measured,
            weights.samples(module.net, module.config.trainer.histograms),
            functools.partial(weights.rows, module.net),
            numpy(self.first),
            numpy(outputs),
        )
        self.validating.close()
        trainer.should_stop |= session.run.out_of_patience

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        if self.due or self.session.step > self.session.run.record.step:  # a callback may have ended the run
            self._save(trainer, module)

    def _log(self, trainer: L.Trainer, module: Any) -> None:
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

    def _show_graph(self, module: Any) -> None:
        from .graph import write_graph  # takes a moment

        if fault := write_graph(self.session.run.folder, module.evaluated, module.forward, self.first):
            self.session.say(on_one_line(f"TensorBoard has no graph, as torch cannot trace the model: {fault}"))

    def _save(self, trainer: L.Trainer, module: Any) -> None:
        self.due = False
        with self.session.pause():
            finite = weights.is_finite(module.net)
            self.session.save(trainer.save_checkpoint, finite, ModelCheckpoint.FILE_EXTENSION)


def follow_config(trainer: L.Trainer, module: Any) -> None:
    """The config rules, also over the hyper-parameters that the state of another run has brought along.

    Not over those of a `configure_optimizers`, or a `schedule`, of one's own.
    """
    if own_optimizers(type(module)):
        return
    schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
    for part, optimizer, schedule in zip(module.parts(), trainer.optimizers, schedules, strict=True):
        if not isinstance(schedule, Schedule):
            continue
        for group, fresh in zip(optimizer.param_groups, module.create_optimizer(part).param_groups, strict=True):
            rate = fresh["lr"] * schedule.lr_lambdas[0](module.step)
            group.update({**fresh, "params": group["params"], "initial_lr": fresh["lr"], "lr": rate})
        schedule.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]


def own_optimizers(cls: type) -> bool:
    """Whether a module's class has a `configure_optimizers` of its own."""
    return not cls.configure_optimizers.__module__.startswith(f"{__package__}.")  # type: ignore[attr-defined]


def own_class(module: Any) -> str:
    """The name of a module's class, where it is not the task's."""
    found = type(module)
    return "" if found is shipped(module.config) else f"{found.__module__}.{found.__qualname__}"


def callbacks_of(trainer: L.Trainer) -> list[L.Callback]:
    return trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it from afar


def exact(values: Mapping[str, float]) -> dict[str, torch.Tensor]:
    """As Lightning's metrics are."""
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
