"""Metrics that several tasks need and clu lacks."""

import jax
import jax.numpy as jnp
from clu import metrics
from flax import struct


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
