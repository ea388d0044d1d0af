"""Image classification in PyTorch Lightning: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from ...config import Config
from ...models.convnet.torch import ConvNet
from ...models.mlp.torch import MLP
from ...task import Loss

Batch = dict[str, torch.Tensor]


def create_metrics(spec: Mapping[str, Any]) -> MetricCollection:
    accuracy = MulticlassAccuracy(len(spec["classes"]), average="micro", validate_args=False)
    return MetricCollection({"loss": MeanMetric(nan_strategy="disable"), "accuracy": accuracy}, compute_groups=False)


def create_model(config: Config, spec: Mapping[str, Any]) -> nn.Module:
    model = {"mlp": MLP, "convnet": ConvNet}[config.model.name]
    return model(config.model, spec["shape"], len(spec["classes"]))


def losses(config: Config) -> dict[str, Loss]:
    return {"loss": Loss(loss_fn)}


def loss_fn(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
    """(sum, weight): the cross-entropy summed over the examples, and their number."""
    logits = model(normalize(batch["image"]))
    return cross_entropy(logits, batch["label"], reduction="sum"), len(logits)


def eval_step(model: nn.Module, batch: Batch, metrics: MetricCollection) -> None:
    logits, mask = predict_step(model, batch)["logits"], batch["mask"]
    logits, labels = logits[mask], batch["label"][mask]  # MeanMetric's own weights are lost with nan_strategy="disable"
    metrics["loss"].update(cross_entropy(logits, labels, reduction="none"))
    metrics["accuracy"].update(logits, labels)


def predict_step(model: nn.Module, batch: Batch) -> Batch:
    """logits: float32 [batch, classes]."""
    return {"logits": model(normalize(batch["image"]))}


def normalize(images: torch.Tensor) -> torch.Tensor:
    """uint8 [batch, height, width, channel] -> float in [-1, 1]."""
    return images / 127.5 - 1.0


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, reduction: str) -> torch.Tensor:
    """float [batch, classes], int [batch] -> float [batch], or their sum; at least in float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return nn.functional.cross_entropy(logits, labels.long(), reduction=reduction)
