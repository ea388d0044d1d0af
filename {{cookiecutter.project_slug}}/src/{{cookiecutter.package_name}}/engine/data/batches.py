"""Order and batches. Both are pure functions of the seed and the position: nothing here has to be in a checkpoint."""

import dataclasses
import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError
from .sources import Arrays, Batch, Dataset, Grouped, Source

Item = TypeVar("Item")
Read = TypeVar("Read")

LARGEST_PERMUTATION = 2**22  # examples: of more, the order is computed index by index


@dataclass(frozen=True)
class Share:
    """What a process reads of every batch.

    A batch is cut into micro-batches, and each of them into parts for the devices, so that what a device gets changes
    neither the order nor what a micro-batch holds.

    Attributes:
        parts: of a micro-batch.
        mine: those that this process reads.
        accumulate: micro-batches.
    """

    parts: int = 1
    mine: Sequence[int] = (0,)
    accumulate: int = 1

    def rows(self, batch_size: int) -> np.ndarray:
        """int [rows]: part after part, and of each what it has of the first micro-batch, of the second and so on."""
        rows = np.arange(batch_size).reshape(self.accumulate, self.parts, -1)
        return rows[:, list(self.mine)].swapaxes(0, 1).ravel()


class TrainBatches:
    """`batches[step]` of an endless stream, shuffled anew each epoch, whose last partial batch is dropped.

    Of a source that is `Grouped`, each batch is of one group, and the last partial batch of every group is dropped.

    With `on_device`, `resident` are the training data, which the engine keeps on the device, and a batch is
    `index`: int32 [batch] into them with its random numbers; `make_batch` there makes of these what is one otherwise.
    A process that has a share of every batch reads only that.
    """

    def __init__(self, data: Dataset, batch_size: int, seed: int, on_device: bool = False, share: Share = Share()):
        self.groups = data.train.groups if isinstance(data.train, Grouped) else None
        sizes = [len(data.train)] if self.groups is None else np.bincount(self.groups).tolist()
        most = max(sizes, default=0)
        if most < batch_size:
            raise InputError(
                f"data.batch_size = {batch_size}, but there are only {most} training examples"
                f"{'' if self.groups is None else ' of one length'}: lower it, "
                f"as by --data.batch_size {max(1, most // 4)}"
            )
        self.data, self.batch_size, self.seed, self.share = data, batch_size, seed, share
        self._rows = share.rows(batch_size)
        self.resident: Batch = {}
        if on_device:
            if not isinstance(data.train, Arrays):
                raise InputError(
                    "data.on_device = true: these data are read from files when asked for: set it to false"
                )
            self.resident = data.train.arrays
        self.steps_per_epoch = sum(size // batch_size for size in sizes)
        self.too_few = sum(size for size in sizes if size < batch_size)  # examples of groups without a whole batch
        self._order = functools.lru_cache(maxsize=2)(self._shuffle)  # two: threads read ahead into the next epoch

    def __getitem__(self, step: int) -> Batch:
        epoch, i = divmod(step, self.steps_per_epoch)
        indices = self._order(epoch)(i * self.batch_size + self._rows)
        draw = self.data.draw
        drawn = draw(_generator(self.seed, "batch", step), self.batch_size) if draw else {}
        drawn = {name: values[self._rows] for name, values in drawn.items()}
        if self.resident:
            return {"index": indices.astype(np.int32), **drawn}
        return make_batch({**self.data.train[indices], **drawn}, self.data.augment)

    def weight(self, step: int) -> float:
        """Of a micro-batch on a device: the mean over all of the step's, by the data's `weights`, which there are."""
        assert self.data.weights is not None
        epoch, i = divmod(step, self.steps_per_epoch)
        indices = self._order(epoch)(np.arange(i * self.batch_size, (i + 1) * self.batch_size))
        return float(self.data.weights[indices].sum(dtype=np.float64) / (self.share.parts * self.share.accumulate))

    def largest(self) -> int:
        """The step of the first epoch whose batch takes the most memory."""
        if self.groups is None:
            return 0
        firsts = self._order(0)(np.arange(self.steps_per_epoch) * self.batch_size)
        steps = np.unique(self.groups[firsts], return_index=True)[1].tolist()
        return max(steps, key=lambda step: sum(value.nbytes for value in self[step].values()))

    def stack(self, step: int, count: int) -> Batch:
        """The batches of `count` steps, with a new leading axis."""
        if count == 1:
            return {name: value[None] for name, value in self[step].items()}
        batches = [self[step + i] for i in range(count)]
        return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}

    def _shuffle(self, epoch: int) -> Callable[[np.ndarray], np.ndarray]:
        rng, n = _generator(self.seed, "epoch", epoch), len(self.data.train)
        if self.groups is not None:
            return grouped_order(rng, self.groups, self.batch_size).__getitem__
        return rng.permutation(n).__getitem__ if n <= LARGEST_PERMUTATION else shuffled_index(rng, n)


