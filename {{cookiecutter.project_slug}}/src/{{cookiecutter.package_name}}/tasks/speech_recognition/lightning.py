"""Speech recognition in PyTorch Lightning: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torchmetrics import MeanMetric, MetricCollection

from ...engine.lightning.metrics import Collected
from ...engine.lightning.module import Batch, TaskModule
from ...models.conformer import ConformerConfig
from ...models.conformer.torch import Conformer
from ...models.speech_rnn.torch import SpeechRnn, is_real
from .data import SpeechConfig


class Module(TaskModule):
    """The task as a LightningModule, in the functions below."""

    config: SpeechConfig

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
    """`hypotheses` and `references` are tokens, of which `scores` makes numbers."""
    return MetricCollection(
        {
            "loss": MeanMetric(nan_strategy="disable"),
            "hypotheses": Collected(),
            "references": Collected(),
        },
        compute_groups=False,
    )


def create_model(config: SpeechConfig, spec: Mapping[str, Any]) -> nn.Module:
    mels, tokens = spec["features"]["mels"], len(spec["pieces"])
    if isinstance(config.model, ConformerConfig):
        return Conformer(config.model, mels, tokens)
    return SpeechRnn(config.model, mels, tokens)


def loss_fn(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum, weight): the negative log-likelihoods summed over the utterances, and the number of their tokens."""
    outputs = predict_step(model, batch)
    return ctc(outputs, batch["labels"]).sum(), (batch["labels"] > 0).sum()


def eval_step(model: nn.Module, batch: Batch, metrics: MetricCollection) -> None:
    outputs, labels, mask = predict_step(model, batch), batch["labels"], batch["mask"]
    lengths = (labels > 0).sum(1)
    # The mean over tokens: of each utterance its own mean, as often as it has tokens.
    means = ctc(outputs, labels) / lengths
    metrics["loss"].update(means[mask].repeat_interleave(lengths[mask]))
    reference, hypotheses = batch["reference"], said(outputs)
    padded = nn.functional.pad(hypotheses, (0, reference.shape[1] - hypotheses.shape[1]))
    metrics["hypotheses"].update(padded[mask])
    metrics["references"].update(reference[mask])


def predict_step(model: nn.Module, batch: Batch) -> Batch:
    """log_probs: float [batch, frames, tokens], at least float32; lengths: int [batch], how many of them are real."""
    logits, frames = model(batch["features"], batch["frames"])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return {"log_probs": nn.functional.log_softmax(logits, -1), "lengths": frames.int()}


def ctc(outputs: Batch, labels: torch.Tensor) -> torch.Tensor:
    """The negative log-likelihood of each utterance, float [batch]. labels: int [batch, length], 0 after the end."""
    log_probs, lengths = outputs["log_probs"].transpose(0, 1), (labels > 0).sum(1)
    return nn.functional.ctc_loss(log_probs, labels.long(), outputs["lengths"].long(), lengths, reduction="none")


def said(outputs: Batch) -> torch.Tensor:
    """Of the likeliest token of each frame those that are said, int [batch, frames], then 0; see `decoding.greedy`."""
    best = outputs["log_probs"].argmax(-1)
    before = nn.functional.pad(best[:, :-1], (1, 0), value=-1)
    kept = (best != before) & (best != 0) & is_real(best.shape[1], outputs["lengths"])
    order = torch.argsort((~kept).int(), dim=1, stable=True)
    return torch.where(kept, best, 0).gather(1, order).int()
