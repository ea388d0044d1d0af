"""Translation in PyTorch Lightning: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchmetrics import MeanMetric, MetricCollection

from ...engine.lightning.metrics import Collected
from ...engine.lightning.module import Batch, TaskModule
from ...models.transformer import PAD
from ...models.transformer.torch import Transformer
from .data import TranslationConfig


class Module(TaskModule):
    """The task as a LightningModule, in the functions below."""

    config: TranslationConfig
    net: Transformer

    def create_metrics(self) -> MetricCollection:
        return create_metrics(self.spec)

    def create_model(self) -> nn.Module:
        return create_model(self.config, self.spec)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor] | None:
        return self.mean(loss_fn(self.net, batch), batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        eval_step(self.evaluated, batch, self.metrics)

    def predict_step(self, batch: Batch, batch_idx: int) -> Batch:
        return predict_step(self.evaluated, batch, **self.options)


def create_metrics(spec: Mapping[str, Any]) -> MetricCollection:
    """Beside the loss, the tokens of every translation and of its reference, int [texts, length], for `scores`."""
    return MetricCollection(
        {
            "loss": MeanMetric(nan_strategy="disable"),
            "hypotheses": Collected(),
            "references": Collected(),
        },
        compute_groups=False,
    )


def create_model(config: TranslationConfig, spec: Mapping[str, Any]) -> nn.Module:
    return Transformer(config.model, spec["vocabulary"])


def loss_fn(model: Transformer, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum, weight): the cross-entropy summed over the target's tokens, and their number."""
    targets = batch["target"][:, 1:]
    losses = cross_entropy(model(batch["source"], batch["target"][:, :-1]), targets, model.label_smoothing)
    counted = targets != PAD
    return (losses * counted).sum(), counted.sum()


def eval_step(model: Transformer, batch: Batch, metrics: MetricCollection) -> None:
    targets, mask = batch["target"][:, 1:], batch["mask"]
    losses = cross_entropy(model(batch["source"], batch["target"][:, :-1]), targets, model.label_smoothing)
    tokens = predict_step(model, batch)["tokens"]
    metrics["loss"].update(losses[(targets != PAD) & mask[:, None]])
    metrics["hypotheses"].update(tokens[mask])
    metrics["references"].update(nn.functional.pad(targets, (0, tokens.shape[1] - targets.shape[1]), value=PAD)[mask])


def predict_step(model: Transformer, batch: Batch, beam: int = 1, length_penalty: float = 0.6) -> Batch:
    """tokens: int32 [batch, context], of the translation, its EOS, then PAD."""
    return {"tokens": model(batch["source"], beam=beam, length_penalty=length_penalty).int()}


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    """float [batch, length, vocabulary], int [batch, length] -> float [batch, length], at least in float32.

    Of the target's probability, the share `smoothing` is that of all tokens alike (Szegedy et al. 2015).
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).transpose(1, 2)
    return nn.functional.cross_entropy(logits, targets.long(), reduction="none", label_smoothing=smoothing)
