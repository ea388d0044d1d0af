"""Regression in Flax NNX: the model, its loss and its metrics."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from clu import metrics
from flax import nnx, struct

from ...engine.api import Loss
from ...models.tabular.nnx import Tabular
from .data import RegressionConfig
from .metrics import SUMS, formulas

Batch = dict[str, jax.Array]


def create_metrics(spec: Mapping[str, Any]) -> type[metrics.Collection]:
    found = {name: of_sums(formula) for name, formula in formulas(spec["scale"]).items()}
    return metrics.Collection.create(**found)


def create_model(config: RegressionConfig, spec: Mapping[str, Any], *, rngs: nnx.Rngs, **dtypes) -> nnx.Module:
    return Tabular(config.model, spec["numbers"], spec["categories"], spec.get("edges", ()), rngs=rngs, **dtypes)


def losses(config: RegressionConfig) -> dict[str, Loss]:
    return {"loss": Loss(loss_fn)}


def loss_fn(model: nnx.Module, batch: Batch, rngs: nnx.Rngs) -> tuple[jax.Array, int]:
    """(sum, weight): the squared errors, in units of the target's standard deviation, and the number of examples."""
    errors = predict(model, batch, rngs) - batch["target"]
    return jnp.square(errors).sum(), len(errors)


def eval_step(model: nnx.Module, batch: Batch, metrics: type[metrics.Collection]) -> metrics.Collection:
    found = predict(model, batch)
    return metrics.single_from_model_output(predictions=found, targets=batch["target"], mask=batch["mask"])


def predict_step(model: nnx.Module, batch: Batch) -> Batch:
    """standardised: float [batch], as the target is."""
    return {"standardised": predict(model, batch)}


def predict(model: nnx.Module, batch: Batch, rngs: nnx.Rngs | None = None) -> jax.Array:
    """float [batch], at least in float32."""
    found = model(batch.get("numeric"), batch.get("categorical"), rngs)
    return found.astype(jnp.promote_types(found.dtype, jnp.float32))


def of_sums(formula: Callable[..., jax.Array]) -> type[metrics.Metric]:
    """A formula over the sums that `metrics` tells."""

    @struct.dataclass
    class OfSums(metrics.Metric):
        sums: jax.Array

        @classmethod
        def empty(cls):
            return cls(jnp.zeros(SUMS))

        @classmethod
        def from_model_output(cls, predictions: jax.Array, targets: jax.Array, mask: jax.Array, **_):
            errors = predictions - targets
            terms = jnp.stack([jnp.ones_like(targets), errors**2, jnp.abs(errors), targets, targets**2])
            return cls(jnp.where(mask, terms, 0).sum(1))

        def merge(self, other):
            return self.replace(sums=self.sums + other.sums)

        def compute(self) -> jax.Array:
            return formula(*self.sums)

    return OfSums
