"""Click prediction in Flax NNX: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import metrics
from flax import nnx, struct

from ...engine.api import Loss
from ...models.deepfm.nnx import DeepFM
from .data import ClickConfig
from .metrics import BINS, EXTENT, auc, calibration

Batch = dict[str, jax.Array]


def create_metrics(spec: Mapping[str, Any]) -> type[metrics.Collection]:
    """`scores`: [3, bins], as `Scores` has them; the others are numbers."""
    return Metrics


def create_model(config: ClickConfig, spec: Mapping[str, Any], *, rngs: nnx.Rngs, **dtypes) -> nnx.Module:
    return DeepFM(config.model, spec["sizes"], rngs=rngs, **dtypes)


def losses(config: ClickConfig) -> dict[str, Loss]:
    return {"loss": Loss(loss_fn)}


def loss_fn(model: nnx.Module, batch: Batch, rngs: nnx.Rngs) -> tuple[jax.Array, int]:
    """(sum, weight): the cross-entropy summed over the examples, and their number."""
    return cross_entropy(model(batch["fields"], rngs), batch["label"]).sum(), len(batch["label"])


def eval_step(model: nnx.Module, batch: Batch, metrics: type[metrics.Collection]) -> metrics.Collection:
    logits = predict_step(model, batch)["logit"]
    loss = cross_entropy(logits, batch["label"])
    return metrics.single_from_model_output(loss=loss, logits=logits, labels=batch["label"], mask=batch["mask"])


def predict_step(model: nnx.Module, batch: Batch) -> Batch:
    """logit: float [batch]."""
    return {"logit": model(batch["fields"])}


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """float [batch], int [batch] of 0 and 1 -> float [batch], at least in float32."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return optax.sigmoid_binary_cross_entropy(logits, labels.astype(logits.dtype))


@struct.dataclass
class Scores(metrics.Metric):
    """clu has no AUC; see `metrics.py`."""

    counts: jax.Array
    predicted: jax.Array

    @classmethod
    def empty(cls):
        return cls(jnp.zeros((2, BINS), jnp.int32), jnp.zeros(BINS))

    @classmethod
    def from_model_output(cls, logits: jax.Array, labels: jax.Array, mask: jax.Array, **_):
        none = cls.empty()
        logits = logits.astype(none.predicted.dtype)
        # What is no number counts as 0: the loss tells of it.
        bins = jnp.nan_to_num((logits + EXTENT) * (BINS / (2 * EXTENT))).clip(0, BINS - 1).astype(jnp.int32)
        counts = none.counts.at[labels, bins].add(mask)
        return cls(counts, none.predicted.at[bins].add(jnp.where(mask, nnx.sigmoid(logits), 0.0)))

    def merge(self, other):
        return self.replace(counts=self.counts + other.counts, predicted=self.predicted + other.predicted)

    def compute(self) -> dict[str, np.ndarray | float]:
        counts, predicted = np.asarray(self.counts), np.asarray(self.predicted)
        return {
            "auc": auc(counts),
            "calibration": calibration(counts, predicted),
            "scores": np.concatenate([counts, predicted[None]]),
        }


@struct.dataclass
class Metrics(metrics.Collection):
    loss: metrics.Average.from_output("loss")  # type: ignore[valid-type]  # as the documentation of clu has it
    log_loss: metrics.Average.from_output("loss")  # type: ignore[valid-type]  # the same
    scores: Scores

    def compute(self) -> dict[str, Any]:
        found = super().compute()
        return {**found, **found.pop("scores")}
