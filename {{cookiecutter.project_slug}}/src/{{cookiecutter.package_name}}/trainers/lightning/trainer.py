"""The trainer of the Lightning twin: the module, the data and the callbacks, put together."""

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.precision import DoublePrecision, MixedPrecision, Precision
from lightning.pytorch.utilities.types import LRSchedulerConfig

from ... import task as tasks
from ...config import Config, to_dict
from ...data.batches import TrainBatches, eval_batches
from ...data.sources import Batch, Dataset, Source
from ...errors import InputError
from ...task import Task
from ...weights import Weights, init_words, match, overlay
from ..schedule import Plan
from ..session import Session
from . import SUFFIX, devices, mesh, portable, weights
from .callbacks import Interrupted, SessionCallback, is_finite, numpy, peak_memory
from .data import DataModule, tensors
from .export import write
from .logger import SessionLogger
from .module import Module
from .processes import environment, quiet, together

# Lightning 2.6.6 asks torch >= 2.12 for a tree in a way that torch is about to drop: not ours, and not the reader's.
warnings.filterwarnings("ignore", r".*treespec, LeafSpec", FutureWarning)

# Your own callbacks and loggers: every training run has them, beside those that make its record.
CALLBACKS: list[L.Callback] = []
LOGGERS: list[Logger] = []


def make_trainer(config: Config, **overrides: Any) -> L.Trainer:
    """The Trainer of a config.

    overrides: flags of `lightning.Trainer`, which win over those here; `callbacks` and `logger` (one or a list) come
    beside CALLBACKS and LOGGERS. The run's own progress bar, checkpoints, validation rhythm and end come from
    `SessionCallback`, which `train` adds. To Lightning a run is one long epoch: `EarlyStopping` and the like need
    `check_on_train_epoch_end=False`.
    """
    settings = config.accelerator
    found = devices.pick(settings.platform, settings.devices, settings.nodes)
    losses = tasks.twin(tasks.find(config.task), "lightning").losses(config)
    callbacks = [*CALLBACKS, *_listed(overrides.pop("callbacks", None))]
    plugins = environment(len(found) * settings.nodes)
    if "precision" not in overrides:
        plugins.append(_precision(settings.precision, found[0].type))
    options = {
        "accelerator": found[0].type,
        "devices": len(found),
        "num_nodes": settings.nodes,
        "strategy": mesh.strategy(mesh.sizes(config), several_losses=len(losses) > 1),
        "plugins": plugins,
        "max_epochs": -1,  # the plan says when to stop
        "callbacks": callbacks,
        "logger": [*LOGGERS, *_listed(overrides.pop("logger", None))] or False,
        "log_every_n_steps": config.trainer.log_every or 50,
        "enable_progress_bar": False,
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,  # it would spoil the best so far
        "use_distributed_sampler": False,
    }
    trainer = L.Trainer(**options | overrides)
    # After every step Lightning would ask the devices of all processes for a signal, and wait; a session asks itself.
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
    return trainer


def _listed(value: Any) -> list[Any]:
    """None, False, one or a list."""
    return value if isinstance(value, list) else [value] if value else []


def _listener(logger: Logger) -> Callable[[int, Mapping[str, float]], None]:
    """A logger of one's own gets what the run logs."""

    def log(step: int, values: Mapping[str, float]) -> None:
        logger.log_metrics(dict(values), step)
        logger.save()

    return log


def _precision(name: str, device: str) -> Precision:
    if name == "float16":  # without Lightning's loss scaling: see `LossScale` in module.py
        return MixedPrecision("16-mixed", device, torch.amp.GradScaler(device, enabled=False))
    if name == "bfloat16":
        return MixedPrecision("bf16-mixed", device)
    return DoublePrecision() if name == "float64" else Precision()


