"""One update of the task, as a compiled function of the state and a batch.

`jax.jit` around `nnx.merge` rather than `nnx.jit`, which walks the module's graph in Python at every call: with a
784-128-10 network (batch 64, two CPU cores) 970 steps a second against 1,970. This form also takes one donated pytree,
and `lax.scan`.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from ...config import Config
from .train_state import TrainState, split

Batch = dict[str, jax.Array]


def make_train_step(twin: ModuleType, config: Config, graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation):
    """(state, batches, learning_rates, with_norm) -> (state, logs of the last step).

    batches: leaves [steps, batch, ...]: so many steps in one dispatch. learning_rates: float [total steps], by step.
    logs: `loss/<name>` for each loss; `grad_norm` over all of them, which without `with_norm` is left at 0 where no
    clipping needs it: on a CPU it takes as long as a tenth of a small network's step.
    """
    losses = twin.losses(config)
    accumulate, clip_norm = config.trainer.accumulate, config.optimizer.clip_norm

    def train_step(
        state: TrainState, batch: Batch, learning_rates: jax.Array, with_norm: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        learning_rate = learning_rates[state.step]
        logs, square_norm = {}, 0.0
        for i, name in enumerate(losses):
            grads, mean, rest = gradients(name, state, batch, jax.random.fold_in(key, i))
            norm = jax.lax.cond(with_norm | (clip_norm > 0), optax.tree.norm, no_norm, grads)
            if clip_norm:
                scale = clip_norm / jnp.maximum(norm, clip_norm)
                grads = jax.tree.map(lambda g, scale=scale: g * scale, grads)
            updates, opt_state = optimizer.update(grads, state.opt_state[name], state.params[name])
            params = jax.tree.map(lambda p, u: p - learning_rate * u, state.params[name], updates)
            state = state.replace(
                params={**state.params, name: params}, rest=rest, opt_state={**state.opt_state, name: opt_state}
            )
            logs[f"loss/{name}"] = mean
            square_norm += norm**2
        return state.replace(step=state.step + 1), {**logs, "grad_norm": jnp.sqrt(square_norm)}

    def gradients(name: str, state: TrainState, batch: Batch, key: jax.Array) -> tuple[nnx.State, jax.Array, nnx.State]:
        """Of the mean loss over the batch, whose micro-batches are summed up one after the other."""

        def objective(part: nnx.State, rest: nnx.State, batch: Batch, key: jax.Array):
            params = {**state.params, name: part}
            model = nnx.merge(graphdef, *params.values(), rest, copy=True)
            total, weight = losses[name].fn(model, batch, nnx.Rngs(dropout=key))
            return total, (weight, split(model, losses)[1])

        def add(sums, micro):
            grads, total, weight, rest = sums
            (t, (w, rest)), g = jax.value_and_grad(objective, has_aux=True)(state.params[name], rest, *micro)
            return (jax.tree.map(jnp.add, grads, g), total + t, weight + w, rest), None

        micro = (
            jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch),
            jax.random.split(key, accumulate),
        )
        dtype = jnp.result_type(float)  # float64 under x64
        sums = (
            jax.tree.map(jnp.zeros_like, state.params[name]),
            jnp.zeros((), dtype),
            jnp.zeros((), dtype),
            state.rest,
        )
        if jax.default_backend() == "cpu" or accumulate == 1:
            # On a CPU, XLA's convolutions inside a loop (of one turn, too) are an order of magnitude slower.
            for i in range(accumulate):
                sums, _ = add(sums, jax.tree.map(lambda x, i=i: x[i], micro))
        else:
            sums, _ = jax.lax.scan(add, sums, micro)
        grads, total, weight, rest = sums
        return jax.tree.map(lambda g: g / weight, grads), total / weight, rest

    def train_steps(state: TrainState, batches: Batch, learning_rates: jax.Array, with_norm: jax.Array):
        if jax.tree.leaves(batches)[0].shape[0] == 1:
            return train_step(state, jax.tree.map(lambda x: x[0], batches), learning_rates, with_norm)
        state, logs = jax.lax.scan(lambda s, batch: train_step(s, batch, learning_rates, with_norm), state, batches)
        return state, jax.tree.map(lambda x: x[-1], logs)

    return jax.jit(train_steps, donate_argnums=0)


def no_norm(grads: nnx.State) -> jax.Array:
    return jnp.zeros((), jax.tree.leaves(grads)[0].dtype)


def make_eval_step(twin: ModuleType, graphdef: nnx.GraphDef):
    """(state, metrics, batch) -> metrics with those of the batch."""

    @jax.jit
    def eval_step(state: TrainState, metrics: Any, batch: Batch) -> Any:
        return metrics.merge(twin.eval_step(nnx.merge(graphdef, *state.params.values(), state.rest, copy=True), batch))

    return eval_step


def make_predict_step(twin: ModuleType, graphdef: nnx.GraphDef):
    """(state, batch) -> outputs."""

    @jax.jit
    def predict_step(state: TrainState, batch: Batch) -> Mapping[str, jax.Array]:
        return twin.predict_step(nnx.merge(graphdef, *state.params.values(), state.rest, copy=True), batch)

    return predict_step
