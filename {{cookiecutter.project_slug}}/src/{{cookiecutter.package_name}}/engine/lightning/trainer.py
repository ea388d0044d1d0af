"""The trainer of the Lightning twin: the module, the data and the callbacks, put together."""

import contextlib
import dataclasses
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Checkpoint,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelSummary,
    ProgressBar,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.precision import DoublePrecision, MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.types import LRSchedulerConfig

from ...extensions import lightning as extensions
from .. import task as tasks
from ..config import Config, to_dict
from ..data.batches import TrainBatches, eval_batches
from ..data.sources import Batch, Dataset, Source
from ..errors import InputError, RunError
from ..run import plain_values
from ..schedule import LOSS_SCALE, LOSS_SCALE_STEPS, Plan
from ..session import Session
from ..task import Task
from ..weights import Weights, init_words, match, overlay
from . import devices, mesh, optimizers, portable, weights
from .around import AroundSteps
from .callbacks import RunFolder, SkipNotFinite, numpy, own_class, peak_memory
from .counts import count_updates
from .data import DataModule, tensors
from .export import write
from .logger import SessionLogger
from .module import TaskModule
from .optimizers import group_sizes
from .plain import PlainCheckpointIO
from .processes import environment, joined, quiet, together

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


LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader")


class Unprofiled(PassThroughProfiler):
    """Lightning's own makes a generator for each call of a hook, 65 a step, to do nothing."""

    def profile(self, action_name: str) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()


class Built(NamedTuple):
    """For a notebook: `trainer.fit(module, datamodule)` does what `train.py` does, without the run's folder."""

    module: TaskModule
    datamodule: DataModule
    trainer: L.Trainer


