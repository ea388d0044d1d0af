"""Speech recognition in Flax NNX: the model, its loss and its metrics."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu import metrics
from flax import nnx

from ...engine.api import Loss
from ...engine.nnx.metrics import collected
from ...models.conformer import ConformerConfig
from ...models.conformer.nnx import Conformer
from ...models.speech_rnn.nnx import SpeechRnn, is_real
from .data import SpeechConfig

Batch = dict[str, jax.Array]


def create_metrics(spec: Mapping[str, Any]) -> type[metrics.Collection]:
    """`hypotheses` and `references` are tokens, of which `scores` makes numbers."""
    return metrics.Collection.create(
        loss=metrics.Average.from_output("loss"),
        hypotheses=collected("hypotheses"),
        references=collected("references"),
    )


def create_model(config: SpeechConfig, spec: Mapping[str, Any], *, rngs: nnx.Rngs, **dtypes) -> nnx.Module:
    mels, tokens = spec["features"]["mels"], len(spec["pieces"])
    if isinstance(config.model, ConformerConfig):
        return Conformer(config.model, mels, tokens, rngs=rngs, **dtypes)
    return SpeechRnn(config.model, mels, tokens, rngs=rngs, **dtypes)


def losses(config: SpeechConfig) -> dict[str, Loss]:
    return {"loss": Loss(loss_fn)}


def loss_fn(model: nnx.Module, batch: Batch, rngs: nnx.Rngs) -> tuple[jax.Array, jax.Array]:
    """(sum, weight): the negative log-likelihoods summed over the utterances, and the number of their tokens."""
    outputs = predict_step(model, batch, rngs)
    return ctc(outputs, batch["labels"]).sum(), (batch["labels"] > 0).sum()


def eval_step(model: nnx.Module, batch: Batch, metrics: type[metrics.Collection]) -> metrics.Collection:
    outputs, labels, mask = predict_step(model, batch), batch["labels"], batch["mask"]
    lengths = (labels > 0).sum(1)
    # The mean over tokens: of each utterance its own mean, as often as it has tokens.
    means = ctc(outputs, labels) / lengths
    reference, hypotheses = batch["reference"], said(outputs)
    counted = (reference > 0) & mask[:, None]
    return metrics.single_from_model_output(
        loss=jnp.broadcast_to(means[:, None], counted.shape),
        mask=counted,
        hypotheses=jnp.pad(hypotheses, ((0, 0), (0, reference.shape[1] - hypotheses.shape[1]))),
        references=reference,
    )


def predict_step(model: nnx.Module, batch: Batch, rngs: nnx.Rngs | None = None) -> Batch:
    """log_probs: float [batch, frames, tokens], at least float32; lengths: int [batch], how many of them are real."""
    logits, frames = model(batch["features"], batch["frames"], rngs)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return {"log_probs": nnx.log_softmax(logits), "lengths": frames}


def ctc(outputs: Batch, labels: jax.Array) -> jax.Array:
    """The negative log-likelihood of each utterance, float [batch]. labels: int [batch, length], 0 after the end."""
    log_probs = outputs["log_probs"]
    real = is_real(log_probs.shape[1], outputs["lengths"])
    return optax.ctc_loss(log_probs, (~real).astype(log_probs.dtype), labels, (labels == 0).astype(log_probs.dtype))


def said(outputs: Batch) -> jax.Array:
    """Of the likeliest token of each frame those that are said, int [batch, frames], then 0; see `decoding.greedy`."""
    best = outputs["log_probs"].argmax(-1)
    before = jnp.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    kept = (best != before) & (best != 0) & is_real(best.shape[1], outputs["lengths"])
    order = jnp.argsort(~kept, 1)
    return jnp.take_along_axis(jnp.where(kept, best, 0), order, 1)
