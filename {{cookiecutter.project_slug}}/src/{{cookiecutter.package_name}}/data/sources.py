"""Where examples come from: anything with a length that gives a batch for an array of indices."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Batch = dict[str, np.ndarray]  # leading axis = example
# Plain values by name; a name with a dot is that of a file in the run's `fitted/`: a text, or as .npy an array.
Spec = Mapping[str, Any]


class Source(Protocol):
    """`len(source)` examples; `source[indices]`, int [batch], is a batch."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> Batch: ...


class Arrays:
    """Examples that lie in memory, or are mapped into it: arrays with the same leading axis."""

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
        spec: what the model's shape and its outputs' names depend on, and what was fitted on the training data. Kept in
            the run, which can then predict alone. Models and metrics see its plain values only.
        draw: (generator, n) -> the random numbers of a training batch of n examples: what `augment` and the losses
            need. The generator depends on the run's seed and the step alone.
        augment: makes a training batch of examples and their random numbers. Where the examples are `Arrays`, it uses
            operators and indexing only, so that it is one function for NumPy's arrays and for those of a device.
    """

    train: Source
    val: Source
    test: Source
    spec: Spec
    draw: Callable[[np.random.Generator, int], Batch] | None = None
    augment: Callable[[Batch], Batch] | None = None
