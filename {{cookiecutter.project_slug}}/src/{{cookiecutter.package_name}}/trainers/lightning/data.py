"""The batches as a LightningDataModule."""

from collections.abc import Iterator

import lightning as L
import torch

from ...data.batches import TrainBatches, eval_batches
from ...data.sources import Batch, Dataset, Source
from ..schedule import Plan

Tensors = dict[str, torch.Tensor]


class DataModule(L.LightningDataModule):
    """Streams without a state: training starts at the module's step."""

    def __init__(self, data: Dataset, batches: TrainBatches, plan: Plan):
        super().__init__()
        self.data, self.batches, self.plan = data, batches, plan

    def train_dataloader(self) -> "TrainStream":
        module = self.trainer.lightning_module  # its step is restored before the loader is asked for
        return TrainStream(self.batches, self.plan, module.step, module.config.frameworks["lightning"].steps_per_call)

    def val_dataloader(self) -> "EvalStream":
        return EvalStream(self.data.val, self.batches.batch_size, self.plan.eval_batches)


class TrainStream:
    """The batches of one `training_step` after the other, without end: so a run that goes on is never at its end."""

    def __init__(self, batches: TrainBatches, plan: Plan, start: int, steps_per_call: int):
        self.batches, self.plan, self.start, self.steps_per_call = batches, plan, start, steps_per_call

    def __iter__(self) -> Iterator[list[Tensors]]:
        step = self.start
        while True:
            steps = self.plan.steps_at_once(step, self.steps_per_call)
            yield [tensors(self.batches[step + i]) for i in range(steps)]
            step += steps


class EvalStream:
    """Every example once."""

    def __init__(self, source: Source, batch_size: int, limit: int | None = None):
        self.source, self.batch_size, self.limit = source, batch_size, limit

    def __iter__(self) -> Iterator[Tensors]:
        return map(tensors, eval_batches(self.source, self.batch_size, self.limit))


def tensors(batch: Batch) -> Tensors:
    """Without a copy."""
    return {name: torch.from_numpy(value) for name, value in batch.items()}
