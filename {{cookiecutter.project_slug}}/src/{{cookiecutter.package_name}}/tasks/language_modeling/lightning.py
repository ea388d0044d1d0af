"""Language modelling in PyTorch Lightning: the model, its loss, its metrics, and the text that it makes."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torchmetrics import MeanMetric, Metric, MetricCollection

from ...engine.lightning.module import Batch, TaskModule
from ...models.gpt.torch import GPT
from .data import LanguageConfig


class Module(TaskModule):
    """The task as a LightningModule, in the functions below."""

    config: LanguageConfig

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

    def generate(self, batch: Batch, **options: Any) -> Iterator[Batch]:
        return generate(self.evaluated, batch, **options)


def create_metrics(spec: Mapping[str, Any]) -> MetricCollection:
    return MetricCollection(
        {
            "loss": MeanMetric(nan_strategy="disable"),
            "perplexity": Perplexity(nan_strategy="disable"),
            "bits_per_byte": BitsPerByte(),
        },
        compute_groups=False,
    )


def create_model(config: LanguageConfig, spec: Mapping[str, Any]) -> nn.Module:
    return GPT(config.model, spec["vocabulary"])


def loss_fn(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
    """(sum, weight): the cross-entropy summed over the tokens, and their number."""
    targets = batch["tokens"][:, 1:]
    return cross_entropy(model(batch["tokens"][:, :-1]), targets).sum(), targets.numel()


def eval_step(model: nn.Module, batch: Batch, metrics: MetricCollection) -> None:
    inputs, targets, mask = batch["tokens"][:, :-1].clamp(min=0), batch["tokens"][:, 1:], batch["mask"]
    counted = (targets >= 0) & mask[:, None]
    loss = cross_entropy(model(inputs), targets.clamp(min=0))[counted]
    metrics["loss"].update(loss)
    metrics["perplexity"].update(loss)
    metrics["bits_per_byte"].update(loss, batch["bytes"][mask])


def predict_step(model: nn.Module, batch: Batch) -> Batch:
    """The likeliest token after each, int [batch, context], and its probability, float [batch, context]."""
    logits = model(batch["tokens"][:, : model.context].clamp(min=0))
    probability, token = nn.functional.softmax(at_least_float32(logits), -1).max(-1)
    return {"token": token.int(), "probability": probability}


def generate(model: GPT, batch: Batch, seed: int, tokens: int, temperature: float, top_k: int) -> Iterator[Batch]:
    """Goes on after `tokens`, int [1, context], of which -1 are none: `token`, int [1], one after the other.

    Keys and values of what was read are kept. When `context` tokens are read, the last half of them is read anew, as
    if the text began there.
    """
    text = [token for token in batch["tokens"][0].tolist() if token >= 0]
    device = batch["tokens"].device
    rng = torch.Generator(device).manual_seed(seed)
    cache, position, unread = model.create_cache(1), 0, text
    for _ in range(tokens):
        if position + len(unread) > model.context:
            position, unread = 0, text[-max(1, model.context // 2) :]
        x = model.read(torch.tensor([unread], device=device), cache, position)
        token = choose(model.logits(x[:, -1]), rng, temperature or 1.0, top_k if temperature else 1)
        yield {"token": token}
        position, unread = position + len(unread), token.tolist()
        text += unread


def choose(logits: torch.Tensor, rng: torch.Generator, temperature: float, top_k: int) -> torch.Tensor:
    """float [batch, vocabulary] -> a token, int [batch]. top_k 0: of all."""
    values, indices = at_least_float32(logits).topk(min(top_k or logits.shape[-1], logits.shape[-1]))
    shares = nn.functional.softmax((values - values[:, :1]) / temperature, -1)
    chosen = torch.multinomial(shares, 1, generator=rng)
    return indices.gather(1, chosen)[:, 0]


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """float [batch, length, vocabulary], int [batch, length] -> float [batch, length], at least in float32."""
    return nn.functional.cross_entropy(at_least_float32(logits).transpose(1, 2), targets.long(), reduction="none")


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Perplexity(MeanMetric):
    """exp of the mean."""

    def compute(self) -> torch.Tensor:
        return super().compute().exp()


class BitsPerByte(Metric):
    """The loss in bits, of the UTF-8 bytes that are predicted: so that tokens of every size can be compared."""

    full_state_update = False
    nats: torch.Tensor
    bytes: torch.Tensor

    def __init__(self):
        super().__init__()
        self.add_state("nats", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("bytes", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, loss: torch.Tensor, bytes: torch.Tensor) -> None:
        self.nats += loss.sum()
        self.bytes += bytes.sum()

    def compute(self) -> torch.Tensor:
        return self.nats / math.log(2) / self.bytes
