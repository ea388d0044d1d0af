"""The batches as a LightningDataModule."""

import functools
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch

from .. import task as tasks
from ..config import Config
from ..data.batches import Share, TrainBatches, ahead, eval_batches, eval_spans, make_batch
from ..data.sources import Batch, Dataset, Source
from ..errors import InputError
from .weights import array

Tensors = dict[str, Any]  # and a number, the `weight` of what was gathered over a whole step


class DataModule(L.LightningDataModule):
    """A task's data, in any Trainer: each epoch in an order of its own, each process its share.

    Args:
        config: that of the module.
        data: what the task loads by default.
    """

    def __init__(self, config: Config, data: Dataset | None = None):
        super().__init__()
        self.config, self.data = config, data or tasks.find(config.task).load(config, None)
        self._batch_size = config.data.batch_size

    @property
    def batch_size(self) -> int:
        """Of a step. `Tuner.scale_batch_size` sets it, and more than all examples are none."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        self._batch_size = min(value, len(self.data.train))

    def train_dataloader(self) -> "TrainLoader":
        return TrainLoader(self)

    def val_dataloader(self) -> "EvalLoader":
        return self._whole(self.data.val)

    def test_dataloader(self) -> "EvalLoader":
        return self._whole(self.data.test)

    predict_dataloader = test_dataloader

    def _whole(self, source: Source) -> "EvalLoader":
        share = share_of(self.trainer, self.batch_size, 1)
        return EvalLoader(source, self.batch_size, self.config.data.workers, share)


class TrainLoader:
    """The micro-batches of the epoch that the Trainer is in, from where it stands; of the first one out of training.

    A batch is a function of the seed and its place alone; `overfit_batches` has those of the first epoch, always.
    """

    def __init__(self, module: DataModule):
        config, self.trainer = module.config, module.trainer
        automatic = self.trainer is None or self.trainer.lightning_module.automatic_optimization
        # The loop of a module that optimizes by itself cuts its batches, too.
        self.pieces, self.workers = config.trainer.accumulate if automatic else 1, config.data.workers
        share = share_of(self.trainer, module.batch_size, config.trainer.accumulate)
        self.batches = TrainBatches(module.data, module.batch_size, config.seed, config.data.on_device, share)
        self.device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        self.weights = module.data.weights is not None
        self.dataset = module.data.train  # Lightning asks how long it is

    def state_dict(self) -> dict[str, Any]:
        """None: going on takes no state of its own, and Lightning is told that it can."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def __len__(self) -> int:
        return self.batches.steps_per_epoch * self.pieces

    def __iter__(self) -> Iterator[Tensors]:
        epoch = done = skipped = 0
        if self.trainer and self.trainer.training:
            same = self.trainer.overfit_batches  # type: ignore[attr-defined]  # Lightning sets it from afar
            epoch = 0 if same else self.trainer.current_epoch
            done, skipped = divmod(self.trainer.fit_loop.batch_idx + 1, self.pieces)  # of the epoch
        first = epoch * self.batches.steps_per_epoch
        steps = range(first + done, first + self.batches.steps_per_epoch)
        for pieces in ahead(self._read, steps, self.workers):
            yield from map(self._made, pieces[skipped:])
            skipped = 0

    @functools.cached_property
    def resident(self) -> Tensors:
        """The training data, where they stay on the device."""
        return on(self.device, tensors(self.batches.resident))

    def _read(self, step: int) -> list[Tensors]:
        pieces = split(tensors(self.batches[step]), self.pieces)
        if self.weights:
            pieces = [{**piece, "weight": self.batches.weight(step)} for piece in pieces]
        return pieces

    def _made(self, piece: Tensors) -> Tensors:
        """Of data that stay on the device, a batch is but their index."""
        if not self.resident:
            return piece
        return make_batch(on(self.device, piece), self.batches.data.augment, self.resident)


class EvalLoader:
    """Every example once, of this process's share."""

    def __init__(self, source: Source, batch_size: int, workers: int, share: Share):
        self.source, self.batch_size, self.workers, self.share = source, batch_size, workers, share

    def __len__(self) -> int:
        return len(eval_spans(self.source, self.batch_size))

    def __iter__(self) -> Iterator[Tensors]:
        return map(tensors, eval_batches(self.source, self.batch_size, None, self.workers, self.share))


def part_of(trainer: L.Trainer | None) -> tuple[int, int]:
    """Which part of every batch is this process's, and of how many: one for each copy of the model, cut or not."""
    found = trainer.distributed_sampler_kwargs if trainer else None
    return (found["rank"], found["num_replicas"]) if found else (0, 1)


def share_of(trainer: L.Trainer | None, batch_size: int, accumulate: int) -> Share:
    """What this process reads of a batch; without a Trainer all. Raises InputError where a batch cannot be cut so."""
    part, parts = part_of(trainer)
    if batch_size % (accumulate * parts):
        raise InputError(
            f"data.batch_size = {batch_size} is not divisible by trainer.accumulate = {accumulate} x {parts} processes"
        )
    return Share(parts, (part,), accumulate)


def split(batch: Tensors, count: int) -> list[Tensors]:
    """Micro-batches of the same size, in order; each has the `weight`."""
    if count == 1:
        return [batch]
    pieces = {name: [x] * count if isinstance(x, float) else x.chunk(count) for name, x in batch.items()}
    return [{name: piece[i] for name, piece in pieces.items()} for i in range(count)]


def tensors(batch: Batch) -> Tensors:
    """Without a copy."""
    return {name: torch.from_numpy(value) for name, value in batch.items()}


def numpy(batch: Tensors) -> Batch:
    """Copies."""
    return {name: array(value) for name, value in batch.items()}


def on(device: torch.device, batch: Tensors) -> Tensors:
    return {name: x if isinstance(x, float) else x.to(device) for name, x in batch.items()}
