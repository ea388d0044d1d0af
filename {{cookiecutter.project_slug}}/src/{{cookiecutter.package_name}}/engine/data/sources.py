"""Where examples come from: anything with a length that gives a batch for an array of indices.

A batch is a dict of arrays whose leading axis is the example. What is in it is between a task's data, its losses and
its metrics, but for two names:

mask      bool [batch], in evaluation: false where the last batch is filled up to the full shape, for no metric to count
weight    a number, in training where a loss is divided batch by batch and `Dataset.weights` says how much each example
          weighs: the mean over the micro-batches and devices of a step, so that the loss is exact on any number of them
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

Batch = dict[str, np.ndarray]
# Plain values by name; a name with a dot is that of a file in the run's `fitted/`: a text, or as .npy an array.
Spec = Mapping[str, Any]

SAMPLED = 64  # examples that stand for a source without a digest of its own
MOST_COMPARED = 2**20  # training examples among which those of the test are looked for


class Source(Protocol):
    """`len(source)` examples; `source[indices]`, int [batch], is a batch."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> Batch: ...


@runtime_checkable
class Grouped(Protocol):
    """A source whose examples are of several shapes, as texts of several lengths: of a group they are of one.

    A batch has examples of one group only, so that it can be cut and stacked, and that as many programs are compiled as
    there are groups.

    Attributes:
        groups: int [examples], the number of each one's group, from 0.
    """

    groups: np.ndarray


@runtime_checkable
class Digested(Protocol):
    """A source that knows a digest of all its examples, in their order; of others some stand for all."""

    def digest(self) -> str: ...


@runtime_checkable
class Comparable(Protocol):
    """A source that can tell how many examples of another one are also here."""

    def common(self, other: Source) -> int: ...


class Arrays:
    """Examples that lie in memory, or are mapped into it: arrays with the same leading axis."""

    def __init__(self, **arrays: np.ndarray):
        self._arrays = arrays

    @property
    def arrays(self) -> Batch:
        return self._arrays

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, indices: np.ndarray) -> Batch:
        return {name: array[indices] for name, array in self.arrays.items()}

    def digest(self) -> str:
        """Of what is read, in its order."""
        found = hashlib.blake2b(digest_size=16)
        for name, array in sorted(self.arrays.items()):
            found.update(f"{name} {array.dtype} {array.shape} ".encode())
            found.update(repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).data)
        return found.hexdigest()

    def rows(self) -> Iterator[bytes]:
        """The bytes of each example."""
        for start in range(0, len(self), 4096):
            batch = self[np.arange(start, min(start + 4096, len(self)))]
            for row in zip(*(batch[name] for name in sorted(batch)), strict=True):
                yield b"".join(value.tobytes() if hasattr(value, "tobytes") else repr(value).encode() for value in row)

    def common(self, other: Source) -> int:
        """How many examples of another source are also here; 0 of too many."""
        if not isinstance(other, Arrays) or len(self) > MOST_COMPARED:
            return 0
        known = set(map(hash, self.rows()))
        return sum(hash(row) in known for row in other.rows())

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
        drawn: whether the examples are drawn at random and not read. Their last digits differ from machine to machine,
            so they have no fingerprint.
        weights: how much each training example weighs in the loss, where they differ, as of texts their tokens:
            float [examples]. So the weight of a whole step is known to each of its micro-batches and devices.
        augment: makes a training batch of examples and their random numbers. Where the examples are `Arrays`, it uses
            operators and indexing only, so that it is one function for NumPy's arrays and for those of a device.
        charts: () -> what TensorBoard shows of the data, once, as a run begins: images, sounds and so on, by tag.
    """

    train: Source
    val: Source
    test: Source
    spec: Spec
    draw: Callable[[np.random.Generator, int], Batch] | None = None
    augment: Callable[[Batch], Batch] | None = None
    weights: np.ndarray | None = None
    drawn: bool = False
    charts: Callable[[], Mapping[str, Any]] = dict

    def fingerprint(self) -> dict[str, str]:
        """Of each split, what tells whether the same examples stand there in the same order."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {} if self.drawn else {name: digest(source) for name, source in splits.items()}

    def leaked(self) -> int:
        """How many test examples stand among those for training, too; where these can tell, and are not too many."""
        return self.train.common(self.test) if isinstance(self.train, Comparable) and not self.drawn else 0


def digest(source: Source) -> str:
    """Its own, or where it has none, that of some of its examples and of how many there are."""
    if isinstance(source, Digested):
        return source.digest()
    some = source[np.unique(np.linspace(0, len(source) - 1, SAMPLED).astype(np.int64))]
    return f"{len(source)} {Arrays(**some).digest()}"
