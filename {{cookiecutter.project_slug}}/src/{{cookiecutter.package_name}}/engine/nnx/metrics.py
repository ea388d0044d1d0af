"""Metrics that several tasks need and clu lacks."""

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics
from flax import nnx, struct

from ..task import THRESHOLDS


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


@struct.dataclass
class ProbabilityCounts(metrics.Metric):
    """int32 [2, THRESHOLDS], for precision and recall of the second of two classes; see `PrecisionRecall`."""

    counts: jax.Array

    @classmethod
    def empty(cls):
        return cls(jnp.zeros((2, THRESHOLDS), jnp.int32))

    @classmethod
    def from_model_output(cls, logits: jax.Array, labels: jax.Array, mask: jax.Array, **_):
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        # What is no number counts as 0: the loss tells of it.
        bins = (jnp.nan_to_num(nnx.softmax(logits)[:, 1]) * (THRESHOLDS - 1)).astype(jnp.int32)
        return cls(cls.empty().counts.at[labels, bins].add(mask))

    def merge(self, other):
        return self.replace(counts=self.counts + other.counts)

    def compute(self) -> jax.Array:
        return self.counts
