"""One update of the task, as a compiled function of the state and a batch.

`jax.jit` around `nnx.merge` rather than `nnx.jit`, which walks the module's graph in Python at every call: with a
784-128-10 network (batch 64, two CPU cores) 970 steps a second against 1,970. This form also takes one donated pytree,
and `lax.scan`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu.metrics import CollectingMetric, Collection
from flax import nnx

from ..config import Config
from ..data.batches import make_batch
from ..errors import InputError
from ..schedule import average_weight
from ..session import check_parts
from ..task import Loss
from .contract import Twin
from .optimizers import create_optimizer
from .train_state import TrainState, moved, split

Batch = dict[str, jax.Array]


def make_train_step(
    twin: Twin,
    config: Config,
    graphdef: nnx.GraphDef,
    augment: Callable[[Batch], Batch] | None = None,
    parts: int = 1,
    unrolled: bool = True,
    shardings: Any = None,
):
    """(state, batches, rates, with_norm, resident) -> (state, logs of the last step).

    batches: leaves [steps, batch, ...]: so many steps in one dispatch. rates: float [steps], the learning rate of each.
    resident: the training data where they stay on the device; `augment` is then part of the step.
    logs: `loss/<name>` for each loss, and the parts that it names; `grad_norm` over all of them, which without
    `with_norm` is left at 0 unless the update needs it: on a CPU it takes as long as a tenth of a small network's step;
    the `loss_scale` of float16; the number of `skipped_updates` so far, where there can be any.

    Args:
        parts: that a batch has, for the devices: each holds, one after the other, its piece of every micro-batch.
        unrolled: micro-batches one after the other, for a CPU, on which XLA's convolutions inside a loop (of one turn,
            too) are an order of magnitude slower; else in a loop, which is compiled once for all of them.
        shardings: of what is returned.
    """
    losses = twin.losses(config)
    accumulate, clip_norm, ema_decay = config.trainer.accumulate, config.optimizer.clip_norm, config.optimizer.ema_decay

    def train_step(
        state: TrainState, batch: Batch, rate: jax.Array, with_norm: jax.Array, resident: Batch
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        if resident:
            batch = make_batch(batch, augment, resident)
        logs: dict[str, jax.Array] = {}
        square_norm, scale = jnp.zeros((), jnp.result_type(float)), state.loss_scale
        careful = scale is not None or config.trainer.on_nan == "skip"
        for i, (name, loss) in enumerate(losses.items()):
            keys = dropout_keys(config.seed, state.step, i, accumulate)
            grads, mean, named, (params, rest), weight = gradients(loss, state, batch, keys)
            norm_is_used = with_norm | (clip_norm > 0) | careful
            norm = jax.lax.cond(norm_is_used, global_norm, no_norm, grads)
            if clip_norm:
                factor = clip_norm / jnp.maximum(norm, clip_norm)
                grads = jax.tree.map(lambda g, factor=factor: (g * factor).astype(g.dtype), grads)
            part, others = moved(loss, params)
            # Made anew with each step's learning rate; its state stands in the train state.
            optimizer = create_optimizer(config.optimizer, rate * loss.rate)
            updates, opt_state = optimizer.update(grads, state.opt_state[name], part, value=mean)
            params = nnx.merge_state(optax.apply_updates(part, updates), others)
            after = params, opt_state, rest
            good = jnp.isfinite(norm) & jnp.isfinite(mean) if careful else True
            if isinstance(weight, jax.Array):  # not known before: it may be that of nothing
                good &= weight != 0
            if good is not True:  # else the update is left out
                before = state.params, state.opt_state[name], state.rest
                after = jax.tree.map(functools.partial(jnp.where, good), after, before)
                state = state.replace(skipped=state.skipped + ~good)
                logs["skipped_updates"] = state.skipped
            if scale is not None:
                state = state.replace(loss_scale=scale.next(good))
            params, opt_state, rest = after
            state = state.replace(params=params, rest=rest, opt_state={**state.opt_state, name: opt_state})
            check_parts(named, logs)
            logs |= {f"loss/{name}": mean, **named}
            square_norm += norm**2
        if ema_decay:
            weight = average_weight(state.step.astype(jnp.result_type(float)), ema_decay, jnp.maximum)
            ema = jax.tree.map(lambda e, p: (1 - weight) * e + weight * p, state.ema, state.params)
            state = state.replace(ema=ema)
        logs["grad_norm"] = jnp.sqrt(square_norm)
        if state.loss_scale is not None:
            logs["loss_scale"] = state.loss_scale.factor
        return state.replace(step=state.step + 1), logs

    def gradients(
        loss: Loss, state: TrainState, batch: Batch, keys: jax.Array
    ) -> tuple[nnx.State, jax.Array, dict[str, jax.Array], tuple[nnx.State, nnx.State], jax.Array | float]:
        """Of the mean loss over the batch, whose micro-batches are summed up one after the other.

        Beside it that mean, those of the loss's parts, the model afterwards, as a loss may write into it, and what the
        batch weighs: a number where that is known before.
        """
        known: list[float] = []  # weights

        def objective(part: nnx.State, others: nnx.State, rest: nnx.State, batch: Batch, key: jax.Array):
            model = nnx.merge(graphdef, part, others, rest, copy=True)
            total, weight, *more = loss.fn(model, batch, nnx.Rngs(dropout=key))
            if not isinstance(weight, jax.Array):
                known.append(weight)
            [named] = more or [{}]
            return total * scale, ({"": total, **named}, jnp.asarray(weight, zero.dtype), parts_of(model, losses, rest))

        def add(sums, micro):
            grads, totals, weight, (params, rest) = sums
            (_, (t, w, after)), g = jax.value_and_grad(objective, has_aux=True)(*moved(loss, params), rest, *micro)
            totals = {name: totals.get(name, zero) + value for name, value in t.items()}
            return (jax.tree.map(jnp.add, grads, g), totals, weight + w, after), None

        # Of float16, the mean over the examples is what is scaled: a sum would overflow with the size of the batch.
        examples = jax.tree.leaves(batch)[0].shape[0]
        scale = 1.0 if state.loss_scale is None else state.loss_scale.factor / examples
        micro = (cut(batch, parts, accumulate), keys)
        zero = jnp.zeros((), jnp.result_type(float))  # float64 under x64
        nothing = jax.tree.map(jnp.zeros_like, moved(loss, state.params)[0])
        sums: Any = nothing, {}, zero, (state.params, state.rest)
        if unrolled or accumulate == 1:
            for i in range(accumulate):
                sums, _ = add(sums, jax.tree.map(lambda x, i=i: x[i], micro))
        else:  # a loop has to know beforehand what it sums up
            first = jax.tree.map(lambda x: x[0], micro)
            [_, named, *_], _ = jax.eval_shape(add, sums, first)
            sums, _ = jax.lax.scan(add, (sums[0], dict.fromkeys(named, zero), *sums[2:]), micro)
        grads, totals, weight, after = sums
        if known:  # micro-batches are of one shape, and weigh the same
            weight = known[0] * accumulate
            if not weight:
                raise InputError("a loss gives the weight 0 for every batch: it divides the sum")
        divisor = jnp.where(weight == 0, 1, weight) if isinstance(weight, jax.Array) else weight
        means = {name: total / divisor for name, total in totals.items()}
        grads = jax.tree.map(lambda g: (g / (divisor * scale)).astype(g.dtype), grads)
        return grads, means.pop(""), means, after, weight

    def train_steps(state: TrainState, batches: Batch, rates: jax.Array, with_norm: jax.Array, resident: Batch):
        if len(rates) == 1:
            return train_step(state, jax.tree.map(lambda x: x[0], batches), rates[0], with_norm, resident)
        state, logs = jax.lax.scan(lambda s, each: train_step(s, *each, with_norm, resident), state, (batches, rates))
        return state, jax.tree.map(lambda x: x[-1], logs)

    return jax.jit(train_steps, donate_argnums=0, out_shardings=shardings)


def parts_of(model: nnx.Module, losses: Mapping[str, Loss], before: nnx.State) -> tuple[nnx.State, nnx.State]:
    """As `split` gives them, after a loss, without what was sown.

    before: the rest. Raises InputError where it is not what there was.
    """
    nnx.pop(model, nnx.Intermediate)
    params, rest = split(model, losses)
    was, now = (
        {
            path: [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(variable)]
            for path, variable in nnx.to_flat_state(state)
        }
        for state in (before, rest)
    )
    if found := [path for path in {**was, **now} if was.get(path) != now.get(path)]:
        name = ".".join(map(str, found[0]))
        raise InputError(f"the model's {name} is made or changes shape or dtype in a step: create_model has to make it")
    return params, rest


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


def global_norm(grads: nnx.State) -> jax.Array:
    """At least in float32."""
    exact = jax.tree.map(lambda g: g.astype(jnp.promote_types(g.dtype, jnp.float32)), grads)
    return optax.tree.norm(exact).astype(jnp.result_type(float))


def no_norm(grads: nnx.State) -> jax.Array:
    return jnp.zeros((), jnp.result_type(float))


def make_eval_step(twin: Twin, graphdef: nnx.GraphDef, Metrics: type[Collection], sharding: Any = None):
    """(evaluated, metrics, batch) -> metrics with those of the batch."""
    # What collects outputs does so on the host; all else is added up on the device.
    collects = any(issubclass(kind, CollectingMetric) for kind in Metrics.__annotations__.values())

    @functools.partial(jax.jit, out_shardings=sharding)
    def eval_step(evaluated: tuple[nnx.State, ...], metrics: Collection | None, batch: Batch) -> Collection:
        found = twin.eval_step(nnx.merge(graphdef, *evaluated, copy=True), batch, Metrics)
        return metrics.merge(found) if metrics else found

    def on_the_host(evaluated: tuple[nnx.State, ...], metrics: Collection, batch: Batch) -> Collection:
        return metrics.merge(jax.device_get(eval_step(evaluated, None, batch)))

    return on_the_host if collects else eval_step


def make_predict_step(twin: Twin, graphdef: nnx.GraphDef, sharding: Any = None, **options: Any):
    """(evaluated, batch) -> outputs."""

    @functools.partial(jax.jit, out_shardings=sharding)
    def predict_step(evaluated: tuple[nnx.State, ...], batch: Batch) -> Mapping[str, jax.Array]:
        return twin.predict_step(nnx.merge(graphdef, *evaluated, copy=True), batch, **options)

    return predict_step
