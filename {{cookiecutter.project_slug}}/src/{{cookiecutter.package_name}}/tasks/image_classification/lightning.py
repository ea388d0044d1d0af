"""Image classification in PyTorch Lightning: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from ...engine.lightning.metrics import ProbabilityCounts
from ...engine.lightning.module import Batch, TaskModule
from ...models.convnet.torch import ConvNet
from ...models.mlp.torch import MLP
from ...models.resnet import VARIANTS
from ...models.resnet.torch import ResNet
from .data import ImageConfig


class Module(TaskModule):
    """The task as a LightningModule, in the functions below."""

    config: ImageConfig

    def create_metrics(self) -> MetricCollection:
        return create_metrics(self.spec)

    def create_model(self) -> nn.Module:
        return create_model(self.config, self.spec)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor] | None:
        return self.mean(loss_fn(self.net, batch, self.config.data.label_smoothing), batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        eval_step(self.evaluated, batch, self.metrics)

    def predict_step(self, batch: Batch, batch_idx: int) -> Batch:
        return predict_step(self.evaluated, batch)


def create_metrics(spec: Mapping[str, Any]) -> MetricCollection:
    """`confusion`: [class, predicted class], how many examples; `second_class`: of two, as `ProbabilityCounts` has it;
    the others are numbers."""
    classes = len(spec["classes"])
    metrics = MetricCollection(
        {
            "loss": MeanMetric(nan_strategy="disable"),
            "accuracy": MulticlassAccuracy(classes, average="micro", validate_args=False),
            "confusion": MulticlassConfusionMatrix(classes, validate_args=False),
        },
        compute_groups=False,
    )
    if classes == 2:
        metrics.add_metrics({"second_class": ProbabilityCounts()})
    if classes > 5:
        top5 = MulticlassAccuracy(classes, top_k=5, average="micro", validate_args=False)
        metrics.add_metrics({"top5_accuracy": top5})
    return metrics


def create_model(config: ImageConfig, spec: Mapping[str, Any]) -> nn.Module:
    models = {"mlp": MLP, "convnet": ConvNet, **dict.fromkeys(VARIANTS, ResNet)}
    return models[config.model.name](config.model, spec["shape"], len(spec["classes"]))


def loss_fn(model: nn.Module, batch: Batch, label_smoothing: float) -> tuple[torch.Tensor, int]:
    """(sum, weight): the cross-entropy summed over the examples, and their number.

    With `mix`, float32 [batch], each image and its label are mixed with its neighbour's (mixup, Zhang et al. 2018).
    """
    images, labels, mix = normalize(batch["image"]), batch["label"], batch.get("mix")
    if mix is None:
        losses = cross_entropy(model(images), labels, label_smoothing)
    else:
        share = mix.to(images.dtype)[:, None, None, None]
        logits = model(share * images + (1 - share) * neighbours(images))
        both = (cross_entropy(logits, each, label_smoothing) for each in (labels, neighbours(labels)))
        losses = mix * next(both) + (1 - mix) * next(both)
    return losses.sum(), len(labels)


def eval_step(model: nn.Module, batch: Batch, metrics: MetricCollection) -> None:
    logits, mask = predict_step(model, batch)["logits"], batch["mask"]
    logits, labels = logits[mask], batch["label"][mask]  # MeanMetric's own weights are lost with nan_strategy="disable"
    metrics["loss"].update(cross_entropy(logits, labels))
    for name, metric in metrics.items():
        if name != "loss":
            metric.update(logits, labels)


def predict_step(model: nn.Module, batch: Batch) -> Batch:
    """logits: float [batch, classes]."""
    return {"logits": model(normalize(batch["image"]))}


def normalize(images: torch.Tensor) -> torch.Tensor:
    """uint8 [batch, height, width, channel] -> float in [-1, 1]."""
    return images / 127.5 - 1.0


def neighbours(x: torch.Tensor) -> torch.Tensor:
    """Examples 2k and 2k + 1 change places; so a pair is never cut by micro-batches or devices."""
    return x.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """float [batch, classes], int [batch] -> float [batch], at least in float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return nn.functional.cross_entropy(logits, labels.long(), reduction="none", label_smoothing=label_smoothing)
