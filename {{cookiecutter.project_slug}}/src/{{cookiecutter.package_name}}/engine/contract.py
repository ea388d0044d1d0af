"""What the half of a framework gives to the rooms that all frameworks share, as a type.

What a person's own rooms give is typed where it is used: `task.Task`, `data.sources.Source` and `Dataset`, and in each
framework's room what a task's file for it has.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .data.batches import Share, TrainBatches
from .data.sources import Batch, Dataset, Source
from .schedule import Plan
from .session import Session
from .weights import Weights


class Engine(Protocol):
    """A task's model on the devices, which `engine()` of a framework makes of (config, task, spec).

    Of a framework with a class for each task, one may stand as the fourth in its place. Raises InputError where the
    hardware is not there. The weights of a checkpoint are, in all but `train` and `state`, the averages where the
    config has an `optimizer.ema_decay`.

    Attributes:
        share: what this process reads of every batch.
    """

    share: Share

    def describe(self) -> str:
        """The device, in words."""

    def check_training(self) -> None:
        """Raises InputError for an optimizer that cannot train."""

    def own_schedule(self) -> str:
        """A line that says so where `optimizer.schedule` does not make the learning rate, else ""."""

    def start_from(self, given: Weights) -> None:
        """Begins with them. Raises InputError where they do not fit."""

    def train(self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, session: Session) -> None:
        """From a checkpoint, or from the beginning where it is None."""

    def evaluate(self, checkpoint: Path, batches: Iterable[Batch]) -> dict[str, float | np.ndarray]:
        """The task's metrics by name."""

    def predict(self, checkpoint: Path, source: Source, **options: Any) -> Batch:
        """The outputs for every example. options: those of the task's `decoding`."""

    def generate(self, checkpoint: Path, batch: Batch, **options: Any) -> Iterator[Batch]:
        """Pieces of output, as they come, of a task that has `stream`."""

    def model(self, checkpoint: Path) -> Any:
        """The network, in eval mode."""

    def weights(self, checkpoint: Path | None) -> Weights:
        """By name, as in files; the initial ones where it is None."""

    def peak_memory(self) -> int:
        """Bytes on the device, 0 where it does not tell."""

    def first_not_finite(
        self, start: Path | None, batches: TrainBatches, data: Dataset, plan: Plan, end: int
    ) -> tuple[int, str] | None:
        """(step, what) on the way from there to step `end`; None where all is finite this time.

        What is in the data ends with `session.OF_THE_BATCH`.
        """

    def export(self, format: str, batch: Batch, path: Path) -> None:
        """What it begins with, as a file. batch: arrays of the right shapes."""

    def state(self, checkpoint: Path) -> Weights:
        """All of a checkpoint, by name, for every framework the same.

        weights/NAME, ema/NAME (the average), momentum/NAME and square/NAME (the optimizer's, of a gradient and of its
        square), with the NAMEs of weights in files; step and skipped; updates/LOSS (which AdamW has counted);
        loss_scale/factor and loss_scale/steps.
        """

    def write(self, given: Weights, path: Path, where: str) -> None:
        """A checkpoint that holds a state. Raises InputError, beginning with `where` that comes from."""
