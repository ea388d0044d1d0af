"""Image classification in Flax NNX: the model, its loss and its metrics."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu import metrics
from flax import nnx

from ...engine.api import Loss
from ...engine.nnx.metrics import ProbabilityCounts, confusion_matrix
from ...models.convnet.nnx import ConvNet
from ...models.mlp.nnx import MLP
from ...models.resnet import VARIANTS
from ...models.resnet.nnx import ResNet
from .data import ImageConfig

Batch = dict[str, jax.Array]


def create_metrics(spec: Mapping[str, Any]) -> type[metrics.Collection]:
    """`confusion`: [class, predicted class], how many examples; `second_class`: of two, as `ProbabilityCounts` has it;
    the others are numbers."""
    classes = len(spec["classes"])
    found = {
        "loss": metrics.Average.from_output("loss"),
        "accuracy": metrics.Accuracy,
        "confusion": confusion_matrix(classes),
    }
    if classes == 2:
        found["second_class"] = ProbabilityCounts
    if classes > 5:
        found["top5_accuracy"] = metrics.Average.from_fun(in_top5)
    return metrics.Collection.create(**found)


def create_model(config: ImageConfig, spec: Mapping[str, Any], *, rngs: nnx.Rngs, **dtypes) -> nnx.Module:
    models = {"mlp": MLP, "convnet": ConvNet, **dict.fromkeys(VARIANTS, ResNet)}
    return models[config.model.name](config.model, spec["shape"], len(spec["classes"]), rngs=rngs, **dtypes)


def losses(config: ImageConfig) -> dict[str, Loss]:
    return {"loss": Loss(functools.partial(loss_fn, label_smoothing=config.data.label_smoothing))}


def loss_fn(model: nnx.Module, batch: Batch, rngs: nnx.Rngs, label_smoothing: float) -> tuple[jax.Array, int]:
    """(sum, weight): the cross-entropy summed over the examples, and their number.

    With `mix`, float32 [batch], each image and its label are mixed with its neighbour's (mixup, Zhang et al. 2018).
    """
    images, labels, mix = normalize(batch["image"]), batch["label"], batch.get("mix")
    if mix is None:
        losses = cross_entropy(model(images, rngs), labels, label_smoothing)
    else:
        share = mix.astype(images.dtype)[:, None, None, None]
        logits = model(share * images + (1 - share) * neighbours(images), rngs)
        both = (cross_entropy(logits, each, label_smoothing) for each in (labels, neighbours(labels)))
        losses = mix * next(both) + (1 - mix) * next(both)
    return losses.sum(), len(labels)


def eval_step(model: nnx.Module, batch: Batch, metrics: type[metrics.Collection]) -> metrics.Collection:
    logits = predict_step(model, batch)["logits"]
    loss = cross_entropy(logits, batch["label"])
    return metrics.single_from_model_output(loss=loss, logits=logits, labels=batch["label"], mask=batch["mask"])


def predict_step(model: nnx.Module, batch: Batch) -> Batch:
    """logits: float [batch, classes]."""
    return {"logits": model(normalize(batch["image"]))}


def normalize(images: jax.Array) -> jax.Array:
    """uint8 [batch, height, width, channel] -> float in [-1, 1]."""
    return images / 127.5 - 1.0


def neighbours(x: jax.Array) -> jax.Array:
    """Examples 2k and 2k + 1 change places; so a pair is never cut by micro-batches or devices."""
    return x.reshape(-1, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """float [batch, classes], int [batch] -> float [batch], at least in float32."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), label_smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def in_top5(logits: jax.Array, labels: jax.Array, **_) -> jax.Array:
    """float [batch, classes], int [batch] -> bool [batch]."""
    likeliest = jax.lax.top_k(logits, 5)[1]
    return (likeliest == labels[:, None]).any(1)
