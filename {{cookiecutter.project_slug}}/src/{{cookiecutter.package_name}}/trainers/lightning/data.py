"""The batches as a LightningDataModule."""

from collections.abc import Iterator

import lightning as L
import torch

from ...data.batches import TrainBatches, eval_batches
from ...data.sources import Batch, Dataset, Source
from ..schedule import Plan

Tensors = dict[str, torch.Tensor]


class DataModule(L.LightningDataModule):
    """Streams without a state: training starts at the number of batches that the run has consumed."""

    def __init__(self, data: Dataset, batches: TrainBatches, plan: Plan):
        super().__init__()
        self.data, self.batches, self.plan = data, batches, plan

    def train_dataloader(self) -> "TrainStream":
        # Restored before the loader is asked for; global_step counts optimizers' steps and would not do.
        return TrainStream(self.batches, self.trainer.fit_loop.epoch_loop.batch_progress.total.ready)

    def val_dataloader(self) -> "EvalStream":
        return EvalStream(self.data.val, self.batches.batch_size, self.plan.eval_batches)


class TrainStream:
    """Endless; the callback ends the run."""

    def __init__(self, batches: TrainBatches, start: int):
        self.batches, self.start = batches, start

    def __iter__(self) -> Iterator[Tensors]:
        step = self.start
        while True:
            yield tensors(self.batches[step])
            step += 1


class EvalStream:
    """Every example once."""

    def __init__(self, source: Source, batch_size: int, limit: int | None = None):
        self.source, self.batch_size, self.limit = source, batch_size, limit

    def __iter__(self) -> Iterator[Tensors]:
        return map(tensors, eval_batches(self.source, self.batch_size, self.limit))


def tensors(batch: Batch) -> Tensors:
    """Without a copy."""
    return {name: torch.from_numpy(value) for name, value in batch.items()}
