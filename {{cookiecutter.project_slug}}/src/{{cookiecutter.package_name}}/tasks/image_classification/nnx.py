"""Image classification in Flax NNX: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu import metrics
from flax import nnx, struct

from ...config import Config
from ...models.convnet.nnx import ConvNet
from ...models.mlp.nnx import MLP
from ...task import Loss

Batch = dict[str, jax.Array]


@struct.dataclass
class Metrics(metrics.Collection):
    loss: metrics.Average.from_output("loss")
    accuracy: metrics.Accuracy


def create_model(config: Config, spec: Mapping[str, Any], *, rngs: nnx.Rngs, **dtypes) -> nnx.Module:
    model = {"mlp": MLP, "convnet": ConvNet}[config.model.name]
    return model(config.model, spec["shape"], len(spec["classes"]), rngs=rngs, **dtypes)


def losses(config: Config) -> dict[str, Loss]:
    return {"loss": Loss(loss_fn)}


def loss_fn(model: nnx.Module, batch: Batch, rngs: nnx.Rngs) -> tuple[jax.Array, int]:
    """(sum, weight): the cross-entropy summed over the examples, and their number."""
    logits = model(normalize(batch["image"]), rngs)
    return cross_entropy(logits, batch["label"]).sum(), len(logits)


def eval_step(model: nnx.Module, batch: Batch) -> Metrics:
    logits = predict_step(model, batch)["logits"]
    loss = cross_entropy(logits, batch["label"])
    return Metrics.single_from_model_output(loss=loss, logits=logits, labels=batch["label"], mask=batch["mask"])


def predict_step(model: nnx.Module, batch: Batch) -> Batch:
    """logits: float32 [batch, classes]."""
    return {"logits": model(normalize(batch["image"]))}


def normalize(images: jax.Array) -> jax.Array:
    """uint8 [batch, height, width, channel] -> float in [-1, 1]."""
    return images / 127.5 - 1.0


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """float [batch, classes], int [batch] -> float [batch], at least in float32."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
