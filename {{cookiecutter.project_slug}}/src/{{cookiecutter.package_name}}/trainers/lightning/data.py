"""The batches as a LightningDataModule."""

from collections.abc import Iterator

import lightning as L
import torch

from ...data.batches import Share, TrainBatches, ahead, eval_batches
from ...data.sources import Batch, Dataset, Source
from ..schedule import Plan

Tensors = dict[str, torch.Tensor]


class DataModule(L.LightningDataModule):
    """Streams without a state: training starts at the module's step."""

    def __init__(self, data: Dataset, batches: TrainBatches, plan: Plan, workers: int = 0):
        super().__init__()
        self.data, self.batches, self.plan, self.workers = data, batches, plan, workers

    def train_dataloader(self) -> "TrainStream":
        module = self.trainer.lightning_module  # its step is restored before the loader is asked for
        calls = self.plan.calls(module.step, module.config.frameworks["lightning"].steps_per_call)
        return TrainStream(self.batches, calls, self.workers)

    def val_dataloader(self) -> "EvalStream":
        return EvalStream(
            self.data.val, self.batches.batch_size, self.plan.eval_batches, self.workers, self.batches.share
        )


class TrainStream:
    """The batches of one `training_step` after the other, without end: so a run that goes on is never at its end."""

    def __init__(self, batches: TrainBatches, calls: Iterator[tuple[int, int]], workers: int):
        self.batches, self.calls, self.workers = batches, calls, workers

    def __iter__(self) -> Iterator[list[Tensors]]:
        return ahead(self._read, self.calls, self.workers)

    def _read(self, call: tuple[int, int]) -> list[Tensors]:
        step, count = call
        return [tensors(self.batches[step + i]) for i in range(count)]


class EvalStream:
    """Every example once, of this process's share."""

    def __init__(self, source: Source, batch_size: int, limit: int | None, workers: int, share: Share):
        self.options = (source, batch_size, limit, workers, share)

    def __iter__(self) -> Iterator[Tensors]:
        return map(tensors, eval_batches(*self.options))


def tensors(batch: Batch) -> Tensors:
    """Without a copy."""
    return {name: torch.from_numpy(value) for name, value in batch.items()}
