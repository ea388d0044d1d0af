"""Where examples come from: anything with a length that gives a batch for an array of indices."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Batch = dict[str, np.ndarray]  # leading axis = example


class Source(Protocol):
    """`len(source)` examples; `source[indices]`, int [batch], is a batch."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> Batch: ...


class Arrays:
    """Examples that lie in memory: arrays with the same leading axis."""

    def __init__(self, **arrays: np.ndarray):
        self.arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, indices: np.ndarray) -> Batch:
        return {name: array[indices] for name, array in self.arrays.items()}

    def split(self, fraction: float) -> tuple["Arrays", "Arrays"]:
        """(the rest, a random `fraction`). Which examples is a property of the data, not of the run's seed."""
        order = np.random.Generator(np.random.PCG64(0)).permutation(len(self))
        cut = round(len(self) * fraction)
        return Arrays(**self[np.sort(order[cut:])]), Arrays(**self[np.sort(order[:cut])])


@dataclass(frozen=True)
class Dataset:
    """What a task's `load` gives.

    Attributes:
        train, val, test: the splits. `test` is only ever tested on.
        spec: plain values that the model's shape and its outputs' names depend on. Kept in the run, which can then
            predict alone.
        augment: changes or adds to a training batch. It draws only from the generator that it is given, which depends
            on the run's seed and the step alone. What a loss needs in random numbers (noise, samples) comes from here.
    """

    train: Source
    val: Source
    test: Source
    spec: Mapping[str, Any]
    augment: Callable[[Batch, np.random.Generator], Batch] | None = None
