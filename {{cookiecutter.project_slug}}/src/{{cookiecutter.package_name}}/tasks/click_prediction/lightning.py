"""Click prediction in PyTorch Lightning: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchmetrics import MeanMetric, Metric, MetricCollection

from ...engine.lightning.module import Batch, TaskModule
from ...models.deepfm.torch import DeepFM
from .data import ClickConfig
from .metrics import BINS, EXTENT, auc, calibration


class Module(TaskModule):
    """The task as a LightningModule, in the functions below."""

    config: ClickConfig

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
    """`scores`: [3, bins], as `Scores` has them; the others are numbers."""
    metrics = {name: MeanMetric(nan_strategy="disable") for name in ("loss", "log_loss")}
    return MetricCollection({**metrics, "scores": Scores()}, compute_groups=False)


def create_model(config: ClickConfig, spec: Mapping[str, Any]) -> nn.Module:
    return DeepFM(config.model, spec["sizes"])


def loss_fn(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
    """(sum, weight): the cross-entropy summed over the examples, and their number."""
    return cross_entropy(model(batch["fields"]), batch["label"]).sum(), len(batch["label"])


def eval_step(model: nn.Module, batch: Batch, metrics: MetricCollection) -> None:
    logits, mask = predict_step(model, batch)["logit"], batch["mask"]
    logits, labels = logits[mask], batch["label"][mask]  # MeanMetric's own weights are lost with nan_strategy="disable"
    loss = cross_entropy(logits, labels)
    metrics["loss"].update(loss)
    metrics["log_loss"].update(loss)
    metrics["scores"].update(logits, labels)


def predict_step(model: nn.Module, batch: Batch) -> Batch:
    """logit: float [batch]."""
    return {"logit": model(batch["fields"])}


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """float [batch], int [batch] of 0 and 1 -> float [batch], at least in float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")


class Scores(Metric):
    """torchmetrics' own AUC keeps all scores, or bins without calibration; see `metrics.py`."""

    counts: torch.Tensor
    predicted: torch.Tensor

    def __init__(self):
        super().__init__()
        self.add_state("counts", torch.zeros(2, BINS, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("predicted", torch.zeros(BINS), dist_reduce_fx="sum")

    def update(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        logits = logits.to(self.predicted.dtype)
        # What is no number counts as 0: the loss tells of it.
        bins = ((logits + EXTENT) * (BINS / (2 * EXTENT))).nan_to_num().clamp(0, BINS - 1).long()
        self.counts.index_put_((labels.long(), bins), torch.ones_like(bins, dtype=self.counts.dtype), accumulate=True)
        self.predicted.index_add_(0, bins, logits.sigmoid())

    def compute(self) -> dict[str, torch.Tensor]:
        counts, predicted = self.counts.numpy(force=True), self.predicted.numpy(force=True)
        return {
            "auc": torch.tensor(auc(counts), dtype=self.predicted.dtype),
            "calibration": torch.tensor(calibration(counts, predicted), dtype=self.predicted.dtype),
            "scores": torch.cat([self.counts, self.predicted[None]]),
        }
