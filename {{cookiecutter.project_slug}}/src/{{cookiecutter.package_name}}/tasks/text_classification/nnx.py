"""Text classification in Flax NNX: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import metrics
from flax import nnx, struct

from ...engine.api import Loss
from ...engine.nnx.metrics import ProbabilityCounts, confusion_matrix
from ...models.bert.nnx import BertClassifier
from ...models.fasttext import FastTextConfig
from ...models.fasttext.nnx import FastText
from .data import TextClassifierConfig

Batch = dict[str, jax.Array]


def create_metrics(spec: Mapping[str, Any]) -> type[metrics.Collection]:
    """`confusion`: [class, predicted class], how many texts; `second_class`: of two, as `ProbabilityCounts` has it; the
    others are numbers."""
    classes = len(spec["classes"])
    confusion = confusion_matrix(classes)
    found = {
        "loss": metrics.Average.from_output("loss"),
        "accuracy": metrics.Accuracy,
        "macro_f1": macro_f1(confusion),
        "confusion": confusion,
    }
    if classes == 2:
        found["second_class"] = ProbabilityCounts
    return metrics.Collection.create(**found)


def create_model(config: TextClassifierConfig, spec: Mapping[str, Any], *, rngs: nnx.Rngs, **dtypes) -> nnx.Module:
    vocabulary, length, classes = spec["vocabulary"], spec["length"], len(spec["classes"])
    if isinstance(config.model, FastTextConfig):
        return FastText(config.model, vocabulary, classes, rngs=rngs, **dtypes)
    return BertClassifier(config.model, vocabulary, length, classes, rngs=rngs, **dtypes)


def losses(config: TextClassifierConfig) -> dict[str, Loss]:
    return {"loss": Loss(loss_fn)}


def loss_fn(model: nnx.Module, batch: Batch, rngs: nnx.Rngs) -> tuple[jax.Array, int]:
    """(sum, weight): the cross-entropy summed over the texts, and their number."""
    losses = cross_entropy(model(batch["tokens"], rngs), batch["label"])
    return losses.sum(), len(losses)


def eval_step(model: nnx.Module, batch: Batch, metrics: type[metrics.Collection]) -> metrics.Collection:
    logits = predict_step(model, batch)["logits"]
    loss = cross_entropy(logits, batch["label"])
    return metrics.single_from_model_output(loss=loss, logits=logits, labels=batch["label"], mask=batch["mask"])


def predict_step(model: nnx.Module, batch: Batch) -> Batch:
    """logits: float [batch, classes]."""
    return {"logits": model(batch["tokens"])}


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """float [batch, classes], int [batch] -> float [batch], at least in float32."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def macro_f1(confusion: type[metrics.Metric]) -> type[metrics.Metric]:
    """Of a confusion matrix: the mean F1 of the classes that have texts or predictions."""

    @struct.dataclass
    class MacroF1(confusion):
        def compute(self) -> np.float64:
            counts = np.asarray(self.counts, np.float64)
            both = counts.sum(0) + counts.sum(1)  # texts and predictions of a class
            return np.mean(2 * np.diag(counts)[both > 0] / both[both > 0])

    return MacroF1
