"""Image generation in PyTorch Lightning: the model, its losses and its metrics.

A step is an update of the discriminator, then one of the generator, with the same noise. Each loss generates anew, so
that running statistics move as often in both frameworks: in a step the generator's twice, by the same images, and the
discriminator's three times: by real images, by generated ones, and by those again in the generator's loss.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import softplus
from torchmetrics import MeanMetric, MetricCollection

from ...engine.lightning.manual import ManualModule
from ...engine.lightning.metrics import Collected
from ...engine.lightning.module import Batch
from ...models.dcgan.torch import Dcgan
from ...models.resnet_gan.torch import ResnetGan
from .data import GanConfig

Gan = Dcgan | ResnetGan


class Module(ManualModule):
    """The task as a LightningModule, in the functions below."""

    PARTS = {"discriminator": "discriminator", "generator": "generator"}
    config: GanConfig
    net: Gan

    def create_metrics(self) -> MetricCollection:
        return create_metrics(self.spec)

    def create_model(self) -> Gan:
        return create_model(self.config, self.spec)

    def create_optimizer(self, part: nn.Module) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(part)
        if part is self.net.discriminator:
            for group in optimizer.param_groups:
                group["lr"] *= self.config.model.discriminator_rate
        return optimizer

    def loss_fn(self, name: str, batch: Batch) -> tuple:
        if name == "generator":
            return generator_loss(self.net, batch)
        return discriminator_loss(self.net, batch, self.config.model.r1)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        eval_step(self.evaluated, batch, self.metrics)

    def predict_step(self, batch: Batch, batch_idx: int) -> Batch:
        return predict_step(self.evaluated, batch)


def create_metrics(spec: Mapping[str, Any]) -> MetricCollection:
    """`generated`, `real` and `first` are arrays, of which `scores` makes numbers."""
    losses = ("loss", "discriminator_loss", "generator_loss")
    metrics: dict[str, Any] = {name: MeanMetric(nan_strategy="disable") for name in losses}
    metrics |= {name: Collected() for name in ("generated", "real", "first")}
    return MetricCollection(metrics, compute_groups=False)


def create_model(config: GanConfig, spec: Mapping[str, Any]) -> Gan:
    models: dict[str, type] = {"dcgan": Dcgan, "resnet_gan": ResnetGan}
    return models[config.model.name](config.model, tuple(spec["shape"]))


def discriminator_loss(model: Gan, batch: Batch, r1: float) -> tuple:
    """(sum, weight): how badly real and generated images are told apart, summed over pairs of them, and their number.

    With `r1`, half of the squared norm of the gradient at real images is added, and logged.
    """
    images = normalize(batch["image"])
    with torch.no_grad():
        fakes = model.generator(batch["noise"])
    scores, squares = with_gradient(model.discriminator, images) if r1 else (model.discriminator(images), None)
    losses = told_apart(scores, model.discriminator(fakes), model.loss)
    if squares is None:
        return losses.sum(), len(losses)
    return losses.sum() + r1 / 2 * squares, len(losses), {"r1": squares}


def generator_loss(model: Gan, batch: Batch) -> tuple[torch.Tensor, int]:
    """(sum, weight): how badly generated images are taken for real."""
    losses = taken_for_real(model.discriminator(model.generator(batch["noise"])), model.loss)
    return losses.sum(), len(losses)


def eval_step(model: Gan, batch: Batch, metrics: MetricCollection) -> None:
    mask, fakes = batch["mask"], model.generator(batch["noise"])
    real, fake = model.discriminator(normalize(batch["image"])), model.discriminator(fakes)
    discriminator, generator = told_apart(real, fake, model.loss), taken_for_real(fake, model.loss)
    found = {"loss": discriminator + generator, "discriminator_loss": discriminator, "generator_loss": generator}
    found |= {"generated": fakes, "real": batch["image"], "first": batch.get("first", mask)}
    for name, values in found.items():
        metrics[name].update(values[mask])


def predict_step(model: Gan, batch: Batch) -> Batch:
    """image: float [batch, height, width, channel] in [-1, 1]."""
    return {"image": model.generator(batch["noise"])}


def normalize(images: torch.Tensor) -> torch.Tensor:
    """uint8 [batch, height, width, channel] -> float in [-1, 1]."""
    return images / 127.5 - 1.0


def with_gradient(discriminator: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, float [batch], and the squared norms of their gradients at the images, summed."""
    images.requires_grad_()
    scores = discriminator(images)
    [gradient] = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return scores, (gradient**2).sum()


def told_apart(real: torch.Tensor, fake: torch.Tensor, loss: str) -> torch.Tensor:
    """float [batch], of the scores of real and of generated images: what the discriminator minimizes."""
    real, fake = exact(real), exact(fake)
    return torch.relu(1 - real) + torch.relu(1 + fake) if loss == "hinge" else softplus(-real) + softplus(fake)


def taken_for_real(fake: torch.Tensor, loss: str) -> torch.Tensor:
    """float [batch], of the scores of generated images: what the generator minimizes."""
    fake = exact(fake)
    return -fake if loss == "hinge" else softplus(-fake)


def exact(x: torch.Tensor) -> torch.Tensor:
    """At least in float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
