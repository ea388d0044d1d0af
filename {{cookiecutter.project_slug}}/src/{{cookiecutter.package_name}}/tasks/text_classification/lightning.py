"""Text classification in PyTorch Lightning: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score

from ...engine.lightning.metrics import ProbabilityCounts
from ...engine.lightning.module import Batch, TaskModule
from ...models.bert.torch import BertClassifier
from ...models.fasttext import FastTextConfig
from ...models.fasttext.torch import FastText
from .data import TextClassifierConfig


class Module(TaskModule):
    """The task as a LightningModule, in the functions below."""

    config: TextClassifierConfig

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
    """`confusion`: [class, predicted class], how many texts; `second_class`: of two, as `ProbabilityCounts` has it; the
    others are numbers."""
    classes = len(spec["classes"])
    metrics = MetricCollection(
        {
            "loss": MeanMetric(nan_strategy="disable"),
            "accuracy": MulticlassAccuracy(classes, average="micro", validate_args=False),
            "macro_f1": MulticlassF1Score(classes, average="macro", validate_args=False),
            "confusion": MulticlassConfusionMatrix(classes, validate_args=False),
        },
        compute_groups=False,
    )
    if classes == 2:
        metrics.add_metrics({"second_class": ProbabilityCounts()})
    return metrics


def create_model(config: TextClassifierConfig, spec: Mapping[str, Any]) -> nn.Module:
    vocabulary, length, classes = spec["vocabulary"], spec["length"], len(spec["classes"])
    if isinstance(config.model, FastTextConfig):
        return FastText(config.model, vocabulary, classes)
    return BertClassifier(config.model, vocabulary, length, classes)


def loss_fn(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
    """(sum, weight): the cross-entropy summed over the texts, and their number."""
    losses = cross_entropy(model(batch["tokens"]), batch["label"])
    return losses.sum(), len(losses)


def eval_step(model: nn.Module, batch: Batch, metrics: MetricCollection) -> None:
    logits, mask = predict_step(model, batch)["logits"], batch["mask"]
    logits, labels = logits[mask], batch["label"][mask]  # MeanMetric's own weights are lost with nan_strategy="disable"
    metrics["loss"].update(cross_entropy(logits, labels))
    for name, metric in metrics.items():
        if name != "loss":
            metric.update(logits, labels)


def predict_step(model: nn.Module, batch: Batch) -> Batch:
    """logits: float [batch, classes]."""
    return {"logits": model(batch["tokens"])}


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """float [batch, classes], int [batch] -> float [batch], at least in float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return nn.functional.cross_entropy(logits, labels.long(), reduction="none")
