"""One update of the task, as a compiled function of the state and a batch.

`jax.jit` around `nnx.merge` rather than `nnx.jit`, which walks the module's graph in Python at every call: with a
784-128-10 network (batch 64, two CPU cores) 970 steps a second against 1,970. This form also takes one donated pytree,
and `lax.scan`.
"""

import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from ...config import Config
from ...data.batches import make_batch
from ..schedule import average_weight
from ..session import check_parts
from .train_state import TrainState, split

Batch = dict[str, jax.Array]


def make_train_step(
    twin: ModuleType,
    config: Config,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    augment: Callable[[Batch], Batch] | None = None,
    parts: int = 1,
    shardings: Any = None,
):
    """(state, batches, shares, with_norm, resident) -> (state, logs of the last step).

    batches: leaves [steps, batch, ...]: so many steps in one dispatch. shares: float [total steps], of the peak
    learning rate, by step.
    resident: the training data where they stay on the device; `augment` is then part of the step.
    logs: `loss/<name>` for each loss, and the parts that it names; `grad_norm` over all of them, which without
    `with_norm` is left at 0 unless the update needs it: on a CPU it takes as long as a tenth of a small network's step;
    with `on_nan: skip` the number of `skipped_updates` so far.

    Args:
        parts: that a batch has, for the devices: each holds, one after the other, its piece of every micro-batch.
        shardings: of what is returned.
    """
    losses = twin.losses(config)
    accumulate, clip_norm, ema_decay = config.trainer.accumulate, config.optimizer.clip_norm, config.optimizer.ema_decay

    def train_step(
        state: TrainState, batch: Batch, shares: jax.Array, with_norm: jax.Array, resident: Batch
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        if resident:
            batch = make_batch(batch, augment, resident)
        share = shares[state.step]  # of the learning rate that the optimizer holds
        logs, square_norm, scale = {}, 0.0, state.loss_scale
        guarded = scale is not None or config.trainer.on_nan == "skip"
        for i, name in enumerate(losses):
            keys = dropout_keys(config.seed, state.step, i, accumulate)
            grads, mean, parts, rest = gradients(name, state, batch, keys)
            norm_is_used = with_norm | (clip_norm > 0) | guarded
            norm = jax.lax.cond(norm_is_used, optax.tree.norm, no_norm, grads)
            if clip_norm:
                factor = clip_norm / jnp.maximum(norm, clip_norm)
                grads = jax.tree.map(lambda g, factor=factor: g * factor, grads)
            updates, opt_state = optimizer.update(grads, state.opt_state[name], state.params[name])
            params = optax.apply_updates(state.params[name], jax.tree.map(lambda u: share * u, updates))
            if guarded:  # an update that is not finite is left out
                before, after = (state.params[name], state.opt_state[name], state.rest), (params, opt_state, rest)
                finite = jnp.isfinite(norm) & jnp.isfinite(mean)
                params, opt_state, rest = jax.tree.map(functools.partial(jnp.where, finite), after, before)
                state = state.replace(skipped=state.skipped + ~finite)
                if scale is not None:
                    state = state.replace(loss_scale=scale.next(finite))
            state = state.replace(
                params={**state.params, name: params}, rest=rest, opt_state={**state.opt_state, name: opt_state}
            )
            check_parts(parts, logs)
            logs |= {f"loss/{name}": mean, **parts}
            square_norm += norm**2
        if ema_decay:
            weight = average_weight(state.step.astype(jnp.result_type(float)), ema_decay, jnp.maximum)
            ema = jax.tree.map(lambda e, p: (1 - weight) * e + weight * p, state.ema, state.params)
            state = state.replace(ema=ema)
        logs["grad_norm"] = jnp.sqrt(square_norm)
        if config.trainer.on_nan == "skip":
            logs["skipped_updates"] = state.skipped
        return state.replace(step=state.step + 1), logs

    def gradients(
        name: str, state: TrainState, batch: Batch, keys: jax.Array
    ) -> tuple[nnx.State, jax.Array, dict[str, jax.Array], nnx.State]:
        """Of the mean loss over the batch, whose micro-batches are summed up one after the other.

        Beside it that mean, those of the loss's parts, and the model's rest afterwards.
        """

        def objective(part: nnx.State, rest: nnx.State, batch: Batch, key: jax.Array):
            params = {**state.params, name: part}
            model = nnx.merge(graphdef, *params.values(), rest, copy=True)
            total, weight, *more = losses[name].fn(model, batch, nnx.Rngs(dropout=key))
            [named] = more or [{}]
            return total * scale, ({"": total, **named}, weight, split(model, losses)[1])

        def add(sums, micro):
            grads, totals, weight, rest = sums
            (_, (t, w, rest)), g = jax.value_and_grad(objective, has_aux=True)(state.params[name], rest, *micro)
            totals = {name: totals.get(name, zero) + value for name, value in t.items()}
            return (jax.tree.map(jnp.add, grads, g), totals, weight + w, rest), None

        # Of float16, the mean over the examples is what is scaled: a sum would overflow with the size of the batch.
        examples = jax.tree.leaves(batch)[0].shape[0]
        scale = 1.0 if state.loss_scale is None else state.loss_scale.factor / examples
        micro = (cut(batch, parts, accumulate), keys)
        zero = jnp.zeros((), jnp.result_type(float))  # float64 under x64
        sums = (jax.tree.map(jnp.zeros_like, state.params[name]), {}, zero, state.rest)
        if jax.default_backend() == "cpu" or accumulate == 1:
            # On a CPU, XLA's convolutions inside a loop (of one turn, too) are an order of magnitude slower.
            for i in range(accumulate):
                sums, _ = add(sums, jax.tree.map(lambda x, i=i: x[i], micro))
        else:  # a loop has to know beforehand what it sums up
            first = jax.tree.map(lambda x: x[0], micro)
            [_, named, *_], _ = jax.eval_shape(add, sums, first)
            sums, _ = jax.lax.scan(add, (sums[0], dict.fromkeys(named, zero), *sums[2:]), micro)
        grads, totals, weight, rest = sums
        means = {name: total / weight for name, total in totals.items()}
        return jax.tree.map(lambda g: g / (weight * scale), grads), means.pop(""), means, rest

    def train_steps(state: TrainState, batches: Batch, shares: jax.Array, with_norm: jax.Array, resident: Batch):
        shared = (shares, with_norm, resident)
        if jax.tree.leaves(batches)[0].shape[0] == 1:
            return train_step(state, jax.tree.map(lambda x: x[0], batches), *shared)
        state, logs = jax.lax.scan(lambda s, batch: train_step(s, batch, *shared), state, batches)
        return state, jax.tree.map(lambda x: x[-1], logs)

    return jax.jit(train_steps, donate_argnums=0, out_shardings=shardings)


def cut(batch: Batch, parts: int, accumulate: int) -> Batch:
    """[batch, ...] -> [micro-batch, example, ...], without moving an example to another device."""

    def cut(x: jax.Array) -> jax.Array:
        pieces = x.reshape(parts, accumulate, -1, *x.shape[1:]).swapaxes(0, 1)
        return pieces.reshape(accumulate, -1, *x.shape[1:])

    return jax.tree.map(cut, batch)


def dropout_keys(seed: int, step: int | jax.Array, loss: int, accumulate: int) -> jax.Array:
    """Of each micro-batch, for the loss of that number."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), loss)
    return jax.random.split(key, accumulate)


@jax.jit
def is_finite(tree: Any) -> jax.Array:
    """Whether every number in it is."""
    return functools.reduce(jnp.logical_and, (jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)))


def no_norm(grads: nnx.State) -> jax.Array:
    return jnp.zeros((), jax.tree.leaves(grads)[0].dtype)


def make_eval_step(twin: ModuleType, graphdef: nnx.GraphDef, sharding: Any = None):
    """(state, metrics, batch) -> metrics with those of the batch."""

    @functools.partial(jax.jit, out_shardings=sharding)
    def eval_step(state: TrainState, metrics: Any, batch: Batch) -> Any:
        return metrics.merge(twin.eval_step(nnx.merge(graphdef, *state.evaluated, copy=True), batch, type(metrics)))

    return eval_step


def make_predict_step(twin: ModuleType, graphdef: nnx.GraphDef, sharding: Any = None):
    """(state, batch) -> outputs."""

    @functools.partial(jax.jit, out_shardings=sharding)
    def predict_step(state: TrainState, batch: Batch) -> Mapping[str, jax.Array]:
        return twin.predict_step(nnx.merge(graphdef, *state.evaluated, copy=True), batch)

    return predict_step