def build(config: Config, **overrides: Any) -> Built:
    """What a config trains with. overrides: flags of `lightning.Trainer`, see `make_trainer`."""
    task = tasks.find(config.task)
    data = task.load(config, None)
    engine = Engine(config, task, plain_values(data.spec))
    engine.check_training()
    plan = Plan.of(config, len(data.train) // config.data.batch_size)
    callbacks = [*extensions.callbacks(config), *_listed(overrides.pop("callbacks", None))]
    loggers = [*extensions.loggers(config), *_listed(overrides.pop("logger", None))]
    trainer = make_trainer(config, plan, callbacks=callbacks, logger=loggers, **overrides)
    return Built(engine.module(), DataModule(config, data), trainer)


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
    settings, trainer = config.accelerator, config.trainer
    found = devices.pick(settings.platform, settings.devices, settings.nodes)
    module = module or tasks.twin(tasks.find(config.task), "lightning").Module
    callbacks = _listed(overrides.pop("callbacks", None))
    for callback in callbacks:
        if finder := next((name for kind, name in FINDERS.items() if isinstance(callback, kind)), None):
            name = type(callback).__name__
            raise InputError(f"{name} as a callback would change what the config says: use Tuner(trainer).{finder}")
    if trainer.on_nan == "skip" or settings.precision == "float16":
        callbacks.append(SkipNotFinite())
    plugins = [PlainCheckpointIO(), *environment(len(found) * settings.nodes)]
    if "precision" not in overrides:
        plugins.append(_precision(settings.precision, found[0].type))
    options = {
        "accelerator": found[0].type,
        "devices": len(found),
        "num_nodes": settings.nodes,
        "strategy": mesh.strategy(mesh.sizes(config), several_losses=bool(module.PARTS)),
        "plugins": plugins,
        "profiler": Unprofiled(),
        "callbacks": callbacks,
        "logger": _listed(overrides.pop("logger", None)) or False,
        # What you log yourself. Lightning warns where an epoch is shorter.
        "log_every_n_steps": min(plan.log_every, plan.steps_per_epoch) if plan else trainer.log_every or 50,
        "enable_progress_bar": any(isinstance(callback, ProgressBar) for callback in callbacks),
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        "enable_model_summary": any(isinstance(callback, ModelSummary) for callback in callbacks),
        "num_sanity_val_steps": 0,  # it would spoil the best so far
        "limit_val_batches": plan.eval_batches if plan else None,
    }
    if not module.PARTS:
        # One who accumulates by a callback has it alone.
        scheduled = any(isinstance(callback, GradientAccumulationScheduler) for callback in callbacks)
        options["accumulate_grad_batches"] = 1 if scheduled else trainer.accumulate
        options["gradient_clip_val"] = config.optimizer.clip_norm or None
    if not {"val_check_interval", "check_val_every_n_epoch"} & overrides.keys():
        options |= _validation(config, plan, 1 if module.PARTS else trainer.accumulate)
    if not {"fast_dev_run", "max_epochs", "max_steps"} & overrides.keys():
        options |= _length(config, plan, module)
    trainer = L.Trainer(**options | overrides)
    # After every step Lightning would ask the devices of all processes for a signal, and wait; a session asks itself.
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _ask_nobody
    return trainer


def _check_class(given: Any, task: str) -> None:
    """Raises InputError where no module can be made of it, or where it says what nobody would ask."""
    if not (isinstance(given, type) and issubclass(given, TaskModule)):
        raise InputError(f"{given!r} is no subclass of TaskModule: begin with the Module of tasks/{task}/lightning.py")
    name = given.__qualname__
    try:
        inspect.signature(given).bind("config", "spec")
    except TypeError as error:
        raise InputError(f"{name} is made by {name}(config, spec), and {error}: give others a default") from error
    for loader in LOADERS:
        if getattr(given, loader) is not getattr(L.LightningModule, loader):
            raise InputError(
                f"{name}.{loader}: a run reads what its task loads: change that in tasks/{task}/data.py, or train "
                "without a run, by trainer.fit(module, loader) with those of build(config)"
            )


def _ask_nobody() -> None:
    """A function that can be pickled, as ddp_spawn does."""


def _length(config: Config, plan: Plan | None, module: type[TaskModule]) -> dict[str, int]:
    """In epochs, where these are whole."""
    updates = module.updates()  # which Lightning counts
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


def _listed(value: Any) -> list[Any]:
    """None, False, one or several, as a list of one's own."""
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def _listener(logger: Logger) -> Callable[[int, Mapping[str, float]], None]:
    """A logger of one's own gets what the run logs."""

    def log(step: int, values: Mapping[str, float]) -> None:
        logger.log_metrics(dict(values), step)
        logger.save()

    return log


def _precision(name: str, device: str) -> Precision:
    if name == "float16":
        scaler = torch.amp.GradScaler(device, init_scale=LOSS_SCALE, growth_interval=LOSS_SCALE_STEPS)
        return MixedPrecision("16-mixed", device, scaler)
    if name == "bfloat16":
        return MixedPrecision("bf16-mixed", device)
    return DoublePrecision() if name == "float64" else Precision()


class Engine:
    """A task's model on a device, or on those of a run, of which this process has one.

    Args:
        module: the class of the LightningModule, where it is not the task's own.
    """

    def __init__(self, config: Config, task: Task, spec: Mapping[str, Any], module: type[TaskModule] | None = None):
        quiet()
        if module:
            _check_class(module, task.name)
        self.config, self.task, self.spec = config, task, spec
        self.Module = module or tasks.twin(task, "lightning").Module
        self.devices = mesh.sizes(config)
        if self.devices.tensor > 1:
            with torch.device("meta"):
                net = self.Module(to_dict(config), spec).net
            mesh.check_tensor(net, self.devices, config.model.TENSOR)
        rank = joined[0].rank if joined and self.devices.devices > 1 else 0
        parts = [rank // self.devices.tensor]
        self.share = self.devices.share(config.data.batch_size, config.trainer.accumulate, parts)
        self.device = mesh.device(config.accelerator)
        self.initial: Weights = {}
        self._open: Path | None = None  # the checkpoint that predictions are made with

    def describe(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        if self.devices.devices > 1:
            sizes = dataclasses.asdict(self.devices).items()
            name = f"{self.devices.devices} x {name} ({', '.join(f'{axis} {n}' for axis, n in sizes if n > 1)})"
        return f"lightning on {name}, {self.config.accelerator.precision}"

    def check_training(self) -> None:
        """Raises InputError where there is no such optimizer."""
        optimizers.check(self.config.optimizer)

    def start_from(self, given: Weights) -> None:
        """Begins with these weights, but for those of `init_skip`."""
        net = self.module().net
        self.initial = overlay(given, weights.get(net), self.config.init_skip)
        weights.put(self.initial, net, init_words(self.config.init, self.config.init_skip))

    def train(self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, session: Session) -> None:
        module = self.module()
        if self.config.frameworks["lightning"].compile:
            module.net.compile()  # in place: compiling the module would rename its parameters
        if start:
            self._read(start, module)
        if session.step >= plan.total_steps or session.run.out_of_patience:
            return
        loggers = extensions.loggers(self.config) if session.run.leads else []
        session.listeners += map(_listener, loggers)
        # Of these the module has the first already, where its `configure_callbacks` is not one's own.
        callbacks = [AroundSteps(), *extensions.callbacks(self.config), RunFolder(session)]
        averaged = any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks)
        if averaged and StochasticWeightAveraging.pl_module_contains_batch_norm(module):
            raise InputError(
                "StochasticWeightAveraging ends a model with batch norm by one more update, with an old gradient: use "
                "WeightAveraging, EMAWeightAveraging or optimizer.ema_decay"
            )
        loggers.append(SessionLogger(session))
        trainer = make_trainer(self.config, plan, self.Module, callbacks=callbacks, logger=loggers)
        try:
            with together():
                trainer.fit(module, datamodule=DataModule(self.config, data), ckpt_path=start, weights_only=True)
        except SystemExit as error:  # what Lightning makes of it
            raise KeyboardInterrupt from error
        if not session.step:
            raise RunError("a callback has ended training before its first step")

    def first_not_finite(
        self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, end: int
    ) -> tuple[int, str] | None:
        from .diagnosis import first_not_finite

        return first_not_finite(self, start, data, plan, end)

    def evaluate(self, checkpoint: Path, batches: Iterable[Batch]) -> dict[str, float | np.ndarray]:
        """The task's metrics by name, each over all examples: numbers, or arrays."""
        trainer, module = make_trainer(self.config, callbacks=[AroundSteps()]), self.module(checkpoint=checkpoint)
        with together():
            trainer.test(module, map(tensors, batches), verbose=False)
        # And what a module logs by itself.
        tags = {tag.removeprefix("test/"): v for tag, v in trainer.callback_metrics.items() if tag.startswith("test/")}
        return {name: float(value) for name, value in tags.items()} | module.measured

    def predict(self, checkpoint: Path, source: Source) -> Batch:
        """The outputs for every example, in order."""
        if checkpoint != self._open:  # read once for many predictions
            self._open, self._opened = checkpoint, self.module(checkpoint=checkpoint)
        size = min(self.config.data.batch_size, len(source))
        batches = eval_batches(source, size, workers=self.config.data.workers)
        found = make_trainer(self.config).predict(self._opened, map(tensors, batches))
        outputs = list(map(numpy, found))
        return {name: np.concatenate([output[name] for output in outputs])[: len(source)] for name in outputs[0]}

    def generate(self, checkpoint: Path, batch: Batch, **options: Any) -> Iterator[Batch]:
        """What the task's `generate` yields, with `config.seed` for what it draws."""
        module = self.module(checkpoint=checkpoint).to(self.device).eval()
        precision = make_trainer(self.config).precision_plugin
        batch = {name: value.to(self.device) for name, value in tensors(batch).items()}
        pieces = module.generate(batch, seed=self.config.seed, **options)
        while True:  # the contexts are not those of the caller, who goes on between two pieces
            with torch.inference_mode(), precision.forward_context():
                piece = next(pieces, None)
            if piece is None:
                return
            yield numpy(piece)

    def model(self, checkpoint: Path) -> torch.nn.Module:
        """The network to evaluate, in eval mode, on the engine's device."""
        return self.module(checkpoint=checkpoint).evaluated.to(self.device).eval()

    def weights(self, checkpoint: Path | None) -> Weights:
        """A checkpoint's weights by name, as in files, or the initial ones."""
        return weights.get(self.module(checkpoint=checkpoint).evaluated)

    def state(self, checkpoint: Path) -> Weights:
        """All of a checkpoint, by name; see `workflow`."""
        module = self.module()
        found, created = self._read(checkpoint, module), portable.create_optimizers(module)
        if group_sizes(found["optimizer_states"]) != group_sizes(one.state_dict() for one in created):
            raise InputError(
                f"{checkpoint}: its optimizer is not as optimizer.name makes it, but as a configure_optimizers or a "
                f"callback of your own does, which no other framework knows: {portable.WEIGHTS_ONLY}"
            )
        module.load_state_dict(found["state_dict"])
        for optimizer, saved in zip(created, found["optimizer_states"], strict=True):
            optimizer.load_state_dict(saved)
        step = found["global_step"] // len(created)
        return {"step": np.array(step), **portable.get(module, created, found.get("MixedPrecision"))}

    def write(self, given: Weights, path: Path, where: str) -> None:
        """As a checkpoint. Raises InputError, beginning with `where` it comes from, where it is of another model."""
        trainer, module = make_trainer(self.config, max_epochs=1), self.module()
        created, given = portable.create_optimizers(module), dict(given)
        step = int(given.pop("step"))
        portable.put(given, module, created, trainer.precision_plugin, where)
        # As `fit` does. Where a run begins with it, it sets the other counts.
        count_updates(trainer, step * len(created))
        trainer.strategy.connect(module)
        trainer.strategy.optimizers = created
        schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0) for optimizer in created]
        for schedule in schedules:
            schedule.last_epoch, schedule._step_count = step, step + 1
        trainer.strategy.lr_scheduler_configs = list(map(LRSchedulerConfig, schedules))
        trainer.save_checkpoint(path)

    def export(self, format: str, batch: Batch, path: Path) -> None:
        """What it begins with, as a file of one of this framework's formats."""
        module = self.module()
        module.ema = None  # it begins as the weights do
        write(format, module, tensors(batch), path)

    def peak_memory(self) -> int:
        return peak_memory(self.device)

    def module(self, checkpoint: Path | None = None) -> TaskModule:
        """The module with its initial weights, or with those of a checkpoint."""
        with torch.random.fork_rng(devices=()):  # the caller's generator is not ours
            torch.manual_seed(self.config.seed)
            module = self.Module(to_dict(self.config), self.spec)
        if self.config.accelerator.precision == "float64":
            module.double()  # Lightning would do so after it has restored weights, rounded to float32
        if self.initial:
            weights.put(self.initial, module.net, self.config.init)
            if module.ema is not None:
                module.ema.load_state_dict(module.net.state_dict())
        if checkpoint is not None:
            module.load_state_dict(self._read(checkpoint, module)["state_dict"])
        return module

    def _read(self, checkpoint: Path, module: TaskModule) -> dict[str, Any]:
        """What Lightning has saved. Raises InputError where the weights are not those of the module."""
        try:
            found = torch.load(checkpoint, map_location="cpu", weights_only=True)
            saved = found["state_dict"]
        # UnpicklingError, also of code in a file; RuntimeError of one that is no zip archive or was cut short.
        except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{checkpoint} is no whole checkpoint of plain data: {reason}") from error
        theirs, ours = found.get("module", ""), own_class(module)
        if theirs != ours:
            raise InputError(
                f"{checkpoint} was trained with {theirs or 'the class of the task'}, not with "
                f"{ours or 'that of the task'}: in Python, train(config, CLASS) goes on with it, and "
                "load(run, module=CLASS) reads it"
            )
        shapes = ({name: tuple(value.shape) for name, value in both.items()} for both in (saved, module.state_dict()))
        match(*shapes, str(checkpoint))
        return found
