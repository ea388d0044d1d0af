"""Metrics that several tasks need and clu lacks."""

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics
from flax import struct


def collected(name: str) -> type[metrics.CollectingMetric]:
    """An output of every real example, [examples, ...], on the host: of those of which any of the `mask` is true."""

    @struct.dataclass
    class Collected(metrics.CollectingMetric.from_outputs((name, "mask"))):  # type: ignore[misc]  # made here
        def compute(self) -> np.ndarray:
            found = super().compute()
            mask = found["mask"]
            return found[name][mask.reshape(len(mask), -1).any(1)]

    return Collected


def confusion_matrix(classes: int) -> type[metrics.Metric]:
    """int32 [class, predicted class], how many examples."""

    @struct.dataclass
    class ConfusionMatrix(metrics.Metric):
        counts: jax.Array

        @classmethod
        def empty(cls):
            return cls(jnp.zeros((classes, classes), jnp.int32))

        @classmethod
        def from_model_output(cls, logits: jax.Array, labels: jax.Array, mask: jax.Array, **_):
            return cls(cls.empty().counts.at[labels, logits.argmax(-1)].add(mask))

        def merge(self, other):
            return self.replace(counts=self.counts + other.counts)

        def compute(self) -> jax.Array:
            return self.counts

    return ConfusionMatrix