class Engine:
    """A task's model on a device, or on those of a run, of which this process has one."""

    def __init__(self, config: Config, task: Task, spec: Mapping[str, Any]):
        quiet()
        self.config, self.task, self.spec = config, task, spec
        self.devices = mesh.sizes(config)
        if self.devices.tensor > 1:
            with torch.device("meta"):
                net = tasks.twin(task, "lightning").create_model(config, spec)
            mesh.check_tensor(net, self.devices, config.model.TENSOR)
        self.parts = mesh.Parts(self.devices)
        self.share = self.devices.share(config.data.batch_size, config.trainer.accumulate, [self.parts.mine])
        self.device = mesh.device(config.accelerator)
        self.initial: Weights = {}
        self._open: Path | None = None  # the checkpoint that predictions are made with

    def describe(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        if self.devices.devices > 1:
            sizes = dataclasses.asdict(self.devices).items()
            name = f"{self.devices.devices} x {name} ({', '.join(f'{axis} {n}' for axis, n in sizes if n > 1)})"
        return f"lightning on {name}, {self.config.accelerator.precision}"

    def start_from(self, given: Weights) -> None:
        """Begins with these weights, but for those of `init_skip`."""
        net = self.module().net
        self.initial = overlay(given, weights.get(net), self.config.init_skip)
        weights.put(self.initial, net, init_words(self.config.init, self.config.init_skip))

    def train(self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, session: Session) -> None:
        module = self.prepared(batches, data, plan)
        if self.config.frameworks["lightning"].compile:
            module.net.compile()  # in place: compiling the module would rename its parameters
        trainer = make_trainer(
            self.config,
            callbacks=[SessionCallback(session)],
            logger=SessionLogger(session),
        )
        if start:
            self._read(start, module)
        if session.step < plan.total_steps and not session.run.out_of_patience:
            session.listeners += map(_listener, LOGGERS)
            stream = DataModule(data, batches, plan, self.config.data.workers)
            try:
                with together():
                    trainer.fit(module, datamodule=stream, ckpt_path=start, weights_only=True)
            except Interrupted:
                pass
            except SystemExit as error:  # what Lightning makes of it
                raise KeyboardInterrupt from error
            if session.step > session.run.record.step:  # a callback has ended the run between two checkpoints
                session.save(trainer.save_checkpoint, is_finite(module), SUFFIX)

    def prepared(self, batches: TrainBatches, data: Dataset, plan: Plan) -> Module:
        """The module, to be trained on these data."""
        module = self.module(plan)
        module.resident = {name: value.to(self.device) for name, value in tensors(batches.resident).items()}
        module.augment = data.augment
        return module

    def first_not_finite(
        self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, end: int
    ) -> tuple[int, str] | None:
        from .diagnosis import first_not_finite

        return first_not_finite(self, start, batches, data, plan, end)

    def evaluate(self, checkpoint: Path, batches: Iterable[Batch]) -> dict[str, float | np.ndarray]:
        """The task's metrics by name, each over all examples: numbers, or arrays."""
        trainer, module = make_trainer(self.config), self.module(checkpoint=checkpoint)
        with together():
            trainer.test(module, map(tensors, batches), verbose=False)
        found = {tag.removeprefix("test/"): float(value) for tag, value in trainer.callback_metrics.items()}
        return found | module.arrays

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
        pieces = module.twin.generate(module.evaluated, batch, seed=self.config.seed, **options)
        while True:  # the contexts are not those of the caller, who goes on between two pieces
            with torch.inference_mode(), precision.forward_context():
                piece = next(pieces, None)
            if piece is None:
                return
            yield numpy(piece)

    def weights(self, checkpoint: Path | None) -> Weights:
        """A checkpoint's weights by name, as in files, or the initial ones."""
        return weights.get(self.module(checkpoint=checkpoint).evaluated)

    def state(self, checkpoint: Path) -> Weights:
        """All of a checkpoint, by name; see `workflow`."""
        module = self.module()
        found, optimizers = self._read(checkpoint, module), portable.create_optimizers(module)
        module.load_state_dict(found["state_dict"])
        for optimizer, saved in zip(optimizers, found["optimizer_states"], strict=True):
            optimizer.load_state_dict(saved)
        return {"step": np.array(found["step"]), **portable.get(module, optimizers)}

    def write(self, given: Weights, path: Path, where: str) -> None:
        """As a checkpoint. Raises InputError, beginning with `where` it comes from, where it is of another model."""
        trainer, module = make_trainer(self.config), self.module()
        optimizers = portable.create_optimizers(module)
        given = dict(given)
        module.step = int(given.pop("step"))
        portable.put(given, module, optimizers, where)
        schedulers = [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0) for optimizer in optimizers]
        for scheduler in schedulers:
            scheduler.last_epoch, scheduler._step_count = module.step, module.step + 1
        # As `fit` does. The trainer's own counts stay at 0: nothing depends on them.
        trainer.strategy.connect(module)
        trainer.strategy.optimizers = optimizers
        trainer.strategy.lr_scheduler_configs = list(map(LRSchedulerConfig, schedulers))
        trainer.save_checkpoint(path)

    def export(self, format: str, batch: Batch, path: Path) -> None:
        """What it begins with, as a file of one of this framework's formats."""
        module = self.module()
        write(format, module.net, module.twin.predict_step, tensors(batch), path)

    def peak_memory(self) -> int:
        return peak_memory(self.device)

    def module(self, plan: Plan | None = None, checkpoint: Path | None = None) -> Module:
        """The module with its initial weights, or with those of a checkpoint."""
        with torch.random.fork_rng(devices=()):  # the caller's generator is not ours
            torch.manual_seed(self.config.seed)
            module = Module(to_dict(self.config), self.spec, plan, self.devices)
        if self.config.accelerator.precision == "float64":
            module.double()  # Lightning would do so after it has restored weights, rounded to float32
        if self.initial:
            weights.put(self.initial, module.net, self.config.init)
            if module.ema is not None:
                module.ema.load_state_dict(module.net.state_dict())
        if checkpoint is not None:
            module.load_state_dict(self._read(checkpoint, module)["state_dict"])
        return module

    @staticmethod
    def _read(checkpoint: Path, module: Module) -> dict[str, Any]:
        """What Lightning has saved. Raises InputError where the weights are not those of the module."""
        try:
            found = torch.load(checkpoint, map_location="cpu", weights_only=True)
            saved = found["state_dict"]
        # UnpicklingError, also of code in a file; RuntimeError of one that is no zip archive or was cut short.
        except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{checkpoint} is no whole checkpoint of plain data: {reason}") from error
        shapes = ({name: tuple(value.shape) for name, value in both.items()} for both in (saved, module.state_dict()))
        match(*shapes, str(checkpoint))
        return found
