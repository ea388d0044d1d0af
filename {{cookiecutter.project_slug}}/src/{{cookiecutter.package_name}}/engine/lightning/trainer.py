"""What trains, evaluates and predicts: the module, the data and the callbacks, put together."""

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import DeviceStatsMonitor, LearningRateMonitor, StochasticWeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger

from ...extensions import lightning as extensions
from .. import task as tasks
from ..config import Config, to_dict
from ..data.batches import TrainBatches, eval_batches
from ..data.sources import Batch, Dataset, Source
from ..errors import InputError, RunError
from ..folder import plain_values
from ..schedule import Plan
from ..session import Session
from ..task import Task
from ..weights import Weights, init_words, match, overlay
from . import devices, optimizers, weights
from .around import AroundSteps
from .callbacks import RunFolder, own_class, own_optimizers
from .data import DataModule, numpy, on, tensors
from .flags import listed, make_trainer, place_of, shipped
from .logger import SessionLogger
from .module import TaskModule

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader")


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
    plan = Plan.of(config, TrainBatches(data, config.data.batch_size, config.seed).steps_per_epoch)
    callbacks = [*extensions.callbacks(config), *listed(overrides.pop("callbacks", None))]
    loggers = [*extensions.loggers(config), *listed(overrides.pop("logger", None))]
    if not loggers and any(isinstance(callback, (LearningRateMonitor, DeviceStatsMonitor)) for callback in callbacks):
        loggers.append(TensorBoardLogger("."))  # they ask for one, and this is where Lightning's own would be
    trainer = make_trainer(config, plan, callbacks=callbacks, logger=loggers, **overrides)
    return Built(engine.module(), DataModule(config, data), trainer)


class Engine:
    """A task's model on a device, or on those of a run, of which this process has one.

    Args:
        module: the class of the LightningModule, where it is not the task's own.
    """

    def __init__(self, config: Config, task: Task, spec: Mapping[str, Any], module: type[TaskModule] | None = None):
        if module:
            _check_class(module, task.name)
        self.config, self.spec = config, spec
        self.Module = module or shipped(config)
        self.place = place_of(config)
        self.place.check(lambda: self.Module(to_dict(config), spec).net)
        self.share, self.device = self.place.share, self.place.device
        self.initial: Weights = {}
        self._open: Path | None = None  # the checkpoint that predictions are made with

    def describe(self) -> str:
        with self.threads():
            count = torch.get_num_threads()
        threads = f" with {count} thread{'s' * (count > 1)}" if self.device.type == "cpu" else ""
        return f"lightning on {self.place.describe()}{threads}, {self.config.accelerator.precision}"

    def threads(self) -> contextlib.AbstractContextManager:
        """Around what the model computes, whose sums depend on their number: as many as the config says."""
        return devices.threads(self.config.frameworks["lightning"].threads)

    def check_training(self) -> None:
        """Raises InputError where there is no such optimizer."""
        optimizers.check(self.config.optimizer)

    def own_schedule(self) -> str:
        if not own_optimizers(self.Module):
            return ""
        name = self.Module.__qualname__
        return f"configure_optimizers of {name} is your own: keys of optimizer count only where it uses them"

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
            with self.place.together(), self.threads():
                trainer.fit(module, datamodule=DataModule(self.config, data), ckpt_path=start, weights_only=True)
        except SystemExit as error:  # what Lightning makes of it
            raise KeyboardInterrupt from error
        if not session.step:
            raise RunError("a callback has ended training before its first step")

    def first_not_finite(
        self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, end: int
    ) -> tuple[int, str] | None:
        from .diagnosis import first_not_finite

        with self.threads():
            return first_not_finite(self.module(), start, data, plan, end)

    def evaluate(self, checkpoint: Path, batches: Iterable[Batch]) -> dict[str, float | np.ndarray]:
        """The task's metrics by name, each over all examples: numbers, or arrays."""
        trainer, module = make_trainer(self.config, callbacks=[AroundSteps()]), self.module(checkpoint=checkpoint)
        with self.place.together(), self.threads():
            trainer.test(module, map(tensors, batches), verbose=False)
        # And what a module logs by itself.
        tags = {tag.removeprefix("test/"): v for tag, v in trainer.callback_metrics.items() if tag.startswith("test/")}
        return {name: float(value) for name, value in tags.items()} | module.measured

    def predict(self, checkpoint: Path, source: Source, **options: Any) -> Batch:
        """The outputs for every example, in order. options: those of the task's `decoding`."""
        if checkpoint != self._open:  # read once for many predictions
            self._open, self._opened = checkpoint, self.module(checkpoint=checkpoint)
        self._opened.options = options
        size = min(self.config.data.batch_size, len(source))
        batches = eval_batches(source, size, workers=self.config.data.workers)
        with self.threads():
            found = make_trainer(self.config).predict(self._opened, map(tensors, batches))
        outputs = list(map(numpy, found or ()))
        return {name: np.concatenate([output[name] for output in outputs])[: len(source)] for name in outputs[0]}

    def generate(self, checkpoint: Path, batch: Batch, **options: Any) -> Iterator[Batch]:
        """What the task's `generate` yields, with `config.seed` for what it draws."""
        module = self.module(checkpoint=checkpoint).to(self.device).eval()
        precision = make_trainer(self.config).precision_plugin
        pieces = module.generate(on(self.device, tensors(batch)), seed=self.config.seed, **options)
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
        """All of a checkpoint, by name; see `contract`."""
        from .portable import read

        module = self.module()
        return read(self._read(checkpoint, module), module, str(checkpoint))

    def write(self, given: Weights, path: Path, where: str) -> None:
        """As a checkpoint. Raises InputError, beginning with `where` it comes from, where it is of another model."""
        from .portable import write

        write(given, self.module(), make_trainer(self.config, max_epochs=1), path, where)

    def export(self, format: str, batch: Batch, path: Path) -> None:
        """What it begins with, as a file of one of this framework's formats."""
        from .export import write

        module = self.module()
        module.ema = None  # it begins as the weights do
        write(format, module, tensors(batch), path)

    def peak_memory(self) -> int:
        return devices.peak_memory(self.device)

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
        there, here = ({name: value.shape for name, value in each.items()} for each in (saved, module.state_dict()))
        match(there, here, str(checkpoint))
        return found


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


def _listener(logger: Logger) -> Callable[[int, Mapping[str, float]], None]:
    """A logger of one's own gets what the run logs."""

    def log(step: int, values: Mapping[str, float]) -> None:
        logger.log_metrics(dict(values), step)
        logger.save()

    return log
