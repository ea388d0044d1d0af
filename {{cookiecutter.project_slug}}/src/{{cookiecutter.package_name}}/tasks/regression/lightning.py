"""Regression in PyTorch Lightning: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchmetrics import Metric, MetricCollection

from ...engine.lightning.module import Batch, TaskModule
from ...models.tabular.torch import Tabular
from .data import RegressionConfig
from .metrics import SUMS, formulas


class Module(TaskModule):
    """The task as a LightningModule, in the functions below."""

    config: RegressionConfig

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
    scale = spec["scale"]
    return MetricCollection({name: OfSums(name, scale) for name in formulas(scale)}, compute_groups=False)


def create_model(config: RegressionConfig, spec: Mapping[str, Any]) -> nn.Module:
    return Tabular(config.model, spec["numbers"], spec["categories"], spec.get("edges", ()))


def loss_fn(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
    """(sum, weight): the squared errors, in units of the target's standard deviation, and the number of examples."""
    errors = predict(model, batch) - batch["target"]
    return errors.square().sum(), len(errors)


def eval_step(model: nn.Module, batch: Batch, metrics: MetricCollection) -> None:
    mask = batch["mask"]
    metrics.update(predict(model, batch)[mask], batch["target"][mask])


def predict_step(model: nn.Module, batch: Batch) -> Batch:
    """standardised: float [batch], as the target is."""
    return {"standardised": predict(model, batch)}


def predict(model: nn.Module, batch: Batch) -> torch.Tensor:
    """float [batch], at least in float32."""
    found = model(batch.get("numeric"), batch.get("categorical"))
    return found.to(torch.promote_types(found.dtype, torch.float32))


class OfSums(Metric):
    """One of the `formulas` over sums."""

    full_state_update = False
    sums: torch.Tensor

    def __init__(self, formula: str, scale: float):
        super().__init__()
        self.formula, self.scale = formula, scale  # no function, which could not be pickled
        self.add_state("sums", torch.zeros(SUMS), dist_reduce_fx="sum")

    def update(self, predictions: torch.Tensor, targets: torch.Tensor) -> None:
        errors = predictions - targets
        terms = torch.stack([torch.ones_like(targets), errors**2, errors.abs(), targets, targets**2])
        self.sums += terms.sum(1)

    def compute(self) -> torch.Tensor:
        return formulas(self.scale)[self.formula](*self.sums)