def shuffled_index(rng: np.random.Generator, n: int) -> Callable[[np.ndarray], np.ndarray]:
    """A random permutation of n numbers as a function of positions, int64 [k] -> int64 [k], which takes no memory.

    A Feistel network of four rounds permutes the numbers of 2b bits, the fewest that hold n; what falls outside of n
    goes through it again until it falls inside (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
    """
    half = np.uint64(max(1, -(-int(n - 1).bit_length() // 2)))
    low = (np.uint64(1) << half) - np.uint64(1)
    keys = rng.integers(0, 2**64, 4, np.uint64)

    def encrypt(x: np.ndarray) -> np.ndarray:
        left, right = x >> half, x & low
        for key in keys:
            mixed = (right ^ key) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD1B54A32D192ED03)
            left, right = right, left ^ (mixed >> np.uint64(40)) & low
        return left << half | right

    def permute(positions: np.ndarray) -> np.ndarray:
        x = encrypt(positions.astype(np.uint64))
        while (outside := x >= n).any():
            x[outside] = encrypt(x[outside])
        return x.astype(np.int64)

    return permute


def grouped_order(rng: np.random.Generator, groups: np.ndarray, batch_size: int) -> np.ndarray:
    """int [steps * batch_size]: examples in random order, each batch of one group, and no group's last partial one."""
    order = rng.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    parts = np.split(order, np.cumsum(np.bincount(groups))[:-1])
    batches = np.concatenate([part[: len(part) // batch_size * batch_size].reshape(-1, batch_size) for part in parts])
    return batches[rng.permutation(len(batches))].ravel()


def make_batch(
    batch: Mapping[str, Any], augment: Callable[..., Any] | None, resident: Mapping[str, Any] | None = None
) -> Any:
    """A training batch of examples, or of their `index` into `resident`, and random numbers: on any kind of arrays."""
    batch = dict(batch)
    if resident:
        index = batch.pop("index")
        batch |= {name: array[index] for name, array in resident.items()}
    return augment(batch) if augment else batch


def eval_batches(
    source: Source, batch_size: int, limit: int | None = None, workers: int = 0, share: Share = Share()
) -> Iterator[Batch]:
    """Every example once, in order, or group after group. The last batch of each is padded, so that one shape is
    compiled.

    Each carries `mask`, bool [batch], false for padding.
    """

    rows = dataclasses.replace(share, accumulate=1).rows(batch_size)
    order = np.argsort(source.groups, kind="stable") if isinstance(source, Grouped) else None

    def read(span: tuple[int, int]) -> Batch:
        start, end = span
        indices = start + rows
        mask = indices < end
        indices = np.where(mask, indices, end - 1)
        return {**source[indices if order is None else order[indices]], "mask": mask}

    return ahead(read, eval_spans(source, batch_size)[:limit], workers)


def eval_spans(source: Source, batch_size: int) -> list[tuple[int, int]]:
    """Of each batch of an evaluation, where it begins, and where its group ends."""
    ends = np.cumsum(np.bincount(source.groups)).tolist() if isinstance(source, Grouped) else [len(source)]
    return [(i, end) for begin, end in zip([0, *ends], ends, strict=False) for i in range(begin, end, batch_size)]


def ahead(read: Callable[[Item], Read], items: Iterable[Item], workers: int) -> Iterator[Read]:
    """read(item) of each item, in order; with workers, so many threads read that many items ahead."""
    if not workers:
        yield from map(read, items)
        return
    pool, items = ThreadPoolExecutor(workers), iter(items)
    try:
        waiting = deque(pool.submit(read, item) for item in itertools.islice(items, workers))
        while waiting:
            first = waiting.popleft().result()
            waiting.extend(pool.submit(read, item) for item in itertools.islice(items, 1))
            yield first
    finally:
        pool.shutdown(cancel_futures=True)


def _generator(seed: int, purpose: str, position: int) -> np.random.Generator:
    """Philox is counter-based: streams of different (seed, purpose, position) are independent."""
    return np.random.Generator(np.random.Philox([seed, ("epoch", "batch").index(purpose), position]))
