"""Image generation in Flax NNX: the model, its losses and its metrics.

A step is an update of the discriminator, then one of the generator, with the same noise. Each loss generates anew, so
that running statistics move as often in both frameworks: in a step the generator's twice, by the same images, and the
discriminator's three times: by real images, by generated ones, and by those again in the generator's loss.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from clu import metrics
from flax import nnx
from jax.nn import relu, softplus

from ...engine.api import Loss
from ...engine.nnx.metrics import collected
from ...models.dcgan.nnx import Dcgan
from ...models.resnet_gan.nnx import ResnetGan
from .data import GanConfig

Batch = dict[str, jax.Array]
Gan = Dcgan | ResnetGan


def create_metrics(spec: Mapping[str, Any]) -> type[metrics.Collection]:
    """`generated`, `real` and `first` are arrays, of which `scores` makes numbers."""
    losses = ("loss", "discriminator_loss", "generator_loss")
    found: dict[str, Any] = {name: metrics.Average.from_output(name) for name in losses}
    found |= {name: collected(name) for name in ("generated", "real", "first")}
    return metrics.Collection.create(**found)


def create_model(config: GanConfig, spec: Mapping[str, Any], *, rngs: nnx.Rngs, **dtypes) -> Gan:
    models: dict[str, type] = {"dcgan": Dcgan, "resnet_gan": ResnetGan}
    return models[config.model.name](config.model, tuple(spec["shape"]), rngs=rngs, **dtypes)


def losses(config: GanConfig) -> dict[str, Loss]:
    discriminate = functools.partial(discriminator_loss, r1=config.model.r1)
    return {
        "discriminator": Loss(discriminate, "discriminator", config.model.discriminator_rate),
        "generator": Loss(generator_loss, "generator"),
    }


def discriminator_loss(model: Gan, batch: Batch, rngs: nnx.Rngs, r1: float) -> tuple:
    """(sum, weight): how badly real and generated images are told apart, summed over pairs of them, and their number.

    With `r1`, half of the squared norm of the gradient at real images is added, and logged.
    """
    images = normalize(batch["image"])
    fakes = jax.lax.stop_gradient(model.generator(batch["noise"]))
    scores, squares = with_gradient(model.discriminator, images) if r1 else (model.discriminator(images), None)
    losses = told_apart(scores, model.discriminator(fakes), model.loss)
    if squares is None:
        return losses.sum(), len(losses)
    return losses.sum() + r1 / 2 * squares, len(losses), {"r1": squares}


def generator_loss(model: Gan, batch: Batch, rngs: nnx.Rngs) -> tuple[jax.Array, int]:
    """(sum, weight): how badly generated images are taken for real."""
    losses = taken_for_real(model.discriminator(model.generator(batch["noise"])), model.loss)
    return losses.sum(), len(losses)


def eval_step(model: Gan, batch: Batch, metrics: type[metrics.Collection]) -> metrics.Collection:
    fakes = model.generator(batch["noise"])
    real, fake = model.discriminator(normalize(batch["image"])), model.discriminator(fakes)
    discriminator, generator = told_apart(real, fake, model.loss), taken_for_real(fake, model.loss)
    found = {"loss": discriminator + generator, "discriminator_loss": discriminator, "generator_loss": generator}
    found |= {"generated": fakes, "real": batch["image"], "first": batch.get("first", batch["mask"])}
    return metrics.single_from_model_output(**found, mask=batch["mask"])


def predict_step(model: Gan, batch: Batch) -> Batch:
    """image: float [batch, height, width, channel] in [-1, 1]."""
    return {"image": model.generator(batch["noise"])}


def normalize(images: jax.Array) -> jax.Array:
    """uint8 [batch, height, width, channel] -> float in [-1, 1]."""
    return images / 127.5 - 1.0


def with_gradient(discriminator: nnx.Module, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores, float [batch], and the squared norms of their gradients at the images, summed."""
    graphdef, state = nnx.split(discriminator)

    def total(images: jax.Array) -> tuple[jax.Array, tuple[jax.Array, nnx.State]]:
        found = nnx.merge(graphdef, state, copy=True)
        scores = found(images)
        return scores.sum(), (scores, nnx.state(found, nnx.BatchStat))

    gradient, (scores, moved) = jax.grad(total, has_aux=True)(images)
    nnx.update(discriminator, moved)
    return scores, (gradient**2).sum()


def told_apart(real: jax.Array, fake: jax.Array, loss: str) -> jax.Array:
    """float [batch], of the scores of real and of generated images: what the discriminator minimizes."""
    real, fake = exact(real), exact(fake)
    return relu(1 - real) + relu(1 + fake) if loss == "hinge" else softplus(-real) + softplus(fake)


def taken_for_real(fake: jax.Array, loss: str) -> jax.Array:
    """float [batch], of the scores of generated images: what the generator minimizes."""
    fake = exact(fake)
    return -fake if loss == "hinge" else softplus(-fake)


def exact(x: jax.Array) -> jax.Array:
    """At least in float32."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
