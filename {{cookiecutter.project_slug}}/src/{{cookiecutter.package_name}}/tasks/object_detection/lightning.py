"""Object detection in PyTorch Lightning: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchmetrics import MeanMetric, MetricCollection

from ...engine.lightning.metrics import Collected
from ...engine.lightning.module import Batch, TaskModule
from ...models.faster_rcnn.torch import Detections, FasterRCNN, Truth
from .data import DEVIATION, MEAN, DetectionConfig


class Module(TaskModule):
    """The task as a LightningModule, in the functions below."""

    config: DetectionConfig

    def create_metrics(self) -> MetricCollection:
        return create_metrics(self.spec)

    def create_model(self) -> nn.Module:
        return create_model(self.config, self.spec)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor] | None:
        return self.mean(loss_fn(self.net, batch), batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        eval_step(self.evaluated, batch, self.metrics)

    def predict_step(self, batch: Batch, batch_idx: int) -> Batch:
        return predict_step(self.evaluated, batch)


def create_metrics(spec: Mapping[str, Any]) -> MetricCollection:
    """`found` and `truth`, of every image, see `scores.py`; the other one is a number."""
    return MetricCollection(
        {"loss": MeanMetric(nan_strategy="disable"), "found": Collected(), "truth": Collected()}, compute_groups=False
    )


def create_model(config: DetectionConfig, spec: Mapping[str, Any]) -> nn.Module:
    return FasterRCNN(config.model, len(spec["classes"]))


def loss_fn(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, int, dict[str, torch.Tensor]]:
    """(sum, weight, parts): of each image the four losses, summed over the images, and their number."""
    losses, _ = model(normalize(batch), batch["size"], truth_of(batch), detect=False)
    parts = {name: values.sum() for name, values in losses.items()}
    return sum_of(losses).sum(), len(batch["image"]), parts


def eval_step(model: nn.Module, batch: Batch, metrics: MetricCollection) -> None:
    losses, detections = model(normalize(batch), batch["size"], truth_of(batch))
    found, mask = outputs(detections, batch), batch["mask"]
    boxes = in_pixels(batch["boxes"], batch)
    truth = [boxes, *(batch[name][..., None].to(boxes.dtype) for name in ("labels", "crowd"))]
    everything = [found["boxes"], *(found[name][..., None].to(boxes.dtype) for name in ("scores", "labels"))]
    metrics["loss"].update(sum_of(losses)[mask])
    metrics["found"].update(torch.cat(everything, -1)[mask])
    metrics["truth"].update(torch.cat(truth, -1)[mask])


def predict_step(model: nn.Module, batch: Batch) -> Batch:
    """boxes: float [batch, detections, 4] in pixels of the picture; scores: float, and labels: int [batch, detections],
    -1 for none."""
    return outputs(model(normalize(batch), batch["size"])[1], batch)


def outputs(found: Detections, batch: Batch) -> Batch:
    return {"boxes": in_pixels(found.boxes, batch), "scores": found.scores, "labels": found.labels}


def truth_of(batch: Batch) -> Truth:
    """Without crowds. Where nothing was drawn, as in evaluation, the same samples are taken of every image."""
    labels = torch.where(batch["crowd"], -1, batch["labels"])
    seed = batch.get("seed")
    return Truth(batch["boxes"], labels, labels.new_zeros(len(labels)) if seed is None else seed)


def sum_of(losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(losses.values())).sum(0)


def normalize(batch: Batch) -> torch.Tensor:
    """uint8 [batch, height, width, 3] -> float of mean 0 and deviation 1; what is no part of the image is 0."""
    image = batch["image"]
    mean, deviation = (torch.tensor(values, device=image.device) for values in (MEAN, DEVIATION))
    y, x = (torch.arange(side, device=image.device) for side in image.shape[1:3])
    height, width = batch["size"][:, 0, None, None], batch["size"][:, 1, None, None]
    inside = (y[:, None] < height) & (x < width)
    return (image - mean) / deviation * inside[..., None]


def in_pixels(boxes: torch.Tensor, batch: Batch) -> torch.Tensor:
    """float [batch, n, 4], as they are seen -> of the picture as it is."""
    scale = batch["original"].to(boxes.dtype) / batch["size"].to(boxes.dtype)
    return boxes * scale.flip(-1).tile(2)[:, None]
