"""Language modelling in Flax NNX: the model, its loss, its metrics, and the text that it makes."""

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu import metrics
from flax import nnx, struct

from ...engine.api import Loss
from ...models.gpt.nnx import GPT, Cache
from .data import LanguageConfig

Batch = dict[str, jax.Array]


def create_metrics(spec: Mapping[str, Any]) -> type[metrics.Collection]:
    return metrics.Collection.create(
        loss=metrics.Average.from_output("loss"),
        perplexity=Perplexity.from_output("loss"),
        bits_per_byte=BitsPerByte,
    )


def create_model(config: LanguageConfig, spec: Mapping[str, Any], *, rngs: nnx.Rngs, **dtypes) -> nnx.Module:
    return GPT(config.model, spec["vocabulary"], rngs=rngs, **dtypes)


def losses(config: LanguageConfig) -> dict[str, Loss]:
    return {"loss": Loss(loss_fn)}


def loss_fn(model: nnx.Module, batch: Batch, rngs: nnx.Rngs) -> tuple[jax.Array, int]:
    """(sum, weight): the cross-entropy summed over the tokens, and their number."""
    targets = batch["tokens"][:, 1:]
    return cross_entropy(model(batch["tokens"][:, :-1], rngs), targets).sum(), targets.size


def eval_step(model: nnx.Module, batch: Batch, metrics: type[metrics.Collection]) -> metrics.Collection:
    inputs, targets, mask = batch["tokens"][:, :-1].clip(0), batch["tokens"][:, 1:], batch["mask"]
    counted = (targets >= 0) & mask[:, None]
    loss = cross_entropy(model(inputs), targets.clip(0))
    return metrics.single_from_model_output(loss=loss, mask=counted, bytes=batch["bytes"] * mask)


def predict_step(model: GPT, batch: Batch) -> Batch:
    """The likeliest token after each, int [batch, context], and its probability, float [batch, context]."""
    logits = model(batch["tokens"][:, : model.context].clip(0))
    probabilities = nnx.softmax(at_least_float32(logits))
    return {"token": logits.argmax(-1), "probability": probabilities.max(-1)}


def generate(model: GPT, batch: Batch, seed: int, tokens: int, temperature: float, top_k: int) -> Iterator[Batch]:
    """Goes on after `tokens`, int [1, context], of which -1 are none: `token`, int [1], one after the other.

    Keys and values of what was read are kept. When `context` tokens are read, the last half of them is read anew, as
    if the text began there.
    """
    text = [token for token in batch["tokens"][0].tolist() if token >= 0]
    graphdef, state = nnx.split(model)
    key = jax.random.key(seed)
    cache, position, unread = model.create_cache(1), 0, text
    for i in range(tokens):
        if position + len(unread) > model.context:
            position, unread = 0, text[-max(1, model.context // 2) :]
        # Two shapes, so that two programs are compiled: of one token, and of as many as there can be.
        padded = unread if len(unread) == 1 else unread + [0] * (model.context - len(unread))
        token, cache = read_and_choose(
            graphdef,
            state,
            jnp.array([padded]),
            cache,
            position,
            len(unread) - 1,
            jax.random.fold_in(key, i),
            temperature or 1.0,
            top_k if temperature else 1,
        )
        yield {"token": token}
        position, unread = position + len(unread), token.tolist()
        text += unread


@functools.partial(jax.jit, static_argnames=("graphdef", "top_k"), donate_argnames="cache")
def read_and_choose(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    tokens: jax.Array,
    cache: Cache,
    position: jax.Array,
    last: jax.Array,
    key: jax.Array,
    temperature: jax.Array,
    top_k: int,
) -> tuple[jax.Array, Cache]:
    """(a token, int [batch], to follow the `last` one of `tokens`; the cache with these)."""
    model = nnx.merge(graphdef, state)
    x, cache = model.read(tokens, cache, position)
    return choose(model.logits(x[:, last]), key, temperature, top_k), cache


def choose(logits: jax.Array, key: jax.Array, temperature: float | jax.Array, top_k: int) -> jax.Array:
    """float [batch, vocabulary] -> a token, int [batch]. top_k 0: of all."""
    values, indices = jax.lax.top_k(at_least_float32(logits), min(top_k or logits.shape[-1], logits.shape[-1]))
    chosen = jax.random.categorical(key, (values - values[:, :1]) / temperature)
    return jnp.take_along_axis(indices, chosen[:, None], 1)[:, 0]


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """float [batch, length, vocabulary], int [batch, length] -> float [batch, length], at least in float32."""
    return optax.softmax_cross_entropy_with_integer_labels(at_least_float32(logits), targets)


def at_least_float32(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@struct.dataclass
class Perplexity(metrics.Average):
    """exp of the mean."""

    def compute(self) -> jax.Array:
        return jnp.exp(super().compute())


@struct.dataclass
class BitsPerByte(metrics.Metric):
    """The loss in bits, of the UTF-8 bytes that are predicted: so that tokens of every size can be compared."""

    nats: jax.Array
    bytes: jax.Array

    @classmethod
    def empty(cls):
        return cls(jnp.zeros(()), jnp.zeros(()))

    @classmethod
    def from_model_output(cls, loss: jax.Array, mask: jax.Array, bytes: jax.Array, **_):
        return cls(jnp.where(mask, loss, 0).sum(), bytes.sum().astype(jnp.result_type(float)))

    def merge(self, other):
        return self.replace(nats=self.nats + other.nats, bytes=self.bytes + other.bytes)

    def compute(self) -> jax.Array:
        return self.nats / math.log(2) / self.bytes
