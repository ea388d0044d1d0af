"""Rating prediction in PyTorch: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchmetrics import MeanAbsoluteError, MeanMetric, MeanSquaredError, MetricCollection

from ...engine.lightning.module import Batch, TaskModule
from ...models.matrix_factorization.torch import MatrixFactorization
from .data import RatingConfig

SIZES = ("users", "items", "mean", "unit", "lowest", "highest")  # of the spec


class Module(TaskModule):
    """The task as a LightningModule, in the functions below."""

    config: RatingConfig
    net: MatrixFactorization

    def create_metrics(self) -> MetricCollection:
        return create_metrics(self.spec)

    def create_model(self) -> nn.Module:
        return create_model(self.config, self.spec)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor] | None:
        return self.mean(loss_fn(self.net, batch, self.config.model.l2), batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        eval_step(self.evaluated, batch, self.metrics)

    def predict_step(self, batch: Batch, batch_idx: int) -> Batch:
        return predict_step(self.evaluated, batch)


def create_metrics(spec: Mapping[str, Any]) -> MetricCollection:
    return MetricCollection(
        {
            "loss": MeanMetric(nan_strategy="disable"),
            "rmse": MeanSquaredError(squared=False),
            "mae": MeanAbsoluteError(),
        },
        compute_groups=False,
    )


def create_model(config: RatingConfig, spec: Mapping[str, Any]) -> nn.Module:
    return MatrixFactorization(config.model, **{name: spec[name] for name in SIZES})


def loss_fn(model: MatrixFactorization, batch: Batch, l2: float) -> tuple[torch.Tensor, int]:
    """(sum, weight): the squared errors in units of the ratings' deviation, l2 times the squares of what made them;
    and the number of ratings."""
    rating, squares = model(batch["user"], batch["item"])
    return (((rating - batch["rating"]) / model.unit) ** 2 + l2 * squares).sum(), len(rating)


def eval_step(model: MatrixFactorization, batch: Batch, metrics: MetricCollection) -> None:
    rating, truth = predict_step(model, batch)["rating"][batch["mask"]], batch["rating"][batch["mask"]]
    clipped = rating.clip(model.lowest, model.highest)
    metrics["loss"].update(((rating - truth) / model.unit) ** 2)
    metrics["rmse"].update(clipped, truth)
    metrics["mae"].update(clipped, truth)


def predict_step(model: MatrixFactorization, batch: Batch) -> Batch:
    """rating, not clipped: float [batch]; of a batch without `item`, that of every item: float [batch, items]."""
    if "item" in batch:
        return {"rating": model(batch["user"], batch["item"])[0]}
    return {"rating": model.every_item(batch["user"])}
