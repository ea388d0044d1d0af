"""Order and batches. Both are pure functions of the seed and the position: nothing here has to be in a checkpoint."""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from ..errors import InputError
from .sources import Batch, Source


class TrainBatches:
    """`batches[step]` of an endless stream, shuffled anew each epoch, whose last partial batch is dropped."""

    def __init__(
        self,
        source: Source,
        batch_size: int,
        seed: int,
        augment: Callable[[Batch, np.random.Generator], Batch] | None = None,
    ):
        if len(source) < batch_size:
            raise InputError(
                f"data.batch_size = {batch_size}, but there are only {len(source)} training examples: lower it"
            )
        self.source, self.batch_size, self.seed, self.augment = source, batch_size, seed, augment
        self.steps_per_epoch = len(source) // batch_size
        self._order = functools.lru_cache(maxsize=1)(self._shuffle)

    def __getitem__(self, step: int) -> Batch:
        epoch, i = divmod(step, self.steps_per_epoch)
        batch = self.source[self._order(epoch)[i * self.batch_size : (i + 1) * self.batch_size]]
        if self.augment is not None:
            batch = self.augment(batch, _generator(self.seed, "batch", step))
        return batch

    def stack(self, step: int, count: int) -> Batch:
        """The batches of `count` steps, with a new leading axis."""
        if count == 1:
            return {name: value[None] for name, value in self[step].items()}
        batches = [self[step + i] for i in range(count)]
        return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}

    def _shuffle(self, epoch: int) -> np.ndarray:
        return _generator(self.seed, "epoch", epoch).permutation(len(self.source))


def eval_batches(source: Source, batch_size: int, limit: int | None = None) -> Iterator[Batch]:
    """Every example once, in order. The last batch is padded, so that one shape is compiled.

    Each carries `mask`, bool [batch], false for padding.
    """
    starts = range(0, len(source), batch_size)[:limit]
    for start in starts:
        indices = np.arange(start, start + batch_size)
        mask = indices < len(source)
        yield {**source[np.where(mask, indices, len(source) - 1)], "mask": mask}


def _generator(seed: int, purpose: str, position: int) -> np.random.Generator:
    """Philox is counter-based: streams of different (seed, purpose, position) are independent."""
    return np.random.Generator(np.random.Philox([seed, ("epoch", "batch").index(purpose), position]))
