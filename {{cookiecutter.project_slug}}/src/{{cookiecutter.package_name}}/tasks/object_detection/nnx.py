"""Object detection in Flax NNX: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from clu import metrics
from flax import nnx

from ...engine.api import Loss
from ...engine.nnx.metrics import collected
from ...models.faster_rcnn.nnx import Detections, FasterRCNN, Truth, trained
from .data import DEVIATION, MEAN, DetectionConfig

Batch = dict[str, jax.Array]


def create_metrics(spec: Mapping[str, Any]) -> type[metrics.Collection]:
    """`found` and `truth`, of every image, see `scores.py`; the other one is a number."""
    return metrics.Collection.create(
        loss=metrics.Average.from_output("loss"), found=collected("found"), truth=collected("truth")
    )


def create_model(config: DetectionConfig, spec: Mapping[str, Any], *, rngs: nnx.Rngs, **dtypes) -> nnx.Module:
    return FasterRCNN(config.model, len(spec["classes"]), rngs=rngs, **dtypes)


def losses(config: DetectionConfig) -> dict[str, Loss]:
    return {"loss": Loss(loss_fn, trained(config.model))}


def loss_fn(model: nnx.Module, batch: Batch, rngs: nnx.Rngs) -> tuple[jax.Array, int, dict[str, jax.Array]]:
    """(sum, weight, parts): of each image the four losses, summed over the images, and their number."""
    losses, _ = model(normalize(batch), batch["size"], truth_of(batch), detect=False)
    parts = {name: values.sum() for name, values in losses.items()}
    return sum_of(losses).sum(), len(batch["image"]), parts


def eval_step(model: nnx.Module, batch: Batch, metrics: type[metrics.Collection]) -> metrics.Collection:
    losses, detections = model(normalize(batch), batch["size"], truth_of(batch))
    found, mask = outputs(detections, batch), batch["mask"]
    boxes = in_pixels(batch["boxes"], batch)
    truth = [boxes, *(batch[name][..., None].astype(boxes.dtype) for name in ("labels", "crowd"))]
    everything = [found["boxes"], *(found[name][..., None].astype(boxes.dtype) for name in ("scores", "labels"))]
    return metrics.single_from_model_output(
        loss=sum_of(losses), found=jnp.concatenate(everything, -1), truth=jnp.concatenate(truth, -1), mask=mask
    )


def predict_step(model: nnx.Module, batch: Batch) -> Batch:
    """boxes: float [batch, detections, 4] in pixels of the picture; scores: float, and labels: int [batch, detections],
    -1 for none."""
    return outputs(model(normalize(batch), batch["size"])[1], batch)


def outputs(found: Detections, batch: Batch) -> Batch:
    return {"boxes": in_pixels(found.boxes, batch), "scores": found.scores, "labels": found.labels}


def truth_of(batch: Batch) -> Truth:
    """Without crowds. Where nothing was drawn, as in evaluation, the same samples are taken of every image."""
    labels = jnp.where(batch["crowd"], -1, batch["labels"])
    seed = batch.get("seed")
    return Truth(batch["boxes"], labels, jnp.zeros(len(labels), labels.dtype) if seed is None else seed)


def sum_of(losses: Mapping[str, jax.Array]) -> jax.Array:
    return jnp.stack(list(losses.values())).sum(0)


def normalize(batch: Batch) -> jax.Array:
    """uint8 [batch, height, width, 3] -> float of mean 0 and deviation 1; what is no part of the image is 0."""
    image = batch["image"]
    mean, deviation = (jnp.array(values) for values in (MEAN, DEVIATION))
    y, x = (jnp.arange(side) for side in image.shape[1:3])
    height, width = batch["size"][:, 0, None, None], batch["size"][:, 1, None, None]
    inside = (y[:, None] < height) & (x < width)
    return (image - mean) / deviation * inside[..., None]


def in_pixels(boxes: jax.Array, batch: Batch) -> jax.Array:
    """float [batch, n, 4], as they are seen -> of the picture as it is."""
    scale = batch["original"].astype(boxes.dtype) / batch["size"].astype(boxes.dtype)
    return boxes * jnp.tile(scale[:, ::-1], 2)[:, None]
