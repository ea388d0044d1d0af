"""The Trainer of a config: what each of its keys is as a flag of Lightning's."""

import contextlib
import warnings
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Checkpoint,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelSummary,
    ProgressBar,
)
from lightning.pytorch.plugins.precision import DoublePrecision, MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler

from .. import task as tasks
from ..config import Config
from ..data.batches import Share
from ..errors import InputError
from ..processes import check_several
from ..schedule import LOSS_SCALE, LOSS_SCALE_STEPS, Plan
from .around import SkipNotFinite
from .devices import Device, pick, quiet
from .module import TaskModule
from .plain import PlainCheckpointIO

# Lightning 2.6.6 asks torch >= 2.12 for a tree in a way that torch is about to drop: not ours, and not the reader's.
warnings.filterwarnings("ignore", r".*treespec, LeafSpec", FutureWarning)
# It is counted, as what is not finite is.
warnings.filterwarnings("ignore", r"`training_step` returned `None`", UserWarning)
# In float16, whose first updates may overflow and be left out.
warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler.step\(\)` before", UserWarning)

# What they find, and how to find it without them.
FINDERS = {
    BatchSizeFinder: "scale_batch_size with what build(config) gives, and set data.batch_size",
    LearningRateFinder: "lr_find with what build(config) gives, and set optimizer.learning_rate",
}


class Unprofiled(PassThroughProfiler):
    """Lightning's own makes a generator for each call of a hook, 65 a step, to do nothing."""

    def profile(self, action_name: str) -> Any:
        return contextlib.nullcontext()


def make_trainer(
    config: Config, plan: Plan | None = None, module: type[TaskModule] | None = None, **overrides: Any
) -> L.Trainer:
    """The Trainer of a config.

    Args:
        config: the run's.
        plan: the course of the run, where its data are known; without, epochs and steps are those of the config.
        module: the class that it trains, where that is not the task's own.
        overrides: flags of `lightning.Trainer`, which win over those here; `callbacks` and `logger` are one or a list.
    """
    quiet()
    trainer, precision = config.trainer, config.accelerator.precision
    module, place = module or shipped(config), place_of(config)
    callbacks = listed(overrides.pop("callbacks", None))
    for callback in callbacks:
        if finder := next((name for kind, name in FINDERS.items() if isinstance(callback, kind)), None):
            name = type(callback).__name__
            raise InputError(f"{name} as a callback would change what the config says: use Tuner(trainer).{finder}")
    if trainer.on_nan == "skip" or precision == "float16":
        callbacks.append(SkipNotFinite())
    options: dict[str, Any] = {
        "accelerator": place.device.type,
        "devices": place.count,
        "num_nodes": config.accelerator.nodes,
        "strategy": place.strategy(several_losses=bool(module.PARTS)),
        "plugins": [PlainCheckpointIO(), *place.environment()],
        "profiler": Unprofiled(),
        "callbacks": callbacks,
        "logger": listed(overrides.pop("logger", None)) or False,
        # What you log yourself. Lightning warns where an epoch is shorter.
        "log_every_n_steps": min(plan.log_every, plan.steps_per_epoch) if plan else trainer.log_every or 50,
        "enable_progress_bar": any(isinstance(callback, ProgressBar) for callback in callbacks),
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        "enable_model_summary": any(isinstance(callback, ModelSummary) for callback in callbacks),
        "num_sanity_val_steps": 0,  # it would spoil the best so far
        "limit_val_batches": plan.eval_batches if plan else None,
    }
    if "precision" not in overrides:
        options["plugins"].append(_precision(precision, place.device.type))
    if not module.PARTS:
        # One who accumulates by a callback has it alone.
        scheduled = any(isinstance(callback, GradientAccumulationScheduler) for callback in callbacks)
        options["accumulate_grad_batches"] = 1 if scheduled else trainer.accumulate
        options["gradient_clip_val"] = config.optimizer.clip_norm or None
    if not {"val_check_interval", "check_val_every_n_epoch"} & overrides.keys():
        options |= _validation(config, plan, 1 if module.PARTS else trainer.accumulate)
    if not {"fast_dev_run", "max_epochs", "max_steps"} & overrides.keys():
        options |= _length(config, plan, module.updates())
    return L.Trainer(**options | overrides)


def place_of(config: Config) -> Device:
    """Raises InputError where the hardware is not there, or cannot be arranged as the config asks for."""
    settings = config.accelerator
    found = pick(settings.platform, settings.devices, settings.nodes)
    if len(found) * settings.nodes == 1:
        return Device(found[0], Share(accumulate=config.trainer.accumulate))
    check_several(f"accelerator.devices = {len(found)} on accelerator.nodes = {settings.nodes}")
    from ..scale.lightning.mesh import Devices

    return Devices(config, found)


def shipped(config: Config) -> type[TaskModule]:
    """The LightningModule of the config's task."""
    return tasks.twin(tasks.find(config.task), "lightning").Module


def listed(value: Any) -> list[Any]:
    """None, False, one or several, as a list of one's own."""
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def _length(config: Config, plan: Plan | None, updates: int) -> dict[str, int]:
    """In epochs, where these are whole. updates: in a step, which Lightning counts."""
    if plan is None:
        return {"max_epochs": config.trainer.epochs or -1, "max_steps": config.trainer.max_steps * updates or -1}
    epochs, left = divmod(plan.total_steps, plan.steps_per_epoch)
    if left == 0:
        return {"max_epochs": epochs, "max_steps": -1}
    return {"max_epochs": -1, "max_steps": plan.total_steps * updates}


def _validation(config: Config, plan: Plan | None, pieces: int) -> dict[str, Any]:
    """pieces: of a step, in each of which Lightning sees a batch."""
    every, per_epoch = (plan.val_every, plan.steps_per_epoch) if plan else (config.trainer.val_every, 0)
    if not every:
        return {}
    if every == per_epoch:
        return {"check_val_every_n_epoch": 1}
    return {"check_val_every_n_epoch": None, "val_check_interval": every * pieces}


def _precision(name: str, device: str) -> Precision:
    if name == "float16":
        scaler = torch.amp.GradScaler(device, init_scale=LOSS_SCALE, growth_interval=LOSS_SCALE_STEPS)
        return MixedPrecision("16-mixed", device, scaler)
    if name == "bfloat16":
        return MixedPrecision("bf16-mixed", device)
    return DoublePrecision() if name == "float64" else Precision()
