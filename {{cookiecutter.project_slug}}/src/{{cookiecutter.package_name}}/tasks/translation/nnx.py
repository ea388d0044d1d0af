"""Translation in Flax NNX: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu import metrics
from flax import nnx, struct

from ...engine.api import Loss
from ...engine.nnx.metrics import collected
from ...models.transformer import PAD
from ...models.transformer.nnx import Transformer
from .data import TranslationConfig

Batch = dict[str, jax.Array]


def create_metrics(spec: Mapping[str, Any]) -> type[metrics.Collection]:
    """Beside the loss, the tokens of every translation and of its reference, int [texts, length], for `scores`."""
    return metrics.Collection.create(
        loss=TokenMean,
        hypotheses=collected("hypotheses"),
        references=collected("references"),
    )


def create_model(config: TranslationConfig, spec: Mapping[str, Any], *, rngs: nnx.Rngs, **dtypes) -> nnx.Module:
    return Transformer(config.model, spec["vocabulary"], rngs=rngs, **dtypes)


def losses(config: TranslationConfig) -> dict[str, Loss]:
    return {"loss": Loss(loss_fn)}


def loss_fn(model: Transformer, batch: Batch, rngs: nnx.Rngs) -> tuple[jax.Array, jax.Array]:
    """(sum, weight): the cross-entropy summed over the target's tokens, and their number."""
    targets = batch["target"][:, 1:]
    logits = model(batch["source"], batch["target"][:, :-1], rngs=rngs)
    losses = cross_entropy(logits, targets, model.label_smoothing)
    counted = targets != PAD
    return (losses * counted).sum(), counted.sum()


def eval_step(model: Transformer, batch: Batch, metrics: type[metrics.Collection]) -> metrics.Collection:
    targets, mask = batch["target"][:, 1:], batch["mask"]
    losses = cross_entropy(model(batch["source"], batch["target"][:, :-1]), targets, model.label_smoothing)
    tokens = predict_step(model, batch)["tokens"]
    return metrics.single_from_model_output(
        losses=losses,
        counted=(targets != PAD) & mask[:, None],
        hypotheses=tokens,
        references=jnp.pad(targets, ((0, 0), (0, tokens.shape[1] - targets.shape[1])), constant_values=PAD),
        mask=mask,
    )


def predict_step(model: Transformer, batch: Batch, beam: int = 1, length_penalty: float = 0.6) -> Batch:
    """tokens: int32 [batch, context], of the translation, its EOS, then PAD."""
    return {"tokens": model(batch["source"], beam=beam, length_penalty=length_penalty).astype(jnp.int32)}


def cross_entropy(logits: jax.Array, targets: jax.Array, smoothing: float) -> jax.Array:
    """float [batch, length, vocabulary], int [batch, length] -> float [batch, length], at least in float32.

    Of the target's probability, the share `smoothing` is that of all tokens alike (Szegedy et al. 2015).
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    alike = nnx.logsumexp(logits, -1) - logits.mean(-1)  # of targets that are all tokens alike
    return (1 - smoothing) * loss + smoothing * alike


@struct.dataclass
class TokenMean(metrics.Average):
    """The mean over the tokens that are counted."""

    @classmethod
    def from_model_output(cls, losses: jax.Array, counted: jax.Array, **_):
        return super().from_model_output(losses, counted)
