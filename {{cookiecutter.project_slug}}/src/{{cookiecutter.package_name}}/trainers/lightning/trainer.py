"""The trainer of the Lightning twin: the module, the data and the callbacks, put together."""

import contextlib
import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from ...config import Config, to_dict
from ...data.batches import TrainBatches, eval_batches
from ...data.sources import Batch, Dataset, Source
from ...task import Task
from ..schedule import Plan
from ..session import Session
from . import devices
from .callbacks import Interrupted, SessionCallback, SessionLogger, numpy, peak_memory
from .data import DataModule, tensors
from .module import Module

# Lightning 2.6.6 asks torch >= 2.12 for a tree in a way that torch is about to drop: not ours, and not the reader's.
warnings.filterwarnings("ignore", r".*treespec, LeafSpec", FutureWarning)

PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float64": "64-true"}


def make_trainer(config: Config, **overrides: Any) -> L.Trainer:
    """The Trainer of a config. The one place for callbacks, loggers and flags of your own: they are added, or override.

    The run's own progress bar, checkpoints, validation rhythm and end come from `SessionCallback`.
    """
    options = {
        "accelerator": devices.pick(config.accelerator.platform).type,
        "devices": 1,
        "precision": PRECISIONS[config.accelerator.precision],
        "max_epochs": -1,  # the plan says when to stop
        "logger": False,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,  # it would spoil the best so far
        "use_distributed_sampler": False,
    }
    return L.Trainer(**options | overrides)


class Engine:
    """A task's model on a device."""

    def __init__(self, config: Config, task: Task, spec: Mapping[str, Any]):
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        self.config, self.task, self.spec = config, task, spec
        self.device = devices.pick(config.accelerator.platform)

    def describe(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return f"lightning on {name}, {self.config.accelerator.precision}"

    def train(self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, session: Session) -> None:
        module = self.module(plan)
        if self.config.frameworks["lightning"].compile:
            module.net.compile()  # in place: compiling the module would rename its parameters
        trainer = make_trainer(
            self.config,
            callbacks=[SessionCallback(session)],
            logger=SessionLogger(session),
        )
        if session.step < plan.total_steps and not session.stopping:
            with contextlib.suppress(Interrupted):
                trainer.fit(module, datamodule=DataModule(data, batches, plan), ckpt_path=start, weights_only=True)

    def evaluate(self, checkpoint: Path, batches: Iterable[Batch]) -> dict[str, float]:
        """The task's metrics by name, each over all examples."""
        trainer = make_trainer(self.config)
        trainer.test(self.module(checkpoint=checkpoint), map(tensors, batches), verbose=False)
        return {tag.removeprefix("test/"): float(value) for tag, value in trainer.callback_metrics.items()}

    def predict(self, checkpoint: Path, source: Source) -> Batch:
        """The outputs for every example, in order."""
        batches = list(eval_batches(source, self.config.data.batch_size))
        found = make_trainer(self.config).predict(self.module(checkpoint=checkpoint), map(tensors, batches))
        pairs = zip(found, batches, strict=True)
        outputs = [{name: value[batch["mask"]] for name, value in numpy(output).items()} for output, batch in pairs]
        return {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}

    def peak_memory(self) -> int:
        return peak_memory(self.device)

    def module(self, plan: Plan | None = None, checkpoint: Path | None = None) -> Module:
        """The module with its initial weights, or with those of a checkpoint."""
        torch.manual_seed(self.config.seed)
        module = Module(to_dict(self.config), self.spec, plan)
        if self.config.accelerator.precision == "float64":
            module.double()  # Lightning would do so after it has restored weights, rounded to float32
        if checkpoint is not None:
            module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
        return module
