"""Rating prediction in Flax NNX: the model, its loss and its metrics."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from clu import metrics
from flax import nnx, struct

from ...engine.api import Loss
from ...models.matrix_factorization.nnx import MatrixFactorization
from .data import RatingConfig

SIZES = ("users", "items", "mean", "unit", "lowest", "highest")  # of the spec

Batch = dict[str, jax.Array]


def create_metrics(spec: Mapping[str, Any]) -> type[metrics.Collection]:
    found = {
        "loss": metrics.Average.from_output("loss"),
        "rmse": RootOfAverage.from_output("squared_error"),
        "mae": metrics.Average.from_output("absolute_error"),
    }
    return metrics.Collection.create(**found)


def create_model(config: RatingConfig, spec: Mapping[str, Any], *, rngs: nnx.Rngs, **dtypes) -> nnx.Module:
    return MatrixFactorization(config.model, **{name: spec[name] for name in SIZES}, rngs=rngs, **dtypes)


def losses(config: RatingConfig) -> dict[str, Loss]:
    return {"loss": Loss(functools.partial(loss_fn, l2=config.model.l2))}


def loss_fn(model: MatrixFactorization, batch: Batch, rngs: nnx.Rngs, l2: float) -> tuple[jax.Array, int]:
    """(sum, weight): the squared errors in units of the ratings' deviation, l2 times the squares of what made them;
    and the number of ratings."""
    rating, squares = model(batch["user"], batch["item"])
    return (((rating - batch["rating"]) / model.unit) ** 2 + l2 * squares).sum(), len(rating)


def eval_step(model: MatrixFactorization, batch: Batch, metrics: type[metrics.Collection]) -> metrics.Collection:
    rating, truth = predict_step(model, batch)["rating"], batch["rating"]
    error = rating.clip(model.lowest, model.highest) - truth
    loss = ((rating - truth) / model.unit) ** 2
    found = {"loss": loss, "squared_error": error**2, "absolute_error": jnp.abs(error)}
    return metrics.single_from_model_output(**found, mask=batch["mask"])


def predict_step(model: MatrixFactorization, batch: Batch) -> Batch:
    """rating, not clipped: float [batch]; of a batch without `item`, that of every item: float [batch, items]."""
    if "item" in batch:
        return {"rating": model(batch["user"], batch["item"])[0]}
    return {"rating": model.every_item(batch["user"])}


@struct.dataclass
class RootOfAverage(metrics.Average):
    """clu has none."""

    def compute(self) -> jax.Array:
        return jnp.sqrt(super().compute())
